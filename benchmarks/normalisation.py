"""What the rules for slides cost against the paper's rules for images, in F1.

  python -m benchmarks.normalisation --root=DIR

DIR is a folder data set whose patients have several images each, cut from one place
(MoNuSeg: four tiles of 500²). Mean and deviation are taken from each image alone, as
the paper does, from all images of a patient, as on a slide, or from all images at once;
the threshold is ξ times each image's best score, as the paper does, or ξ itself, as on
a slide. Images that the checkpoint was trained on or chosen by are left out.
"""

import argparse
import dataclasses

import numpy as np

import micronet_jax as mn
from benchmarks.report import print_table, write_json
from micronet_jax.datasets.provenance import provenance_of
from micronet_jax.datasets.sample import Sample
from micronet_jax.detection.detector import Detector
from micronet_jax.evaluation import matching
from micronet_jax.evaluation.intervals import (
  Tally,
  estimate_statistic,
  interval_over_patients,
)
from micronet_jax.evaluation.metrics import count_matches, pool_matches
from micronet_jax.imaging.normalisation import channel_statistics
from micronet_jax.imaging.opening import open_image

RADIUS = 12.0


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--root", required=True, help="a folder data set")
  parser.add_argument("--organs", default="", help="separated by commas; all")
  parser.add_argument("--weights", default="base")
  parser.add_argument("--json", default="", help="file for the numbers")
  arguments = parser.parse_args()

  detector = mn.load(arguments.weights)
  # So that a search gives all maxima, for both thresholds.
  detector = detector.with_threshold(
    xi=detector.meta["xi"],
    min_distance=detector.meta["min_distance"],
    rule="relative",
  )
  organs = arguments.organs or None
  samples = mn.load_samples("folder", root=arguments.root, organs=organs)
  seen = provenance_of(detector.meta)
  samples = [sample for sample in samples if not seen.has_seen(sample)]
  groups = {
    "image": [s.name for s in samples],
    "patient": [s.patient for s in samples],
    "data set": ["all"] * len(samples),
  }
  matches = {}
  for name, group in groups.items():
    statistics = pooled_statistics(samples, group)
    for threshold in ("ξ · best", "ξ"):
      matches[name, threshold] = []
    for sample, key in zip(samples, group, strict=True):
      for threshold, centers in find(detector, sample, *statistics[key]).items():
        pair = map(sample.in_reference, (centers, sample.centers))
        matches[name, threshold].append(matching.match(*pair, radius=RADIUS))
  rows = [row(*key, each, samples, matches) for key, each in matches.items()]
  print(f"{len(samples)} images of {len({s.patient for s in samples})} patients")
  print_table(rows)
  write_json(arguments.json, rows)


def pooled_statistics(
  samples: list[Sample], group: list[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  pixels: dict[str, list[np.ndarray]] = {}
  for sample, key in zip(samples, group, strict=True):
    pixels.setdefault(key, []).append(sample.image.reshape(-1, 1, 3))
  return {
    key: channel_statistics(np.concatenate(parts)) for key, parts in pixels.items()
  }


def find(
  detector: Detector, sample: Sample, mean: np.ndarray, std: np.ndarray
) -> dict[str, np.ndarray]:
  """The centres of one image under both thresholds."""
  with open_image(sample.image) as reader:
    scan = detector.scan(reader, mpp=sample.mpp, tissue=False)
    scan = dataclasses.replace(scan, mean=mean, std=std)
    found = list(detector.run(scan))
  centers = np.concatenate([each.centers for each in found])
  scores = np.concatenate([each.scores for each in found])
  xi = np.float32(detector.meta["xi"])
  best = scores.max(initial=0)
  return {"ξ · best": centers[scores >= xi * best], "ξ": centers[scores >= xi]}


def row(name, threshold, each, samples, matches) -> dict[str, object]:
  patients = [s.patient for s in samples]
  scores = pool_matches(each)
  low, high = interval_over_patients(count_matches(each), patients)
  reference = matches["image", "ξ · best"]
  differs = scores["f1"] - pool_matches(reference)["f1"]
  least, most = paired_interval(each, reference, patients)
  return {
    "mean and deviation of": name,
    "threshold": threshold,
    "F1": round(scores["f1"], 4),
    "95 % interval": f"{low:.3f}-{high:.3f}",
    "precision": round(scores["precision"], 4),
    "recall": round(scores["recall"], 4),
    "F1 against the paper's": f"{differs:+.3f} ({least:+.3f} to {most:+.3f})",
  }


def paired_interval(one, other, patients) -> tuple[float, float]:
  """95 % interval of the difference in pooled F1, whole patients drawn."""
  pair = [Tally("", tuple(patients), count_matches(each)) for each in (one, other)]
  found = estimate_statistic([pair], lambda f1: f1[..., 0] - f1[..., 1])
  return found.low, found.high


if __name__ == "__main__":
  main()
