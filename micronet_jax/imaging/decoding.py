"""Reads microscopy images and label maps as arrays, or says why it cannot.

PNG, JPEG, BMP, WebP, JPEG 2000 and TIFF are told apart by what the file holds, not by
its ending. Pixels are taken as they are stored: an EXIF orientation is ignored, because
the programs that marks are made with (QuPath, ImageJ, scikit-image) ignore it too, so
the marks belong to the stored pixels. Called by `imaging.opening`, `tiffs` and
`datasets.entries`.
"""

import contextlib
import logging
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import imagecodecs
import numpy as np
import PIL.Image
import tifffile
from PIL import (
  BmpImagePlugin,
  Jpeg2KImagePlugin,
  JpegImagePlugin,
  PngImagePlugin,
  WebPImagePlugin,
)

from micronet_jax.errors import InputError
from micronet_jax.files import check_regular
from micronet_jax.imaging.colours import Extra, rendering_of, to_rgb
from micronet_jax.imaging.pages import (
  channels_last,
  check_tiff,
  extra_of,
  main_series,
  say_taken,
  tiff_colours,
)
from micronet_jax.imaging.whole import check_jpeg, check_png

PICTURE_ENDINGS = (
  *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp"),
  *(".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c"),
)


IMAGE_ENDINGS = (".tif", ".tiff", *PICTURE_ENDINGS)


TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


MOST_PIXELS = 2**30
"""Of a PNG, JPEG, BMP, WebP or JPEG 2000 file: 3 GiB as RGB."""


# Pillow's classes are called by name: `PIL.Image.open` has a lower limit on pixels.
_PICTURES = (
  (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
  (b"\xff\xd8\xff", JpegImagePlugin.jpeg_factory),
  (b"BM", BmpImagePlugin.BmpImageFile),
  (b"RIFF", WebPImagePlugin.WebPImageFile),
  (b"\0\0\0\x0cjP  \r\n\x87\n", Jpeg2KImagePlugin.Jpeg2KImageFile),
  (b"\xff\x4f\xff\x51", Jpeg2KImagePlugin.Jpeg2KImageFile),
)


_PNG_DEPTH_BYTE = 24


_STREAM = b"\xff\x4f\xff\x51"  # where the stream in a JPEG 2000 file begins


_STREAM_DEPTH_BYTE = 42


_OPACITY_BOX = b"cdef"  # of JPEG 2000, says which channel is opacity


# What Pillow calls the kinds of pixels that need no conversion, and that do.
_PLAIN_MODES = ("1", "L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "F")


_CONVERTED_MODES = {"YCbCr": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}


log = logging.getLogger("micronet_jax")


class _Decoded(NamedTuple):
  pixels: np.ndarray  # `[H, W]` or `[H, W, C]`
  extra: Extra
  smallest: np.ndarray  # level, which decides on the scale of deep pixels


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
  """Reads an image as 8 bit RGB.

  Grey becomes three equal channels, a palette its colours, and what is transparent
  lies on white. Whole numbers deeper than 8 bit are scaled so that the largest value
  of the image, but for a few odd ones, becomes 255 (a 12 bit camera in a 16 bit file
  keeps 256 levels, and the per-image normalisation that follows undoes any scale);
  fractions must lie within 0 to 1, which becomes 0 to 255. What is left out or
  clipped is logged: further images of a file, channels that it does not call
  opacity, opacity of zero everywhere, odd values (`colours.look_through`).

  Args:
    path: a PNG, JPEG, BMP, WebP, JPEG 2000 or TIFF file.

  Returns:
    uint8 `[H, W, 3]`.

  Raises:
    InputError: the file is missing, broken, cut short, a stack, or has other
      channels than grey, RGB or these with opacity.
  """
  pixels, extra, smallest = _decode(path, colours=True)
  try:
    return to_rgb(pixels, rendering_of(smallest, extra, str(path)))
  except ValueError as error:
    raise not_rgb(path, error) from error


def read_labels(path: str | os.PathLike[str]) -> np.ndarray:
  """Reads a label map: one whole number a nucleus, 0 where there is none.

  Args:
    path: a PNG or TIFF file, 8 to 32 bit; of a palette image, the indices.

  Returns:
    Integer or bool `[H, W]`.

  Raises:
    InputError: the file cannot be read, or holds colours or fractions.
  """
  pixels = _decode(path, colours=False).pixels
  if pixels.ndim != 2:
    raise InputError(
      f"{path} holds {pixels.shape[2]} channels of colour, but a label map has one"
      " channel with a whole number for every nucleus and 0 for the rest."
    )
  if pixels.dtype.kind not in "biu":
    raise InputError(
      f"{path} holds fractions ({pixels.dtype}), but a label map has a whole number"
      " for every nucleus and 0 for the rest."
    )
  return pixels


def _decode(path: str | os.PathLike[str], *, colours: bool) -> _Decoded:
  """Decodes a file; palettes are applied if `colours`."""
  path = pathlib.Path(path)
  check_regular(path)
  try:
    with path.open("rb") as file:
      start = file.read(_PNG_DEPTH_BYTE + 1)
    if start[:4] in TIFF_STARTS:
      return _decode_tiff(path, colours)
    with opened_picture(path) as image:
      pixels, extra = _decode_picture(path, image, start, colours)
    return _Decoded(pixels, extra, pixels)
  except Exception as error:  # the decoders raise anything on broken bytes
    raise unreadable(path, error) from error


def unreadable(name: str | os.PathLike[str], error: Exception) -> InputError:
  """Says that `name` could not be decoded, and why."""
  return InputError(
    f"{name} cannot be read as an image ({reason(error)});"
    " a whole PNG, JPEG, TIFF, BMP, WebP or JPEG 2000 file is needed."
  )


def not_rgb(name: str | os.PathLike[str], error: ValueError) -> InputError:
  """Says that the pixels of `name` are none that `to_rgb` takes, and why."""
  return InputError(f"{name} {error}; an image must be grey or RGB, of 8 or 16 bits.")


def reason(error: Exception) -> str:
  """One line, without the path that some messages repeat."""
  if isinstance(error, PIL.UnidentifiedImageError):
    return "its kind is not recognised"
  text = getattr(error, "strerror", None) or str(error).strip()
  return (text or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def opened_picture(path: pathlib.Path) -> Iterator[PIL.Image.Image]:
  """Opens a PNG, JPEG, BMP, WebP or JPEG 2000 file, none of whose pixels is decoded.

  Raises:
    ValueError: it has more than `MOST_PIXELS`.
    Exception: what Pillow raises on broken bytes, which is anything.
  """
  with warnings.catch_warnings(), path.open("rb") as file:
    warnings.simplefilter("ignore")  # odd metadata is welcome
    start = file.read(16)
    file.seek(0)
    kinds = [make for mark, make in _PICTURES if start.startswith(mark)]
    if not kinds:
      raise PIL.UnidentifiedImageError
    with kinds[0](file) as image:
      if image.width * image.height > MOST_PIXELS:
        raise ValueError(
          f"it has {image.height} x {image.width} pixels, more than the {MOST_PIXELS}"
          " of a picture that is read as a whole; a tiled TIFF may have more"
        )
      yield image


def _decode_picture(
  path: pathlib.Path, image: PIL.Image.Image, start: bytes, colours: bool
) -> tuple[np.ndarray, Extra]:
  extra = Extra.OPACITY
  if image.format == "PNG" and start[_PNG_DEPTH_BYTE:] == b"\x10":
    # Pillow would keep only the upper 8 of the 16 bits of a colour.
    return imagecodecs.png_decode(path.read_bytes()), extra
  if image.format == "JPEG2000":
    data = path.read_bytes()
    stream = data.find(_STREAM)
    if _OPACITY_BOX not in data[: max(stream, 0)]:
      extra = Extra.UNSAID
    if data[stream + _STREAM_DEPTH_BYTE] & 0x7F >= 8:  # which is depth - 1
      return imagecodecs.jpeg2k_decode(data), extra
  frames = getattr(image, "n_frames", 1)
  if frames > 1:
    log.warning("%s holds %d images: the first is taken", path, frames)
  pixels = pillow_pixels(image, colours)
  if image.format == "PNG":
    last = image.crop((0, image.height - 1, image.width, image.height))
    check_png(path, np.asarray(last))
  if image.format in ("JPEG", "MPO"):
    check_jpeg(path, pixels[-1, -1])
  return pixels, extra


def pillow_pixels(image: PIL.Image.Image, colours: bool) -> np.ndarray:
  """The pixels of an open image, `[H, W]` or `[H, W, C]`; palettes if `colours`."""
  image.load()
  clear = "transparency" in image.info or image.mode == "PA"
  if image.mode == "P" and image.palette is not None:
    clear = clear or image.palette.mode == "RGBA"
  if colours and (image.mode == "P" or clear):
    return np.asarray(image.convert("RGBA" if clear else "RGB"))
  if image.mode in _CONVERTED_MODES:
    return np.asarray(image.convert(_CONVERTED_MODES[image.mode]))
  if image.mode != "P" and image.mode not in _PLAIN_MODES:
    raise ValueError(f"its colours are {image.mode}, not grey or RGB")
  return np.asarray(image)


def _decode_tiff(path: pathlib.Path, colours: bool) -> _Decoded:
  with tifffile.TiffFile(path) as tiff:
    series = main_series(tiff)
    say_taken(tiff, series, str(path))
    levels = [series] if len(series.levels) == 1 else [series, series.levels[-1]]
    decoded = []
    for level in levels:
      check_tiff(level, path.stat().st_size)
      pixels = channels_last(level.asarray(squeeze=False), level.get_axes(False))
      decoded.append(tiff_colours(pixels, level.keyframe) if colours else pixels)
    return _Decoded(decoded[0], extra_of(series.keyframe), decoded[-1])
