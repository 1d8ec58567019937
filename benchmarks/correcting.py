"""What the loop of correcting gives: detect, correct some regions, fine-tune, score.

  python -m benchmarks.correcting --root ../shared/data/monuseg --organs prostate \
    --workdir runs/correcting

A script corrects as a person would on the page of `micronet annotate`: in the middle of
some tiles it removes what is no nucleus and adds what was missed; what was found within
12 px of a nucleus stays where it was found. Each removal and addition is a click, each
region a drag. `micronet finetune` then learns from these regions alone; half of the
patients are never shown to it, and score both detectors.
"""

import argparse
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import micronet_jax as mn
from benchmarks import report
from micronet_jax import cli
from micronet_jax.datasets import load_samples
from micronet_jax.datasets.annotations.regions import write_regions
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.splits import take_turns
from micronet_jax.detection.detector import Detector
from micronet_jax.evaluation.matching import match
from micronet_jax.evaluation.scoring import score_detector

RADIUS = 12.0


class Corrected(NamedTuple):
  """One region after a person's work: its nuclei (y, x), and the clicks that took."""

  region: tuple[int, int, int, int]
  centers: np.ndarray
  removed: int
  added: int


def main(argv: Sequence[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--json", default="", help="file for the numbers")
  parser.add_argument("--root", required=True, help="of a `folder` data set")
  parser.add_argument("--organs", default="")
  parser.add_argument("--weights", default="base")
  parser.add_argument("--regions", type=int, default=8)
  parser.add_argument("--side", type=int, default=250, help="of a region, in pixels")
  parser.add_argument("--num_steps", type=int, default=300)
  parser.add_argument("--workdir", type=pathlib.Path, required=True, help="a new one")
  parser.add_argument("--data_dir", default="", help="for prepared data")
  options = parser.parse_args(argv)
  report.print_machine()
  found = report.print_table(run(options))
  report.write_json(options.json, found)


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
  """Corrects, fine-tunes, and scores before and after."""
  where = {"root": options.root, "data_dir": options.data_dir or None}
  samples = load_samples("folder", organs=options.organs or None, **where)
  patients = sorted({sample.patient for sample in samples})
  shown = set(patients[: len(patients) // 2])
  held_out = [sample for sample in samples if sample.patient not in shown]
  detector = mn.load(options.weights)
  folder, clicks, nuclei = options.workdir / "corrected", 0, 0
  mine = [sample for sample in samples if sample.patient in shown]
  for sample in take_turns(mine, options.regions):
    work = correct(detector, sample, options.side)
    write(folder, sample, work)
    clicks += work.removed + work.added + 1
    nuclei += len(work.centers)
  write_index(folder, samples)
  yield {"detector": "before", "clicks": 0, **scores(detector, held_out)}
  tuned = options.workdir / "run"
  command = ["finetune", str(folder), "-o", str(tuned), "-w", options.weights]
  # None of the regions is kept to test on: others do that here.
  settings = [f"num_steps={options.num_steps}", "split.test_fraction=0", "compare=base"]
  command += [part for each in settings for part in ("--set", each)]
  if options.data_dir:
    command += ["--set", f"data_dir={options.data_dir}"]
  if status := cli.main(command):
    raise SystemExit(status)
  after = scores(mn.load(tuned), held_out)
  yield {"detector": f"after {nuclei} nuclei", "clicks": clicks, **after}


def correct(detector: Detector, sample: Sample, side: int) -> Corrected:
  """What a person makes of the middle of an image."""
  height, width = sample.image.shape[:2]
  y, x = max(height - side, 0) // 2, max(width - side, 0) // 2
  region = (x, y, min(side, width), min(side, height))
  found = within(detector.detect(sample.image, mpp=sample.mpp).centers, region)
  true = within(sample.centers, region)
  pairs = match(sample.in_reference(found), sample.in_reference(true), radius=RADIUS)
  missed = np.setdiff1d(np.arange(len(true)), pairs.pairs[:, 1])
  centers = np.concatenate([found[pairs.pairs[:, 0]], true[missed]])
  return Corrected(region, centers, removed=pairs.fp, added=pairs.fn)


def within(centers: np.ndarray, region: tuple[int, int, int, int]) -> np.ndarray:
  """The centres (y, x) in a region (x, y, width, height)."""
  x, y, width, height = region
  low = np.array([y, x]) - 0.5
  inside = (centers >= low) & (centers < low + np.array([height, width]))
  return centers[inside.all(1)]


def write(folder: pathlib.Path, sample: Sample, work: Corrected) -> None:
  """Puts an image, its points and its region where `micronet annotate` has them."""
  for name in ("points", "regions"):
    (folder / name).mkdir(parents=True, exist_ok=True)
  Image.fromarray(sample.image).save(folder / f"{sample.name}.png")
  lines = [f"{x:.2f},{y:.2f}\n" for y, x in work.centers]
  (folder / "points" / f"{sample.name}.csv").write_text("x,y\n" + "".join(lines))
  write_regions(folder / "regions" / f"{sample.name}.csv", [work.region])


def write_index(folder: pathlib.Path, samples: Sequence[Sample]) -> None:
  """Whose the images are, and their resolution."""
  lines = ["name,patient,mpp"]
  for sample in samples:
    if (folder / f"{sample.name}.png").exists():
      lines.append(f"{sample.name},{sample.patient},{sample.mpp or ''}")
  (folder / "index.csv").write_text("\n".join(lines) + "\n")


def scores(detector: Detector, samples: Sequence[Sample]) -> dict[str, Any]:
  """Precision, recall and F1 within 12 px."""
  found = score_detector(detector, samples).radius_px["12"]
  return {
    "F1": f"{found['f1']:.3f}",
    "precision": f"{found['precision']:.3f}",
    "recall": f"{found['recall']:.3f}",
    "images": len(samples),
    "patients": len({sample.patient for sample in samples}),
  }


if __name__ == "__main__":
  main()
