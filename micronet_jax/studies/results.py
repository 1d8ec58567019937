"""What studies found: rows, kept one a file without their place, and results.csv.

Made by `studies.execution`, read by figures, claims and findings. Also the lines of
claims in findings.md, for `studies.power` and `studies.answers`.
"""

import csv
import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from micronet_jax.errors import InputError
from micronet_jax.evaluation.intervals import Tally, interval_over_patients
from micronet_jax.evaluation.metrics import METRICS
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
class Row:
  """One number of a figure: one detector on the test images of one organ, within 16 px.

  Attributes:
    by_patient: pairs, false detections, missed nuclei, and summed distance in pixels.
    f1_12px, f1_chance: F1 within 12 px, and of as many random points.
    curve: "xi", "precision", "recall" and "f1" over the thresholds, pooled.
    example: of the run's own organ, which image has the median F1, that F1, and the
      centres `[N, 2]` (y, x) detected in it.
    diverged: why there is no network to test, or ""; all else is empty then.
    panel, series, x: its place in the figure.
    run, trained_on, base: key of the run, and labels of the organs that it was trained
      on and fine-tuned from.
  """

  organ: str
  by_patient: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
  images: int = 0
  f1_12px: float = NAN
  f1_chance: float = NAN
  xi: float = NAN
  min_distance: int = 0
  step: int = 0
  curve: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
  example: Sequence[Any] = ()
  diverged: str = ""
  panel: str = ""
  series: str = ""
  x: float = 0.0
  seed: int = 0
  run: str = ""
  run_title: str = ""
  checkpoint: str = ""
  trained_on: str = ""
  base: str = ""

  @functools.cached_property
  def tally(self) -> Tally:
    """Its counts, a line a patient."""
    counts = np.array(list(self.by_patient.values()), float).reshape(-1, 4)
    return Tally(self.organ, tuple(self.by_patient), counts)

  @property
  def target(self) -> str:
    """Label of the organ that the networks of its panel are tested on."""
    return tested_on(self.panel)

  @property
  def source(self) -> str:
    """In panels of Figs. 7 and 8 what the target is mixed with, else ""."""
    return self.panel.partition(" + ")[2]

  @property
  def single(self) -> tuple[str, str] | None:
    """Of a source that is one organ, its label and which it is, "worst" or "best"."""
    found = re.fullmatch(r"(.+) \((worst|best)\)", self.source)
    return (found[1], found[2]) if found else None

  def score(self, metric: str = "f1") -> float:
    """One of `METRICS`, pooled over the images; NaN if the run diverged."""
    return NAN if self.diverged else self.tally.score(metric)


def tested_on(panel: str) -> str:
  """The organ that the networks of a panel are tested on, as people write it."""
  return re.split(r": | \+ ", panel)[0]


def write_results(
  path: pathlib.Path, study: str, setting: Mapping[str, Any], rows: Iterable[Row]
) -> None:
  """Writes results.csv: a line a row, numbers with six digits."""
  with replacing(path) as new, new.open("w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    text = json.dumps(setting, ensure_ascii=False)
    for row in rows:
      writer.writerow({"study": study, **_line_of(row), "setting": text})
      text = ""


def _line_of(row: Row) -> dict[str, object]:
  line: dict[str, object] = {**vars(row), "x": f"{row.x:g}", "xi": f"{row.xi:g}"}
  if row.diverged:
    blank = (
      "step",
      "images",
      "f1_12px",
      "f1_chance",
      "xi",
      "min_distance",
      "by_patient",
    )
    return {**line, **dict.fromkeys(blank, "")}
  numbers = {metric: row.score(metric) for metric in METRICS}
  numbers |= {"f1_12px": row.f1_12px, "f1_chance": row.f1_chance}
  ends = interval_over_patients(row.tally.counts, row.tally.patients)
  numbers |= dict(zip(("f1_low", "f1_high"), ends or (), strict=False))
  tp, _, fn, _ = row.tally.counts.sum(0)
  line |= {name: f"{value:.6f}" for name, value in numbers.items()}
  line["by_patient"] = json.dumps(row.by_patient, ensure_ascii=False)
  return line | {"patients": len(row.by_patient), "nuclei": int(tp + fn)}


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


def _row_of(line: Mapping[str, str]) -> Row:
  read: dict[Any, Any] = {float: float, int: int, str: str}
  kinds = {
    field.name: read.get(field.type, json.loads) for field in dataclasses.fields(Row)
  }
  values = {name: kinds[name](line[name]) for name in kinds if line.get(name)}
  if not line["diverged"] and "by_patient" not in values:
    raise KeyError("by_patient")
  return Row(**values)


class Line(NamedTuple):
  """A line of the table in findings.md; ends are None where there is no interval."""

  text: str
  number: str
  value: float
  low: float | None
  high: float | None
  source: str
  verdict: str


def read_lines(folder: pathlib.Path) -> list[Line]:
  """The claims of a study's folder, in their order.

  Raises:
    InputError: there is no findings.md.
  """
  lines = []
  for line in read_findings(folder).splitlines():
    if line.endswith("** |"):
      words, number, value, ends, source, verdict = line.strip("| ").split(" | ")
      low, high = (None, None) if ends == "none" else map(float, ends.split(" to "))
      found = words, number, float(value), low, high, source, verdict.strip("*")
      lines.append(Line(*found))
  return lines


def read_findings(folder: pathlib.Path) -> str:
  """The text of findings.md; InputError if there is none."""
  path = folder / "findings.md"
  try:
    return path.read_text(encoding="utf-8")
  except OSError as error:
    raise InputError(f"{path} cannot be read ({error.strerror})") from error
