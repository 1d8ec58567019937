"""Tiles and thumbnails of images for the viewer, as JPEG, in bounded memory.

Levels are numbered as Deep Zoom numbers them: at the highest a pixel is a pixel of the
image, and each one below halves it. Called by `annotate.server`.
"""

import collections
import contextlib
import io
import math
import threading
from collections.abc import Callable, Hashable, Iterator

import numpy as np
import PIL.Image

from micronet_jax.annotate.folder import Folder, Picture
from micronet_jax.errors import InputError
from micronet_jax.imaging.opening import open_image
from micronet_jax.imaging.reader import ArrayReader, Reader
from micronet_jax.imaging.thumbnails import thumbnail

SIDE = 512
"""Of a tile, in pixels."""


THUMBNAIL = (176, 132)
"""Width and height that a thumbnail fits into."""


OPEN = 3
"""Images that are held open, besides those in use."""


KEPT_BYTES = 96 * 2**20
"""Of JPEG files that are kept."""


_AT_ONCE = 2048  # pixels along a box that is read at once
_QUALITY = 88


def top_level(shape: tuple[int, int]) -> int:
  """The number of the level that has all pixels."""
  return max(0, math.ceil(math.log2(max(shape))))


class Pictures:
  """The open images, and what was made of them last."""

  def __init__(self, folder: Folder):
    self._folder = folder
    self._lock = threading.Lock()
    self._opening: dict[str, threading.Lock] = collections.defaultdict(threading.Lock)
    self._open: collections.OrderedDict[str, _Opened] = collections.OrderedDict()
    self._made: collections.OrderedDict[Hashable, bytes] = collections.OrderedDict()
    self._bytes = 0
    self._faults: dict[str, tuple[int, str]] = {}

  @contextlib.contextmanager
  def opened(self, picture: Picture) -> Iterator[Reader]:
    """An open image, shared with others; it stays open within the block.

    Raises:
      InputError: it cannot be read.
    """
    key = picture.key
    with self._opening[key]:
      stamp = self._folder.stamp(picture)
      with self._lock:
        held = self._open.get(key)
        if held and held.stamp != stamp:
          held = None  # the file was replaced
        if held:
          held.users += 1
      if held is None:
        try:
          stated = self._folder.stated_mpp(picture)
          reader = _with_levels(open_image(picture.path))
        except InputError as error:
          self._faults[key] = stamp, str(error)
          raise
        reader.mpp = stated or reader.mpp
        held = _Opened(reader, stamp)
        with self._lock:
          self._open[key] = held
    try:
      with self._lock:
        if self._open.get(key) is held:
          self._open.move_to_end(key)
        self._close_unused()
      yield held.reader
    finally:
      with self._lock:
        held.users -= 1

  def fault(self, picture: Picture) -> str:
    """Why an image could not be read as it is now; "" if nobody tried, or could."""
    stamp, fault = self._faults.get(picture.key, (0, ""))
    return fault if stamp == self._folder.stamp(picture) else ""

  def _close_unused(self) -> None:
    idle = [key for key, held in self._open.items() if not held.users]
    for key in idle[: max(0, len(self._open) - OPEN)]:
      self._open.pop(key).reader.close()

  def tile(self, picture: Picture, level: int, column: int, row: int) -> bytes | None:
    """One tile as JPEG; None if there is none.

    Raises:
      InputError: the image cannot be read.
    """
    with self.opened(picture) as reader:
      height, width = reader.levels[0]
      if not 0 <= level <= top_level((height, width)):
        return None
      scale = 2 ** (top_level((height, width)) - level)
      rows, columns = -(-height // scale), -(-width // scale)
      y, x = row * SIDE, column * SIDE
      if not (0 <= y < rows and 0 <= x < columns):
        return None
      size = min(SIDE, rows - y), min(SIDE, columns - x)
      return self._jpeg(
        (picture.key, self._open_stamp(picture), level, column, row),
        lambda: shrunk(reader, scale, y, x, *size),
      )

  def thumbnail(self, picture: Picture) -> bytes:
    """The whole image, small, as JPEG.

    Raises:
      InputError: the image cannot be read.
    """
    with self.opened(picture) as reader:
      height, width = reader.levels[0]
      scale = max(width / THUMBNAIL[0], height / THUMBNAIL[1], 1)
      size = max(1, round(height / scale)), max(1, round(width / scale))
      return self._jpeg(
        (picture.key, self._open_stamp(picture)),
        lambda: thumbnail(reader, height=size[0], width=size[1]),
      )

  def _open_stamp(self, picture: Picture) -> int:
    with self._lock:
      return self._open[picture.key].stamp

  def _jpeg(self, key: Hashable, make: Callable[[], np.ndarray]) -> bytes:
    with self._lock:
      if key in self._made:
        self._made.move_to_end(key)
        return self._made[key]
    file = io.BytesIO()
    PIL.Image.fromarray(make()).save(file, "JPEG", quality=_QUALITY, subsampling=0)
    data = file.getvalue()
    with self._lock:
      if key not in self._made:
        self._made[key] = data
        self._bytes += len(data)
      while self._bytes > KEPT_BYTES:
        self._bytes -= len(self._made.popitem(last=False)[1])
    return data


class _Opened:
  def __init__(self, reader: Reader, stamp: int):
    self.reader, self.stamp, self.users = reader, stamp, 1


class _Pyramid(ArrayReader):
  """An image in memory with the levels that it lacks, each the mean of four pixels."""

  def __init__(self, reader: ArrayReader):
    height, width = reader.levels[0]
    super().__init__(reader.name, reader.read(0, 0, 0, height, width), reader.mpp)
    self._levels = [self._pixels]
    while max(self._levels[-1].shape[:2]) > SIDE:
      self._levels.append(_halved(self._levels[-1]))
    self.overviews = tuple(level.shape[:2] for level in self._levels[1:])

  def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
    """See `Reader.read`."""
    return self._levels[level][y : y + height, x : x + width].copy()


def _with_levels(reader: Reader) -> Reader:
  if isinstance(reader, ArrayReader) and max(reader.levels[0]) > 2 * SIDE:
    return _Pyramid(reader)
  return reader


def _halved(pixels: np.ndarray) -> np.ndarray:
  height, width = pixels.shape[:2]
  padded = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
  sums = padded[::2].astype(np.uint16) + padded[1::2]
  return ((sums[:, ::2] + sums[:, 1::2] + 2) >> 2).astype(np.uint8)


def shrunk(
  reader: Reader, scale: int, y: int, x: int, height: int, width: int
) -> np.ndarray:
  """A box of the image, shrunk by a whole number, read of the level that fits.

  Args:
    reader: of the image.
    scale: pixels of the image along one of the result.
    y: top row of the box, in pixels of the result.
    x: left column.
    height: rows of the result.
    width: columns.

  Returns:
    uint8 `[height, width, 3]`; where the last pixels reach beyond the image, of what is
    there.
  """
  rows, columns = reader.levels[0]
  sizes = (*reader.levels, *reader.overviews)
  fine = [i for i, (h, _) in enumerate(sizes) if rows / h <= scale * 1.01]
  level = max(fine, key=lambda i: (rows / sizes[i][0], -i))
  ratio_y, ratio_x = (s * scale / n for s, n in zip(sizes[level], (rows, columns),
                                                    strict=True))  # fmt: skip
  if height * ratio_y > _AT_ONCE or width * ratio_x > _AT_ONCE:
    half_y, half_x = max(1, height // 2), max(1, width // 2)
    parts = [
      [shrunk(reader, scale, y + i, x + j, n, m) for j, m in _parts(width, half_x)]
      for i, n in _parts(height, half_y)
    ]
    return np.concatenate([np.concatenate(row, 1) for row in parts])
  y0, y1 = y * ratio_y, min((y + height) * ratio_y, sizes[level][0])
  x0, x1 = x * ratio_x, min((x + width) * ratio_x, sizes[level][1])
  top, left = math.floor(y0), math.floor(x0)
  pixels = reader.read(level, top, left, math.ceil(y1) - top, math.ceil(x1) - left)
  if pixels.shape[:2] == (height, width):
    return pixels
  box = (x0 - left, y0 - top, x1 - left, y1 - top)
  image = PIL.Image.fromarray(pixels)
  return np.asarray(image.resize((width, height), PIL.Image.Resampling.BOX, box=box))


def _parts(length: int, half: int) -> list[tuple[int, int]]:
  return [(0, half), (half, length - half)] if half < length else [(0, length)]
