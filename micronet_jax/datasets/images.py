"""Reads microscopy images and label maps as arrays, or says why it cannot.

PNG, JPEG, BMP and TIFF are told apart by what the file holds, not by its ending.
Pixels are taken as they are stored: an EXIF orientation is ignored, because the
programs that marks are made with (QuPath, ImageJ, scikit-image) ignore it too, so
the marks belong to the stored pixels.
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

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
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
    return _to_rgb(pixels)
  except ValueError as error:
    raise InputError(
      f"{path} {error}; an image must be grey or RGB, of 8 or 16 bits."
    ) from error


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
    if start[:4] in _TIFF_STARTS:
      return _decode_tiff(path, colours)
    if start.startswith(_PNG_START) and start[_PNG_DEPTH_BYTE:] == b"\x10":
      # Pillow would keep only the upper 8 of the 16 bits of a colour.
      return imagecodecs.png_decode(path.read_bytes())
    return _decode_pillow(path, colours)
  except Exception as error:  # the decoders raise anything on broken bytes
    raise InputError(
      f"{path} cannot be read as an image ({_reason(error)});"
      " a whole PNG, JPEG, TIFF or BMP file is needed."
    ) from error


def _reason(error: Exception) -> str:
  """One line, without the path that some messages repeat."""
  if isinstance(error, PIL.UnidentifiedImageError):
    return "its kind is not recognised"
  text = getattr(error, "strerror", None) or str(error) or type(error).__name__
  return text.splitlines()[0]


def _decode_pillow(path: pathlib.Path, colours: bool) -> np.ndarray:
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # odd metadata, many pixels: both are welcome
    with PIL.Image.open(path, formats=("PNG", "JPEG", "BMP")) as image:
      image.load()
      if colours and (image.mode in ("P", "PA") or "transparency" in image.info):
        clear = image.mode == "PA" or "transparency" in image.info
        return np.asarray(image.convert("RGBA" if clear else "RGB"))
      if image.mode != "P" and image.mode not in _PLAIN_MODES:
        raise ValueError(f"its colours are {image.mode}, not grey or RGB")
      return np.asarray(image)


def _decode_tiff(path: pathlib.Path, colours: bool) -> np.ndarray:
  with tifffile.TiffFile(path) as tiff:
    series = tiff.series[0]
    page = series.keyframe
    _check_whole(series, path.stat().st_size)
    kind = tifffile.PHOTOMETRIC(page.photometric)
    if kind not in _TIFF_COLOURS:
      raise ValueError(f"its colours are {kind.name}, not grey or RGB")
    pixels = _channels_last(series.asarray(squeeze=False), series.get_axes(False))
    if colours and page.colormap is not None:
      return np.moveaxis(page.colormap[:, pixels] >> 8, 0, -1).astype(np.uint8)
    if colours and kind == tifffile.PHOTOMETRIC.MINISWHITE:
      return ~pixels if pixels.dtype == bool else np.iinfo(pixels.dtype).max - pixels
    return pixels


def _check_whole(series: tifffile.TiffPageSeries, size: int) -> None:
  """Decoders fill up what a cut file lacks, so its length is checked here."""
  for page in series.pages:
    if page is None:
      raise ValueError("a page is missing")
    for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
      if start + length > size:
        raise ValueError("the file is cut short")


def _channels_last(pixels: np.ndarray, axes: str) -> np.ndarray:
  """Drops axes of length 1 and puts the channels last; refuses stacks."""
  kept = [i for i, axis in enumerate(axes) if pixels.shape[i] > 1 or axis in "YX"]
  axes = "".join(axes[i] for i in kept)
  pixels = pixels.reshape([pixels.shape[i] for i in kept])
  if axes in ("YX", "YXS") or (axes == "YXC" and pixels.shape[2] == 3):
    return pixels
  if axes == "SYX" or (axes == "CYX" and pixels.shape[0] == 3):
    return np.moveaxis(pixels, 0, -1)
  raise ValueError(f"its axes are {axes} of {pixels.shape}, not one plane of colour")


def _to_rgb(pixels: np.ndarray) -> np.ndarray:
  """`[H, W]` or `[H, W, C]` of any type to uint8 `[H, W, 3]`."""
  pixels = np.atleast_3d(pixels)
  channels = pixels.shape[2]
  if channels > 4:
    raise ValueError(f"has {channels} channels")
  alpha = pixels[:, :, -1:] if channels in (2, 4) else None
  colour = _to_8_bit(pixels if alpha is None else pixels[:, :, :-1])
  if alpha is not None:
    top = 1.0 if alpha.dtype.kind == "f" else float(np.iinfo(alpha.dtype).max)
    opacity = alpha.astype(np.float32) / top
    colour = np.rint(colour * opacity + 255 * (1 - opacity)).astype(np.uint8)
  return np.ascontiguousarray(np.broadcast_to(colour, (*colour.shape[:2], 3)))


def _to_8_bit(values: np.ndarray) -> np.ndarray:
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
    return np.rint(values * 255).astype(np.uint8)
  if low < 0:
    raise ValueError(f"holds the negative value {low}")
  return np.rint(values * (255 / max(int(high), 1))).astype(np.uint8)
