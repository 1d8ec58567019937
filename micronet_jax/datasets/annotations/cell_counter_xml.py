"""Annotation files of Fiji's Cell Counter: XML with markers, by type.

Markers are indices of pixels, which have (0, 0) at the centre of the top-left one.
Called by `annotations.markup`.
"""

import pathlib
import xml.etree.ElementTree as ET

from micronet_jax.datasets.annotations.mark import Reading
from micronet_jax.datasets.annotations.shapes import Shape, find_nuclei
from micronet_jax.errors import InputError

_FIELDS = ("MarkerX", "MarkerY", "MarkerZ")


def read_cell_counter(path: pathlib.Path, root: ET.Element) -> Reading:
  """Reads the markers of all types; of several slices, those with the most.

  Args:
    path: the file, for messages.
    root: of CellCounter_Marker_File/Marker_Data/Marker_Type/Marker.

  Returns:
    What was found.

  Raises:
    InputError: a marker without numbers.
  """
  shapes = []
  for number, marker in enumerate(root.iter("Marker"), start=1):
    place = f"marker {number}"
    try:
      x, y, z = (float(marker.findtext(field, "")) for field in _FIELDS)
      plane = (int(z), 0)
    except (ValueError, OverflowError) as error:
      raise InputError(
        f"{path}, {place}: numbers {', '.join(_FIELDS)} are needed ({error})."
      ) from error
    shapes.append(Shape(place, point=(x, y), plane=plane, corner=0.0))
  return find_nuclei(path, shapes, Reading())
