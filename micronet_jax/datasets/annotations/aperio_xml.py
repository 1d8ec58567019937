"""Annotation files of Aperio ImageScope: XML with outlines.

They count from the corner of the top-left pixel, so that pixel's centre is (0.5, 0.5)
in the file and (0, 0) here. Called by `annotations.markup`.
"""

import pathlib
import xml.etree.ElementTree as ET

import numpy as np

from micronet_jax.datasets.annotations.mark import Reading
from micronet_jax.datasets.annotations.outlines import Ring
from micronet_jax.datasets.annotations.shapes import Shape, find_nuclei
from micronet_jax.errors import InputError

# Kinds of Region, its attribute Type.
_RECTANGLE, _ELLIPSE = "1", "2"  # may be stored as two corners of their box
_NO_OUTLINES = {"3": "arrows", "4": "rulers"}


def read_aperio(path: pathlib.Path, root: ET.Element) -> Reading:
  """Reads the regions of an Aperio ImageScope file.

  One vertex alone is a point, as the counter tool makes them. Negative regions, arrows
  and rulers are no nuclei, nor is a layer that is named as a region.

  Args:
    path: the file, for messages.
    root: of Annotations/Annotation/Regions/Region/Vertices/Vertex.

  Returns:
    What was found.

  Raises:
    InputError: a vertex without numbers X and Y.
  """
  reading = Reading()
  shapes = []
  layers = {
    id(region): layer for layer in root.iter("Annotation") for region in _regions(layer)
  }
  for number, region in enumerate(root.iter("Region"), start=1):
    place = f"region {number} (Id {region.get('Id')})"
    ring = _vertices(path, place, region)
    kind = region.get("Type")
    layer = layers.get(id(region))
    if region.get("NegativeROA") == "1":
      reading.left_out["negative regions"] += 1
    elif kind in _NO_OUTLINES:
      reading.left_out[_NO_OUTLINES[kind]] += 1
    elif not len(ring):
      reading.left_out["regions without vertices"] += 1
    else:
      name = "" if layer is None else layer.get("Name") or ""
      shapes.append(_shape(Shape(place, name=name), ring, kind))
  return find_nuclei(path, shapes, reading)


def _regions(layer: ET.Element) -> list[ET.Element]:
  return list(layer.iter("Region"))


def _shape(common: Shape, ring: Ring, kind: str | None) -> Shape:
  if len(ring) == 1:
    return common._replace(point=(float(ring[0, 0]), float(ring[0, 1])))
  if kind in (_RECTANGLE, _ELLIPSE) and len(ring) == 2:
    (x0, y0), (x1, y1) = ring
    ring = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
  return common._replace(polygons=[[ring]])


def _vertices(path: pathlib.Path, place: str, region: ET.Element) -> Ring:
  vertices = list(region.iter("Vertex"))
  try:
    points = [(float(v.attrib["X"]), float(v.attrib["Y"])) for v in vertices]
  except (KeyError, ValueError) as error:
    raise InputError(
      f"{path}, {place}: every Vertex needs numbers X and Y ({error})."
    ) from error
  return np.array(points, np.float64).reshape(-1, 2)
