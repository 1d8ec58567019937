"""Figure 10: every organ's FRCN on every organ.

  python launch.py --config=configs/paper/fig10.py --config.budget=smoke
  python launch.py --config=configs/paper/fig10.py --config.data=real \
    --config.data_root=DIR

An FRCN an organ and seed, two minutes each on a CPU core; all are table1's too.
Found on real tissue: results/fig10.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of micronet_jax/studies/schema.py."""
  return common.get_config("fig10")
