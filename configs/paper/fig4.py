"""Figure 4: every organ's MicroNet on every organ.

  python launch.py --config=configs/paper/fig4.py --config.budget=smoke
  python launch.py --config=configs/paper/fig4.py --config.data=real \
    --config.data_root=DIR

A MicroNet an organ and seed, a minute and a half each on a CPU core; all are table1's
too. Found on real tissue: results/fig4.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of micronet_jax/studies/schema.py."""
  return common.get_config("fig4")
