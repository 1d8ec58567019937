"""Figure 5 and Table 2: fine-tuning over iterations, data, stage and frozen blocks.

  python launch.py --config=configs/paper/fig5.py --config.budget=smoke
  python launch.py --config=configs/paper/fig5.py --config.data=real \
    --config.data_root=DIR

The bases are fig4's. Then 216 fine-tuning runs a seed, a minute and a half each on a
CPU core. Found on real tissue: results/fig5.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of micronet_jax/studies/schema.py."""
  return common.get_config("fig5")
