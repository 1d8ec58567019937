"""Whole slides of many scanners, read by OpenSlide.

OpenSlide is an optional dependency (the extra `slides`), imported when it is needed.
Called by `imaging.opening`.
"""

import pathlib
import types
from collections.abc import Mapping

import numpy as np
import PIL.ImageColor

from micronet_jax.errors import InputError, how_to_install
from micronet_jax.imaging.decoding import reason
from micronet_jax.imaging.reader import Reader, check_box
from micronet_jax.imaging.resolution import of_slide

SLIDE_ENDINGS = (
  ".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".dcm", ".czi",
)  # fmt: skip


_PLAIN_TIFF = "generic-tiff"


def open_slide(path: pathlib.Path, name: str, *, tiff: bool) -> "SlideReader | None":
  """Opens a slide, or returns None for what is none.

  Args:
    path: any file.
    name: the same, for messages.
    tiff: whether it is a TIFF, which can be read without OpenSlide.

  Returns:
    A reader; None if OpenSlide does not know the file, or only as a TIFF of no
    particular scanner, or if it is missing and the name is not that of a slide.

  Raises:
    InputError: a file whose name is that of a slide is none, or broken, or OpenSlide
      is missing.
  """
  slide = path.suffix.lower() in SLIDE_ENDINGS
  try:
    import openslide
  except (ImportError, OSError) as error:
    if not slide:
      return None
    raise InputError(
      f"{name} is a slide, which needs OpenSlide: {how_to_install('slides')}."
    ) from error
  vendor = openslide.OpenSlide.detect_format(path)
  if vendor is None and slide:
    raise InputError(
      f"{name} is no slide that OpenSlide can read: it is damaged, cut short, lacks its"
      " companion files, or is of an unknown kind."
    )
  if vendor is None or (vendor == _PLAIN_TIFF and tiff):
    return None
  return SlideReader(path, name, openslide)


class SlideReader(Reader):
  """Reads a slide with OpenSlide.

  Where the scanner took no image, pixels have the slide's background colour, or
  white. OpenSlide resamples levels whose downsample is no whole number, at an offset
  that depends on where the box begins; so these are overviews only.
  """

  def __init__(self, path: pathlib.Path, name: str, openslide: types.ModuleType):
    self.name = name
    self._failure = openslide.OpenSlideError
    try:
      self._slide = openslide.OpenSlide(path)
    except self._failure as error:
      raise self._damaged(error) from error
    properties = self._slide.properties
    self.mpp = of_slide(properties, name)
    self.origin = (_bound(properties, "x"), _bound(properties, "y"))
    self._background = _colour(properties.get("openslide.background-color"))
    downsamples = self._slide.level_downsamples
    # Level numbers of OpenSlide, the exact ones first.
    self._order = sorted(
      range(len(downsamples)), key=lambda i: (downsamples[i] % 1 != 0, i)
    )
    exact = sum(downsample % 1 == 0 for downsample in downsamples)
    sizes = [self._slide.level_dimensions[i][::-1] for i in self._order]
    self.levels = tuple(sizes[:exact])
    self.overviews = tuple(sizes[exact:])

  def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
    """See `Reader.read`."""
    check_box(self, level, y, x, height, width)
    number = self._order[level]
    downsample = self._slide.level_downsamples[number]
    corner = (round(x * downsample), round(y * downsample))
    try:
      region = self._slide.read_region(corner, number, (width, height))
    except self._failure as error:
      raise self._damaged(error) from error
    rgba = np.asarray(region)
    if rgba[:, :, 3].min() == 255:
      return rgba[:, :, :3].copy("C")
    opacity = rgba[:, :, 3:].astype(np.float32) / 255
    colour = rgba[:, :, :3] * opacity + self._background * (1 - opacity)
    return np.rint(colour).astype(np.uint8)

  def close(self) -> None:
    """Closes the slide."""
    self._slide.close()

  def _damaged(self, error: Exception) -> InputError:
    why = reason(error).replace(self.name, "the file")
    return InputError(
      f"{self.name} cannot be read as a slide ({why}); it is damaged, cut short, or"
      " lacks its companion files."
    )


def _bound(properties: Mapping[str, str], axis: str) -> int:
  """Where the scanned part begins, in pixels of level 0; 0 if nothing says so."""
  try:
    return int(properties.get(f"openslide.bounds-{axis}", "0"))
  except ValueError:
    return 0


def _colour(text: str | None) -> np.ndarray:
  """Float32 `[3]` of the digits that OpenSlide gives; white if there are none."""
  try:
    colour = PIL.ImageColor.getrgb(f"#{text}")
  except ValueError:
    colour = (255, 255, 255)
  return np.array(colour[:3], np.float32)
