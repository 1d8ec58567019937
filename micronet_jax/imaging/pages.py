"""What the pages of a TIFF hold: which image is the scan, and what its values mean.

Nothing is decoded here. Called by `imaging.decoding` and `imaging.tiffs`.
"""

import logging
import math

import numpy as np
import tifffile

from micronet_jax.imaging.colours import Extra

_COLOURS = (
  tifffile.PHOTOMETRIC.MINISBLACK,
  tifffile.PHOTOMETRIC.MINISWHITE,
  tifffile.PHOTOMETRIC.RGB,
  tifffile.PHOTOMETRIC.PALETTE,
  tifffile.PHOTOMETRIC.YCBCR,
)


_BESIDE_THE_SCAN = {
  f"{kind}{end}"
  for kind in ("label", "macro", "thumbnail", "overview")
  for end in ("", " image")
}


# Compressions that keep YCbCr as it is: none, LZW, deflate, PackBits, LZMA, Zstandard.
_LOSSLESS = (1, 5, 8, 32773, 32946, 34925, 50000)


_JPEG_2000 = (33003, 33004, 34712)  # whose stream does not say that it is YCbCr


_MATROX = 33003  # of Aperio's scanners, always YCbCr


_FULL_RANGE = (0, 255, 128, 255, 128, 255)  # of the tag ReferenceBlackWhite


_WEIGHTS = (0.299, 0.587, 0.114)  # of the tag YCbCrCoefficients


_RGB_OF_YCBCR = np.array(
  [[1, 1, 1], [0, -0.344136, 1.772], [1.402, -0.714136, 0]], np.float32
)


log = logging.getLogger("micronet_jax")


def main_series(tiff: tifffile.TiffFile) -> tifffile.TiffPageSeries:
  """The scan of a file, with its levels, once all pages are there.

  That is its largest image, the first of equals; a label, macro or thumbnail, or an
  image that cannot be read, only where there is no other.

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

  def merit(series: tifffile.TiffPageSeries) -> tuple[bool, bool, int]:
    beside = series.name.strip().lower() in _BESIDE_THE_SCAN
    return _is_readable(series), not beside, math.prod(_size(series))

  return max(tiff.series, key=merit)


def say_taken(
  tiff: tifffile.TiffFile, taken: tifffile.TiffPageSeries, name: str
) -> None:
  """Says which image of a file of several is read."""
  if len(tiff.series) == 1:
    return
  others = [
    "{} x {}".format(*_size(series)) for series in tiff.series if series is not taken
  ]
  shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
  log.warning(
    "%s holds %d images: the one of %d x %d pixels is taken, not %s",
    name, len(tiff.series), *_size(taken), shown,
  )  # fmt: skip


def _size(series: tifffile.TiffPageSeries) -> tuple[int, int]:
  return series.keyframe.imagelength, series.keyframe.imagewidth


def _is_readable(series: tifffile.TiffPageSeries) -> bool:
  try:
    _shape_of(series)
  except ValueError:
    return False
  return True


def _shape_of(series: tifffile.TiffPageSeries) -> tuple[int, ...]:
  """Refuses stacks and other colours; the shape that `channels_last` will give."""
  shape = series.get_shape(False)
  if 0 in shape:
    raise ValueError(f"it has no pixels, its shape is {shape}")
  blank = np.broadcast_to(np.uint8(0), shape)  # takes no memory
  shape = channels_last(blank, series.get_axes(False)).shape
  kind = tifffile.PHOTOMETRIC(series.keyframe.photometric)
  if kind not in _COLOURS:
    raise ValueError(f"its colours are {kind.name}, not grey or RGB")
  return shape


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
  shape = _shape_of(series)
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
    lengths = page.databytecounts
    if len(page.dataoffsets) < math.prod(page.chunked) or not any(lengths):
      raise ValueError("pixels are missing; the file may be cut short")
    for start, length in zip(page.dataoffsets, lengths, strict=True):
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


def extra_of(page: tifffile.TiffPage) -> Extra:
  """What the channel beside the colours is; only ExtraSamples can make it opacity."""
  kinds = page.extrasamples[-1:]
  if kinds == (tifffile.EXTRASAMPLE.UNASSALPHA,):
    return Extra.OPACITY
  if kinds == (tifffile.EXTRASAMPLE.ASSOCALPHA,):
    return Extra.PREMULTIPLIED
  return Extra.UNSAID


def tiff_colours(pixels: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
  """Makes grey or RGB of the stored values of `page`, `[H, W]` or `[H, W, C]`.

  Applies its palette, turns values round where white is zero, spreads values of
  less than 8 bit, and converts YCbCr that no decoder has.
  """
  if page.colormap is not None:
    shift = 8 if page.colormap.max() > 255 else 0  # some writers keep 8 bit there
    return np.moveaxis(page.colormap[:, pixels] >> shift, 0, -1).astype(np.uint8)
  if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
    pixels = _turned(pixels, page)
  if pixels.dtype == np.uint8 and page.bitspersample < 8:
    pixels = (pixels * (255 / (2**page.bitspersample - 1))).round().astype(np.uint8)
  return _from_ycbcr(pixels, page) if _is_ycbcr(page) else pixels


def _turned(pixels: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
  """White for black, where white is zero; a channel beside grey stays."""
  grey = pixels[:, :, :1] if pixels.ndim == 3 else pixels
  if pixels.dtype == bool:
    grey = ~grey
  elif pixels.dtype.kind == "f":
    grey = 1 - grey
  else:
    signed = pixels.dtype.kind == "i"
    grey = (2 ** (page.bitspersample - signed) - 1) - grey
  if pixels.ndim == 3:
    return np.dstack([grey, pixels[:, :, 1:]]).astype(pixels.dtype)
  return grey.astype(pixels.dtype)


def _is_ycbcr(page: tifffile.TiffPage) -> bool:
  """Whether the decoders, which know YCbCr of JPEG, leave it as it is."""
  if page.compression == _MATROX:
    return True
  said = page.photometric == tifffile.PHOTOMETRIC.YCBCR
  return said and page.compression in (*_LOSSLESS, *_JPEG_2000)


def _from_ycbcr(pixels: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
  """JFIF's YCbCr, 8 bit of full range, as RGB; other kinds are refused."""
  limits = _numbers(page, "ReferenceBlackWhite", _FULL_RANGE)
  weights = _numbers(page, "YCbCrCoefficients", _WEIGHTS)
  usual = np.allclose(limits, _FULL_RANGE) and np.allclose(weights, _WEIGHTS, atol=1e-3)
  if pixels.dtype != np.uint8 or pixels.shape[2:] != (3,) or not usual:
    raise ValueError("its colours are YCbCr of an unusual kind, not grey or RGB")
  rgb = (pixels - np.array([0, 128, 128], np.float32)) @ _RGB_OF_YCBCR
  return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _numbers(
  page: tifffile.TiffPage, tag: str, otherwise: tuple[float, ...]
) -> np.ndarray:
  """The fractions of a tag; `otherwise` if it is not there."""
  value = page.tags.valueof(tag)
  if value is None:
    return np.asarray(otherwise, float)
  pairs = np.asarray(value, float).reshape(-1, 2)
  return pairs[:, 0] / pairs[:, 1]
