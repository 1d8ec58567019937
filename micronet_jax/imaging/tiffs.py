"""TIFF and OME-TIFF, of which only the tiles or strips that a box touches are decoded.

tifffile knows where tiles are and how they are decoded; they are read one by one here
instead of through zarr, which saves a dependency and lets threads decode at once.
Called by `imaging.opening`.
"""

import collections
import contextlib
import pathlib
import threading
from collections.abc import Callable, Hashable, Iterator

import numpy as np
import tifffile

from micronet_jax.errors import InputError
from micronet_jax.imaging.colours import Extra, Rendering, look_through, to_rgb
from micronet_jax.imaging.decoding import not_rgb, read_image, unreadable
from micronet_jax.imaging.pages import (
  channels_last,
  check_tiff,
  extra_of,
  main_series,
  say_taken,
  tiff_colours,
)
from micronet_jax.imaging.reader import ArrayReader, Reader, check_box
from micronet_jax.imaging.resolution import of_tiff

_WHOLE = 64 * 2**20  # pixels; what has no pyramid and fewer is read whole


_KEPT = 128 * 2**20  # bytes of decoded tiles and strips that are kept


_JPEG = (6, 7, 34892, 33007)  # compressions whose tables are kept apart


_ROWS = 512  # read at once where a whole level is looked through


def open_tiff(path: pathlib.Path, name: str) -> Reader:
  """Opens a TIFF; see `open_image`."""
  stack = contextlib.ExitStack()
  with stack:
    with _explained(name):
      tiff = stack.enter_context(tifffile.TiffFile(path))
      series = main_series(tiff)
      mpp = of_tiff(tiff, series, name)
      page = series.keyframe
      area = page.imagelength * page.imagewidth
      whole = len(series.levels) == 1 and area <= _WHOLE
    if whole:
      return ArrayReader(name, read_image(name), mpp)
    say_taken(tiff, series, name)
    reader = TiffReader(tiff, series, path, name, mpp)
    stack.pop_all()
    return reader


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
  """Turns what the decoders raise on broken bytes, which is anything, into words."""
  try:
    yield
  except InputError:
    raise
  except Exception as error:
    raise unreadable(name, error) from error


class TiffReader(Reader):
  """Reads a TIFF with tifffile.

  How deep pixels become 8 bit, and whether opacity counts, is decided by the smallest
  level, and holds for all boxes.
  """

  def __init__(
    self,
    tiff: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    path: pathlib.Path,
    name: str,
    mpp: float | None,
  ):
    self.name = name
    self.mpp = mpp
    self._tiff = tiff
    tiff.filehandle.set_lock(True)  # or threads would move its position
    with _explained(name):
      kept = _Kept(_KEPT)
      size = path.stat().st_size
      self._levels = [_Level(level, tiff, path, size, kept) for level in series.levels]
      if len({(level.channels, level.dtype) for level in self._levels}) > 1:
        raise ValueError("its levels hold different kinds of pixels")
      self.levels = tuple((level.height, level.width) for level in self._levels)
    self._rendering = self._decide(extra_of(series.keyframe))
    self.read(0, 0, 0, 1, 1)  # what cannot be decoded says so when it is opened

  def read(self, level: int, y: int, x: int, height: int, width: int) -> np.ndarray:
    """See `Reader.read`."""
    check_box(self, level, y, x, height, width)
    with _explained(self.name):
      pixels = self._levels[level].read(y, x, height, width)
    try:
      return to_rgb(pixels, self._rendering)
    except ValueError as error:
      raise not_rgb(self.name, error) from error

  def _decide(self, extra: Extra) -> Rendering:
    """What the smallest level says of all."""
    level = len(self.levels) - 1
    height, width = self.levels[level]

    def blocks() -> Iterator[np.ndarray]:
      rows = [(y, 0, min(_ROWS, height - y), width) for y in range(0, height, _ROWS)]
      for box in [(0, 0, 1, 1), *rows]:  # one pixel tells the kind, mostly enough
        with _explained(self.name):
          pixels = self._levels[level].read(*box)
        yield pixels

    try:
      return look_through(blocks(), height * width, extra, self.name)
    except InputError:
      raise
    except ValueError as error:
      raise not_rgb(self.name, error) from error

  def close(self) -> None:
    """Closes the file."""
    self._levels = []
    self._tiff.close()


class _Level:
  """The stored pixels of one level: of a page, or of a page for each channel."""

  def __init__(
    self,
    series: tifffile.TiffPageSeries,
    tiff: tifffile.TiffFile,
    path: pathlib.Path,
    size: int,
    kept: "_Kept",
  ):
    self.height, self.width, *channels = check_tiff(series, size)
    self.channels = channels[0] if channels else 1
    self.dtype = series.dtype
    self._page = page = series.keyframe
    self._kept = kept
    self._file = tiff.filehandle
    self._mapped = None
    if series.dataoffset is not None:  # stored as it is, in one piece
      stored = np.memmap(
        path,
        np.dtype(tiff.byteorder + self.dtype.char),
        "r",
        series.dataoffset,
        series.get_shape(False),
      )
      self._mapped = channels_last(stored, series.get_axes(False))
      return
    self._pages = [page for page in series.pages if page is not None]
    if any(page.parent is not tiff for page in self._pages):
      raise ValueError("its planes lie in several files")
    self._planes = page.samplesperpixel if page.planarconfig == 2 else 1
    tiled = page.is_tiled
    self._rows = min(page.tilelength if tiled else page.rowsperstrip, self.height)
    self._columns = page.tilewidth if tiled else self.width
    self._down = -(-self.height // self._rows)
    self._across = -(-self.width // self._columns)

  def read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
    """Returns a box, `[height, width]` or `[height, width, C]`, palettes applied."""
    if self._mapped is not None:
      box = np.array(self._mapped[y : y + height, x : x + width], self.dtype)
    else:
      box = self._decoded(y, x, height, width)
    if self.channels == 1:
      box = box.reshape(height, width)
    return tiff_colours(box, self._page)

  def _decoded(self, y: int, x: int, height: int, width: int) -> np.ndarray:
    box = np.empty((height, width, self.channels), self.dtype)
    for row in range(y // self._rows, (y + height - 1) // self._rows + 1):
      for column in range(x // self._columns, (x + width - 1) // self._columns + 1):
        top, left = row * self._rows, column * self._columns
        y0, y1 = max(top, y), min(top + self._rows, y + height)
        x0, x1 = max(left, x), min(left + self._columns, x + width)
        channel = 0
        for page in range(len(self._pages)):
          for plane in range(self._planes):
            piece = self._piece(page, plane, row, column)
            target = slice(channel, channel + piece.shape[2])
            box[y0 - y : y1 - y, x0 - x : x1 - x, target] = piece[
              y0 - top : y1 - top, x0 - left : x1 - left
            ]
            channel += piece.shape[2]
    return box

  def _piece(self, page: int, plane: int, row: int, column: int) -> np.ndarray:
    """One tile or strip of a page, `[rows, columns, samples]`."""
    index = (plane * self._down + row) * self._across + column
    size = self._rows * self._columns * self.dtype.itemsize

    def make() -> np.ndarray:
      return self._decode(self._pages[page], index)

    return self._kept.get((id(self), page, index), size, make)

  def _decode(
    self, page: tifffile.TiffPage | tifffile.TiffFrame, index: int
  ) -> np.ndarray:
    data = None
    if page.databytecounts[index] > 0:
      with self._file.lock:
        self._file.seek(page.dataoffsets[index])
        data = self._file.read(page.databytecounts[index])
    tables = {}
    if self._page.compression in _JPEG:
      tables = {"jpegtables": page.jpegtables, "jpegheader": self._page.jpegheader}
    piece, _, shape = self._page.decode(data, index, **tables)
    if piece is None:  # a tile that was never written
      return np.full(shape[1:], self._page.nodata, self.dtype)
    return piece[0]


class _Kept:
  """Decoded tiles and strips, the least recently used of which are dropped."""

  def __init__(self, limit: int):
    self._limit = limit
    self._size = 0
    self._pieces: collections.OrderedDict[Hashable, np.ndarray] = (
      collections.OrderedDict()
    )
    self._lock = threading.Lock()
    self._large = threading.Lock()

  def get(self, key: Hashable, size: int, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Returns what `make` makes, or made before; `size` is its likely bytes."""
    # A strip may be the whole of a large image: let one thread decode such at a time.
    with self._large if size > self._limit // 8 else contextlib.nullcontext():
      with self._lock:
        if key in self._pieces:
          self._pieces.move_to_end(key)
          return self._pieces[key]
      piece = make()
      with self._lock:
        if key not in self._pieces:
          self._pieces[key] = piece
          self._size += piece.nbytes
        while self._size > self._limit and len(self._pieces) > 1:
          self._size -= self._pieces.popitem(last=False)[1].nbytes
      return piece
