"""One detector on annotated samples: what it finds, and every score of it.

Called by `evaluation.report` and the studies.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from micronet_jax.datasets.sample import Sample
from micronet_jax.detection.detector import Detector
from micronet_jax.detection.peaks import ScoredPoints
from micronet_jax.evaluation import intervals, matching
from micronet_jax.evaluation.matching import Match
from micronet_jax.evaluation.metrics import (
  RADII,
  Curve,
  Scores,
  chance_level,
  count_matches,
  pool_matches,
  precision_recall_curve,
)


@dataclasses.dataclass(frozen=True)
class Scored:
  """One detector on a set of samples.

  Attributes:
    detected: what `detect` finds in each: centres, float32 `[N, 2]`, in the image's own
      pixels.
    matches: with the annotated centres of each sample, by matching radius; distances,
      as these radii, in pixels at 0.25 microns.
    radius_px: scores by matching radius.
    curve: precision and recall over ξ at 16 px.
    interval: 95 % interval of F1 by radius, over patients; None for few.
    chance: F1 of as many random points, by radius.
  """

  detected: list[np.ndarray]
  matches: dict[str, list[Match]]
  radius_px: dict[str, Scores]
  curve: Curve
  interval: dict[str, tuple[float, float] | None]
  chance: dict[str, float]


def score_detector(detector: Detector, samples: Sequence[Sample]) -> Scored:
  """Runs a detector on samples and scores it in pixels at 0.25 microns.

  Args:
    detector: with its own ξ and min_distance.
    samples: at least one.
  """
  distance = detector.meta["min_distance"]
  peaks = detector.peaks(((s.image, s.resolution) for s in samples), (distance,))[
    distance
  ]
  return score_peaks(detector, peaks, samples)


def score_peaks(
  detector: Detector, peaks: Sequence[ScoredPoints], samples: Sequence[Sample]
) -> Scored:
  """Scores what `Detector.peaks` found in samples with the detector's min_distance."""
  own = [points.over(detector.meta["xi"]) for points in peaks]
  detected = [s.in_reference(d) for s, d in zip(samples, own, strict=True)]
  annotated = [s.in_reference(s.centers) for s in samples]
  patients = [s.patient for s in samples]
  matches = {
    f"{radius:g}": matching.match_images(detected, annotated, radius=radius)
    for radius in RADII
  }
  return Scored(
    detected=own,
    matches=matches,
    radius_px={radius: pool_matches(each) for radius, each in matches.items()},
    curve=precision_recall_curve(in_reference(peaks, samples), annotated),
    interval={
      radius: intervals.interval_over_patients(count_matches(each), patients)
      for radius, each in matches.items()
    },
    chance=chance_level(
      [len(d) for d in detected], annotated, [s.reference_shape for s in samples]
    ),
  )


def in_reference(
  peaks: Sequence[ScoredPoints], samples: Sequence[Sample]
) -> list[ScoredPoints]:
  """The maxima of each sample, moved to pixels at 0.25 microns."""
  return [
    points._replace(centers=sample.in_reference(points.centers))
    for points, sample in zip(peaks, samples, strict=True)
  ]
