"""One study's budget, organs and targets, found from its config.

Called by `studies.study`; what figures and runs are made from.
"""

import dataclasses
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from micronet_jax.config import Config, check_config
from micronet_jax.datasets.organs import NUINSSEG, Organ, find_organs
from micronet_jax.errors import InputError
from micronet_jax.models import complete_options
from micronet_jax.settings import as_dict, changed, from_dict
from micronet_jax.studies import schema
from micronet_jax.studies.schema import MICRONET, NAMES, Budget, StudyConfig


@dataclasses.dataclass(frozen=True)
class Setting:
  """One study: its config, all organs there are, and those that figures are about."""

  config: StudyConfig
  organs: tuple[Organ, ...]
  targets: tuple[Organ, ...] = ()
  # By label what `traits.describe_traits` says, in studies that draw it.
  tissue: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

  @property
  def numbers(self) -> Budget:
    """The budget's fields."""
    return getattr(self.config.budgets, self.config.budget)

  @property
  def models(self) -> list[str]:
    """The models of Table 1 that are asked for, in its order."""
    wanted = schema.split_names(self.config.models)
    return [name for name in NAMES if not wanted or name in wanted]

  @property
  def one_slide(self) -> bool:
    """Whether each organ is one slide, so that images are split, and not patients."""
    return self.config.data == NUINSSEG

  @property
  def unit(self) -> str:
    """What is drawn, with all of its images, for intervals."""
    return "images" if self.one_slide else "patients"

  @property
  def model(self) -> str:
    """The network that the other figures are about."""
    return "frcn" if self.config.study in ("fig10", "fig11") else MICRONET

  def organ(self, name: str) -> Organ:
    """The organ of a name."""
    return next(organ for organ in self.organs if organ.name == name)

  def recipe(self, model: str = MICRONET, seed: int = 0) -> Config:
    """The config of a run of one of `NAMES`, to be changed further."""
    numbers, remat = self.numbers, self.config.recipe.model.remat
    own_rate = getattr(numbers.own_rates, model)
    own_width = complete_options({"name": model})["width"]
    same = ("batch_size", "num_steps", "eval_every", "min_distances")
    values = {field: getattr(numbers, field) for field in same} | {
      "seed": seed,
      "model.name": model,
      "model.width": max(1, own_width * numbers.width // 32),
      # Others have no such argument; it changes no result.
      "model.remat": remat and model == MICRONET,
      "warp.patch": numbers.patch,
      "working_mpp": numbers.working_mpp,
      "optimizer.learning_rate": own_rate or numbers.learning_rate,
      "optimizer.schedule": numbers.schedule,
      "log_every": max(1, numbers.num_steps // 4),
    }
    return changed(self.config.recipe, values)

  def to_json(self) -> dict[str, Any]:
    """What findings rest on, without the places of this machine."""
    name = pathlib.Path(self.config.data).name
    config = changed(self.config, {"data": name, "data_root": "", "data_dir": ""})
    names = [[organ.name for organ in each] for each in (self.organs, self.targets)]
    values = {"config": as_dict(config), "organs": names[0], "targets": names[1]}
    return values | ({"tissue": dict(self.tissue)} if self.tissue else {})


def setting_from_json(values: Mapping[str, Any]) -> Setting:
  """The inverse of `Setting.to_json`; its organs have names, but no images.

  Fields that only the version had which wrote it are passed over.
  """
  parts = [tuple(map(Organ, values[kind])) for kind in ("organs", "targets")]
  config = from_dict(StudyConfig, _known(values["config"], as_dict(StudyConfig())))
  tissue = values.get("tissue", {})
  return Setting(config, parts[0], parts[1], tissue)


def _known(values: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
  """What of nested values there is a field for."""
  return {
    name: _known(value, fields[name]) if isinstance(value, Mapping) else value
    for name, value in values.items()
    if name in fields
  }


def find_setting(config: StudyConfig, paper: Sequence[str] = ()) -> Setting:
  """Checks a config and finds its organs; `paper` has the paper's targets.

  Raises:
    InputError: a budget, organ, model or seed that cannot be used.
  """
  numbers = schema.check_study(config)
  organs = find_organs(
    config.data,
    root=config.data_root,
    only=schema.split_names(config.organs),
    count=numbers.organs,
    images=numbers.images,
    side=numbers.side,
    data_dir=config.data_dir,
  )
  if len(organs) < 2:
    raise InputError(
      f"the data has {len(organs)} organ(s); a study compares at least two"
    )
  wanted = schema.split_names(config.targets)
  found = Setting(config, tuple(organs), choose_targets(organs, paper, numbers, wanted))
  for model in NAMES:
    try:
      check_config(found.recipe(model))
    except InputError as error:
      raise InputError(
        f"{error} (set by config.budgets.{config.budget} or config.recipe)"
      ) from error
  return found


def choose_targets(
  organs: Sequence[Organ], paper: Sequence[str], numbers: Budget, names: Sequence[str]
) -> tuple[Organ, ...]:
  """The organs that a figure is about: those named, the paper's, or by chance."""
  by_name = {organ.name: organ for organ in organs}
  if not set(names) <= set(by_name) or len(set(names)) < len(names):
    raise InputError(
      f"config.targets is {','.join(names)!r}; the data has {', '.join(by_name)}; give "
      "each once"
    )
  names = names or paper[: numbers.targets]
  if not set(names) <= set(by_name):
    seed = zlib.crc32(",".join(paper).encode())
    names = draw_names(sorted(by_name), min(numbers.targets, len(by_name)), seed)
  return tuple(by_name[name] for name in names)


def draw_names(names: Sequence[str], count: int, seed: int) -> list[str]:
  """Draws some of several names, in their order."""
  chosen = np.random.default_rng(seed).choice(len(names), count, replace=False)
  return [names[i] for i in sorted(chosen)]
