"""Finds outlines that other objects lie in: frames, which no nucleus is.

Called by `annotations.shapes`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely

from micronet_jax.datasets.annotations.outlines import Ring, area

_SMALLER = 4  # times smaller than what holds them are two outlines in a region
_MUCH_SMALLER = 8  # times smaller is a single one
_BLOCK = 1024  # points that are looked at before the rest is


class Drawn(NamedTuple):
  """An object on the way to `which_hold_others`.

  Attributes:
    center: float64 `[2]`, (x, y).
    polygons: of an outline, its parts, each the outer ring and then its holes; of a
      point, none.
    fixed: it is a nucleus whatever it holds.
  """

  center: np.ndarray
  polygons: Sequence[list[Ring]]
  fixed: bool


def which_hold_others(objects: Sequence[Drawn]) -> list[bool]:
  """Tells regions from nuclei by what lies in them.

  An outline is a region if it holds a point; or if it wholly holds two outlines of
  less than a quarter of its area each, or one of less than an eighth. Nuclei that
  overlap, or were outlined twice, are no regions of each other.

  Args:
    objects: points, and outlines of at least one square pixel.

  Returns:
    For each object whether it is a region.
  """
  found = [False] * len(objects)
  if not any(each.polygons and not each.fixed for each in objects):
    return found
  centers = np.stack([each.center for each in objects])
  sizes = np.array([area(each.polygons) or 0.0 for each in objects])
  finite = np.isfinite(centers).all(1) & np.isfinite(sizes)
  usable = np.flatnonzero(finite)  # others are refused by who checks the centres
  tree = shapely.STRtree(shapely.points(centers[usable]))
  for number, each in enumerate(objects):
    if each.fixed or not each.polygons or not finite[number]:
      continue
    for rings in each.polygons:
      near = usable[tree.query(shapely.box(*rings[0].min(0), *rings[0].max(0)))]
      near = near[sizes[near] * _SMALLER < sizes[number]]
      if len(near) and _holds(
        rings, np.sort(near), objects, centers, sizes, sizes[number]
      ):
        found[number] = True
        break
  return found


def _holds(
  rings: list[Ring],
  near: np.ndarray,
  objects: Sequence[Drawn],
  centers: np.ndarray,
  sizes: np.ndarray,
  size: float,
) -> bool:
  """Whether enough of the objects `near`, by number, lie in one part of an outline."""
  holes = [ring for ring in rings[1:] if len(ring) > 2]
  if len(rings[0]) < 3:
    return False
  polygon = shapely.Polygon(rings[0], holes)
  shapely.prepare(polygon)
  points = near[sizes[near] == 0]
  for some in (points[:_BLOCK], points[_BLOCK:]):
    if len(some) and shapely.contains_xy(polygon, centers[some]).any():
      return True
  held = 0
  for number in near[sizes[near] > 0]:
    vertices = np.concatenate([part[0] for part in objects[number].polygons])
    if shapely.contains_xy(polygon, vertices).all():
      held += 1
      if held == 2 or sizes[number] * _MUCH_SMALLER < size:
        return True
  return False
