"""Annotation files of LabelMe: JSON with shapes, one file an image.

They count from the corner of the top-left pixel. Called by `annotations.documents`.
"""

import pathlib
from typing import Any

import numpy as np

from micronet_jax.datasets.annotations.mark import Reading, Subject
from micronet_jax.datasets.annotations.outlines import Ring
from micronet_jax.datasets.annotations.shapes import Shape, find_nuclei
from micronet_jax.errors import InputError

_POINTS = ("point", "points")
_LINES = ("line", "linestrip")
_BOXES = ("rectangle", "mask")  # of a mask, the points are those of its box


def is_labelme(document: Any) -> bool:
  """Whether a document has the form of LabelMe."""
  return isinstance(document, dict) and isinstance(document.get("shapes"), list)


def read_labelme(path: pathlib.Path, document: Any, subject: Subject) -> Reading:
  """Reads points, polygons, rectangles, circles, and masks by the centre of their box.

  Args:
    path: the file, for messages.
    document: what it holds.
    subject: the image, whose size must be that of the file, if both are known.

  Returns:
    What was found; lines are left out and counted.

  Raises:
    InputError: the file is about an image of another size, or has a shape that
      cannot be read.
  """
  told = (document.get("imageHeight"), document.get("imageWidth"))
  if subject.shape and None not in told and told != tuple(subject.shape):
    raise InputError(
      f"{path} is about an image of {told[1]} x {told[0]} pixels, but its image is"
      f" {subject.shape[1]} x {subject.shape[0]}."
    )
  reading = Reading()
  shapes: list[Shape] = []
  for number, each in enumerate(document["shapes"], start=1):
    place = f"shape {number}"
    try:
      kind = each.get("shape_type") or "polygon"
      if kind in _LINES:
        reading.left_out["lines"] += 1
        continue
      points = np.array(each["points"], np.float64).reshape(-1, 2)
      common = Shape(place, name=str(each.get("label") or ""))
      shapes += _shapes_of(kind, points, common)
    except (
      *(AttributeError, IndexError, KeyError, TypeError, ValueError),
      OverflowError,
    ) as error:
      raise InputError(
        f"{path}, {place}: a shape_type (point, points, polygon, rectangle, circle,"
        " mask, line or linestrip) and its points, pairs of numbers, are needed"
        f" ({type(error).__name__}: {error})."
      ) from error
  return find_nuclei(path, shapes, reading)


def _shapes_of(kind: str, points: Ring, common: Shape) -> list[Shape]:
  if kind in _POINTS:
    return [common._replace(point=(x, y)) for x, y in points.tolist()]
  if kind == "circle":  # its centre, and a point on it
    (x, y), rim = points[0], points[1]
    radius = float(np.hypot(*(rim - points[0])))
    turns = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    ring = np.stack([x + radius * np.cos(turns), y + radius * np.sin(turns)], 1)
  elif kind in _BOXES:
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    ring = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
  elif kind == "polygon" and len(points):
    ring = points
  else:
    raise ValueError(kind)
  return [common._replace(polygons=[[ring]])]
