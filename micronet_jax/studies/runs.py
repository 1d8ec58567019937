"""What a training run is, what it is known by, and what has become of it.

Two runs that would give the same network have the same key, whichever figure asks for
them; the key is the name of the run's folder. Made by the figures' modules.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from micronet_jax.config import Config
from micronet_jax.datasets.organs import Organ, load_organ
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.splits import split_by_patient
from micronet_jax.errors import InputError
from micronet_jax.files import digest, read_json
from micronet_jax.settings import as_dict, changed, determining
from micronet_jax.stored import ENDED, check_stored
from micronet_jax.studies.schema import MICRONET, NAMES
from micronet_jax.studies.setting import Setting

# Fields that do not determine a run; organs and start say better what some of them do.
NOT_DETERMINING = (
  *("job", "compare", "evaluate_part", "target", "auxiliary", "init_from"),
  "init_partial",
)
BEST = "best"


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """One training run of a study; data and weights to start from are not in its config.

  It begins with `base` at a step or `BEST`. `may_diverge`: that is then a result.
  """

  title: str
  config: Config
  target: Organ
  auxiliary: tuple[Organ, ...] = ()
  base: "Run | None" = None
  at: str = BEST
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
    config, dropped = determining(self.config), list(NOT_DETERMINING)
    if not config["even_steps"]:
      dropped.append("even_steps")  # as for runs that are older than the field
    if not self.auxiliary:
      dropped += ["auxiliary_percentage", "gamma", "naive_pooling"]
    elif config["naive_pooling"]:
      dropped.append("gamma")
    return {
      "config": {name: config[name] for name in config if name not in dropped},
      "target": self.target.identity(),
      "auxiliary": [organ.identity() for organ in sorted(self.auxiliary)],
      "start": self.base and [self.base.key, self.at],
    }

  def program(self) -> str:
    """What the time of a step depends on, on one device."""
    config = as_dict(self.config)
    return digest([config["model"], config["warp"]["patch"], config["batch_size"]])

  def part(self, organ: Organ, part: str) -> list[Sample]:
    """One part of an organ's images, split as the run splits its own."""
    samples = load_organ(organ)
    return split_by_patient(samples, self.config.split).of(samples, part)

  def folder(self, place: pathlib.Path) -> pathlib.Path:
    """The folder of the run below that of all studies."""
    return place / "runs" / self.key

  def done(self, place: pathlib.Path) -> dict[str, Any] | None:
    """What was written when it ended, None before; InputError of another version."""
    path = self.folder(place) / "done.json"
    record = read_json(path)
    if record is not None and not {"step", "diverged"} <= set(record):
      raise InputError(f"{path} is of another version; remove the folder it is in")
    return record and check_stored(record, ENDED, str(path))

  def step(self, place: pathlib.Path) -> int:
    """That it is at: of its latest checkpoint."""
    found = (self.folder(place) / "checkpoints" / "latest").glob("*")
    return max((int(path.name) for path in found if path.name.isdigit()), default=0)

  def checkpoint(self, place: pathlib.Path, name: str) -> str:
    """Where `checkpoints.load_weights` finds the best, or the snapshot of a step."""
    below = () if name == BEST else ("checkpoints", "snapshots", name)
    return str(self.folder(place).joinpath(*below))


class Evaluation(NamedTuple):
  """One checkpoint, `BEST` or a step, of a run on the test part of one organ."""

  run: Run
  organ: Organ
  checkpoint: str = BEST

  def path(self, place: pathlib.Path) -> pathlib.Path:
    """Its file: the same evaluation has the same, and no other has it."""
    data = digest(self.organ.identity())
    name = f"{self.checkpoint}-{self.organ.name}-{data}-test.json"
    return self.run.folder(place) / "evaluations" / name


def order_runs(runs: Iterable[Run]) -> list[Run]:
  """The runs and those that they start from, each once, a start before its runs."""
  ordered: dict[str, Run] = {}
  for run in runs:
    for each in (*(order_runs([run.base]) if run.base else ()), run):
      ordered.setdefault(each.key, each)
  return list(ordered.values())


def make_run(
  setting: Setting,
  target: Organ,
  seed: int,
  *,
  model: str = MICRONET,
  percent: float = 100,
  base: Run | None = None,
  at: str = BEST,
  frozen: int = 0,
  others: Sequence[Organ] = (),
  share: float = 0,
  gamma: float | None = None,
  lam: float | None = None,
) -> Run:
  """One run of a study, at its budget, of one of `NAMES` on a target.

  It is trained on so many `percent` of the target's images, and a `share` of those of
  `others`, balanced by `gamma` or pooled naively; begins with `base` `at` a step, so
  many blocks `frozen`, or at random; and has λ `lam`, or the recipe's. The study says
  whether γ and λ may make steps longer.
  """
  config = setting.recipe(model, seed)
  usual = config.loss_lambda
  lam = usual if lam is None else lam
  values = {"target_fraction": percent / 100, "freeze_blocks": frozen}
  values["loss_lambda"] = lam
  if setting.config.even_steps and (lam != usual or gamma is not None):
    # With the recipe's λ this is the usual step: that of the target alone.
    rate = config.optimizer.learning_rate * (1 + usual)
    values |= {"even_steps": True, "optimizer.learning_rate": rate}
  title = f"{NAMES[model]} {target.label}"
  if base:
    title = f"{base.title} @{at} -> {target.label}"
  if percent != 100:
    title += f" {percent:g} %"
  if share:
    source = others[0].label if len(others) == 1 else f"{len(others)} organs"
    title += f" + {share:g} % of {source}"
    values |= {"auxiliary_percentage": share, "naive_pooling": gamma is None}
  if share and gamma is not None:
    title += f" γ {gamma:g}"
    values["gamma"] = gamma
  if lam != usual:
    title += f" λ {lam:g}"
  if frozen:
    title += f", {frozen} blocks frozen"
  plain = model == MICRONET and percent == 100 and not (share or frozen or lam != usual)
  if plain and at == BEST:
    # Figure 5 draws their course, and starts from their stages.
    values["snapshot_every"] = setting.numbers.snapshot_every
  # That another model cannot take the rate, or a network a gradient that γ or λ
  # multiplies, is a result, not a failure.
  may_diverge = model != MICRONET or "gamma" in values or lam > usual
  auxiliary = tuple(others) if share else ()
  return Run(title, changed(config, values), target, auxiliary, base, at, may_diverge)
