"""Figure 12: an image, its annotation and its proximity map.

  python launch.py --config=configs/paper/fig12.py --config.budget=smoke
  python launch.py --config=configs/paper/fig12.py --config.data=real \
    --config.data_root=DIR

Seconds: nothing is trained.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of micronet_jax/studies/schema.py."""
  return common.get_config("fig12")
