"""Table 1: six models on every organ, precision, recall, F1 and distance.

  python launch.py --config=configs/paper/table1.py --config.budget=smoke
  python launch.py --config=configs/paper/table1.py --config.data=real \
    --config.data_root=DIR

Six networks an organ and seed; on a CPU core FCRNA takes a quarter of a minute, FCN two
and a half, the others one to two. Found on real tissue: results/table1.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of micronet_jax/studies/schema.py."""
  return common.get_config("table1")
