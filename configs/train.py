"""MicroNet from scratch, with the paper's recipe.

  python launch.py --config=configs/train.py \
    --config.target.name=folder --config.target.root=DIR

On the CPU start smaller, for instance --config.model.width=16
--config.warp.patch=128 --config.num_steps=2000 --config.eval_every=250
--config.optimizer.schedule=cosine.
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
  """The defaults of configs/common.py."""
  return common.get_config()
