"""What the studies share: budget, organs and seeds, and the runs made of them."""

import dataclasses
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from micronet_jax.config import check_config
from micronet_jax.errors import InputError
from micronet_jax.studies.organs import Organ, find_organs, split_names
from micronet_jax.studies.recipe import MICRONET, NAMES, at_budget, begin
from micronet_jax.studies.results import Outcome
from micronet_jax.studies.runs import BEST, Evaluation, Run, Start


class Known(Protocol):
  """What has been found out so far."""

  def outcome(self, evaluation: Evaluation) -> Outcome | None:
    """What an evaluation found; None if it has not been made."""

  def last_step(self, run: Run) -> int | None:
    """The step that a run ended at; None if it has not ended."""


class Cell(NamedTuple):
  """One number of a figure: where it stands, and the evaluation that it is.

  Attributes:
    panel: of the figure, usually the target's name.
    series: the line or mark.
    x: where on the axis; 0 where there is none.
    seed: of the run.
    evaluation: what gives the number.
  """

  panel: str
  series: str
  x: float
  seed: int
  evaluation: Evaluation


@dataclasses.dataclass(frozen=True)
class Setting:
  """One study with its budget and data.

  Attributes:
    study: its name.
    budget: the name of the budget.
    numbers: the budget's fields.
    data: what the data is called.
    organs: all that there are.
    targets: those that single figures are about.
    seeds: each run is repeated with each.
    recipe: the config that all runs begin with, at this budget.
  """

  study: str
  budget: str
  numbers: Any
  data: str
  organs: tuple[Organ, ...]
  targets: tuple[Organ, ...]
  seeds: tuple[int, ...]
  recipe: Any
  models: tuple[str, ...] = tuple(NAMES)

  def others(self, target: Organ) -> list[Organ]:
    """All organs but one."""
    return [organ for organ in self.organs if organ != target]


def from_config(config: Any, targets: Sequence[str]) -> Setting:
  """Reads the fields of configs/paper/common.py.

  Args:
    config: those fields.
    targets: the paper's target organs for this study.

  Raises:
    InputError: a budget, organ or seed that cannot be used.
  """
  if config.budget not in config.budgets:
    raise InputError(
      f"config.budget is {config.budget!r}; the budgets are {sorted(config.budgets)}"
    )
  numbers = config.budgets[config.budget]
  _check_numbers(numbers, f"config.budgets.{config.budget}")
  seeds = tuple(config.seeds)
  if (
    not seeds
    or len(set(seeds)) < len(seeds)
    or not all(isinstance(seed, int) and seed >= 0 for seed in seeds)
  ):
    raise InputError(
      f"config.seeds is {seeds}; give at least one whole number, 0 or more, each once"
    )
  organs = find_organs(
    config.data,
    root=config.data_root,
    only=config.organs,
    count=numbers.organs,
    images=numbers.images,
    side=numbers.side,
    data_dir=config.data_dir,
  )
  if len(organs) < 2:
    raise InputError(
      f"the data has {len(organs)} organ(s); a study compares at least two"
    )
  recipe = _checked_recipe(config, numbers, seeds[0])
  known = config.data in ("synthetic", "real")
  return Setting(
    study=config.study,
    budget=config.budget,
    numbers=numbers,
    data=config.data if known else pathlib.Path(config.data).name,
    organs=tuple(organs),
    targets=choose_targets(organs, targets, numbers.targets, config.targets),
    seeds=seeds,
    recipe=recipe,
    models=_choose_models(config.models, config.study),
  )


def _checked_recipe(config: Any, numbers: Any, seed: int) -> Any:
  """The recipe at the budget, once every model's config has been found good."""
  if not config.recipe.split.test_fraction > 0:
    raise InputError(
      "config.recipe.split.test_fraction is 0; a study needs a test part"
    )
  recipe = at_budget(config.recipe, numbers)
  for model in NAMES:
    try:
      check_config(begin(recipe, numbers, model, seed))
    except InputError as error:
      raise InputError(
        f"{error} (set by config.budgets.{config.budget} or config.recipe)"
      ) from error
  return recipe


def _choose_models(wanted: str, study: str) -> tuple[str, ...]:
  """The models of Table 1 that are asked for, in its order; "" for all."""
  names = split_names(wanted)
  unknown = [name for name in names if name not in NAMES]
  if unknown:
    raise InputError(
      f"config.models names {unknown[0]!r}; the models are {', '.join(NAMES)}"
    )
  if names and study != "table1":
    raise InputError(f"config.models is for table1; {study} has models of its own")
  if names and (MICRONET not in names or len(set(names)) < 2):
    raise InputError(
      f"config.models is {wanted!r}; name {MICRONET} and at least one other"
    )
  return tuple(name for name in NAMES if not names or name in names)


LEAST = {
  **dict.fromkeys(("targets", "width", "batch_size", "patch", "num_steps"), 1),
  **dict.fromkeys(("organs", "images", "side", "random_bases"), 0),
}
"""Whole numbers of a budget, and the least that each may be."""


def _check_numbers(numbers: Any, field: str) -> None:
  """What would only fail after hours of training."""
  for name, least in LEAST.items():
    if not isinstance(numbers[name], int) or numbers[name] < least:
      raise InputError(
        f"{field}.{name} is {numbers[name]!r}; it must be a whole number of at least "
        f"{least}"
      )
  every = numbers.snapshot_every
  if not 1 <= every <= numbers.num_steps:
    raise InputError(
      f"{field}.snapshot_every is {every}; it must be from 1 to num_steps, "
      f"{numbers.num_steps}"
    )
  for name in ("course", "stages"):
    for step in numbers[name]:
      if step % every or not 0 < step <= numbers.num_steps:
        raise InputError(
          f"{field}.{name} names step {step}, at which there is no snapshot: it must "
          f"be a multiple of {field}.snapshot_every, {every}, up to {numbers.num_steps}"
        )
  ranges: dict[str, tuple[float, float]] = {
    "fractions": (1, 100),
    "percentages": (0, 100),
    "mixed": (1, 100),
    "frozen": (0, 9),
    "gammas": (1e-6, np.inf),
    "lambdas": (0, np.inf),
  }
  for name, (low, high) in ranges.items():
    for value in numbers[name]:
      if not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(
          f"{field}.{name} holds {value!r}; it must be from {low:g} to {high:g}"
        )
    if len(set(numbers[name])) < len(numbers[name]):
      raise InputError(f"{field}.{name} is {tuple(numbers[name])}; give each once")
    if not len(numbers[name]) and name not in ("frozen", "mixed"):
      raise InputError(f"{field}.{name} is empty; give at least one number")
  if 0 not in numbers.percentages or not max(numbers.percentages):
    raise InputError(
      f"{field}.percentages is {tuple(numbers.percentages)}; give 0, which the others "
      "are compared with, and at least one other"
    )


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
  if not names:
    names = list(paper)[:count]
  if not all(name in by_name for name in names):
    seed = zlib.crc32(",".join(paper).encode())
    names = _draw(sorted(by_name), min(count, len(by_name)), seed)
  return tuple(by_name[name] for name in names)


def single(
  setting: Setting,
  organ: Organ,
  seed: int,
  *,
  model: str = MICRONET,
  percent: float = 100,
  lam: float | None = None,
) -> Run:
  """A network trained from scratch on one organ.

  Args:
    setting: budget and data.
    organ: to train on.
    seed: of the run.
    model: one of `NAMES`.
    percent: of the training images.
    lam: λ of the loss; None for the recipe's.
  """
  config = begin(setting.recipe, setting.numbers, model, seed)
  config.target_fraction = percent / 100
  title = f"{NAMES[model]} {organ.label}"
  if percent != 100:
    title += f" {percent:g} %"
  plain = lam is None or lam == config.loss_lambda
  if not plain:
    config.loss_lambda = lam
    title += f" λ {lam:g}"
  if plain and model == MICRONET and percent == 100:
    # Figure 5 draws their course, and starts from its stages.
    config.snapshot_every = setting.numbers.snapshot_every
  # That another model cannot take the rate is a result, not a failure.
  return Run(title, config, organ, may_diverge=model != MICRONET)


def tuned(
  setting: Setting,
  organ: Organ,
  start: Start,
  seed: int,
  *,
  percent: float = 100,
  frozen: int = 0,
) -> Run:
  """A MicroNet of another organ, fine-tuned.

  Args:
    setting: budget and data.
    organ: to fine-tune on.
    start: the base.
    seed: of the run.
    percent: of the training images.
    frozen: how many of the first blocks stay as they are.
  """
  config = begin(setting.recipe, setting.numbers, MICRONET, seed)
  config.target_fraction = percent / 100
  config.freeze_blocks = frozen
  title = f"{start.run.title} @{start.checkpoint} -> {organ.label}"
  if percent != 100:
    title += f" {percent:g} %"
  if frozen:
    title += f", {frozen} blocks frozen"
  if percent == 100 and not frozen and start.checkpoint == BEST:
    config.snapshot_every = setting.numbers.snapshot_every
  return Run(title, config, organ, start=start)


def mixed(
  setting: Setting,
  organ: Organ,
  auxiliary: Sequence[Organ],
  seed: int,
  *,
  percent: float,
  target_percent: float = 100,
  gamma: float | None = None,
  model: str = MICRONET,
) -> Run:
  """A network trained on one organ and on images of others.

  Args:
    setting: budget and data.
    organ: the target.
    auxiliary: the others.
    seed: of the run.
    percent: of the auxiliary training images; 0 for none.
    target_percent: of the target's.
    gamma: balances the two losses; None for naive pooling.
    model: one of `NAMES`.
  """
  if not percent:
    return single(setting, organ, seed, model=model, percent=target_percent)
  config = begin(setting.recipe, setting.numbers, model, seed)
  config.target_fraction = target_percent / 100
  config.auxiliary_percentage = float(percent)
  config.naive_pooling = gamma is None
  source = auxiliary[0].label if len(auxiliary) == 1 else f"{len(auxiliary)} organs"
  title = f"{NAMES[model]} {organ.label}"
  if target_percent != 100:
    title += f" {target_percent:g} %"
  title += f" + {percent:g} % of {source}"
  if gamma is not None:
    config.gamma = float(gamma)
    title += f" γ {gamma:g}"
  return Run(
    title,
    config,
    organ,
    auxiliary=tuple(auxiliary),
    may_diverge=gamma is not None or model != MICRONET,  # γ multiplies the gradient
  )


class Bases(NamedTuple):
  """Names of the organs that a target is fine-tuned from [Table 2]."""

  best: str
  worst: str
  random: tuple[str, ...]


def choose_bases(scores: Mapping[str, float], *, random: int, seed: int) -> Bases:
  """Chooses base data sets by what their networks score on the target.

  Args:
    scores: F1 on the target, by base, the target left out; ties go to the first name.
    random: how many of the rest to draw; fewer if there are not so many.
    seed: of the draw.
  """
  names = sorted(scores)
  best = max(names, key=lambda name: (scores[name], -names.index(name)))
  rest = [name for name in names if name != best]
  worst = (
    min(rest, key=lambda name: (scores[name], names.index(name))) if rest else best
  )
  rest = [name for name in rest if name != worst]
  return Bases(best, worst, tuple(_draw(rest, min(random, len(rest)), seed)))


def bases_of(setting: Setting, target: Organ, known: Known) -> Bases | None:
  """Bases of a target from Fig. 4's column; None while it is incomplete.

  With several seeds the first one's networks are compared.
  """
  scores = {}
  for cell in column(setting, target, setting.seeds[:1]):
    outcome = known.outcome(cell.evaluation)
    if outcome is None:
      return None
    if cell.evaluation.run.target != target and not outcome.diverged:
      scores[cell.evaluation.run.target.name] = outcome.score("f1")
  seed = zlib.crc32(target.name.encode())
  return choose_bases(scores, random=setting.numbers.random_bases, seed=seed)


def column(
  setting: Setting, target: Organ, seeds: Sequence[int], *, model: str = MICRONET
) -> list[Cell]:
  """Every organ's network on one organ: a column of Figs. 4 and 10."""
  return [
    Cell(
      panel=target.label,
      series="same" if organ == target else "diff",
      x=0,
      seed=seed,
      evaluation=Evaluation(single(setting, organ, seed, model=model), target),
    )
    for seed in seeds
    for organ in setting.organs
  ]


def _draw(names: Sequence[str], count: int, seed: int) -> list[str]:
  chosen = np.random.default_rng(seed).choice(len(names), count, replace=False)
  return [names[i] for i in sorted(chosen)]
