"""The fields of all studies, made from the schema, `micronet_jax.studies.schema`.

The files beside this one name their study and say what it costs. All studies that
share a --workdir share their runs: nothing is trained twice.
"""

import ml_collections

from configs._schema import to_config_dict
from micronet_jax.studies.schema import StudyConfig

# Fields of the recipe that a study sets for each run, or its budget for all.
SET_BY_STUDY = (
  *("job", "seed", "target", "target_fraction", "data_dir", "auxiliary"),
  *("auxiliary_percentage", "gamma", "naive_pooling", "model.name", "model.width"),
  *("init_from", "init_partial", "freeze_blocks", "compare", "evaluate_part"),
  *("warp.patch", "optimizer.learning_rate", "optimizer.schedule", "batch_size"),
  *("num_steps", "eval_every", "snapshot_every", "log_every", "min_distances"),
  *("split.validation_patients", "working_mpp", "even_steps"),
)


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
