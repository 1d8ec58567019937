"""Annotation files of ImageJ: RoiSet.zip, or a single .roi.

Called by `annotations.read_centers`.
"""

import io
import pathlib
import zipfile
import zlib

import numpy as np
import roifile

from micronet_jax.datasets.annotations.mark import Reading, Subject
from micronet_jax.datasets.annotations.outlines import Ring
from micronet_jax.datasets.annotations.shapes import Shape, find_nuclei
from micronet_jax.errors import InputError

_LARGEST = 1 << 24  # bytes of one region
_MOST = 1_000_000  # regions
_KINDS = roifile.ROI_TYPE
_OUTLINES = (_KINDS.POLYGON, _KINDS.FREEHAND, _KINDS.TRACED, _KINDS.RECT, _KINDS.OVAL)
_LINES = (_KINDS.LINE, _KINDS.FREELINE, _KINDS.POLYLINE, _KINDS.ANGLE)
_NO_NUCLEI = {
  roifile.ROI_SUBTYPE.ARROW: "arrows",
  roifile.ROI_SUBTYPE.TEXT: "texts",
  roifile.ROI_SUBTYPE.IMAGE: "images",
}


def read_rois(path: pathlib.Path, _: Subject) -> Reading:
  """Reads regions of ImageJ's manager: outlines and points.

  Outlines count from the corner of the top-left pixel, points, fractions too, from its
  centre, as ImageJ draws them. Lines, arrows and texts are left out and counted.

  Args:
    path: a ZIP file of .roi files, or one of these.
    _: the image, of which these files need nothing.

  Returns:
    What was found, in the order of the file.

  Raises:
    InputError: the file or a region in it cannot be read.
  """
  reading = Reading()
  shapes: list[Shape] = []
  for name, content in _contents(path):
    place = f"region {name}"
    try:
      roi = roifile.ImagejRoi.frombytes(content)
      if why := _left_out(roi):
        reading.left_out[why] += 1
      else:
        shapes += _shapes_of(place, roi)
    except Exception as error:  # roifile raises anything on broken bytes
      raise InputError(
        f"{path}, {place}: cannot be read as a region of ImageJ"
        f" ({type(error).__name__}: {' '.join(str(error).split())[:80]})."
      ) from error
  return find_nuclei(path, shapes, reading)


def _contents(path: pathlib.Path) -> list[tuple[str, bytes]]:
  """Names and contents of the regions."""
  try:
    content = path.read_bytes()
    if path.suffix.lower() == ".roi":
      return [(path.name, content)]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
      members = [i for i in archive.infolist() if i.filename.lower().endswith(".roi")]
      if not members:
        raise ValueError("it holds no region")
      if len(members) > _MOST or any(i.file_size > _LARGEST for i in members):
        raise ValueError("it holds more, or larger, regions than anybody draws")
      return [(member.filename, archive.read(member)) for member in members]
  except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
    reason = getattr(error, "strerror", None) or error
    raise InputError(
      f"{path} cannot be read as regions of ImageJ ({reason}); a ZIP file of .roi files"
      " is needed."
    ) from error


def _left_out(roi: roifile.ImagejRoi) -> str | None:
  if roi.subtype in _NO_NUCLEI:
    return _NO_NUCLEI[roi.subtype]
  return "lines and angles" if roi.roitype in _LINES else None


def _shapes_of(place: str, roi: roifile.ImagejRoi) -> list[Shape]:
  plane = (max(roi.z_position, roi.position, 0), max(roi.t_position, 0))
  common = Shape(place, plane=plane)
  if roi.roitype == _KINDS.POINT:
    points = np.asarray(roi.coordinates(), np.float64).reshape(-1, 2).tolist()
    return [common._replace(point=(x, y), corner=0.0) for x, y in points]
  if roi.roitype not in _OUTLINES:
    raise ValueError(f"of type {roi.roitype.name}")
  if roi.composite:
    parts = [np.asarray(part, np.float64) for part in roi.coordinates(multi=True)]
    return [common._replace(polygons=[[part] for part in parts if len(part) > 2])]
  if roi.roitype in (_KINDS.RECT, _KINDS.OVAL):
    ring = _box(roi)
  else:
    ring = np.asarray(roi.coordinates(), np.float64).reshape(-1, 2)
  return [common._replace(polygons=[[ring]])] if len(ring) else []


def _box(roi: roifile.ImagejRoi) -> Ring:
  x0, y0, x1, y1 = map(float, (roi.left, roi.top, roi.right, roi.bottom))
  if roi.subpixelrect:
    x0, y0, x1, y1 = roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd
  return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
