"""One study's budget, organs and targets, found from its config.

Called by `studies.study`; what figures and runs are made from.
"""

import dataclasses
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from micronet_jax.config import Config, as_dict, changed, check_config, from_dict
from micronet_jax.errors import InputError
from micronet_jax.models import complete_options
from micronet_jax.studies.organs import Organ, find_organs, split_names
from micronet_jax.studies.schema import (
  MICRONET,
  NAMES,
  Budget,
  StudyConfig,
  check_study,
)


@dataclasses.dataclass(frozen=True)
class Setting:
  """One study: its config, all organs there are, and those that figures are about."""

  config: StudyConfig
  organs: tuple[Organ, ...]
  targets: tuple[Organ, ...] = ()

  @property
  def budget(self) -> str:
    """The name of the budget."""
    return self.config.budget

  @property
  def numbers(self) -> Budget:
    """The budget's fields."""
    return getattr(self.config.budgets, self.config.budget)

  @property
  def seeds(self) -> tuple[int, ...]:
    """Each run is repeated with each."""
    return self.config.seeds

  @property
  def data(self) -> str:
    """What the data is called."""
    known = self.config.data in ("synthetic", "real")
    return self.config.data if known else pathlib.Path(self.config.data).name

  @property
  def models(self) -> list[str]:
    """The models of Table 1 that are asked for, in its order."""
    wanted = split_names(self.config.models)
    return [name for name in NAMES if not wanted or name in wanted]

  def organ(self, name: str) -> Organ:
    """The organ of a name."""
    return next(organ for organ in self.organs if organ.name == name)

  def recipe(self, model: str = MICRONET, seed: int = 0) -> Config:
    """The config of a run of one of `NAMES`, to be changed further."""
    numbers, recipe = self.numbers, self.config.recipe
    own_rate = getattr(numbers.own_rates, model)
    same = ("batch_size", "num_steps", "eval_every", "min_distances")
    own_width = complete_options({"name": model})["width"]
    return changed(
      recipe,
      {
        **{field: getattr(numbers, field) for field in same},
        "seed": seed,
        "model.name": model,
        "model.width": max(1, own_width * numbers.width // 32),
        # Others have no such argument; it changes no result.
        "model.remat": recipe.model.remat and model == MICRONET,
        "warp.patch": numbers.patch,
        "optimizer.learning_rate": own_rate or numbers.learning_rate,
        "optimizer.schedule": numbers.schedule,
        "log_every": max(1, numbers.num_steps // 4),
      },
    )

  def to_json(self) -> dict[str, Any]:
    """What findings rest on, without the places of this machine."""
    places = {"data": self.data, "data_root": "", "data_dir": ""}
    organs = {"organs": self.organs, "targets": self.targets}
    names = {kind: [organ.name for organ in each] for kind, each in organs.items()}
    return {"config": as_dict(changed(self.config, places)), **names}


def setting_from_json(values: Mapping[str, Any]) -> Setting:
  """The inverse of `Setting.to_json`; its organs have names, but no images."""
  organs = {name: Organ(name, "", "", 0, 0) for name in values["organs"]}
  targets = tuple(organs[name] for name in values["targets"])
  config = from_dict(StudyConfig, values["config"])
  return Setting(config, tuple(organs.values()), targets)


def find_setting(config: StudyConfig, paper: Sequence[str] = ()) -> Setting:
  """Checks a config and finds its organs.

  Args:
    config: of the study.
    paper: the paper's target organs for this study.

  Raises:
    InputError: a budget, organ, model or seed that cannot be used.
  """
  numbers = check_study(config)
  organs = find_organs(config, numbers)
  if len(organs) < 2:
    raise InputError(
      f"the data has {len(organs)} organ(s); a study compares at least two"
    )
  targets = choose_targets(organs, paper, numbers.targets, config.targets)
  found = Setting(config, tuple(organs), targets)
  for model in NAMES:
    try:
      check_config(found.recipe(model))
    except InputError as error:
      raise InputError(
        f"{error} (set by config.budgets.{config.budget} or config.recipe)"
      ) from error
  return found


def choose_targets(
  organs: Sequence[Organ], paper: Sequence[str], count: int, wanted: str = ""
) -> tuple[Organ, ...]:
  """The organs that a figure is about: those asked for, the paper's, or by chance.

  Raises:
    InputError: an organ is asked for that there is not.
  """
  by_name = {organ.name: organ for organ in organs}
  names = split_names(wanted)
  unknown = [name for name in names if name not in by_name]
  if unknown:
    raise InputError(
      f"config.targets names {unknown[0]!r}; the data has {', '.join(by_name)}"
    )
  if len(set(names)) < len(names):
    raise InputError(f"config.targets is {wanted!r}; give each organ once")
  names = names or list(paper)[:count]
  if not all(name in by_name for name in names):
    seed = zlib.crc32(",".join(paper).encode())
    names = draw_names(sorted(by_name), min(count, len(by_name)), seed)
  return tuple(by_name[name] for name in names)


def draw_names(names: Sequence[str], count: int, seed: int) -> list[str]:
  """Draws some of several names, in their order."""
  chosen = np.random.default_rng(seed).choice(len(names), count, replace=False)
  return [names[i] for i in sorted(chosen)]
