"""The centre of an outline, the centroid of its area; and whether it is one thing.

Called by `annotations.shapes`, which has the outlines of all formats.
"""

from collections.abc import Sequence

import numpy as np

Ring = np.ndarray  # float64 [N, 2] of (x, y); the last vertex may repeat the first

CORNER = 0.5
"""The centre of the top-left pixel, in files that count from that pixel's corner."""

_MIN_AREA = 1.0  # square pixels; below, a slip of the mouse

LARGE_PART = 0.25
"""Of the largest part of a thing; a smaller one is a speck."""


@np.errstate(all="ignore")  # what is not finite is found by who checks the centres
def area(polygons: Sequence[list[Ring]]) -> float | None:
  """The area of a shape in square pixels, holes taken off.

  Args:
    polygons: the shape's parts; of each, the outer ring and then its holes.

  Returns:
    None if it is less than a square pixel, and for a shape without parts; NaN or
    infinity if the vertices are not finite.
  """
  found = _whole_area_and_moment(polygons)[0]
  return None if found < _MIN_AREA else found


@np.errstate(all="ignore")
def centroid(polygons: Sequence[list[Ring]]) -> tuple[float, float] | None:
  """Finds the centroid of the area of a shape.

  Args:
    polygons: as in `area`.

  Returns:
    (x, y); where an outline crosses itself so that its area's centroid falls
    outside the box around it, the mean of the vertices. None if the area is less
    than a square pixel.
  """
  whole, moment = _whole_area_and_moment(polygons)
  if whole < _MIN_AREA:
    return None
  outer = np.concatenate([rings[0] for rings in polygons])
  center = moment / whole
  if not ((center >= outer.min(0)) & (center <= outer.max(0))).all():
    center = outer.mean(0)
  return float(center[0]), float(center[1])


@np.errstate(all="ignore")
def far_parts(polygons: Sequence[list[Ring]]) -> int:
  """How many places a shape is in, if parts of it lie far apart; else 0.

  Far is a part that is farther from the largest one than that is long, and no speck:
  at least a quarter of its area. The same is asked of label maps.
  """
  if len(polygons) < 2:
    return 0
  areas = np.array([_area_and_moment(rings[0])[0] for rings in polygons])
  low, high = (
    np.array([getattr(rings[0], end)(0) for rings in polygons])
    for end in ("min", "max")
  )
  far = far_from_largest(low, high, areas)
  count = int((far & (areas >= LARGE_PART * areas.max())).sum())
  return count + 1 if count else 0


def far_from_largest(
  low: np.ndarray, high: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
  """Which parts of a thing are farther from its largest than that is long.

  Args:
    low: `[N, 2]`, the least coordinates of each part.
    high: `[N, 2]`, the largest.
    sizes: `[N]`, their areas.

  Returns:
    bool `[N]`.
  """
  largest = int(np.argmax(sizes))
  gaps = np.maximum(np.maximum(low - high[largest], low[largest] - high), 0)
  return np.hypot(*gaps.T) > np.hypot(*(high[largest] - low[largest]))


def _whole_area_and_moment(
  polygons: Sequence[list[Ring]],
) -> tuple[float, np.ndarray]:
  whole, moment = 0.0, np.zeros(2)
  for rings in polygons:
    for index, ring in enumerate(rings):
      ring_area, ring_moment = _area_and_moment(ring)
      sign = -1 if index else 1
      whole += sign * ring_area
      moment += sign * ring_moment
  return whole, moment


def _area_and_moment(ring: Ring) -> tuple[float, np.ndarray]:
  """Area and first moment by the shoelace formula, for either direction."""
  origin = ring[0]  # near the outline, so that nothing cancels far from (0, 0)
  here = ring - origin
  there = np.roll(here, -1, axis=0)
  cross = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
  area = cross.sum() / 2
  moment = ((here + there) * cross[:, None]).sum(0) / 6 + area * origin
  return (-area, -moment) if area < 0 else (area, moment)
