"""Every field that a run has, with the paper's values.

What each means, its range, unit and source stand in the schema,
`micronet_jax/config.py`. The other files of this folder change what differs.
"""

import ml_collections

from configs import _schema
from micronet_jax.config import Config


def get_config() -> ml_collections.ConfigDict:
  """The paper's recipe for training from scratch."""
  return _schema.to_config_dict(Config())
