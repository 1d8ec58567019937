"""Detected against annotated centres, one to one."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from micronet_jax.datasets.sample import as_points
from micronet_jax.errors import InputError
from micronet_jax.evaluation.assignment import assign


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
  check_same_length(detected=detected, annotated=annotated)
  return [
    match(found, truth, radius=radius)
    for found, truth in zip(detected, annotated, strict=True)
  ]


def check_same_length(**lists: Sequence) -> None:
  """Raises InputError unless all lists have one entry per image."""
  lengths = {name: len(entries) for name, entries in lists.items()}
  if len(set(lengths.values())) > 1:
    raise InputError(f"expected one entry per image in each list, got {lengths}")
