"""Target data together with data of other organs, balanced by γ.

  python launch.py --config=configs/auxiliary.py --config.gamma=5 \
    --config.target.name=folder --config.target.root=DIR \
    --config.target.organs=prostate \
    --config.auxiliary.name=folder --config.auxiliary.root=DIR \
    --config.auxiliary.organs=breast,kidney --config.auxiliary_percentage=50

Half of each batch is target, half auxiliary, and L = γ·L_target + L_auxiliary;
--config.naive_pooling=True draws from the union instead [Training with auxiliary
datasets].
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
  """The paper's recipe with two embedded organs; reduce it as in configs/train.py."""
  config = common.get_config()
  config.job = "auxiliary"
  config.auxiliary.name = "synthetic_he"
  config.auxiliary.organs = "kidney,breast"
  return config
