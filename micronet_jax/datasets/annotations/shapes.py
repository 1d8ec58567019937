"""Which of the objects that somebody drew are nuclei: one set of rules for all formats.

Called by the readers of formats that hold outlines or drawn points.
"""

import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from micronet_jax.datasets.annotations.containers import Drawn, which_hold_others
from micronet_jax.datasets.annotations.mark import (
  OTHER_PLANE,
  Mark,
  Reading,
  commonest_plane,
)
from micronet_jax.datasets.annotations.outlines import (
  CORNER,
  Ring,
  area,
  centroid,
  far_parts,
)
from micronet_jax.errors import InputError, or_left_out

_NUCLEUS_NAMES = re.compile(r"nucle(us|i)|cells?")
_REGION_NAMES = re.compile(
  r"(region|regions? of interest|roi|annotation area|area|field of view|fov|tissue"
  r"|artifact|artefact|background|metastas[ie]s|exclusion|excluded?)s?[\s_#-]*\d*"
)


class Shape(NamedTuple):
  """One object of a file.

  Attributes:
    place: where it stands in the file, for messages.
    point: (x, y) in the file's frame, or None for an outline.
    polygons: of an outline, its parts, each the outer ring and then its holes.
    nucleus: the file itself says that it is a nucleus or cell.
    name: of its class or layer, empty if it has none.
    plane: (z, t).
    corner: where the file's frame has the centre of the top-left pixel.
  """

  place: str
  point: tuple[float, float] | None = None
  polygons: Sequence[list[Ring]] = ()
  nucleus: bool = False
  name: str = ""
  plane: tuple[int, int] = (0, 0)
  corner: float = CORNER


def is_ignored(name: str) -> bool:
  """Whether QuPath ignores a class, as it does those whose name ends in a star."""
  return name.strip().endswith("*")


def find_nuclei(
  path: pathlib.Path, shapes: Sequence[Shape], reading: Reading
) -> Reading:
  """Finds the nuclei among the objects of a file.

  No nuclei are: objects of a class that QuPath ignores (its name ends in a star);
  objects on other planes than the one with the most; outlines whose class or layer is
  named as a region; outlines beside objects that the file itself calls nuclei, unless
  their class is named so; an outline that holds a point, or wholly holds other outlines
  much smaller than itself (`which_hold_others`); and outlines below a square pixel.

  Args:
    path: the file, for messages.
    shapes: the objects, in the order of the file.
    reading: what the reader knows already; gets the rest.

  Returns:
    `reading`.

  Raises:
    InputError: an outline that is left has parts far apart (`outlines.far_parts`).
  """
  left = reading.left_out
  kept = [shape for shape in shapes if not is_ignored(shape.name)]
  _count(left, "of a class whose name ends in *", len(shapes) - len(kept))
  if kept:
    plane, remark = commonest_plane([shape.plane for shape in kept])
    reading.remarks += [remark] if remark else []
    here = [shape for shape in kept if shape.plane == plane]
    _count(left, OTHER_PLANE, len(kept) - len(here))
    kept = here
  told = any(shape.nucleus for shape in kept)
  drawn = []
  for shape in kept:
    region = not shape.nucleus and shape.point is None
    if region and _REGION_NAMES.fullmatch(shape.name.strip().lower()):
      left[f"of the class or layer '{shape.name.strip()}', a region"] += 1
    elif region and told and not _NUCLEUS_NAMES.fullmatch(shape.name.strip().lower()):
      left["outlines beside detected nuclei or cells, as regions"] += 1
    elif shape.point is None and area(shape.polygons) is None:
      left["outlines of less than one square pixel"] += 1
    else:
      drawn.append(shape)
  centers = [shape.point or centroid(shape.polygons) for shape in drawn]
  holding = which_hold_others(
    [
      Drawn(np.asarray(center, np.float64), shape.polygons, fixed=shape.nucleus)
      for shape, center in zip(drawn, centers, strict=True)
    ]
  )
  for shape, center, holds in zip(drawn, centers, holding, strict=True):
    if holds:
      left["outlines that hold other objects, as regions"] += 1
    elif parts := far_parts(shape.polygons):
      with or_left_out():
        raise _several(path, shape.place, parts)
    elif center is not None:
      x, y = center[0] - shape.corner, center[1] - shape.corner
      reading.marks.append(Mark(y=y, x=x, place=shape.place))
  return reading


def _several(path: pathlib.Path, place: str, parts: int) -> InputError:
  return InputError(
    f"{path}, {place}: one object has {parts} outlines far apart, so it says no nucleus"
    " from another; every nucleus needs an object of its own (in QuPath: Objects,"
    " Annotations, Split annotations)."
  )


def _count(left_out: "dict[str, int]", why: str, count: int) -> None:
  if count:
    left_out[why] = left_out.get(why, 0) + count
