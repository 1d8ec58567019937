"""How ξ and min_distance are chosen, on images that did not train.

Called by `training.loop` and `training.job` on the validation part, and by the studies.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from micronet_jax.config import RELATIVE, SELECT_RADIUS, Config
from micronet_jax.datasets.sample import Sample
from micronet_jax.detection.detector import Detector
from micronet_jax.detection.peaks import SCORE_GRID, XI_GRID, ScoredPoints
from micronet_jax.errors import InputError
from micronet_jax.evaluation.matching import check_same_length
from micronet_jax.evaluation.metrics import count_over_thresholds, form_metric
from micronet_jax.evaluation.scoring import in_reference

LEAST_NUCLEI = 10
"""Fewer nuclei of a slide count as so many, where each slide counts alike."""


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
  slides: Sequence[str] | None = None,
) -> Choice:
  """Chooses ξ and `min_distance` by the F1 on the validation split.

  Ties, which are usual on few images, are broken by the smaller ED, then by the
  smaller `min_distance`, then by the middle (lower of two) of the ξ that are left:
  on a plateau, the place farthest from both edges.

  Args:
    peaks_by_min_distance: for each `min_distance`, in pixels, all local maxima of
      each validation image, unthresholded.
    annotated: `[M, 2]` (y, x) per image, in the same order.
    radius: matching radius, in pixels (the paper: 16).
    grid: the ξ to try, in [0, 1].
    slides: of each image what it was cut from: counts of a slide are divided by its
      annotated nuclei (at least 10, or an empty slide would outweigh all others) before
      they are pooled, so that each counts alike; None pools over all images, as the
      paper does.

  Returns:
    The choice, with the scores it reached.

  Raises:
    InputError: if there is nothing to choose from, or as `precision_recall_curve`.
  """
  if not peaks_by_min_distance or not len(grid):
    raise InputError("peaks_by_min_distance, grid: need at least one value of each")
  if slides:
    check_same_length(annotated=annotated, slides=slides)
  ranked: list[tuple[float, float, int, float]] = []
  for min_distance, peaks in peaks_by_min_distance.items():
    counts = count_over_thresholds(peaks, annotated, radius=radius, grid=grid)
    if slides:
      counts = _as_shares(counts, slides)
    f1 = form_metric(counts.sum(0), "f1").tolist()
    ed = np.nan_to_num(form_metric(counts.sum(0), "ed"), nan=np.inf)
    # Sums of the same distances in another order differ in their last bits.
    for score, mean_distance, xi in zip(f1, ed.round(9).tolist(), grid, strict=True):
      ranked.append((-score, mean_distance, min_distance, xi))
  best = min(ranked)
  tied = sorted(rank for rank in ranked if rank[:3] == best[:3])
  f1, ed, distance, xi = tied[(len(tied) - 1) // 2]
  return Choice(xi, distance, -f1, ed if np.isfinite(ed) else None)


def _as_shares(counts: np.ndarray, slides: Sequence[str]) -> np.ndarray:
  """Counts `[images, ξ, 4]` over the nuclei of the slide that each image is of."""
  nuclei = counts[:, 0, 0] + counts[:, 0, 2]  # found and missed
  _, slide = np.unique(np.asarray(slides), return_inverse=True)
  total = np.bincount(slide, nuclei)[slide]
  return counts / np.maximum(total, LEAST_NUCLEI)[:, None, None]


def choose_threshold(
  config: Config, detector: Detector, samples: Sequence[Sample]
) -> Choice:
  """ξ and min_distance with the highest F1 over samples.

  Args:
    config: its `threshold_rule` and `smoothing`, else the detector's; its
      `select_radius`, else the rule's; its `min_distances`.
    detector: whose own ξ and min_distance do not matter.
    samples: at least one.
  """
  detector = detector.with_search(config)
  rule = detector.rule
  as_paper = rule == RELATIVE
  images = ((s.image, s.resolution) for s in samples)
  peaks = detector.peaks(images, config.min_distances)
  return select_threshold(
    {distance: in_reference(each, samples) for distance, each in peaks.items()},
    [s.in_reference(s.centers) for s in samples],
    radius=config.select_radius or SELECT_RADIUS[rule],
    grid=XI_GRID if as_paper else SCORE_GRID,
    slides=None if as_paper else [s.patient for s in samples],
  )
