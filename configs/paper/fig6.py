"""Figure 6: training with the images of other organs as well, or without.

  python launch.py --config=configs/paper/fig6.py --config.budget=smoke
  python launch.py --config=configs/paper/fig6.py --config.data=real \
    --config.data_root=DIR

About 60 runs a seed, a minute and a half each on a CPU core. Found on real tissue:
results/fig6.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of micronet_jax/studies/schema.py."""
  return common.get_config("fig6")
