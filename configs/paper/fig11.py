"""Figure 11: FRCN with the images of other organs as well, or without.

  python launch.py --config=configs/paper/fig11.py --config.budget=smoke
  python launch.py --config=configs/paper/fig11.py --config.data=real \
    --config.data_root=DIR

About 15 runs a seed, two minutes each on a CPU core.
Found on real tissue: results/fig11.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of micronet_jax/studies/schema.py."""
  return common.get_config("fig11")
