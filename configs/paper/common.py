"""The fields of all studies, made from the schema, `micronet_jax.studies.schema`.

The files beside this one name their study and say what it costs. All studies that
share a --workdir share their runs: nothing is trained twice.
"""

import ml_collections

from configs._schema import to_config_dict
from micronet_jax.studies.schema import SET_BY_STUDY, StudyConfig


def get_config(study: str) -> ml_collections.ConfigDict:
  """One study at the budget for CPUs, on synthetic tissue.

  Fields of `config.recipe` that the study or its budget sets are left out: changing one
  would have no effect.
  """
  config = to_config_dict(StudyConfig(study=study))
  for field in SET_BY_STUDY:
    *homes, name = field.split(".")
    place = config.recipe
    for home in homes:
      place = place[home]
    del place[name]
  return config.lock()
