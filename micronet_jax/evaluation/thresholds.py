"""How ξ and min_distance are chosen, on images that did not train.

Called by `training.loop` and `training.job` on the validation part, and by the studies.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from micronet_jax.config import Config
from micronet_jax.datasets.sample import Sample
from micronet_jax.detection.detector import Detector
from micronet_jax.detection.peaks import XI_GRID, ScoredPoints
from micronet_jax.errors import InputError
from micronet_jax.evaluation.metrics import precision_recall_curve


@dataclasses.dataclass(frozen=True)
class Choice:
  """The detection parameters that the validation split prefers, and their scores."""

  xi: float
  min_distance: int
  f1: float
  ed: float | None


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
      each validation image, unthresholded.
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


def choose_threshold(
  config: Config, detector: Detector, samples: Sequence[Sample]
) -> Choice:
  """ξ and min_distance with the highest F1 over samples."""
  peaks = detector.peaks((s.image for s in samples), config.min_distances)
  return select_threshold(
    peaks, [s.centers for s in samples], radius=config.select_radius
  )
