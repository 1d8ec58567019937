"""What studies found: outcomes, kept one a file, and the rows of results.csv.

Made by `studies.execution`, read by figures, claims and findings.
"""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from micronet_jax.errors import InputError
from micronet_jax.evaluation.intervals import Tally, interval_over_patients
from micronet_jax.evaluation.scores import METRICS
from micronet_jax.files import replacing

COLUMNS = (
  *("study", "panel", "series", "x", "seed", "organ", "run", "run_title", "checkpoint"),
  *("step", "images", "patients", "nuclei", *METRICS, "f1_low", "f1_high", "f1_12px"),
  *("f1_chance", "xi", "min_distance", "diverged"),
  # Enough to make findings.md again.
  *("trained_on", "base", "by_patient", "setting"),
)
CURVE = ("xi", "precision", "recall", "f1")


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome(Tally):
  """One detector on the test images of one organ, matched within 16 px.

  Attributes:
    curve: `CURVE` over the thresholds, pooled.
    chance: F1 of as many random points.
    f1_12: F1 within 12 px, which forgives less in dense tissue.
    xi, min_distance: as chosen on the validation part.
    step: of the checkpoint.
    detected: centres `[N, 2]` (y, x) of each image; of the run's own organ only.
    diverged: why there is no network to evaluate, or None; all else is empty then.
  """

  curve: Mapping[str, Sequence[float]]
  chance: float
  f1_12: float
  xi: float
  min_distance: int
  step: int
  detected: Sequence[np.ndarray] = ()
  diverged: str | None = None

  def score(self, metric: str) -> float:
    """One of `METRICS`, pooled over the images; NaN if the run diverged."""
    return float("nan") if self.diverged else super().score(metric)

  def to_json(self) -> dict[str, Any]:
    """For a file."""
    values = {
      field.name: getattr(self, field.name) for field in dataclasses.fields(self)
    }
    detected = [np.round(points, 1).tolist() for points in self.detected]
    return {**values, "counts": self.counts.tolist(), "detected": detected}


def outcome_from_json(values: Mapping[str, Any]) -> Outcome:
  """The inverse of `Outcome.to_json`.

  Raises:
    InputError: it is of another version.
  """
  fields = {field.name for field in dataclasses.fields(Outcome)}
  if set(values) != fields:
    raise InputError("an evaluation is of another version; remove its file")
  counts = np.asarray(values["counts"], float).reshape(-1, 4)
  detected = [np.asarray(points, float).reshape(-1, 2) for points in values["detected"]]
  changed = {"counts": counts, "patients": tuple(values["patients"])}
  return Outcome(**{**values, **changed, "detected": detected})


def lost_outcome(organ: str, reason: str) -> Outcome:
  """The outcome of a run that diverged."""
  none = float("nan")
  nothing: dict[str, Sequence[float]] = dict.fromkeys(CURVE, ())
  return Outcome(
    *(organ, (), np.zeros((0, 4)), nothing, none, none, none, 0, 0, (), reason)
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
  """One number of a figure: where it stands, which detector it is of, what was found.

  Attributes:
    panel: of the figure, usually the target's label.
    series: the line or mark.
    x: where on the axis; 0 where there is none.
    seed: of the run.
    organ: that was tested on.
    run: the run's key.
    title: the run's, for people.
    checkpoint: of the run.
    trained_on: label of the run's own organ.
    base: label of the organ that it was fine-tuned from, or "".
    outcome: what was found.
  """

  panel: str
  series: str
  x: float
  seed: int
  organ: str
  run: str
  title: str
  checkpoint: str
  trained_on: str
  base: str
  outcome: Outcome

  @property
  def target(self) -> str:
    """What stands before the source in the panels of Figs. 7 and 8."""
    return self.panel.partition(" + ")[0]

  @property
  def diverged(self) -> str | None:
    """Why there is no score, or None."""
    return self.outcome.diverged

  def score(self, metric: str = "f1") -> float:
    """One of `METRICS`; NaN if the run diverged."""
    return self.outcome.score(metric)

  def cells(self) -> list[object]:
    """The line of results.csv, without study and setting."""
    found = self.outcome
    begin = [self.panel, self.series, f"{self.x:g}", self.seed, self.organ]
    begin += [self.run, self.title, self.checkpoint]
    if found.diverged:
      return [*begin, *[""] * 14, found.diverged, self.trained_on, self.base, ""]
    low, high = interval_over_patients(found.counts, found.patients) or ("", "")
    tp, _, fn, _ = found.counts.sum(0)
    numbers = [found.score(metric) for metric in METRICS]
    numbers += [low, high, found.f1_12, found.chance]
    return [
      *begin,
      *(found.step, len(found.counts), len(set(found.patients)), int(tp + fn)),
      *(f"{value:.6f}" if isinstance(value, float) else value for value in numbers),
      *(f"{found.xi:g}", found.min_distance, "", self.trained_on, self.base),
      json.dumps(_by_patient(found), ensure_ascii=False),
    ]


def _by_patient(found: Outcome) -> dict[str, list[float]]:
  sums: dict[str, np.ndarray] = {}
  for patient, counts in zip(found.patients, found.counts, strict=True):
    sums[patient] = sums.get(patient, 0) + counts
  return {patient: counts.tolist() for patient, counts in sums.items()}


def write_results(
  path: pathlib.Path, study: str, setting: Mapping[str, Any], rows: Iterable[Row]
) -> None:
  """Writes results.csv: a line a row, numbers with six digits.

  Args:
    path: of the file.
    study: its name.
    setting: what else findings.md rests on; as JSON, in the first line only.
    rows: of the study.
  """
  with (
    replacing(path) as beside,
    beside.open("w", newline="", encoding="utf-8") as file,
  ):
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    text = json.dumps(setting, ensure_ascii=False)
    for number, row in enumerate(rows):
      writer.writerow([study, *row.cells(), text if number == 0 else ""])


def read_results(path: pathlib.Path) -> tuple[str, dict[str, Any], list[Row]]:
  """The inverse of `write_results`; of each patient the images are one, no curves.

  Raises:
    InputError: there is no such file, or it was not written by `write_results`.
  """
  try:
    with path.open(newline="", encoding="utf-8") as file:
      lines = list(csv.DictReader(file))
    setting = json.loads(lines[0]["setting"])
    return lines[0]["study"], setting, [_row_of(line) for line in lines]
  except OSError as error:
    raise InputError(f"{path} cannot be read ({error.strerror})") from error
  except (KeyError, IndexError, ValueError) as error:
    raise InputError(
      f"{path} lacks counts by patient and its setting, which results.csv of this "
      "version has; run the study again"
    ) from error


def _row_of(line: Mapping[str, str]) -> Row:
  found = lost_outcome(line["organ"], line["diverged"])
  if not line["diverged"]:
    counts = json.loads(line["by_patient"])
    found = dataclasses.replace(
      found,
      patients=tuple(counts),
      counts=np.array(list(counts.values()), float).reshape(-1, 4),
      chance=float(line["f1_chance"]),
      f1_12=float(line["f1_12px"]),
      xi=float(line["xi"]),
      min_distance=int(line["min_distance"]),
      step=int(line["step"]),
      diverged=None,
    )
  return Row(
    *(line["panel"], line["series"], float(line["x"]), int(line["seed"])),
    *(line["organ"], line["run"], line["run_title"], line["checkpoint"]),
    *(line["trained_on"], line["base"], found),
  )
