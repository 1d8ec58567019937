"""Says what training would trip over in annotated images, as `micronet check` does.

  python launch.py --config=configs/check_data.py --config.target.root=DIR

Any data set that training knows can be checked (--config.target.name). The run's folder
gets check.html, with pictures of the suspects; the exit status is 1 if something would
stop training or make a number wrong.
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
  """A folder of one's own."""
  config = common.get_config()
  config.job = "check"
  config.target.name = "folder"
  return config
