"""How large a pixel is, in microns, as files say it: often wrongly, or of a print.

A size outside `MPP_RANGE` is not believed. Of resolution tags (dots per inch or
centimetre) nothing is said then: 72 or 300 dpi say how large a print is meant to be.
Where only the power of the objective is known, a pixel is 10 microns / power, as
40x means 0.25; that is said. Called by the readers.
"""

import logging
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import tifffile

from micronet_jax.imaging.decoding import opened_picture

MPP_RANGE = (0.01, 5.0)


_AT_POWER_1 = 10.0  # microns per pixel


_SQUARE = 1.05  # how much longer one side of a pixel may be than the other


_INCH = 25400.0


_MICRONS = {
  "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "inch": _INCH, "in": _INCH,
  **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer"), 1.0),
}  # fmt: skip


_APERIO = r"(?:^|\|)\s*{}\s*=\s*([0-9.]+)"


_TAG_UNITS = {2: _INCH, 3: 1e4}  # of the TIFF tag ResolutionUnit


log = logging.getLogger("micronet_jax")


def size_of(text: Any) -> float | None:
  """A number or text as microns, or None unless it is finite and above zero."""
  sizes = _sizes_of([text])
  return None if sizes is None else sizes[0]


def _sizes_of(values: Iterable[Any]) -> list[float] | None:
  """Numbers or texts, or None unless all are finite and above zero."""
  try:
    sizes = [float(value) for value in values]
  except (TypeError, ValueError, ZeroDivisionError):
    return None
  if not sizes or not all(np.isfinite(size) and size > 0 for size in sizes):
    return None
  return sizes


def of_slide(properties: Mapping[str, str], name: str) -> float | None:
  """From what OpenSlide says of a slide: microns per pixel, or the objective."""
  stated = _sizes_of(properties.get(f"openslide.mpp-{axis}") for axis in "xy")
  power = properties.get("openslide.objective-power")
  return _believed(stated, name) or _of_power(power, name)


def of_pillow(image: PIL.Image.Image, name: str) -> float | None:
  """From the density (pHYs, JFIF, …) of an image, if it is plausible."""
  dpi = image.info.get("dpi")
  return _plausible(_per(_INCH, *dpi), name) if isinstance(dpi, tuple) else None


def of_picture(path: pathlib.Path) -> float | None:
  """From the density of a PNG, JPEG, BMP or JPEG 2000 file, if it is plausible."""
  try:
    with opened_picture(path) as image:
      return of_pillow(image, str(path))
  except Exception:  # the pixels were read, so only what describes them is odd
    return None


def of_tiff(
  tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, name: str
) -> float | None:
  """What a TIFF says of one of its images, the first of these that it says.

  The size of a pixel in OME's metadata, Aperio's description or ImageJ's metadata;
  the resolution tags; the power of the objective in OME's or Aperio's.

  Args:
    tiff: the file.
    series: the image.
    name: of the file, for what is said.

  Returns:
    Microns per pixel, or None.
  """
  page = series.keyframe
  try:
    stated = power = None
    if tiff.ome_metadata:
      stated, power = _of_ome(tiff.ome_metadata, series)
    if stated is None:
      stated = _sizes_of(re.findall(_APERIO.format("MPP"), page.description)[:1])
    if stated is None:
      stated = _of_imagej(tiff, page)
    if power is None:
      power = next(iter(re.findall(_APERIO.format("AppMag"), page.description)), None)
    tag_unit = page.tags.valueof("ResolutionUnit", 2)
    of_tags = _per(_TAG_UNITS.get(int(tag_unit), 0.0), *_density(page))
    return (
      _believed(stated, name) or _plausible(of_tags, name) or _of_power(power, name)
    )
  except Exception:  # what describes the pixels is odd: nothing is known of their size
    return None


def _of_ome(
  text: str, series: tifffile.TiffPageSeries
) -> tuple[list[float] | None, str | None]:
  """Of an image of an OME document: its pixels' sizes, and the objective's power."""
  root = ElementTree.fromstring(text)
  images = [(image, _named(image, "Pixels")[0]) for image in _named(root, "Image")
            if _named(image, "Pixels")]  # fmt: skip
  page = series.keyframe
  size = str(page.imagewidth), str(page.imagelength)
  same = [
    (image, pixels)
    for image, pixels in images
    if (pixels.get("SizeX"), pixels.get("SizeY")) == size
  ]
  same = same or images[:1] * (len(images) == 1)
  # Of images of equal size, tifffile gives the name.
  image, pixels = next(
    (pair for pair in same if pair[0].get("Name") == series.name), same[0]
  )
  sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "XY"]
  units = [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "XY"]
  stated = None
  if None not in sizes and all(unit in _MICRONS for unit in units):
    stated = _sizes_of(
      _number(size) * _MICRONS[unit] for size, unit in zip(sizes, units, strict=True)
    )
  return stated, _objective_power(root, image)


def _objective_power(
  root: ElementTree.Element, image: ElementTree.Element
) -> str | None:
  """Of the objective that an OME image was taken with, or of the only one."""
  objectives = _named(root, "Objective")
  used = {settings.get("ID") for settings in _named(image, "ObjectiveSettings")}
  taken = [objective for objective in objectives if objective.get("ID") in used]
  for objective in taken or objectives[:1] * (len(objectives) == 1):
    return objective.get("NominalMagnification")
  return None


def _named(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
  return [item for item in root.iter() if item.tag.rpartition("}")[2] == name]


def _of_imagej(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> list[float] | None:
  unit = str((tiff.imagej_metadata or {}).get("unit", ""))
  unit = unit.replace("\\u00B5", "µ")
  return _per(_MICRONS[unit], *_density(page)) if unit in _MICRONS else None


def _density(page: tifffile.TiffPage) -> list[float]:
  """Pixels per unit across and down; nan where the page does not say."""
  values = (page.tags.valueof(name) for name in ("XResolution", "YResolution"))
  return [_number(value) for value in values]


def _number(value: Any) -> float:
  """Of a number, a text or a fraction; nan of what is none."""
  try:
    return value[0] / value[1] if isinstance(value, tuple) else float(value)
  except (TypeError, ValueError, ZeroDivisionError):
    return float("nan")


def _per(unit: float, *densities: Any) -> list[float] | None:
  """Microns per pixel, of pixels per `unit` microns."""
  per_unit = _sizes_of(densities)
  return None if per_unit is None else _sizes_of(unit / each for each in per_unit)


def _plausible(sizes: list[float] | None, name: str) -> float | None:
  """The mean of the sizes across and down; says so if pixels are no squares."""
  mpp = 0.0 if sizes is None else float(np.mean(sizes))
  if sizes is None or not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
    return None
  if max(sizes) > _SQUARE * min(sizes):
    log.warning(
      "%s says that its pixels are %g microns wide and %g high: taken as squares of"
      " %.4g; bring it to one resolution first",
      name, *sizes, mpp,
    )  # fmt: skip
  return mpp


def _believed(sizes: list[float] | None, name: str) -> float | None:
  """Sizes that a file states; says so if no microscope has them."""
  mpp = _plausible(sizes, name)
  if sizes is not None and mpp is None:
    log.warning(
      "%s says %g microns per pixel, which is not within %g to %g and is not believed",
      name, float(np.mean(sizes)), *MPP_RANGE,
    )  # fmt: skip
  return mpp


def _of_power(power: str | None, name: str) -> float | None:
  """What the power of the objective suggests, and says that it is no more."""
  if size_of(power) is None or power is None:
    return None
  mpp = _plausible([_AT_POWER_1 / float(power)], name)
  if mpp is not None:
    log.warning(
      "%s does not say its microns per pixel, only that its objective is %gx: taken as"
      " 10 / %g = %.4g; mpp= or --mpp says otherwise",
      name, float(power), float(power), mpp,
    )  # fmt: skip
  return mpp
