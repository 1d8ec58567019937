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

NAN = float("nan")


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome(Tally):
  """One detector on the test images of one organ, matched within 16 px.

  Attributes:
    curve: "xi", "precision", "recall" and "f1" over the thresholds, pooled.
    chance: F1 of as many random points.
    f1_12: F1 within 12 px, which forgives less in dense tissue.
    xi, min_distance: as chosen on the validation part.
    step: of the checkpoint.
    detected: centres `[N, 2]` (y, x) of each image; of the run's own organ only.
    diverged: why there is no network to evaluate, or None; all else is empty then.
  """

  curve: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
  chance: float = NAN
  f1_12: float = NAN
  xi: float = NAN
  min_distance: int = 0
  step: int = 0
  detected: Sequence[np.ndarray] = ()
  diverged: str | None = None

  def score(self, metric: str) -> float:
    """One of `METRICS`, pooled over the images; NaN if the run diverged."""
    return NAN if self.diverged else super().score(metric)

  def to_json(self) -> dict[str, Any]:
    """For a file."""
    names = [field.name for field in dataclasses.fields(self)]
    arrays = {"detected": [np.round(points, 1).tolist() for points in self.detected]}
    arrays["counts"] = self.counts.tolist()
    return {name: getattr(self, name) for name in names} | arrays


def outcome_from_json(values: Mapping[str, Any]) -> Outcome:
  """The inverse of `Outcome.to_json`; InputError if it is of another version."""
  if set(values) != {field.name for field in dataclasses.fields(Outcome)}:
    raise InputError("an evaluation is of another version; remove its file")
  counts = np.asarray(values["counts"], float).reshape(-1, 4)
  detected = [np.asarray(points, float).reshape(-1, 2) for points in values["detected"]]
  changed = {"counts": counts, "patients": tuple(values["patients"])}
  return Outcome(**{**values, **changed, "detected": detected})


def lost_outcome(organ: str, reason: str) -> Outcome:
  """The outcome of a run that diverged."""
  return Outcome(organ, (), np.zeros((0, 4)), diverged=reason)


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
  """One number of a figure: where it stands, which detector it is of, what was found.

  Attributes:
    panel, series, x: where it stands; x is 0 where there is no axis.
    seed, run, run_title, checkpoint: of the run, by its key.
    trained_on: label of the run's own organ.
    base: label of the organ that it was fine-tuned from, or "".
    outcome: what was found.
  """

  panel: str
  series: str
  x: float
  seed: int
  run: str
  run_title: str
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


COLUMNS = (
  *("study", "panel", "series", "x", "seed", "organ", "run", "run_title", "checkpoint"),
  *("step", "images", "patients", "nuclei", *METRICS, "f1_low", "f1_high", "f1_12px"),
  *("f1_chance", "xi", "min_distance", "diverged"),
  # Enough to make findings.md again; the setting in the first line only.
  *("trained_on", "base", "by_patient", "setting"),
)


def write_results(
  path: pathlib.Path, study: str, setting: Mapping[str, Any], rows: Iterable[Row]
) -> None:
  """Writes results.csv: a line a row, numbers with six digits."""
  with (
    replacing(path) as beside,
    beside.open("w", newline="", encoding="utf-8") as file,
  ):
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    text = json.dumps(setting, ensure_ascii=False)
    for row in rows:
      writer.writerow({"study": study, **_line(row), "setting": text})
      text = ""


def _line(row: Row) -> dict[str, object]:
  found = row.outcome
  line: dict[str, object] = {
    field.name: getattr(row, field.name)
    for field in dataclasses.fields(row)
    if field.name != "outcome"
  }
  line |= {"x": f"{row.x:g}", "organ": found.organ, "diverged": found.diverged}
  if found.diverged:
    return line
  sums = {p: np.zeros(4) for p in found.patients}
  for patient, counts in zip(found.patients, found.counts, strict=True):
    sums[patient] += counts
  tp, _, fn, _ = found.counts.sum(0)
  low, high = interval_over_patients(found.counts, found.patients) or (None, None)
  numbers = {metric: found.score(metric) for metric in METRICS}
  numbers |= {"f1_12px": found.f1_12, "f1_chance": found.chance}
  if low is not None and high is not None:
    numbers |= {"f1_low": low, "f1_high": high}
  return {
    **line,
    **{name: f"{value:.6f}" for name, value in numbers.items()},
    **{"step": found.step, "images": len(found.counts), "patients": len(sums)},
    **{"nuclei": int(tp + fn), "xi": f"{found.xi:g}"},
    "min_distance": found.min_distance,
    "by_patient": json.dumps({p: sums[p].tolist() for p in sums}, ensure_ascii=False),
  }


def read_results(path: pathlib.Path) -> tuple[dict[str, Any], list[Row]]:
  """Setting and rows of `write_results`; of each patient the images are one, no curves.

  Raises:
    InputError: there is no such file, or it was not written by `write_results`.
  """
  try:
    with path.open(newline="", encoding="utf-8") as file:
      lines = list(csv.DictReader(file))
    return json.loads(lines[0]["setting"]), [_row_of(line) for line in lines]
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
    sums = json.loads(line["by_patient"])
    found = Outcome(
      organ=line["organ"],
      patients=tuple(sums),
      counts=np.array(list(sums.values()), float).reshape(-1, 4),
      chance=float(line["f1_chance"]),
      f1_12=float(line["f1_12px"]),
      xi=float(line["xi"]),
      min_distance=int(line["min_distance"]),
      step=int(line["step"]),
    )
  typed = {"x": float(line["x"]), "seed": int(line["seed"]), "outcome": found}
  names = [field.name for field in dataclasses.fields(Row)]
  return Row(**{name: line.get(name) for name in names} | typed)  # type: ignore
