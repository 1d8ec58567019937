"""Figure 4: every organ's MicroNet on every organ.

  python launch.py --config=configs/paper/fig4.py --config.budget=smoke
  python launch.py --config=configs/paper/fig4.py --config.data=real \
    --config.data_root=DIR

On two CPU cores: one to two minutes an organ; table1 shares all of them.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of configs/paper/common.py."""
  return common.get_config("fig4")
