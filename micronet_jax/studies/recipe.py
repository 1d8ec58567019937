"""The config that all runs of a study begin with, and who says what stands in it.

Light, so that the files of configs/paper can be read without JAX.
"""

from typing import Any

MICRONET = "micronet"
NAMES = {
  "fcn": "FCN",
  "unet": "U-Net",
  "fcrna": "FCRNA",
  "fcrnb": "FCRNB",
  "frcn": "FRCN",
  "micronet": "MicroNet",
}
"""The models, in the order of Table 1, as the paper writes them."""

OWN = {
  "fcn": (2, 0.5),
  "unet": (2, 0.5),
  "frcn": (1, 0.33),
}
"""First channels as a multiple of the budget's width, and dropout, where a model's
authors have others than MicroNet's."""

BY_BUDGET = {
  "model.width": "width",
  "warp.patch": "patch",
  "batch_size": "batch_size",
  "num_steps": "num_steps",
  "eval_every": "eval_every",
  "optimizer.learning_rate": "learning_rate",
  "optimizer.schedule": "schedule",
  "min_distances": "min_distances",
}
"""Fields of a recipe that the budget has under other names."""

DATA = {"name": "", "root": "", "organs": "", "synthetic_images": 50}
BY_STUDY = {
  "job": "train",
  "seed": 0,
  "log_every": 50,
  "model.name": MICRONET,
  "target_fraction": 1.0,
  "auxiliary_percentage": 100.0,
  "gamma": 1.0,
  "naive_pooling": False,
  "init_from": "",
  "init_partial": False,
  "freeze_blocks": 0,
  "compare": (),
  "evaluate_part": "all",
  "snapshot_every": 0,
  "data_dir": "",
  **{
    f"{part}.{field}": value
    for part in ("target", "auxiliary")
    for field, value in DATA.items()
  },
}
"""Fields that a study sets for each run, and their values before."""


def without_set_fields(recipe: Any) -> Any:
  """A copy of a config without the fields that the budget or the study sets.

  Changing one of them would have no effect; so they are not there to be changed.
  """
  config = recipe.copy_and_resolve_references()
  for field in (*BY_BUDGET, *BY_STUDY):
    home, name = _place(config, field)
    del home[name]
  return config.lock()


def at_budget(recipe: Any, numbers: Any) -> Any:
  """A whole config again, with the budget's numbers."""
  config = recipe.copy_and_resolve_references().unlock()
  values = {field: numbers[name] for field, name in BY_BUDGET.items()}
  for field, value in {**BY_STUDY, **values}.items():
    home, name = _place(config, field)
    home[name] = value
  config.min_distances = tuple(numbers.min_distances)
  config.log_every = max(1, numbers.num_steps // 4)
  return config.lock()


def begin(recipe: Any, numbers: Any, model: str, seed: int) -> Any:
  """The config of a run of one of `NAMES`, to be changed further.

  Args:
    recipe: as `at_budget` gives it.
    numbers: the budget's fields.
    model: one of `NAMES`.
    seed: of the run.
  """
  config = recipe.copy_and_resolve_references()
  config.seed = seed
  config.model.name = model
  if model in OWN:
    factor, config.model.dropout = OWN[model]
    config.model.width *= factor
  if model != MICRONET:
    config.model.remat = False  # they have no such argument; it changes no result
  config.optimizer.learning_rate = (
    numbers.own_rates[model] or config.optimizer.learning_rate
  )
  return config


def _place(config: Any, field: str) -> tuple[Any, str]:
  *path, name = field.split(".")
  for part in path:
    config = config[part]
  return config, name
