"""Precision, recall, F1 and ED of matched centres, and their curve over ξ.

All on the host, in double precision. Counts are pooled over images before precision and
recall are formed, so that a nucleus weighs the same in whichever image it lies (but for
the choice of ξ by the absolute rule, see `evaluation.thresholds`). Called
by `evaluation.scoring`, `thresholds` and the studies.
"""

import dataclasses
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from micronet_jax.detection.peaks import XI_GRID, ScoredPoints
from micronet_jax.evaluation.matching import (
  Match,
  check_same_length,
  match,
  match_images,
)

# Matching radii in pixels: the paper's 16 and, for dense tissue, stricter ones.
RADII: tuple[float, ...] = (16, 12, 8, 6)


METRICS = ("precision", "recall", "f1", "ed")


class Scores(TypedDict):
  """What a set of matches amounts to; fractions in [0, 1], `ed` in pixels."""

  precision: float
  recall: float
  f1: float
  ed: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
  """Pooled scores over thresholds ξ: float64 arrays; `ed` is NaN without pairs."""

  xi: np.ndarray
  precision: np.ndarray
  recall: np.ndarray
  f1: np.ndarray
  ed: np.ndarray


def form_scores(tp: int, fp: int, fn: int, distances: np.ndarray) -> Scores:
  """Forms precision, recall, F1 and ED (paper, "Evaluation metrics").

  Where a fraction is 0/0: with neither detections nor annotations nothing is wrong,
  and all three are 1; with only one of the two, the undefined one is 0.

  Args:
    tp: matched pairs, pooled over the images.
    fp: detections left over.
    fn: annotations left over.
    distances: `[tp]`, of the matched pairs, in pixels.

  Returns:
    `precision`, `recall`, `f1` in [0, 1], and `ed`, the mean distance of matched
    pairs in pixels, None where there are none. Ready for JSON.
  """
  counts = np.array([tp, fp, fn, np.sum(distances)])
  precision, recall, f1, ed = (float(form_metric(counts, name)) for name in METRICS)
  return Scores(
    precision=precision, recall=recall, f1=f1, ed=ed if len(distances) else None
  )


def pool_matches(matches: Sequence[Match]) -> Scores:
  """Scores several images, all matched at one radius, as `form_scores` does."""
  tp, fp, fn, _ = count_matches(matches).sum(0).astype(int).tolist()
  distances = np.concatenate([np.zeros(0), *(each.distances for each in matches)])
  return form_scores(tp, fp, fn, distances)


def evaluate_points(
  detected: Sequence[np.ndarray],
  annotated: Sequence[np.ndarray],
  *,
  radii: Sequence[float] = RADII,
) -> dict[str, Scores]:
  """Scores the detections of a set of images, pooled, at several radii.

  Args:
    detected: `[N, 2]` (y, x) per image, in pixels.
    annotated: `[M, 2]` per image, in the same order.
    radii: matching radii, in pixels.

  Returns:
    The `radius_px` of a report: `{"16": {"precision", "recall", "f1", "ed"}, …}`.

  Raises:
    InputError: as `match_images`.
  """
  return {
    f"{radius:g}": pool_matches(match_images(detected, annotated, radius=radius))
    for radius in radii
  }


def chance_level(
  counts: Sequence[int],
  annotated: Sequence[np.ndarray],
  shapes: Sequence[tuple[float, float]],
  *,
  radii: Sequence[float] = RADII,
  draws: int = 10,
  seed: int = 0,
) -> dict[str, float]:
  """Measures what as many random points as were detected would score.

  In dense tissue a generous radius rewards even these.

  Args:
    counts: detections per image.
    annotated: `[M, 2]` (y, x) per image.
    shapes: (H, W) per image; points are uniform over its area.
    radii: matching radii, in pixels.
    draws: how often to throw all points anew; >= 1.
    seed: of the random numbers.

  Returns:
    Mean pooled F1 over the draws, by radius: `{"16": …, …}`.

  Raises:
    InputError: if the lists differ in length, or as `match`.
  """
  check_same_length(counts=counts, annotated=annotated, shapes=shapes)
  generator = np.random.default_rng(seed)
  results = []
  for _ in range(draws):
    thrown = [
      generator.uniform(-0.5, np.subtract(shape, 0.5), (count, 2))
      for count, shape in zip(counts, shapes, strict=True)
    ]
    results.append(evaluate_points(thrown, annotated, radii=radii))
  return {
    key: float(np.mean([each[key]["f1"] for each in results])) for key in results[0]
  }


def precision_recall_curve(
  peaks: Sequence[ScoredPoints],
  annotated: Sequence[np.ndarray],
  *,
  radius: float = 16.0,
  grid: Sequence[float] = XI_GRID,
) -> Curve:
  """Varies ξ, in each image's own unit (paper, Figs. 7 and 9).

  Args:
    peaks: all local maxima per image, unthresholded.
    annotated: `[M, 2]` (y, x) per image, in the same order.
    radius: matching radius, in pixels.
    grid: the ξ to try, in [0, 1].

  Returns:
    Pooled scores at each ξ.

  Raises:
    InputError: if the lists differ in length, or as `match` and `select`.
  """
  counts = count_over_thresholds(peaks, annotated, radius=radius, grid=grid).sum(0)
  return Curve(
    np.asarray(grid, float), *(form_metric(counts, metric) for metric in METRICS)
  )


def count_over_thresholds(
  peaks: Sequence[ScoredPoints],
  annotated: Sequence[np.ndarray],
  *,
  radius: float,
  grid: Sequence[float],
) -> np.ndarray:
  """Matches each image at each ξ; the arguments are those of `precision_recall_curve`.

  Returns:
    float64 `[images, len(grid), 4]`, counts as `count_matches` gives them.

  Raises:
    InputError: as `precision_recall_curve`.
  """
  check_same_length(peaks=peaks, annotated=annotated)
  counts = np.zeros((len(peaks), len(grid), 4))
  for image, (points, truth) in enumerate(zip(peaks, annotated, strict=True)):
    known: dict[int, Match] = {}  # by how many points are left: often all, or as before
    for index, xi in enumerate(grid):
      kept = points.over(xi)
      if len(kept) not in known:
        known[len(kept)] = match(kept, truth, radius=radius)
      result = known[len(kept)]
      counts[image, index] = result.tp, result.fp, result.fn, result.distances.sum()
  return counts


def count_matches(matches: Sequence[Match]) -> np.ndarray:
  """Pairs, false, missed and the pairs' summed distance, float64 `[images, 4]`."""
  rows = [(each.tp, each.fp, each.fn, each.distances.sum()) for each in matches]
  return np.asarray(rows, float).reshape(-1, 4)


def form_metric(counts: np.ndarray, metric: str) -> np.ndarray:
  """Forms one of `METRICS` of pooled counts `[..., 4]`, as `count_matches` gives them.

  They may be shares of something: only their proportions matter. 0/0 is as
  `form_scores` says; ED without a pair is NaN.
  """
  tp, fp, fn, distance = np.moveaxis(np.asarray(counts, float), -1, 0)
  if metric == "ed":
    return np.divide(distance, tp, out=np.full(tp.shape, np.nan), where=tp > 0)
  part, whole = {
    "precision": (tp, tp + fp),
    "recall": (tp, tp + fn),
    "f1": (2 * tp, 2 * tp + fp + fn),
  }[metric]
  empty = np.where(tp + fp + fn == 0, 1.0, 0.0)
  return np.divide(part, whole, out=empty, where=whole > 0)
