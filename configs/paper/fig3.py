"""Figure 3: what MicroNet finds, on an image of each of up to 12 organs.

  python launch.py --config=configs/paper/fig3.py --config.budget=smoke
  python launch.py --config=configs/paper/fig3.py --config.data=real \
    --config.data_root=DIR

A MicroNet for each, a minute and a half each on a CPU core; all are fig4's too.
Shown on synthetic tissue: results/fig3.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of micronet_jax/studies/schema.py."""
  return common.get_config("fig3")
