"""The main job: the packaged base, a few annotated tiles, a detector for your tissue.

  python launch.py --config=configs/finetune.py
  python launch.py --config=configs/finetune.py \
    --config.target.name=folder --config.target.root=DIR

Without a target it takes 24 embedded synthetic tiles (10 to train, 2 to validate, 12
to test) and ends in a table: the base as it is, a network trained from scratch with
the same budget, and the fine-tuned one. README.md shows the expected result.
"""

import ml_collections

from configs import _schema
from micronet_jax.recipes import FINETUNE


def get_config() -> ml_collections.ConfigDict:
  """A budget of minutes on two CPU cores, as `micronet finetune` has it."""
  return _schema.to_config_dict(FINETUNE)
