"""How the packaged weights `base` were made (micronet_jax/weights/README.md).

  python launch.py --config=configs/base.py --config.target.root=DIR

DIR holds MoNuSeg in the layout of the `folder` data set, cut into tiles of 500².
Prostate is left out: it is what the main job is measured on.
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
  """Six organs of MoNuSeg, a budget for two CPU cores."""
  config = common.get_config()
  config.target.name = "folder"
  config.target.organs = "bladder,breast,colon,kidney,liver,stomach"
  # 16 patients to train, 4 to validate, 4 to test.
  config.split.test_fraction = 0.16
  config.model.width = 16
  config.warp.patch = 128
  # Ten times the paper's rate, for a seventieth of its iterations.
  config.optimizer.learning_rate = 0.1
  config.optimizer.schedule = "cosine"
  config.num_steps = 1400
  config.eval_every = 200
  return config
