"""How far each nucleus is from the nearest other, in bounded memory.

Called by `predict.page`.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.spatial import cKDTree


def nearest_distances(
  parts: Iterable[np.ndarray], *, reach: float
) -> Iterator[np.ndarray]:
  """Measures from each centre to the nearest other one.

  Only a band of the image is held: what lies within `reach` of the centres that wait.

  Args:
    parts: float64 `[N, 2]` (y, x) again and again, y never falling, over all parts.
    reach: > 0, how far is looked.

  Yields:
    float32 `[N]` in the order of the centres, though not in the same parts; infinite
    where no other centre is within reach.
  """
  held, measured = np.zeros((0, 2)), 0
  for part in parts:
    held = np.concatenate([held, part])
    if len(held):
      # Whatever comes later lies below; so of these no neighbour is missing.
      end = int(np.searchsorted(held[:, 0], held[-1, 0] - reach))
      if end > measured:
        yield _nearest(held, slice(measured, end), reach)
        measured = end
        first = int(np.searchsorted(held[:, 0], held[end, 0] - reach))
        held, measured = held[first:], measured - first
  if len(held) > measured:
    yield _nearest(held, slice(measured, None), reach)


def _nearest(held: np.ndarray, some: slice, reach: float) -> np.ndarray:
  """Of some of the centres, among all that are held."""
  distances, _ = cKDTree(held).query(held[some], k=2, distance_upper_bound=reach)
  return distances[:, 1].astype(np.float32)
