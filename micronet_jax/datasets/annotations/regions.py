"""Regions: which parts of an image are annotated completely, in files of their own.

An image with regions trains, validates and is scored on these parts alone
(`datasets.entries`); what lies beyond them is neither nucleus nor background. Called
there, and by whoever lets people mark them.
"""

import os
import pathlib
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from micronet_jax.datasets.annotations import documents, tables
from micronet_jax.datasets.annotations.geojson import read_shapes
from micronet_jax.datasets.annotations.mark import Reading, Subject, log
from micronet_jax.datasets.annotations.outlines import area
from micronet_jax.datasets.annotations.shapes import Shape, is_ignored
from micronet_jax.datasets.annotations.whose import lines_of_image
from micronet_jax.errors import InputError
from micronet_jax.files import replacing

REGION_ENDINGS = (".csv", ".geojson")

_COLUMNS = ("x", "y", "width", "height")
_DOCUMENTS = (".geojson", ".json", ".geojson.gz", ".json.gz")
_CLASS = "region"  # and whatever follows, as in QuPath's own `Region*`
_FILLED = 0.999  # of the box around it, by a rectangle


class _Rectangle(NamedTuple):
  """What a file holds, before it is checked; (0, 0) is the first pixel's corner."""

  place: str
  x: float
  y: float
  width: float
  height: float


def read_regions(
  path: str | os.PathLike[str],
  *,
  shape: tuple[int, int],
  image: pathlib.Path | None = None,
) -> np.ndarray:
  """Reads the regions of one image from a file in `regions/`.

  Their sides are moved to the nearest border between pixels; what reaches beyond the
  image is cut off, and said.

  Args:
    path: a table with the header x,y,width,height in the image's own pixels, (x, y)
      being the first pixel's column and row, of which those of the image count if a
      column names images (`whose`); or QuPath's GeoJSON, in which every upright
      rectangle is a region, but for those of a class that QuPath ignores.
    shape: the image's (height, width).
    image: the image's file, whose frame in QuPath may begin elsewhere.

  Returns:
    int64 `[R, 4]`, (x, y, width, height): columns x to x + width - 1 and rows y to
    y + height - 1, which lie on the image; in the order of the file. R = 0 if nothing
    of the image is annotated.

  Raises:
    InputError: the file cannot be read, or a region is no rectangle, lies beyond the
      image, or overlaps another.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() == ".csv":
    return _checked(path, _from_table(path, image), shape)
  reading = Reading()
  found = []
  for drawn in read_shapes(path, documents.load_document(path), reading):
    if drawn.nucleus or not drawn.polygons:
      reading.left_out["points, detections and cells"] += 1
    elif is_ignored(drawn.name) and not _is_region(drawn):
      reading.left_out["of a class whose name ends in *"] += 1
    elif (rectangle := _rectangle(drawn)) is None:
      raise InputError(
        f"{path}, {drawn.place}: a region must be an upright rectangle, but this"
        " outline is none."
      )
    else:
      found.append(rectangle)
  if reading.left_out:
    what = ", ".join(f"{count} {why}" for why, count in reading.left_out.items())
    log.warning("%s: regions read: %d; left out: %s", path, len(found), what)
  return _checked(path, _moved(found, image), shape)


def read_marked_regions(
  path: pathlib.Path, *, shape: tuple[int, int], image: pathlib.Path | None = None
) -> np.ndarray | None:
  """Reads the regions that stand among the annotations of an image.

  They are the upright rectangles of QuPath's GeoJSON whose class begins with Region, in
  upper or lower case.

  Args:
    path: an annotation file, of any format.
    shape: as in `read_regions`.
    image: as there.

  Returns:
    As `read_regions`; None if there are no such rectangles, so that nothing is said of
    what is annotated.

  Raises:
    InputError: as `read_regions`.
  """
  if not path.name.lower().endswith(_DOCUMENTS):
    return None
  document = documents.load_document(path)
  if not documents.is_geojson(document):
    return None
  drawn = [each for each in read_shapes(path, document, Reading()) if _is_region(each)]
  found = [each for each in map(_rectangle, drawn) if each is not None]
  if len(found) < len(drawn):
    log.warning(
      "%s: %d outline(s) of the class Region are no upright rectangles, and say nothing"
      " of what is annotated",
      *(path, len(drawn) - len(found)),
    )
  return _checked(path, _moved(found, image), shape) if found else None


def write_regions(path: str | os.PathLike[str], regions: ArrayLike) -> None:
  """Writes the regions of one image as a table, whole or not at all.

  Args:
    path: `regions/NAME.csv`; its folder is made if missing.
    regions: `[R, 4]`, (x, y, width, height) as `read_regions` returns them; fractions
      are moved to borders between pixels. R = 0 says that nothing is annotated.

  Raises:
    InputError: `path` cannot be written.
  """
  corners = np.asarray(regions, np.float64).reshape(-1, 4)
  whole = _on_borders(corners[:, :2], corners[:, :2] + corners[:, 2:])
  lines = [",".join(_COLUMNS), *(",".join(map(str, row)) for row in whole.tolist())]
  with replacing(path) as beside:
    beside.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _from_table(path: pathlib.Path, image: pathlib.Path | None) -> list[_Rectangle]:
  table = tables.read_table(path, _COLUMNS)
  rows, others = lines_of_image(path, table, Subject(image))
  if others:
    table.remarks.append(
      f"regions read: {len(rows)}; left out: {others} of other images"
    )
  if table.remarks:
    log.warning("%s: %s", path, "; ".join(table.remarks))
  return [
    _Rectangle(
      f"line {line}", *(tables.number(path, line, name, row[name]) for name in _COLUMNS)
    )
    for line, row in rows
  ]


def _is_region(drawn: Shape) -> bool:
  """Whether an object is an outline of a class that is named as a region."""
  named = drawn.name.strip().lower().startswith(_CLASS)
  return named and bool(drawn.polygons) and not drawn.nucleus


def _rectangle(drawn: Shape) -> _Rectangle | None:
  """An outline as an upright rectangle; None if it is none."""
  vertices = np.concatenate([rings[0] for rings in drawn.polygons])
  (x, y), (width, height) = vertices.min(0), np.ptp(vertices, axis=0)
  covered = area(drawn.polygons) or 0.0
  if not covered >= _FILLED * width * height > 0:  # so that NaN is none
    return None
  return _Rectangle(drawn.place, float(x), float(y), float(width), float(height))


def _moved(
  rectangles: list[_Rectangle], image: pathlib.Path | None
) -> list[_Rectangle]:
  """The same, from the frame of QuPath to the whole image."""
  dx, dy = Subject(image).origin
  return [each._replace(x=each.x + dx, y=each.y + dy) for each in rectangles]


def _on_borders(low: np.ndarray, high: np.ndarray) -> np.ndarray:
  """(x, y, width, height) of whole pixels, from corners `[R, 2]` (x, y)."""
  first, end = (np.floor(corner + 0.5).astype(np.int64) for corner in (low, high))
  return np.concatenate([first, end - first], axis=1)


def _checked(
  path: pathlib.Path, rectangles: list[_Rectangle], shape: tuple[int, int]
) -> np.ndarray:
  """Regions of whole pixels on the image, none of which overlaps another."""
  height, width = shape
  corners = np.array([each[1:] for each in rectangles], np.float64).reshape(-1, 4)
  low, high = corners[:, :2], corners[:, :2] + corners[:, 2:]
  limits = np.array([width, height])
  cut = ((low < -0.5) | (high > limits + 0.5)).any(axis=1)
  regions = _on_borders(np.clip(low, 0, limits), np.clip(high, 0, limits))
  for each, region in zip(rectangles, regions, strict=True):
    if (region[2:] < 1).any():
      raise InputError(
        f"{path}, {each.place}: the region x={each.x:g}, y={each.y:g},"
        f" width={each.width:g}, height={each.height:g} covers no pixel of the image of"
        f" {width} x {height} pixels."
      )
  _check_apart(path, rectangles, regions)
  if cut.any():
    log.warning(
      "%s: %d region(s) reach beyond the image of %d x %d pixels: what lies there is"
      " cut off",
      *(path, cut.sum(), width, height),
    )
  return regions


def _check_apart(
  path: pathlib.Path, rectangles: list[_Rectangle], regions: np.ndarray
) -> None:
  """Raises InputError if two regions share a pixel, which would count twice."""
  low, high = regions[:, :2], regions[:, :2] + regions[:, 2:]
  for number in range(1, len(regions)):
    shared = (low[:number] < high[number]) & (low[number] < high[:number])
    for other in np.flatnonzero(shared.all(axis=1))[:1]:
      raise InputError(
        f"{path}, {rectangles[number].place}: the region overlaps that of"
        f" {rectangles[other].place}; regions must lie apart, or be one."
      )
