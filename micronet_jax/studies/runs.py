"""What a training run is, what it is known by, and what has become of it.

Two runs that would give the same network have the same key, whichever figure asks for
them; the key is the name of the run's folder. Made by the figures' modules.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from micronet_jax.config import Config, as_dict, changed, determining
from micronet_jax.errors import InputError
from micronet_jax.files import digest, read_json
from micronet_jax.studies.organs import Organ
from micronet_jax.studies.schema import MICRONET, NAMES
from micronet_jax.studies.setting import Setting

NOT_DETERMINING = (
  *("job", "compare", "evaluate_part"),
  # Said better by the organs and by the run to start from.
  *("target", "auxiliary", "init_from", "init_partial"),
)
"""Fields of a config that do not determine a run, besides the schema's free ones."""

BEST = "best"


class Start(NamedTuple):
  """The weights that a run begins with: `BEST` of another run, or those at a step."""

  run: "Run"
  checkpoint: str


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """One training run of a study.

  Attributes:
    title: for people.
    config: of the run; data and start are below.
    target: to learn and be tested on.
    auxiliary: organs whose training images are added.
    start: what is fine-tuned, or None for random weights.
    may_diverge: a loss that is not finite is a result here, not a failure.
  """

  title: str
  config: Config
  target: Organ
  auxiliary: tuple[Organ, ...] = ()
  start: Start | None = None
  may_diverge: bool = False

  @property
  def label(self) -> str:
    """The title and the seed."""
    return f"{self.title}, seed {self.config.seed}"

  @functools.cached_property
  def key(self) -> str:
    """12 hexadecimal digits of all that determines the run."""
    return digest(self.identity())

  def identity(self) -> dict[str, Any]:
    """What determines the run, ready for JSON."""
    config = determining(self.config)
    dropped = list(NOT_DETERMINING)
    if not self.auxiliary:
      dropped += ["auxiliary_percentage", "gamma", "naive_pooling"]
    elif config["naive_pooling"]:
      dropped.append("gamma")
    return {
      "config": {name: config[name] for name in config if name not in dropped},
      "target": self.target.identity(),
      "auxiliary": [organ.identity() for organ in sorted(self.auxiliary)],
      "start": self.start and [self.start.run.key, self.start.checkpoint],
    }

  def program(self) -> str:
    """What the time of a step depends on, on one device."""
    config = as_dict(self.config)
    return digest([config["model"], config["warp"]["patch"], config["batch_size"]])

  def folder(self, place: pathlib.Path) -> pathlib.Path:
    """The folder of the run below that of all studies."""
    return place / "runs" / self.key

  def checkpoint(self, place: pathlib.Path, name: str) -> pathlib.Path:
    """Where `checkpoints.load_weights` finds the best, or the snapshot of a step."""
    if name == BEST:
      return self.folder(place)
    return self.folder(place) / "checkpoints" / "snapshots" / name


class Evaluation(NamedTuple):
  """One checkpoint on the test part of one organ.

  Attributes:
    run: whose checkpoint.
    organ: whose images.
    checkpoint: `BEST`, or the step of a snapshot.
  """

  run: Run
  organ: Organ
  checkpoint: str = BEST

  def path(self, place: pathlib.Path) -> pathlib.Path:
    """Its file: the same evaluation has the same, and no other has it."""
    data = digest(self.organ.identity())
    name = f"{self.checkpoint}-{self.organ.name}-{data}-test.json"
    return self.run.folder(place) / "evaluations" / name


class State(NamedTuple):
  """What has become of a run.

  Attributes:
    done: whether it has ended.
    step: that it ended at, or can go on from.
    diverged: what was said when the loss was not finite any more, or None.
  """

  done: bool
  step: int
  diverged: str | None = None


def state_of(run: Run, place: pathlib.Path) -> State:
  """Reads the state of a run from its folder.

  Raises:
    InputError: its `done.json` is of another version.
  """
  folder = run.folder(place)
  record = read_json(folder / "done.json")
  if record is None:
    found = (folder / "checkpoints" / "latest").glob("*")
    steps = [int(path.name) for path in found if path.name.isdigit()]
    return State(False, max(steps, default=0))
  if not {"step", "diverged"} <= set(record):
    raise InputError(
      f"{folder / 'done.json'} is of another version; remove {folder}, and the run is "
      "trained again"
    )
  return State(True, record["step"], record["diverged"])


def order_runs(runs: Iterable[Run]) -> list[Run]:
  """The runs and those that they start from, each once, a start before its runs."""
  ordered: dict[str, Run] = {}

  def visit(run: Run) -> None:
    if run.key not in ordered:
      if run.start:
        visit(run.start.run)
      ordered[run.key] = run

  for run in runs:
    visit(run)
  return list(ordered.values())


def single_run(
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
  config = setting.recipe(model, seed)
  values: dict[str, Any] = {"target_fraction": percent / 100}
  title = f"{NAMES[model]} {organ.label}"
  if percent != 100:
    title += f" {percent:g} %"
  # That another model cannot take the rate is a result, not a failure; so is a large λ.
  may_diverge = model != MICRONET
  if lam is not None and lam != config.loss_lambda:
    values["loss_lambda"] = lam
    title += f" λ {lam:g}"
    may_diverge |= lam > config.loss_lambda
  elif model == MICRONET and percent == 100:
    # Figure 5 draws their course, and starts from its stages.
    values["snapshot_every"] = setting.numbers.snapshot_every
  return Run(title, changed(config, values), organ, may_diverge=may_diverge)


def tuned_run(
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
  values = {"target_fraction": percent / 100, "freeze_blocks": frozen}
  title = f"{start.run.title} @{start.checkpoint} -> {organ.label}"
  if percent != 100:
    title += f" {percent:g} %"
  if frozen:
    title += f", {frozen} blocks frozen"
  if percent == 100 and not frozen and start.checkpoint == BEST:
    values["snapshot_every"] = setting.numbers.snapshot_every
  config = changed(setting.recipe(seed=seed), values)
  return Run(title, config, organ, start=start)


def mixed_run(
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
    return single_run(setting, organ, seed, model=model, percent=target_percent)
  values: dict[str, Any] = {"target_fraction": target_percent / 100}
  values |= {"auxiliary_percentage": percent, "naive_pooling": gamma is None}
  source = auxiliary[0].label if len(auxiliary) == 1 else f"{len(auxiliary)} organs"
  title = f"{NAMES[model]} {organ.label}"
  if target_percent != 100:
    title += f" {target_percent:g} %"
  title += f" + {percent:g} % of {source}"
  if gamma is not None:
    values["gamma"] = gamma
    title += f" γ {gamma:g}"
  return Run(
    title,
    changed(setting.recipe(model, seed), values),
    organ,
    auxiliary=tuple(auxiliary),
    may_diverge=gamma is not None or model != MICRONET,  # γ multiplies the gradient
  )
