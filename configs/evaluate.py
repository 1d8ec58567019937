"""Scores any checkpoint on any annotated data.

  python launch.py --config=configs/evaluate.py --config.init_from=runs/… \
    --config.target.name=folder --config.target.root=DIR

Images that the checkpoint was trained on are refused;
--config.evaluate_part=test or validation takes that part of its own split.
"""

import ml_collections

from configs import _schema
from micronet_jax.recipes import EVALUATE


def get_config() -> ml_collections.ConfigDict:
  """The packaged base on the embedded default organ."""
  return _schema.to_config_dict(EVALUATE)
