"""Annotation files in XML: which program's they are is told by the outermost element.

Called by `annotations.read_centers`.
"""

import pathlib
import xml.etree.ElementTree as ET

from micronet_jax.datasets.annotations import aperio_xml, asap_xml, cell_counter_xml
from micronet_jax.datasets.annotations.mark import Reading, Subject
from micronet_jax.errors import InputError

_READERS = {
  "Annotations": aperio_xml.read_aperio,
  "ASAP_Annotations": asap_xml.read_asap,
  "CellCounter_Marker_File": cell_counter_xml.read_cell_counter,
}


def read_markup(path: pathlib.Path, _: Subject) -> Reading:
  """Reads the XML of Aperio ImageScope, ASAP, or Fiji's Cell Counter.

  Args:
    path: an XML file.
    _: the image, of which these files need nothing.

  Returns:
    What was found.

  Raises:
    InputError: the file cannot be read, or is none of these.
  """
  try:
    root = ET.fromstring(path.read_bytes())
  except (OSError, ET.ParseError, LookupError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise InputError(f"{path} cannot be read as XML ({reason}).") from error
  if root.tag not in _READERS:
    raise InputError(
      f"{path} is no file of Aperio, ASAP or Cell Counter: its outermost element must"
      f" be {', '.join(_READERS)}, but it is {root.tag[:40]}."
    )
  return _READERS[root.tag](path, root)
