"""How large a pixel is, in microns, as files say it: often wrongly, or of a print.

Resolution tags (dots per inch or centimetre) are believed only where they give a size
that a microscope can have: 72 or 300 dpi say how large a print is meant to be.
Called by the readers.
"""

import pathlib
import warnings
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import tifffile

MPP_RANGE = (0.01, 5.0)


_PLAUSIBLE = (0.05, 5.0)  # microns per pixel


_INCH = 25400.0


_MICRONS = {
  "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": _INCH, "in": _INCH,
  **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer"), 1.0),
}  # fmt: skip


_TAG_UNITS = {2: _INCH, 3: 1e4}  # of the TIFF tag ResolutionUnit


def mean_of(sizes: Iterable[Any]) -> float | None:
  """The mean of numbers or texts, or None unless all are finite and above zero."""
  try:
    values = [float(size) for size in sizes]
  except (TypeError, ValueError, ZeroDivisionError):
    return None
  if not values or not all(np.isfinite(value) and value > 0 for value in values):
    return None
  return float(np.mean(values))


def of_pillow(image: PIL.Image.Image) -> float | None:
  """From the density (pHYs, JFIF, …) of an image, if it is plausible."""
  dpi = image.info.get("dpi")
  return _plausible(_per(_INCH, *dpi)) if isinstance(dpi, tuple) else None


def of_picture(path: pathlib.Path) -> float | None:
  """From the density of a PNG, JPEG or BMP file, if it is plausible."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # odd metadata, many pixels: both are welcome
    try:
      with PIL.Image.open(path, formats=("PNG", "JPEG", "BMP")) as image:
        return of_pillow(image)
    except Exception:  # the pixels were read, so only what describes them is odd
      return None


def of_tiff(tiff: tifffile.TiffFile) -> float | None:
  """From OME metadata, ImageJ's, or the resolution tags, the first that there is."""
  try:
    if tiff.ome_metadata:
      return _of_ome(tiff.ome_metadata)
    tags = tiff.series[0].keyframe.tags
    density = [tags.valueof(name) for name in ("XResolution", "YResolution")]
    per_unit = [_ratio(value) for value in density]
    unit = str((tiff.imagej_metadata or {}).get("unit", ""))
    unit = unit.replace("\\u00B5", "µ")
    if unit in _MICRONS:
      return _per(_MICRONS[unit], *per_unit)
    tag_unit = tags.valueof("ResolutionUnit", 2)
    return _plausible(_per(_TAG_UNITS[int(tag_unit)], *per_unit))
  except Exception:  # what describes the pixels is odd: nothing is known of their size
    return None


def _of_ome(text: str) -> float | None:
  """Of the first image of an OME document: PhysicalSizeX and Y with their units."""
  for element in ElementTree.fromstring(text).iter():
    if element.tag.rpartition("}")[2] == "Pixels":
      return mean_of(
        float(element.get(f"PhysicalSize{axis}", "nan"))
        * _MICRONS[element.get(f"PhysicalSize{axis}Unit", "µm")]
        for axis in "XY"
      )
  return None


def _ratio(value: Any) -> float:
  return value[0] / value[1] if isinstance(value, tuple) else float(value)


def _per(unit: float, *densities: Any) -> float | None:
  """Microns per pixel, of pixels per `unit` microns."""
  if mean_of(densities) is None:
    return None
  return mean_of(unit / float(density) for density in densities)


def _plausible(mpp: float | None) -> float | None:
  return mpp if mpp is not None and _PLAUSIBLE[0] <= mpp <= _PLAUSIBLE[1] else None
