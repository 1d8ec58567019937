"""Detected against annotated centres: matching, P/R/F1/ED, curves, ξ, intervals.

All on the host, in double precision. Counts are pooled over images before precision
and recall are formed, so that a nucleus weighs the same in whichever image it lies.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from micronet_jax.assignment import assign
from micronet_jax.detection import XI_GRID, select
from micronet_jax.errors import InputError
from micronet_jax.proximity import as_points

# Matching radii in pixels: the paper's 16 and, for dense tissue, stricter ones.
RADII: tuple[float, ...] = (16, 12, 8, 6)
# centers [N, 2] (y, x) and scores [N] of one image, as `detection.trim` gives.
ScoredPoints = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Match:
  """A one-to-one assignment of detected to annotated centres of one image.

  Attributes:
    tp: pairs; detections that are right.
    fp: detections without an annotation.
    fn: annotations without a detection.
    distances: float64 `[tp]`, in pixels, in the order of `pairs`.
    pairs: int64 `[tp, 2]`, (index of the detected, index of the annotated), by
      rising index of the detected.
  """

  tp: int
  fp: int
  fn: int
  distances: np.ndarray
  pairs: np.ndarray


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


@dataclasses.dataclass(frozen=True)
class Choice:
  """The detection parameters that the validation split prefers, and their scores."""

  xi: float
  min_distance: int
  f1: float
  ed: float | None


def match(
  detected: np.ndarray, annotated: np.ndarray, *, radius: float = 16.0
) -> Match:
  """Assigns detections to annotations, one to one, with the Hungarian method.

  Among all one-to-one assignments of pairs no farther apart than `radius`, one with
  the most pairs, and among those one with the least total distance (paper,
  "Evaluation metrics").

  Args:
    detected: `[N, 2]` (y, x) in pixels, N >= 0.
    annotated: `[M, 2]`, likewise.
    radius: in pixels, >= 0; a distance of exactly `radius` still matches.

  Returns:
    The assignment.

  Raises:
    InputError: if an array is not `[N, 2]` or holds NaN or infinity, or if `radius`
      is negative or NaN.
  """
  detected = as_points(detected, "detected")
  annotated = as_points(annotated, "annotated")
  if not 0 <= radius < np.inf:
    raise InputError(f"radius: expected pixels >= 0, got {radius}")
  n, m = len(detected), len(annotated)
  pairs = assign(detected, annotated, radius)
  offsets = detected[pairs[:, 0]] - annotated[pairs[:, 1]]
  tp = len(pairs)
  return Match(tp, n - tp, m - tp, np.hypot(*offsets.T), pairs)


def scores(tp: int, fp: int, fn: int, distances: np.ndarray) -> Scores:
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
  precision, recall, f1 = _fractions(np.array([tp, fp, fn]))
  ed = float(np.mean(distances)) if len(distances) else None
  return Scores(precision=float(precision), recall=float(recall), f1=float(f1), ed=ed)


def pool(matches: Sequence[Match]) -> Scores:
  """Scores several images together, all matched at one radius, as `scores` does."""
  tp, fp, fn = _counts(matches).sum(0).tolist()
  distances = np.concatenate([np.zeros(0), *(each.distances for each in matches)])
  return scores(tp, fp, fn, distances)


def match_images(
  detected: Sequence[np.ndarray],
  annotated: Sequence[np.ndarray],
  *,
  radius: float = 16.0,
) -> list[Match]:
  """Matches image by image.

  Args:
    detected: `[N, 2]` (y, x) per image.
    annotated: `[M, 2]` per image, in the same order.
    radius: in pixels, >= 0.

  Returns:
    One assignment per image.

  Raises:
    InputError: if the lists differ in length, or as `match`.
  """
  _same_length(detected=detected, annotated=annotated)
  return [
    match(found, truth, radius=radius)
    for found, truth in zip(detected, annotated, strict=True)
  ]


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
    f"{radius:g}": pool(match_images(detected, annotated, radius=radius))
    for radius in radii
  }


def chance_level(
  counts: Sequence[int],
  annotated: Sequence[np.ndarray],
  shapes: Sequence[tuple[int, int]],
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
  _same_length(counts=counts, annotated=annotated, shapes=shapes)
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


def bootstrap_interval(
  matches: Sequence[Match],
  patients: Sequence[str],
  *,
  draws: int = 1000,
  level: float = 0.95,
  seed: int = 0,
) -> tuple[float, float] | None:
  """Estimates how far the pooled F1 would move with other patients.

  The percentile bootstrap: whole patients are drawn with replacement, since the
  images of one patient resemble each other.

  Args:
    matches: one per image, all at one radius.
    patients: whose image each is.
    draws: how many sets of patients to draw.
    level: of the interval, in (0, 1).
    seed: of the random numbers.

  Returns:
    The interval's (lower, upper) end, in [0, 1]; None for fewer than two patients.

  Raises:
    InputError: if the lists differ in length.
  """
  _same_length(matches=matches, patients=patients)
  names, owner = np.unique(np.asarray(patients, str), return_inverse=True)
  if len(names) < 2:
    return None
  counts = np.zeros((len(names), 3), np.int64)
  np.add.at(counts, owner, _counts(matches))
  generator = np.random.default_rng(seed)
  chosen = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
  _, _, f1 = _fractions(chosen @ counts)
  lower, upper = np.quantile(f1, [(1 - level) / 2, (1 + level) / 2])
  return float(lower), float(upper)


def precision_recall_curve(
  peaks: Sequence[ScoredPoints],
  annotated: Sequence[np.ndarray],
  *,
  radius: float = 16.0,
  grid: Sequence[float] = XI_GRID,
) -> Curve:
  """Varies ξ, relative to each image's largest score (paper, Figs. 7 and 9).

  Args:
    peaks: all local maxima per image, unthresholded: centers `[N, 2]`, scores `[N]`.
    annotated: `[M, 2]` (y, x) per image, in the same order.
    radius: matching radius, in pixels.
    grid: the ξ to try, in [0, 1].

  Returns:
    Pooled scores at each ξ.

  Raises:
    InputError: if the lists differ in length, or as `match` and `select`.
  """
  _same_length(peaks=peaks, annotated=annotated)
  counts = np.zeros((len(grid), 3), np.int64)
  distance = np.zeros(len(grid))
  for (centers, values), truth in zip(peaks, annotated, strict=True):
    known: dict[int, Match] = {}  # by how many points are left: often all, or as before
    for index, xi in enumerate(grid):
      kept, _ = select(centers, values, xi=xi)
      if len(kept) not in known:
        known[len(kept)] = match(kept, truth, radius=radius)
      result = known[len(kept)]
      counts[index] += (result.tp, result.fp, result.fn)
      distance[index] += result.distances.sum()
  ed = np.divide(
    distance, counts[:, 0], out=np.full(len(grid), np.nan), where=counts[:, 0] > 0
  )
  return Curve(np.asarray(grid, float), *_fractions(counts), ed)


def select_threshold(
  peaks_by_min_distance: Mapping[int, Sequence[ScoredPoints]],
  annotated: Sequence[np.ndarray],
  *,
  radius: float = 16.0,
  grid: Sequence[float] = XI_GRID,
) -> Choice:
  """Chooses ξ and `min_distance` by the pooled F1 on the validation split.

  Ties, which are usual on few images, are broken by the smaller ED, then by the
  smaller `min_distance`, then by the middle (lower of two) of the ξ that are left:
  on a plateau, the place farthest from both edges.

  Args:
    peaks_by_min_distance: for each `min_distance`, in pixels, all local maxima of
      each validation image, unthresholded: centers `[N, 2]`, scores `[N]`.
    annotated: `[M, 2]` (y, x) per image, in the same order.
    radius: matching radius, in pixels (the paper: 16).
    grid: the ξ to try, in [0, 1].

  Returns:
    The choice, with the scores it reached.

  Raises:
    InputError: if there is nothing to choose from, or as `precision_recall_curve`.
  """
  if not peaks_by_min_distance or not len(grid):
    raise InputError("peaks_by_min_distance, grid: need at least one value of each")
  ranked: list[tuple[float, float, int, float]] = []
  for min_distance, peaks in peaks_by_min_distance.items():
    curve = precision_recall_curve(peaks, annotated, radius=radius, grid=grid)
    # Sums of the same distances in another order differ in their last bits.
    ed = np.round(np.nan_to_num(curve.ed, nan=np.inf), 9).tolist()
    for f1, mean_distance, xi in zip(curve.f1.tolist(), ed, grid, strict=True):
      ranked.append((-f1, mean_distance, min_distance, xi))
  best = min(ranked)[:3]
  tied = sorted(xi for *rank, xi in ranked if tuple(rank) == best)
  xi = tied[(len(tied) - 1) // 2]
  return Choice(xi, best[2], -best[0], best[1] if np.isfinite(best[1]) else None)


def _counts(matches: Sequence[Match]) -> np.ndarray:
  """Returns tp, fp, fn of each image, int64 `[images, 3]`."""
  rows = [(each.tp, each.fp, each.fn) for each in matches]
  return np.asarray(rows, np.int64).reshape(-1, 3)


def _fractions(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Forms precision, recall and F1 of `[..., 3]` counts; 0/0 as `scores` says."""
  tp, fp, fn = np.moveaxis(counts, -1, 0)
  empty = np.where(tp + fp + fn == 0, 1.0, 0.0)

  def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), empty)

  return ratio(tp, tp + fp), ratio(tp, tp + fn), ratio(2 * tp, 2 * tp + fp + fn)


def _same_length(**lists: Sequence) -> None:
  """Raises InputError unless all lists have one entry per image."""
  lengths = {name: len(entries) for name, entries in lists.items()}
  if len(set(lengths.values())) > 1:
    raise InputError(f"expected one entry per image in each list, got {lengths}")
