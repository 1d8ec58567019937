"""The centre of an outline: the centroid of its area.

Called by the readers of formats that hold outlines, `geojson` and `aperio_xml`.
"""

import numpy as np

Ring = np.ndarray  # float64 [N, 2] of (x, y); the last vertex may repeat the first

CORNER = 0.5
"""The centre of the top-left pixel, in files that count from that pixel's corner."""

_MIN_AREA = 1.0  # square pixels; below, a slip of the mouse


@np.errstate(all="ignore")  # what is not finite is found by who checks the centres
def centroid(polygons: list[list[Ring]]) -> tuple[float, float] | None:
  """Finds the centroid of the area of a shape.

  Args:
    polygons: the shape's parts; of each, the outer ring and then its holes.

  Returns:
    (x, y); where an outline crosses itself so that its area's centroid falls
    outside the box around it, the mean of the vertices. None if the area is less
    than a square pixel.
  """
  area, moment = 0.0, np.zeros(2)
  for rings in polygons:
    for index, ring in enumerate(rings):
      ring_area, ring_moment = _area_and_moment(ring)
      sign = -1 if index else 1
      area += sign * ring_area
      moment += sign * ring_moment
  if area < _MIN_AREA:
    return None
  outer = np.concatenate([rings[0] for rings in polygons])
  center = moment / area
  if not ((center >= outer.min(0)) & (center <= outer.max(0))).all():
    center = outer.mean(0)
  return float(center[0]), float(center[1])


def _area_and_moment(ring: Ring) -> tuple[float, np.ndarray]:
  """Area and first moment by the shoelace formula, for either direction."""
  origin = ring[0]  # near the outline, so that nothing cancels far from (0, 0)
  here = ring - origin
  there = np.roll(here, -1, axis=0)
  cross = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
  area = cross.sum() / 2
  moment = ((here + there) * cross[:, None]).sum(0) / 6 + area * origin
  return (-area, -moment) if area < 0 else (area, moment)
