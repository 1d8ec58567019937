"""What every reader of images promises, and the reader of what is in memory already.

Made by `imaging.opening`.
"""

import types
from typing import Protocol, Self

import numpy as np

from micronet_jax.errors import InputError


class Reader(Protocol):
  """An open image or slide; a context manager that closes it.

  Attributes:
    name: the path as it was given, or "image"; for messages.
    mpp: microns per pixel of level 0, or None if unknown.
    levels: (height, width) of each level, level 0 first, which is the largest.
    overviews: (height, width) of further levels, good for thumbnails alone: their
      pixels lie at fractional places of level 0, and what is read of them depends
      a little on where the box begins. `read` numbers them on after `levels`.
    origin: (x, y) of the frame in which QuPath shows a slide, in pixels of level 0:
      OpenSlide's bounds, the part of a large empty canvas that was scanned; (0, 0)
      for whatever has none. A point (x, y) here is (x - origin x, y - origin y) there.
  """

  name: str
  mpp: float | None
  levels: tuple[tuple[int, int], ...]
  overviews: tuple[tuple[int, int], ...] = ()
  origin: tuple[int, int] = (0, 0)

  def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
    """Reads a box of one level; may be called from several threads at once.

    Args:
      level: 0 to the number of levels (and overviews) - 1.
      y: top row of the box, in pixels of that level.
      x: left column.
      height: rows, at least 1; the box lies inside the level.
      width: columns, at least 1.

    Returns:
      uint8 `[height, width, 3]` RGB, the caller's own. A pixel's value does not
      depend on the box that it was read in (overviews: see there).

    Raises:
      InputError: there is no such box, or the file proves broken there.
    """
    ...

  def close(self) -> None:
    """Lets go of the file; nothing can be read afterwards."""
    ...

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: types.TracebackType | None,
  ) -> None:
    self.close()


def check_box(
  reader: Reader, level: int, y: int, x: int, height: int, width: int
) -> None:
  """Raises InputError unless the box lies inside the level and has pixels."""
  sizes = (*reader.levels, *reader.overviews)
  if not 0 <= level < len(sizes):
    raise InputError(f"{reader.name} has no level {level}, only 0 to {len(sizes) - 1}.")
  rows, columns = sizes[level]
  if not (0 <= y < y + height <= rows and 0 <= x < x + width <= columns):
    raise InputError(
      f"{reader.name}: the box of {height} x {width} pixels at row {y}, column {x} is"
      f" not inside level {level} of {rows} x {columns}."
    )


class ArrayReader(Reader):
  """Reads from a uint8 `[H, W, 3]` array, which it keeps."""

  def __init__(self, name: str, pixels: np.ndarray, mpp: float | None):
    self.name = name
    self.mpp = mpp
    self.levels = (pixels.shape[:2],)
    self._pixels = pixels

  def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
    """See `Reader.read`."""
    check_box(self, level, y, x, height, width)
    return self._pixels[y : y + height, x : x + width].copy()

  def close(self) -> None:
    """Frees the pixels."""
    self._pixels = self._pixels[:0]
