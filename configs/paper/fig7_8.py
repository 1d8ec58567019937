"""Figures 7 and 8: target and auxiliary data balanced by γ.

  python launch.py --config=configs/paper/fig7_8.py --config.budget=smoke
  python launch.py --config=configs/paper/fig7_8.py --config.data=real \
    --config.data_root=DIR

Sources are chosen by fig4. Then 72 runs a seed, a minute and a half each on a CPU core.
Found on real tissue: results/fig7_8.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of micronet_jax/studies/schema.py."""
  return common.get_config("fig7_8")
