"""Detected against annotated centres, one to one, in nearly linear time.

Pairs within reach are few, and in tissue they hang together in small components: a
nucleus, what was detected there, perhaps a neighbour. Components are assigned
separately, many in one call of the solver, whose time grows with the square of what it
is given. Only where the reach is about as long as the distance between neighbours do
components grow together, and the time with them. Called by `evaluation.scoring` and
`metrics`.
"""

import dataclasses
import numbers
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csgraph, csr_matrix
from scipy.spatial import cKDTree

from micronet_jax.datasets.sample import Sample, as_points
from micronet_jax.detection.points import Detections
from micronet_jax.errors import InputError

GROUP = 500
"""Pairs within reach that one call of the solver is given, or one component."""


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
  detected: ArrayLike | Detections,
  annotated: ArrayLike | Sample,
  *,
  radius: float = 16.0,
) -> Match:
  """Assigns detections to annotations, one to one, with the Hungarian method.

  Among all one-to-one assignments of pairs no farther apart than `radius`, one with
  the most pairs, and among those one with the least total distance (paper,
  "Evaluation metrics").

  Args:
    detected: `[N, 2]` (y, x) in pixels, N >= 0, a table with columns named x and y, or
      what `Detector.detect` found.
    annotated: `[M, 2]`, likewise, or the sample that has them.
    radius: in the pixels that the centres are in, >= 0; a distance of exactly `radius`
      still matches. Of a `Sample` or `Detections` these are the image's own, whatever
      its `mpp`: of one of `mpp` microns a pixel, 12 pixels at 0.25 microns are a radius
      of `12 * 0.25 / mpp`.

  Returns:
    The assignment.

  Raises:
    InputError: if centres are not `[N, 2]` or hold NaN or infinity, if a table has no
      columns x and y, or if `radius` is no number, negative or NaN.
  """
  found, truth = _points_of(detected, "detected"), _points_of(annotated, "annotated")
  if not isinstance(radius, numbers.Real) or not 0 <= radius < np.inf:
    raise InputError(f"radius: expected a number of pixels >= 0, got {radius!r}")
  n, m = len(found), len(truth)
  pairs = _assign(found, truth, float(radius))
  offsets = found[pairs[:, 0]] - truth[pairs[:, 1]]
  tp = len(pairs)
  return Match(tp, n - tp, m - tp, np.hypot(*offsets.T), pairs)


def _points_of(given: ArrayLike | Detections | Sample, name: str) -> np.ndarray:
  """The centres, as `as_points` gives them."""
  points = given.centers if isinstance(given, Detections | Sample) else given
  return as_points(points, name)


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


def _assign(one: np.ndarray, other: np.ndarray, radius: float) -> np.ndarray:
  """Pairs up points: as many pairs as possible, then the least total distance.

  Args:
    one: float64 `[N, 2]`, N >= 0.
    other: `[M, 2]`.
    radius: of pairs no farther apart; finite, >= 0.

  Returns:
    int64 `[pairs, 2]`, (index in `one`, index in `other`), by rising first index.
  """
  row, column, distance = _neighbours(one, other, radius)
  found = [np.zeros((0, 2), np.int64)]
  for each in _groups(row, len(one) + column):
    found.append(_solve(row[each], column[each], distance[each], radius))
  pairs = np.concatenate(found)
  return pairs[np.argsort(pairs[:, 0])]


def _neighbours(
  one: np.ndarray, other: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Lists all pairs within `radius`: (index, index, distance), each `[E]`."""
  if len(one) == 0 or len(other) == 0:
    none = np.zeros(0, np.int64)
    return none, none, np.zeros(0)
  reach = radius * (1 + 1e-9) + 1e-9  # the tree's own rounding must lose no pair
  near = cKDTree(one).sparse_distance_matrix(
    cKDTree(other), reach, output_type="ndarray"
  )
  row, column = near["i"], near["j"]
  distance = np.hypot(*(one[row] - other[column]).T)
  kept = distance <= radius
  return row[kept], column[kept], distance[kept]


def _groups(start: np.ndarray, end: np.ndarray) -> list[np.ndarray]:
  """Shares out edges, by index, in groups of whole components."""
  if len(start) == 0:
    return []
  ones, nodes = np.ones(len(start), np.int8), end.max() + 1
  graph = csr_matrix((ones, (start, end)), shape=(nodes, nodes))
  component = csgraph.connected_components(graph, directed=False)[1][start]
  order = np.argsort(component, kind="stable")
  component = component[order]
  first = np.searchsorted(component, component)  # edge of each edge's component
  cuts = np.flatnonzero(np.diff(first // GROUP)) + 1
  return np.split(order, cuts)


def _solve(
  row: np.ndarray, column: np.ndarray, distance: np.ndarray, radius: float
) -> np.ndarray:
  """Chooses among edges, as `_assign` says.

  A sparse minimum-weight bipartite matching in which each row may also stay alone, at a
  cost above all distances together.
  """
  rows, i = np.unique(row, return_inverse=True)
  columns, j = np.unique(column, return_inverse=True)
  n, m = len(rows), len(columns)
  # A stored zero would read as "no edge", hence + 1 on every cost.
  alone = 2 + min(n, m) * radius
  cost = np.concatenate([distance + 1, np.full(n, alone + 1)])
  i, j = np.r_[i, :n], np.r_[j, m : m + n]
  costs = csr_matrix((cost, (i, j)), shape=(n, m + n))
  i, j = csgraph.min_weight_full_bipartite_matching(costs)
  paired = j < m
  return np.stack([rows[i[paired]], columns[j[paired]]], 1).astype(np.int64)
