"""What studies found: outcomes, kept one a file, and the rows of results.csv.

Made by `studies.execution`, read by figures, claims and findings.
"""

import csv
import dataclasses
import functools
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
  # Enough to make findings.md again; the setting in the first line only.
  *("trained_on", "base", "by_patient", "setting"),
)
NAN = float("nan")


@dataclasses.dataclass(frozen=True)
class Outcome:
  """One detector on the test images of one organ, matched within 16 px; ready for JSON.

  Attributes:
    organ: whose images.
    by_patient: pairs, false detections, missed nuclei, and the pairs' summed distance
      in pixels.
    images: how many.
    curve: "xi", "precision", "recall" and "f1" over the thresholds, pooled.
    chance: F1 of as many random points.
    f1_12: F1 within 12 px, which forgives less in dense tissue.
    xi, min_distance: as chosen on the validation part.
    step: of the checkpoint.
    example: of the run's own organ, which image has the median F1, that F1, and the
      centres `[N, 2]` (y, x) detected in it.
    diverged: why there is no network to evaluate, or None; all else is empty then.
  """

  organ: str
  by_patient: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
  images: int = 0
  curve: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
  chance: float = NAN
  f1_12: float = NAN
  xi: float = NAN
  min_distance: int = 0
  step: int = 0
  example: Sequence[Any] = ()
  diverged: str | None = None

  @functools.cached_property
  def tally(self) -> Tally:
    """Its counts, a row a patient."""
    counts = np.array(list(self.by_patient.values()), float).reshape(-1, 4)
    return Tally(self.organ, tuple(self.by_patient), counts)

  def score(self, metric: str) -> float:
    """One of `METRICS`, pooled over the images; NaN if the run diverged."""
    return NAN if self.diverged else self.tally.score(metric)


def outcome_from_json(values: Mapping[str, Any]) -> Outcome:
  """The inverse of `dataclasses.asdict`; InputError if it is of another version."""
  if set(values) != {field.name for field in dataclasses.fields(Outcome)}:
    raise InputError("an evaluation is of another version; remove its file")
  return Outcome(**values)


@dataclasses.dataclass(frozen=True)
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
      writer.writerow({"study": study, **_line_of(row), "setting": text})
      text = ""


def _line_of(row: Row) -> dict[str, object]:
  found = row.outcome
  line: dict[str, object] = dict(vars(row))
  del line["outcome"]
  line |= {"x": f"{row.x:g}", "organ": found.organ, "diverged": found.diverged}
  if found.diverged:
    return line
  numbers = {metric: found.score(metric) for metric in METRICS}
  numbers |= {"f1_12px": found.f1_12, "f1_chance": found.chance}
  ends = interval_over_patients(found.tally.counts, found.tally.patients)
  numbers |= dict(zip(("f1_low", "f1_high"), ends or (), strict=False))
  tp, _, fn, _ = found.tally.counts.sum(0)
  line |= {name: f"{value:.6f}" for name, value in numbers.items()}
  line |= {"step": found.step, "images": found.images, "nuclei": int(tp + fn)}
  line |= {"xi": f"{found.xi:g}", "min_distance": found.min_distance}
  by_patient = json.dumps(found.by_patient, ensure_ascii=False)
  return line | {"patients": len(found.by_patient), "by_patient": by_patient}


def read_results(path: pathlib.Path) -> tuple[dict[str, Any], list[Row]]:
  """Setting and rows of `write_results`, without curves and examples.

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


def _row_of(line: Mapping[str, Any]) -> Row:
  found = Outcome(line["organ"], diverged=line["diverged"])
  if not line["diverged"]:
    found = Outcome(
      line["organ"],
      json.loads(line["by_patient"]),
      images=int(line["images"]),
      chance=float(line["f1_chance"]),
      f1_12=float(line["f1_12px"]),
      xi=float(line["xi"]),
      min_distance=int(line["min_distance"]),
      step=int(line["step"]),
    )
  names = [field.name for field in dataclasses.fields(Row)]
  typed: dict[str, Any] = {name: line.get(name) for name in names}
  typed |= {"x": float(line["x"]), "seed": int(line["seed"]), "outcome": found}
  return Row(**typed)
