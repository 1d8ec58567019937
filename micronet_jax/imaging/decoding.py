"""Reads microscopy images and label maps as arrays, or says why it cannot.

PNG, JPEG, BMP and TIFF are told apart by what the file holds, not by its ending.
Pixels are taken as they are stored: an EXIF orientation is ignored, because the
programs that marks are made with (QuPath, ImageJ, scikit-image) ignore it too, so
the marks belong to the stored pixels.

What turns stored values into colours is public: `micronet_jax.readers` does with a
piece of a slide, an array or a PIL image what is done here with a whole file. Called by
`imaging.opening`, `tiffs` and `datasets.entries`.
"""

import os
import pathlib
import warnings

import imagecodecs
import numpy as np
import PIL.Image
import tifffile

from micronet_jax.errors import InputError

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


_PNG_START = b"\x89PNG\r\n\x1a\n"


_PNG_DEPTH_BYTE = 24


# What Pillow calls the kinds of pixels that need no conversion, and that do.
_PLAIN_MODES = ("1", "L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "F")


_TIFF_COLOURS = (
  tifffile.PHOTOMETRIC.MINISBLACK,
  tifffile.PHOTOMETRIC.MINISWHITE,
  tifffile.PHOTOMETRIC.RGB,
  tifffile.PHOTOMETRIC.PALETTE,
  tifffile.PHOTOMETRIC.YCBCR,
)


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
  """Reads an image as 8 bit RGB.

  Grey becomes three equal channels, a palette its colours, and what is
  transparent lies on white. Whole numbers deeper than 8 bit are scaled so that the
  largest value of the image becomes 255 (a 12 bit camera in a 16 bit file keeps
  256 levels, and the per-image normalisation that follows undoes any scale);
  fractions must lie within 0 to 1, which becomes 0 to 255.

  Args:
    path: a PNG, JPEG, TIFF or BMP file.

  Returns:
    uint8 `[H, W, 3]`.

  Raises:
    InputError: the file is missing, broken, cut short, a stack, or has other
      channels than grey, RGB or these with alpha.
  """
  pixels = _decode(path, colours=True)
  try:
    return to_rgb(pixels)
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
  pixels = _decode(path, colours=False)
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


def _decode(path: str | os.PathLike[str], *, colours: bool) -> np.ndarray:
  """Returns the pixels, `[H, W]` or `[H, W, C]`; palettes applied if `colours`."""
  path = pathlib.Path(path)
  try:
    with path.open("rb") as file:
      start = file.read(_PNG_DEPTH_BYTE + 1)
    if start[:4] in TIFF_STARTS:
      return _decode_tiff(path, colours)
    if start.startswith(_PNG_START) and start[_PNG_DEPTH_BYTE:] == b"\x10":
      # Pillow would keep only the upper 8 of the 16 bits of a colour.
      return imagecodecs.png_decode(path.read_bytes())
    return _decode_pillow(path, colours)
  except Exception as error:  # the decoders raise anything on broken bytes
    raise unreadable(path, error) from error


def unreadable(name: str | os.PathLike[str], error: Exception) -> InputError:
  """Says that `name` could not be decoded, and why."""
  return InputError(
    f"{name} cannot be read as an image ({reason(error)});"
    " a whole PNG, JPEG, TIFF or BMP file is needed."
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


def _decode_pillow(path: pathlib.Path, colours: bool) -> np.ndarray:
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # odd metadata, many pixels: both are welcome
    with PIL.Image.open(path, formats=("PNG", "JPEG", "BMP")) as image:
      return pillow_pixels(image, colours)


def pillow_pixels(image: PIL.Image.Image, colours: bool) -> np.ndarray:
  """The pixels of an open image, `[H, W]` or `[H, W, C]`, as `_decode` returns them."""
  image.load()
  clear = "transparency" in image.info or image.mode == "PA"
  if image.mode == "P" and image.palette is not None:
    clear = clear or image.palette.mode == "RGBA"
  if colours and (image.mode == "P" or clear):
    return np.asarray(image.convert("RGBA" if clear else "RGB"))
  if image.mode != "P" and image.mode not in _PLAIN_MODES:
    raise ValueError(f"its colours are {image.mode}, not grey or RGB")
  return np.asarray(image)


def _decode_tiff(path: pathlib.Path, colours: bool) -> np.ndarray:
  with tifffile.TiffFile(path) as tiff:
    series = first_series(tiff)
    check_tiff(series, path.stat().st_size)
    pixels = channels_last(series.asarray(squeeze=False), series.get_axes(False))
    return tiff_colours(pixels, series.keyframe) if colours else pixels


def first_series(tiff: tifffile.TiffFile) -> tifffile.TiffPageSeries:
  """The image of a file, with its levels, once all pages are there.

  Raises:
    ValueError: a page is missing: where a file is cut, tifffile goes on with those
      before, which may be other levels, or one channel instead of three.
  """
  pages = len(tiff.pages)
  last = tiff.pages.next_page_offset  # where the last page says where the next one is
  if pages and last:
    tiff.filehandle.seek(last)
    following = tiff.filehandle.read(tiff.tiff.offsetsize)
  if not pages or any(following):
    raise ValueError("a page is missing; the file may be cut short")
  return tiff.series[0]


def tiff_colours(pixels: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
  """Applies the palette of `page`, and turns values round where white is zero."""
  if page.colormap is not None:
    return np.moveaxis(page.colormap[:, pixels] >> 8, 0, -1).astype(np.uint8)
  if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
    return ~pixels if pixels.dtype == bool else np.iinfo(pixels.dtype).max - pixels
  return pixels


def check_tiff(series: tifffile.TiffPageSeries, size: int) -> tuple[int, ...]:
  """Refuses stacks, other colours, and files cut short, before pixels are read.

  Decoders fill up what a cut file lacks, so its length is checked here.

  Args:
    series: an image of the file, or a level of it.
    size: bytes of the file.

  Returns:
    The shape that `channels_last` will give its pixels.

  Raises:
    ValueError: the message goes on from "it cannot be read".
  """
  blank = np.broadcast_to(np.uint8(0), series.get_shape(False))  # takes no memory
  shape = channels_last(blank, series.get_axes(False)).shape
  kind = tifffile.PHOTOMETRIC(series.keyframe.photometric)
  if kind not in _TIFF_COLOURS:
    raise ValueError(f"its colours are {kind.name}, not grey or RGB")
  tiff = series.parent
  if tiff is not None and tiff.is_imagej and series.kind in ("generic", "uniform"):
    raise ValueError("its ImageJ metadata do not fit its pages; it may be cut short")
  if series.dataoffset is not None:  # in one piece, perhaps with one page for all
    if series.dataoffset + series.nbytes > size:
      raise ValueError("the file is cut short")
    return shape
  for page in series.pages:
    if page is None:
      raise ValueError("a page is missing")
    for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
      if start + length > size:
        raise ValueError("the file is cut short")
  return shape


def channels_last(pixels: np.ndarray, axes: str) -> np.ndarray:
  """Drops axes of length 1 and puts the channels last; refuses stacks."""
  kept = [i for i, axis in enumerate(axes) if pixels.shape[i] > 1 or axis in "YX"]
  axes = "".join(axes[i] for i in kept)
  pixels = pixels.reshape([pixels.shape[i] for i in kept])
  if axes in ("YX", "YXS") or (axes == "YXC" and pixels.shape[2] == 3):
    return pixels
  if axes == "SYX" or (axes == "CYX" and pixels.shape[0] == 3):
    return np.moveaxis(pixels, 0, -1)
  raise ValueError(f"its axes are {axes} of {pixels.shape}, not one plane of colour")


def to_rgb(pixels: np.ndarray, *, top: int | None = None) -> np.ndarray:
  """Turns grey or RGB, with alpha or without, of any type into 8 bit RGB.

  Args:
    pixels: `[H, W]` or `[H, W, C]`, C of 1 to 4, at least one pixel.
    top: what becomes 255 of whole numbers deeper than 8 bit, and what is above it;
      the largest of these pixels if None.

  Returns:
    uint8 `[H, W, 3]`, which may share its memory with `pixels`.

  Raises:
    ValueError: other channels or values; the message goes on from the image's name.
  """
  pixels = np.atleast_3d(pixels)
  channels = pixels.shape[2]
  if channels > 4:
    raise ValueError(f"has {channels} channels")
  alpha = pixels[:, :, -1:] if channels in (2, 4) else None
  colour = _to_8_bit(pixels if alpha is None else pixels[:, :, :-1], top)
  if alpha is not None:
    opacity = _opacity(alpha)
    colour = np.rint(colour * opacity + 255 * (1 - opacity)).astype(np.uint8)
  if colour.shape[2] == 1:
    colour = np.repeat(colour, 3, axis=2)
  return np.ascontiguousarray(colour)


def _opacity(alpha: np.ndarray) -> np.ndarray:
  """Float32, 0 to 1; of a type that `_to_8_bit` takes."""
  if alpha.dtype.kind in "bf":
    _to_8_bit(alpha, None)  # refuses what is not 0 to 1
    return alpha.astype(np.float32)
  return np.maximum(alpha.astype(np.float32) / float(np.iinfo(alpha.dtype).max), 0)


def _to_8_bit(values: np.ndarray, top: int | None) -> np.ndarray:
  if values.dtype == np.uint8:
    return values
  if values.dtype == np.bool_:
    return values.astype(np.uint8) * np.uint8(255)
  if values.dtype.kind not in "iuf":
    raise ValueError(f"holds values of type {values.dtype}")
  low, high = values.min(), values.max()
  if values.dtype.kind == "f":
    if not (low >= 0 and high <= 1):
      raise ValueError(
        f"holds fractions from {low:g} to {high:g}, of which only 0 to 1 can be read"
      )
    return _scaled(values, 255)
  if low < 0:
    raise ValueError(f"holds the negative value {low}")
  return _scaled(values, 255 / max(int(high) if top is None else top, 1))


def _scaled(values: np.ndarray, factor: float) -> np.ndarray:
  """Uint8, at most 255; some rows at a time, as fractions take eight times the room."""
  scaled = np.empty(values.shape, np.uint8)
  for row in range(0, len(values), 256):
    some = np.rint(values[row : row + 256] * factor)
    scaled[row : row + 256] = np.minimum(some, 255)
  return scaled
