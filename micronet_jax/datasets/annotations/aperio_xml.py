"""Annotation files of Aperio ImageScope: XML with outlines.

They count from the corner of the top-left pixel, so that pixel's centre is (0.5, 0.5)
in the file and (0, 0) here. Called by `annotations.read_centers`.
"""

import pathlib
import xml.etree.ElementTree as ET

import numpy as np

from micronet_jax.datasets.annotations.mark import Mark
from micronet_jax.datasets.annotations.outlines import CORNER, Ring, centroid
from micronet_jax.errors import InputError

_ELLIPSE = "2"  # Region's Type; stored as two corners of its box


def read_aperio(path: pathlib.Path) -> list[Mark]:
  """Reads the regions of an Aperio ImageScope file; negative ones are no nuclei.

  Args:
    path: an XML file of Annotations/Annotation/Regions/Region/Vertices/Vertex.

  Returns:
    One mark a region that has an area.

  Raises:
    InputError: no such file, or a vertex without numbers X and Y.
  """
  try:
    root = ET.fromstring(path.read_bytes())
  except (OSError, ET.ParseError) as error:
    reason = getattr(error, "strerror", None) or error
    raise InputError(f"{path} cannot be read as XML ({reason}).") from error
  if root.tag != "Annotations":
    raise InputError(
      f"{path} is no Aperio file: its outermost element must be Annotations, but it"
      f" is {root.tag}."
    )
  marks = []
  for number, region in enumerate(root.iter("Region"), start=1):
    place = f"region {number} (Id {region.get('Id')})"
    ring = _vertices(path, place, region)
    if not len(ring) or region.get("NegativeROA") == "1":
      continue
    if region.get("Type") == _ELLIPSE and len(ring) == 2:
      center: tuple[float, float] | None = tuple(ring.mean(0).tolist())
    else:
      center = centroid([[ring]])
    if center is not None:
      marks.append(Mark(y=center[1] - CORNER, x=center[0] - CORNER, place=place))
  return marks


def _vertices(path: pathlib.Path, place: str, region: ET.Element) -> Ring:
  vertices = list(region.iter("Vertex"))
  try:
    points = [(float(v.attrib["X"]), float(v.attrib["Y"])) for v in vertices]
  except (KeyError, ValueError) as error:
    raise InputError(
      f"{path}, {place}: every Vertex needs numbers X and Y ({error})."
    ) from error
  return np.array(points, np.float64).reshape(-1, 2)
