"""Opens any image or slide behind one small interface, region by region.

What kind a file is decides its content, not its ending: OpenSlide is asked first, then
TIFF is read by tifffile, the rest by `imaging.decoding`. An image without a pyramid
that fits into memory is read whole, by the same function as in training, so that
training and detection see the same pixels. Called by `detection.detector` and
`predict.image`.
"""

import logging
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageFile

from micronet_jax.errors import InputError
from micronet_jax.files import check_regular
from micronet_jax.imaging.colours import Extra, rendering_of, to_rgb
from micronet_jax.imaging.decoding import (
  IMAGE_ENDINGS,
  PICTURE_ENDINGS,
  TIFF_STARTS,
  not_rgb,
  pillow_pixels,
  read_image,
  reason,
  unreadable,
)
from micronet_jax.imaging.reader import ArrayReader, Reader
from micronet_jax.imaging.resolution import of_picture, of_pillow
from micronet_jax.imaging.slides import SLIDE_ENDINGS, open_slide
from micronet_jax.imaging.tiffs import open_tiff

UNREAD_ENDINGS = (
  *(".gif", ".apng", ".avif", ".avifs", ".heic", ".heif", ".jxl", ".jxr", ".qoi"),
  *(".dib", ".pcx", ".dcx", ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".sgi"),
  *(".psd", ".xcf", ".eps", ".emf", ".wmf", ".ico", ".icns", ".fit", ".fits"),
  *(".vsi", ".lif", ".lsm", ".nd2", ".zvi", ".oib", ".oif", ".oir", ".ims"),
  *(".qptiff", ".btf", ".tf2", ".tf8", ".isyntax", ".kfb", ".sdpc"),
)
"""Of pictures and microscopes' files that are not read where a folder is searched."""

_NAMED = 3  # files, of those that are not read


log = logging.getLogger("micronet_jax")


def is_image(path: str | os.PathLike[str]) -> bool:
  """Whether a file of this name is taken for an image when a folder is searched.

  Args:
    path: a file, which need not exist; hidden files are no images.

  Returns:
    True for the endings of images and slides, in upper or lower case.
  """
  path = pathlib.Path(path)
  ending = path.suffix.lower()
  return not path.name.startswith(".") and ending in (*IMAGE_ENDINGS, *SLIDE_ENDINGS)


def tell_unread(paths: Iterable[str | os.PathLike[str]]) -> str:
  """Says what of a folder looks like an image and yet is not read.

  Args:
    paths: all that lies in the folder.

  Returns:
    A sentence with a count and the first names: of dead links that are called as images
    are, and of files with one of `UNREAD_ENDINGS`; "" if there are none.
  """
  unread = []
  for path in sorted(map(pathlib.Path, paths)):
    odd = path.suffix.lower() in UNREAD_ENDINGS and not path.name.startswith(".")
    if not (odd or is_image(path)):
      continue
    if os.path.islink(path) and not os.path.exists(path):
      unread.append(f"{path.name} (a dead link)")
    elif odd and os.path.isfile(path):
      unread.append(path.name)
  if not unread:
    return ""
  more = len(unread) - _NAMED
  shown = ", ".join(unread[:_NAMED]) + (f" and {more} more" if more > 0 else "")
  return f"{len(unread)} file(s) that look like images are not read: {shown}"


def open_image(
  source: str | os.PathLike[str] | np.ndarray | PIL.Image.Image,
) -> Reader:
  """Opens a file, an array or a PIL image for reading by regions.

  Args:
    source: the path of a slide (what OpenSlide reads), a TIFF, OME-TIFF, PNG, JPEG,
      BMP, WebP or JPEG 2000 file; or a PIL image, whose resolution counts if it is as
      it was opened; or an array `[H, W]` or `[H, W, C]` of bool, whole numbers, or
      fractions in [0, 1], where C of 1 to 4 is grey, grey and alpha, RGB, RGB and
      alpha. They become 8 bit RGB as `read_image` says.

  Returns:
    A reader, to be closed; a context manager.

  Raises:
    InputError: the source is missing, empty, broken, cut short, a stack, holds other
      channels or values, or needs the extra `slides`, which is not installed.
  """
  if isinstance(source, PIL.Image.Image):
    return _open_pillow(source)
  if isinstance(source, (str, os.PathLike)):
    return _open_file(pathlib.Path(os.fsdecode(source)), os.fsdecode(source))
  if hasattr(source, "__array__"):
    return _open_array(_array_of(source))
  raise InputError(
    "an image must be a path, an array or a PIL image, but this is of type"
    f" {type(source).__name__}."
  )


def _open_file(path: pathlib.Path, name: str) -> Reader:
  start = _start(path, name)
  ending = path.suffix.lower()
  if ending not in PICTURE_ENDINGS:  # never those of a slide
    slide = open_slide(path, name, tiff=start in TIFF_STARTS)
    if slide is not None:
      return slide
  if start in TIFF_STARTS:
    return open_tiff(path, name)
  return ArrayReader(name, read_image(name), of_picture(path))


def _start(path: pathlib.Path, name: str) -> bytes:
  """The first four bytes of a file that is there, is one, and may be read."""
  if path.is_dir():
    raise InputError(f"{name} is a directory, but one image file is needed.")
  check_regular(path)
  try:
    with path.open("rb") as file:
      start = file.read(4)
  except (OSError, ValueError) as error:
    raise unreadable(name, error) from error
  if not start:
    raise InputError(f"{name} is empty; a whole image file is needed.")
  return start


def _open_pillow(image: PIL.Image.Image) -> Reader:
  name = "image"
  opened = _is_as_opened(image)  # asked first: files in memory are gone once decoded
  try:
    pixels = pillow_pixels(image, colours=True)
  except Exception as error:  # Pillow decodes now, and raises anything
    raise unreadable(name, error) from error
  mpp = of_pillow(image, name)
  if mpp is not None and not opened:
    log.warning(
      "%s may have been resized since it was opened, and Pillow keeps the resolution:"
      " its %.4g microns per pixel are not believed; mpp= says how large pixels are",
      name, mpp,
    )  # fmt: skip
    mpp = None
  return _open_array(pixels, mpp)


def _is_as_opened(image: PIL.Image.Image) -> bool:
  """Whether a Pillow image is that of a file, and has the size that it has there.

  `resize`, `convert` and their like give another kind of image; `thumbnail` and
  `draft` change the one that was opened.
  """
  source = getattr(image, "filename", "") or getattr(image, "fp", None)
  if not isinstance(image, PIL.ImageFile.ImageFile) or source is None:
    return False
  try:
    place = image.fp.tell() if image.fp else 0
    with PIL.Image.open(source) as first:
      size = first.size
    if image.fp:
      image.fp.seek(place)
  except Exception:  # it is gone or closed, or another file by now
    return False
  return sorted(size) == sorted(image.size)  # an orientation may have turned it


def _array_of(source: Any) -> np.ndarray:
  """An array or tensor as NumPy's."""
  try:
    return np.asarray(source)
  except Exception as error:  # of a tensor with gradients, or on another device
    kind = f"{type(source).__module__}.{type(source).__name__}"
    raise InputError(
      f"the image is a {kind} that NumPy cannot read ({reason(error).rstrip('.')}); a"
      " tensor of PyTorch must be image.detach().cpu().numpy()."
    ) from error


def _open_array(pixels: np.ndarray, mpp: float | None = None) -> Reader:
  name = "image"
  if pixels.ndim not in (2, 3) or 0 in pixels.shape:
    raise InputError(
      f"{name} has the shape {pixels.shape}, but [height, width] or [height, width,"
      " channels] is needed, with at least one pixel."
    )
  if pixels.ndim == 3 and pixels.shape[0] <= 4 < min(pixels.shape[1:]):
    raise InputError(
      f"{name} has the shape {pixels.shape}, with its channels first, but [height,"
      " width, channels] is needed: np.moveaxis(image, 0, -1)."
    )
  try:
    rendering = rendering_of(pixels, Extra.OPACITY, name)
    return ArrayReader(name, to_rgb(pixels, rendering), mpp)
  except ValueError as error:
    raise not_rgb(name, error) from error
