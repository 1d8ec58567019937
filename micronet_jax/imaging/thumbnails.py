"""Small pictures of large images, averaged instead of decimated.

Called by `detection.scan` and `predict`.
"""

import numpy as np

from micronet_jax.errors import InputError
from micronet_jax.imaging.reader import Reader

# Of what is read at once: 12 MB as float32, and a whole number of most tiles.
_ROWS, _COLUMNS = 512, 2048


def thumbnail(reader: Reader, *, height: int, width: int) -> np.ndarray:
  """Shrinks a whole image to a given size: each pixel is the mean of its area.

  It is made of the smallest level that is at least that large (of level 0 if none
  is), piece by piece, so that the memory needed does not grow with the level.

  Args:
    reader: an open image.
    height: rows of the result, at least 1; the sides need not keep their ratio.
    width: columns, at least 1.

  Returns:
    uint8 `[height, width, 3]` RGB.

  Raises:
    InputError: `height` or `width` below 1, or the file proves broken.
  """
  if height < 1 or width < 1:
    raise InputError(
      f"a thumbnail of {height} x {width} pixels was asked for, but each side must be"
      " at least 1."
    )
  sizes = (*reader.levels, *reader.overviews)
  enough = [i for i, (h, w) in enumerate(sizes) if h >= height and w >= width]
  level = min(enough, key=lambda i: (sizes[i][0] * sizes[i][1], i), default=0)
  rows, columns = sizes[level]
  if (rows, columns) == (height, width):
    return reader.read(level, 0, 0, height, width)
  edges_y = np.arange(height + 1) * rows / height
  edges_x = np.arange(width + 1) * columns / width
  sums = np.zeros((height, width, 3))
  for y in range(0, rows, _ROWS):
    for x in range(0, columns, _COLUMNS):
      shape = (min(_ROWS, rows - y), min(_COLUMNS, columns - x))
      block = reader.read(level, y, x, *shape).astype(np.float32)
      at_y, shares_y = _shares(edges_y, y, shape[0])
      at_x, shares_x = _shares(edges_x, x, shape[1])
      by_row = np.tensordot(shares_y, block, (1, 0))
      sums[at_y, at_x] += np.tensordot(shares_x, by_row, (1, 1)).swapaxes(0, 1)
  area = (rows / height) * (columns / width)
  return np.clip(np.rint(sums / area), 0, 255).astype(np.uint8)


def _shares(edges: np.ndarray, start: int, length: int) -> tuple[slice, np.ndarray]:
  """How much of each pixel of a piece lies in each cell, along one axis.

  Args:
    edges: `[cells + 1]`, rising, where cells begin and end, in pixels of the level.
    start: the first pixel of the piece.
    length: how many pixels it has.

  Returns:
    Which cells the piece touches, and float32 `[cells touched, length]`, 0 to 1.
  """
  first = int(np.searchsorted(edges, start, "right")) - 1
  last = int(np.searchsorted(edges, start + length, "left"))
  begin, end = edges[first:last, None], edges[first + 1 : last + 1, None]
  pixels = np.arange(start, start + length)
  shares = np.minimum(end, pixels + 1) - np.maximum(begin, pixels)
  return slice(first, last), np.maximum(shares, 0).astype(np.float32)
