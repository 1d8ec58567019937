"""What a run leaves behind: `report.json`, pictures, and a table on the terminal."""

import dataclasses
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from micronet_jax import checkpoints, detection, evaluation
from micronet_jax.configuration import claim_workdir
from micronet_jax.datasets.sample import Sample
from micronet_jax.errors import InputError
from micronet_jax.files import write_json
from micronet_jax.inference import Detector
from micronet_jax.input_pipeline import (
  WORKING_MPP,
  Split,
  check_unseen,
  data_name,
  images_seen,
  load_target,
)
from micronet_jax.progress import read_log
from micronet_jax.version import __version__

SHEET_TILES = 6


@dataclasses.dataclass(frozen=True)
class Outcome:
  """One detector on a set of samples.

  Attributes:
    peaks: all local maxima of each sample: centres and scores.
    detected: centres over the threshold, float32 `[N, 2]` a sample.
    radius_px: scores by matching radius.
    curve: precision and recall over ξ at 16 px.
    interval: 95 % interval of F1 by radius, over patients; None for one patient.
    chance: F1 of as many random points, by radius.
  """

  peaks: list[tuple[np.ndarray, np.ndarray]]
  detected: list[np.ndarray]
  radius_px: dict[str, evaluation.Scores]
  curve: evaluation.Curve
  interval: dict[str, tuple[float, float] | None]
  chance: dict[str, float]


def judge(detector: Detector, samples: Sequence[Sample]) -> Outcome:
  """Runs a detector on samples at working resolution and scores it.

  Args:
    detector: with its own ξ and min_distance.
    samples: at least one.
  """
  distance = detector.meta["min_distance"]
  peaks = detector.peaks((s.image for s in samples), (distance,))[distance]
  detected = [
    detection.select(centers, scores, xi=detector.meta["xi"])[0]
    for centers, scores in peaks
  ]
  annotated = [s.centers for s in samples]
  patients = [s.patient for s in samples]
  matches = {
    f"{radius:g}": evaluation.match_images(detected, annotated, radius=radius)
    for radius in evaluation.RADII
  }
  return Outcome(
    peaks=peaks,
    detected=detected,
    radius_px={radius: evaluation.pool(each) for radius, each in matches.items()},
    curve=evaluation.precision_recall_curve(peaks, annotated),
    interval={
      radius: evaluation.bootstrap_interval(each, patients)
      for radius, each in matches.items()
    },
    chance=evaluation.chance_level(
      [len(d) for d in detected], annotated, [s.image.shape[:2] for s in samples]
    ),
  )


def summary(detector: Detector, outcome: Outcome) -> dict[str, Any]:
  """What `report.json` says of one detector."""
  return {
    "radius_px": outcome.radius_px,
    "f1_interval_95": {r: i and list(i) for r, i in outcome.interval.items()},
    "f1_chance": outcome.chance,
    "xi": detector.meta["xi"],
    "min_distance": detector.meta["min_distance"],
    "step": detector.meta.get("step"),
  }


def write(
  workdir: pathlib.Path,
  rows: Mapping[str, Detector],
  samples: Sequence[Sample],
  *,
  job: str,
  dataset: str,
  part: str,
  began: float,
) -> dict[str, Any]:
  """Scores detectors on the same samples; writes and prints the result.

  Args:
    workdir: gets `report.json`, `precision_recall.png`, `detections.png` and, where
      there is a log, `training.png`.
    rows: detectors by label; the last is the one that the report is about.
    samples: at working resolution.
    job: of the config.
    dataset: what reports call the data.
    part: "test", "validation" or "all".
    began: `time.monotonic()` at the start of the job.

  Returns:
    What `report.json` holds.
  """
  print(f"scoring {len(rows)} detector(s) on {len(samples)} {part} images", flush=True)
  outcomes = {label: judge(detector, samples) for label, detector in rows.items()}
  label, detector = list(rows.items())[-1]
  report = {
    "job": job,
    "model": detector.meta["model"]["name"],
    "dataset": dataset,
    "part": part,
    "images": len(samples),
    "patients": len({s.patient for s in samples}),
    "nuclei": sum(len(s.centers) for s in samples),
    "mpp": WORKING_MPP,
    "detector": label,
    **summary(detector, outcomes[label]),
    "compared": {
      name: summary(rows[name], outcome)
      for name, outcome in outcomes.items()
      if name != label
    },
    "device": jax.devices()[0].device_kind,
    "version": __version__,
    "seconds": round(time.monotonic() - began, 1),
  }
  draw(workdir, outcomes, samples)
  write_json(workdir / "report.json", report)
  print(table(outcomes, report))
  print(f"report and pictures: {workdir}", flush=True)
  return report


def table(outcomes: Mapping[str, Outcome], report: Mapping[str, Any]) -> str:
  """The scores of all detectors as text, at 16 and at 12 pixels."""
  width = max(len(label) for label in outcomes)
  lines = [
    "",
    f"{report['dataset']}, {report['part']} part: {report['images']} images of "
    f"{report['patients']} patients, {report['nuclei']} nuclei; "
    f"px at {WORKING_MPP} microns",
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
  chance = outcomes[report["detector"]].chance
  lines.append(f"{'by chance':{width}}  {chance['16']:.3f}{'':24}{chance['12']:.3f}")
  interval = report["f1_interval_95"]["12"]
  if interval:
    lines.append(
      f"95 % interval of the {report['detector']} F1 within 12 px, over patients: "
      f"{interval[0]:.3f} to {interval[1]:.3f}"
    )
  return "\n".join(lines)


def draw(
  workdir: pathlib.Path, outcomes: Mapping[str, Outcome], samples: Sequence[Sample]
) -> None:
  """Draws the pictures of a report; the detections are those of the last outcome."""
  from micronet_jax import plots  # matplotlib takes a second to import

  plots.save(
    plots.precision_recall({label: o.curve for label, o in outcomes.items()}),
    workdir / "precision_recall.png",
  )
  main, outcome = list(outcomes.items())[-1]
  detected = outcome.detected
  matches = evaluation.match_images(detected, [s.centers for s in samples], radius=12)
  ranked = sorted(
    range(len(samples)), key=lambda i: evaluation.pool([matches[i]])["f1"]
  )
  places = np.linspace(0, len(ranked) - 1, min(SHEET_TILES, len(ranked)))
  chosen = [ranked[round(place)] for place in places]
  figure = plots.detection_sheet(
    [samples[i].image for i in chosen],
    [detected[i] for i in chosen],
    [samples[i].centers for i in chosen],
    [matches[i] for i in chosen],
    [samples[i].name for i in chosen],
    radius=12,
  )
  plots.save(figure, workdir / "detections.png")
  histories = {
    label: _history(path, plots)
    for label, path in (("from scratch", workdir / "scratch"), (main, workdir))
    if (path / "log.jsonl").exists()
  }
  if histories:
    plots.save(plots.training_curves(histories), workdir / "training.png")


def _history(run: pathlib.Path, plots: Any) -> Any:
  records = read_log(run / "log.jsonl")
  trained = [r for r in records if "loss" in r]
  validated = [r for r in records if "val_f1" in r]
  return plots.History(
    steps=[r["step"] for r in trained],
    loss=[r["loss"] for r in trained],
    val_steps=[r["step"] for r in validated],
    val_f1=[r["val_f1"] for r in validated],
  )


def evaluate(config: Any, workdir: str | pathlib.Path) -> dict[str, Any]:
  """Scores a checkpoint on data, without training.

  Args:
    config: the fields of configs/common.py; `init_from` names the checkpoint and
      `evaluate_part` the images: "all", or the "test" or "validation" part of the
      checkpoint's own split.
    workdir: gets the report.

  Returns:
    What `report.json` holds.

  Raises:
    InputError: no checkpoint, data that cannot be used, or images that the
      checkpoint was trained on.
  """
  began = time.monotonic()
  workdir = pathlib.Path(workdir)
  if not config.init_from:
    raise InputError(
      "config.init_from is empty; name the checkpoint to evaluate, for instance 'base'"
    )
  detector = Detector(*checkpoints.load_weights(config.init_from))
  samples = load_target(config)
  split = detector.meta.get("split", {})
  part = config.evaluate_part
  if part == "all":
    check_unseen([s.name for s in samples], images_seen(detector.meta))
  elif part in ("test", "validation"):
    samples = Split(**split).of(samples, part) if split else []
  if part not in ("all", "test", "validation") or not samples:
    raise InputError(
      f"config.evaluate_part is {part!r}; use 'all', or 'test' or 'validation' if the "
      "checkpoint's split has that part"
    )
  claim_workdir(config, workdir)
  return write(
    workdir,
    {"checkpoint": detector},
    samples,
    job=config.job,
    dataset=data_name(config.target),
    part=part,
    began=began,
  )
