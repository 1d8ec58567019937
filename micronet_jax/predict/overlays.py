"""Marks on a whole image, drawn all at once.

Nuclei come in chunks and lie in a map of the places that have one, from which all marks
are drawn, so that ten million take no longer than ten. Called by `predict.outputs`.
"""

import math
import os
import pathlib
from typing import TYPE_CHECKING

import numpy as np

from micronet_jax.errors import InputError
from micronet_jax.figures import NUCLEUS_COLOR
from micronet_jax.files import replacing
from micronet_jax.predict.tables import Chunks

if TYPE_CHECKING:
  pass


RING = 5.0
"""Radius of a ring's line where the thumbnail has the image's full resolution, px."""


_LEAST_RING = 2.3  # below, a ring has no hole and becomes a dot


_LINE = 1.6  # width of a ring's line


_HALO = 1.2  # width of the dark rim around it; on small thumbnails less


_INNER_HALO = 0.3  # and within it, where the nucleus is to be seen


_HALO_STRENGTH = 0.8


_DOT = 1.0  # radius of a dot that stands for a ring


_LARGEST = 4.0  # thumbnail pixels per image pixel, to which rings grow


_FINE = 0.15  # thumbnail pixels per image pixel, below which a nucleus is one pixel


def overlay(
  thumbnail: np.ndarray, chunks: Chunks, *, shape: tuple[int, int]
) -> np.ndarray:
  """Draws a mark on every nucleus.

  At full resolution a mark is a ring around the centre that leaves it visible; on
  smaller thumbnails the ring is smaller, then a dot, and below 15 % a single pixel.
  Marks are sky blue with a dark rim, legible on H&E and to the colour-blind.

  Args:
    thumbnail: uint8 `[h, w, 3]`, the whole image at any resolution.
    chunks: the nuclei in the image's own pixels; those beyond it are left out.
    shape: (H, W) of the image.

  Returns:
    uint8 `[h, w, 3]`, a copy.

  Raises:
    InputError: `thumbnail` is no such array, or a centre is not finite.
  """
  check_pixels(thumbnail)
  scale = np.array(thumbnail.shape[:2]) / shape
  marked = np.zeros(thumbnail.shape[:2], np.uint8)
  for centers, _ in chunks:
    check_finite_centers(centers)
    places = np.floor((np.asarray(centers, np.float64) + 0.5) * scale)
    inside = ((places >= 0) & (places < marked.shape)).all(axis=1)
    marked[tuple(places[inside].astype(np.int64).T)] = 1
  picture = thumbnail.copy()
  for stamp, color in _stamps(math.sqrt(scale.prod())):
    strength = _spread(marked, stamp)
    for channel, value in enumerate(color):  # one by one, for the memory
      behind = picture[:, :, channel].astype(np.float32)
      picture[:, :, channel] = np.rint(behind + strength * (value - behind))
  return picture


def _stamps(scale: float) -> list[tuple[np.ndarray, tuple[int, int, int]]]:
  """The layers of a mark, lowest first: how strong, `[n, n]` in [0, 1], and RGB."""
  if scale < _FINE:
    return [(np.ones((1, 1), np.float32), NUCLEUS_COLOR)]
  ring = RING * min(scale, _LARGEST)
  halo = _HALO * min(scale, 1.0) ** 0.5
  size = math.ceil(ring + _LINE + halo)
  across = np.arange(-size, size + 1)
  distance = np.hypot(across, across[:, None])
  if ring < _LEAST_RING:
    beyond, inner = distance - _DOT, 0.0
  else:
    beyond, inner = np.abs(distance - ring) - _LINE / 2, _INNER_HALO
  rim = np.where(distance < ring, inner, halo)
  line, dark = (np.clip(0.5 + width - beyond, 0, 1) for width in (0.0, rim))
  return [(dark * _HALO_STRENGTH, (0, 0, 0)), (line, NUCLEUS_COLOR)]


def _spread(marked: np.ndarray, stamp: np.ndarray) -> np.ndarray:
  """Puts a stamp on every marked pixel; where stamps overlap the strongest counts."""
  margin = len(stamp) // 2
  spread = np.zeros(np.array(marked.shape) + 2 * margin, np.float32)
  flat, width = spread.ravel(), spread.shape[1]
  rows, columns = np.nonzero(marked)
  corners = rows * width + columns
  for (row, column), strength in np.ndenumerate(stamp):
    if strength:
      # No index occurs twice here, so nothing is lost in writing.
      places = corners + (row * width + column)
      flat[places] = np.maximum(flat[places], strength)
  height, width = marked.shape
  return spread[margin : margin + height, margin : margin + width]


def check_pixels(pixels: np.ndarray) -> None:
  """Raises InputError unless an array is a picture, uint8 `[H, W, 3]`."""
  if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
    raise InputError(
      f"a picture must be uint8 [height, width, 3], but it is {pixels.dtype}"
      f" {list(pixels.shape)}."
    )


def check_finite_centers(centers: np.ndarray) -> None:
  """Raises InputError unless centres are `[N, 2]` of finite numbers."""
  if centers.ndim != 2 or centers.shape[1] != 2 or not np.isfinite(centers).all():
    raise InputError(
      f"centres must be [N, 2] of finite numbers, but shape {centers.shape} was given"
      f" with {np.count_nonzero(~np.isfinite(centers))} that are not finite."
    )


def write_image(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
  """Writes a picture as PNG, whole or not at all.

  Args:
    path: ends in .png; its folder is made if missing.
    pixels: uint8 `[h, w, 3]`, RGB.

  Raises:
    InputError: another ending or array, or `path` cannot be written.
  """
  import PIL.Image

  path = pathlib.Path(path)
  if path.suffix.lower() != ".png":
    raise InputError(f"{path}: a picture's name must end in .png.")
  check_pixels(pixels)
  with replacing(path) as beside:
    # Level 6, Pillow's own, takes three times as long for a file 3 % smaller.
    PIL.Image.fromarray(pixels).save(beside, format="PNG", compress_level=1)
