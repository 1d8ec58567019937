"""Figure 3: what MicroNet finds, on an image of each organ.

  python launch.py --config=configs/paper/fig3.py --config.budget=smoke
  python launch.py --config=configs/paper/fig3.py --config.data=real \
    --config.data_root=DIR

Shares its networks with table1 and fig4: one to two minutes an organ on two CPU cores.
--config.plan_only=True says how long, from steps timed on your machine.
"""

import ml_collections

from configs.paper import common


def get_config() -> ml_collections.ConfigDict:
  """The fields are those of configs/paper/common.py."""
  return common.get_config("fig3")
