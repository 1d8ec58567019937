"""What an evaluation leaves behind: `report.json`, pictures, a table.

Called by `training.job` and `evaluation.job`.
"""

import dataclasses
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from micronet_jax.datasets.sample import Sample
from micronet_jax.detection.detector import Detector
from micronet_jax.evaluation import metrics
from micronet_jax.evaluation.scoring import Scored, score_detector
from micronet_jax.files import write_json
from micronet_jax.lengths import REFERENCE_MPP
from micronet_jax.version import __version__

SHEET_TILES = 6

SAME_SLIDES = "the network was trained on the same slides, so others may score lower"
"""What is said where a split is by image."""

NOT_SCORED = "nothing was held out, so there is no score"
"""What is said where all images train."""


@dataclasses.dataclass(frozen=True)
class About:
  """What a report says of its job.

  Attributes:
    job: of the config.
    dataset: what reports call the data.
    began: `time.monotonic()` at the start of the job.
    unit: of the split, see `Split`.
  """

  job: str
  dataset: str
  began: float
  unit: str = "patient"


def report_entry(detector: Detector, outcome: Scored) -> dict[str, Any]:
  """What `report.json` says of one detector."""
  return {
    "radius_px": outcome.radius_px,
    "f1_interval_95": {r: i and list(i) for r, i in outcome.interval.items()},
    "f1_chance": outcome.chance,
    **_choice(detector),
  }


def _choice(detector: Detector) -> dict[str, Any]:
  """How a detector decides, and what is known of it."""
  return {
    "xi": detector.meta["xi"],
    "min_distance": detector.meta["min_distance"],
    "threshold_rule": detector.rule,
    "smoothing": detector.smoothing,
    "step": detector.meta.get("step"),
    **({"note": detector.meta["note"]} if "note" in detector.meta else {}),
  }


def write_report(
  workdir: pathlib.Path,
  rows: Mapping[str, Detector],
  samples: Sequence[Sample],
  *,
  part: str,
  about: About,
  failed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
  """Scores detectors on the same samples; writes and prints the result.

  Args:
    workdir: gets `report.json`, `precision_recall.png` and `detections.png`.
    rows: detectors by label; the last is the one that the report is about.
    samples: at any resolution.
    part: "test", "validation" or "all".
    about: the job.
    failed: by label, one sentence on what has no detector.

  Returns:
    What `report.json` holds.
  """
  print(f"scoring {len(rows)} detector(s) on {len(samples)} {part} images", flush=True)
  outcomes = {
    label: score_detector(detector, samples) for label, detector in rows.items()
  }
  label, detector = list(rows.items())[-1]
  report = {
    **_head(label, detector, samples, part, about),
    **({"caveat": SAME_SLIDES} if about.unit == "image" else {}),
    **report_entry(detector, outcomes[label]),
    "compared": {
      name: report_entry(rows[name], outcome)
      for name, outcome in outcomes.items()
      if name != label
    },
    **({"failed": dict(failed)} if failed else {}),
    **_foot(about),
  }
  draw_report(workdir, outcomes, samples)
  write_json(workdir / "report.json", report)
  print(score_table(outcomes, report))
  print(f"report and pictures: {workdir}", flush=True)
  return report


def write_unscored(
  workdir: pathlib.Path,
  label: str,
  detector: Detector,
  trained_on: Sequence[Sample],
  *,
  about: About,
) -> dict[str, Any]:
  """Writes and prints what there is to say of a network that nothing can score.

  Args:
    workdir: gets `report.json`.
    label: of the detector.
    detector: the network.
    trained_on: all images that there are.
    about: the job.

  Returns:
    What `report.json` holds: no score, and `part` is "none".
  """
  report = {
    **_head(label, detector, trained_on, "none", about),
    "caveat": NOT_SCORED,
    **_choice(detector),
    **_foot(about),
  }
  write_json(workdir / "report.json", report)
  print(
    f"{label} on {len(trained_on)} image(s) with {report['nuclei']} nuclei;"
    f" {NOT_SCORED}"
  )
  print(f"report: {workdir}", flush=True)
  return report


def _head(
  label: str, detector: Detector, samples: Sequence[Sample], part: str, about: About
) -> dict[str, Any]:
  """What every report begins with."""
  return {
    "job": about.job,
    "model": detector.meta["model"]["name"],
    "dataset": about.dataset,
    "part": part,
    "images": len(samples),
    "patients": len({s.patient for s in samples}),
    "nuclei": sum(len(s.centers) for s in samples),
    "mpp": REFERENCE_MPP,
    "working_mpp": detector.mpp,
    "detector": label,
  }


def _foot(about: About) -> dict[str, Any]:
  """What every report ends with."""
  return {
    "device": jax.devices()[0].device_kind,
    "version": __version__,
    "seconds": round(time.monotonic() - about.began, 1),
  }


def score_table(outcomes: Mapping[str, Scored], report: Mapping[str, Any]) -> str:
  """The scores of all detectors as text, at 16 and at 12 pixels."""
  labels = *outcomes, *report.get("failed", ()), "by chance"
  width = max(map(len, labels))
  lines = [
    "",
    f"{report['dataset']}, {report['part']} part: {report['images']} images of "
    f"{report['patients']} patients, {report['nuclei']} nuclei; "
    f"px at {REFERENCE_MPP} microns",
    f"{'':{width}}  ------- within 16 px -------  ------- within 12 px -------",
    f"{'':{width}}  {'F1     P      R      ED':27} {'F1     P      R      ED':26}",
  ]
  for label, outcome in outcomes.items():
    cells = []
    for radius in ("16", "12"):
      s = outcome.radius_px[radius]
      ed = "-" if s["ed"] is None else f"{s['ed']:.2f}"
      cells.append(f"{s['f1']:.3f}  {s['precision']:.3f}  {s['recall']:.3f}  {ed:5}")
    lines.append(f"{label:{width}}  {'  '.join(cells)}".rstrip())
  for label, sentence in report.get("failed", {}).items():
    lines.append(f"{label:{width}}  {sentence.partition(';')[0]}")
  chance = outcomes[report["detector"]].chance
  lines.append(f"{'by chance':{width}}  {chance['16']:.3f}{'':24}{chance['12']:.3f}")
  interval = report["f1_interval_95"]["12"]
  if interval:
    lines.append(
      f"95 % interval of the {report['detector']} F1 within 12 px, over patients: "
      f"{interval[0]:.3f} to {interval[1]:.3f}"
    )
  if "caveat" in report:
    lines.append(report["caveat"])
  return "\n".join(lines)


def draw_report(
  workdir: pathlib.Path, outcomes: Mapping[str, Scored], samples: Sequence[Sample]
) -> None:
  """Draws the pictures of a report; the detections are those of the last outcome."""
  from micronet_jax import figures  # matplotlib takes a second to import
  from micronet_jax.evaluation import pictures

  figures.save_figure(
    pictures.precision_recall({label: o.curve for label, o in outcomes.items()}),
    workdir / "precision_recall.png",
  )
  outcome = list(outcomes.values())[-1]
  detected, matches = outcome.detected, outcome.matches["12"]
  ranked = sorted(
    range(len(samples)), key=lambda i: metrics.pool_matches([matches[i]])["f1"]
  )
  places = np.linspace(0, len(ranked) - 1, min(SHEET_TILES, len(ranked)))
  chosen = [ranked[round(place)] for place in places]
  figure = pictures.detection_sheet(
    [samples[i].image for i in chosen],
    [detected[i] for i in chosen],
    [samples[i].centers for i in chosen],
    [matches[i] for i in chosen],
    [samples[i].name for i in chosen],
    radius=12,
  )
  figures.save_figure(figure, workdir / "detections.png")
