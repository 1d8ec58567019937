"""Annotation files of ASAP: XML with points and outlines in groups.

They count from the corner of the top-left pixel. Called by `annotations.markup`.
"""

import pathlib
import xml.etree.ElementTree as ET

import numpy as np

from micronet_jax.datasets.annotations.mark import Reading
from micronet_jax.datasets.annotations.outlines import Ring
from micronet_jax.datasets.annotations.shapes import Shape, find_nuclei
from micronet_jax.errors import InputError

_POINTS = ("Dot", "PointSet")
_OUTLINES = ("Polygon", "Spline", "Rectangle")


def read_asap(path: pathlib.Path, root: ET.Element) -> Reading:
  """Reads dots, sets of points and outlines; a group is a class.

  Args:
    path: the file, for messages.
    root: of ASAP_Annotations/Annotations/Annotation/Coordinates/Coordinate.

  Returns:
    What was found; measurements are left out and counted.

  Raises:
    InputError: a coordinate without numbers X and Y, or an annotation of another
      type.
  """
  reading = Reading()
  shapes: list[Shape] = []
  for number, each in enumerate(root.iter("Annotation"), start=1):
    place = f"annotation {number} ({each.get('Name')})"
    kind = each.get("Type") or ""
    group = each.get("PartOfGroup") or ""
    common = Shape(place, name="" if group == "None" else group)
    ring = _coordinates(path, place, each)
    if kind == "Measurement":
      reading.left_out["measurements"] += 1
    elif kind in _POINTS:
      shapes += [common._replace(point=(x, y)) for x, y in ring.tolist()]
    elif kind in _OUTLINES and len(ring):
      shapes.append(common._replace(polygons=[[ring]]))
    else:
      raise InputError(
        f"{path}, {place}: Type must be {', '.join((*_POINTS, *_OUTLINES))} or"
        f" Measurement, with coordinates, but it is '{kind[:40]}' with {len(ring)}."
      )
  return find_nuclei(path, shapes, reading)


def _coordinates(path: pathlib.Path, place: str, each: ET.Element) -> Ring:
  """Float64 `[N, 2]` of (x, y), by Order where there is one."""
  try:
    rows = [
      (float(c.get("Order", i)), float(c.attrib["X"]), float(c.attrib["Y"]))
      for i, c in enumerate(each.iter("Coordinate"))
    ]
  except (KeyError, ValueError) as error:
    raise InputError(
      f"{path}, {place}: every Coordinate needs numbers Order, X and Y ({error})."
    ) from error
  rows.sort(key=lambda row: row[0])
  return np.array([row[1:] for row in rows], np.float64).reshape(-1, 2)
