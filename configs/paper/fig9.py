"""Figure 9: λ, the weight of the regions without nuclei.

  python launch.py --config=configs/paper/fig9.py --config.budget=smoke
  python launch.py --config=configs/paper/fig9.py --config.data=real \
    --config.data_root=DIR

24 runs a seed, a minute and a half each on a CPU core; those with λ from 500 on may
diverge. Found on real tissue: results/fig9.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of micronet_jax/studies/schema.py."""
  return common.get_config("fig9")
