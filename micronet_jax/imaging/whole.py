"""Whether a PNG or JPEG holds the rows that it announces; decoders fill in what lacks.

Called by `imaging.decoding`.
"""

import contextlib
import io
import pathlib
import zlib
from collections.abc import Iterator

import numpy as np
import PIL.Image
import PIL.JpegImagePlugin

_PASSES = (
  (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
  (1, 0, 2, 1),
)  # fmt: skip
"""First row, first column, steps down and across of PNG's interlaced passes."""


_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's colour types


_CHUNK = 2**20


_BLANK = 128  # what libjpeg makes of a block that is not there


_MORE = 96  # rows that a JPEG is asked for beyond those that it announces


_ROUGHLY = 8  # grey levels that a blank corner may differ from blank, by its neighbours


_EIGHTH = 8  # pixels along a block, of which `_small` makes one


_SCAN = 0xDA


_RESTARTS = range(0xD0, 0xD8)  # markers within a scan, which count round


_FRAMES = (0xC0, 0xC1, 0xC2)  # markers of JPEG that announce the size


def check_png(path: pathlib.Path, last: np.ndarray) -> None:
  """Refuses a PNG whose last row is blank because it is not there.

  Args:
    path: a PNG file.
    last: its last row, as it was decoded; indices of a palette.

  Raises:
    ValueError: rows are missing; the message goes on from "it cannot be read".
  """
  data = path.read_bytes()
  width, height = (int.from_bytes(data[i : i + 4]) for i in (16, 20))
  depth, colour, interlaced = data[24], data[25], data[28]
  if not interlaced and np.any(last):
    return
  bits = depth * _CHANNELS[colour]
  passes = _PASSES if interlaced else ((0, 0, 1, 1),)
  needed = 0
  for y, x, down, across in passes:
    rows, columns = -(-(height - y) // down), -(-(width - x) // across)
    needed += rows * (1 + -(-columns * bits // 8)) if rows > 0 < columns else 0
  with contextlib.suppress(zlib.error):  # of its last bytes, behind the pixels
    if _inflated(data) < needed:
      raise ValueError("rows are missing; the file may be cut short")


def _inflated(data: bytes) -> int:
  """Bytes that the pixels of a PNG file take once inflated."""
  inflate = zlib.decompressobj()
  size = 0
  for chunk in _image_data(data):
    rest = chunk
    while rest:
      size += len(inflate.decompress(rest, _CHUNK))
      rest = inflate.unconsumed_tail
  return size + len(inflate.flush())


def _image_data(data: bytes) -> Iterator[bytes]:
  at = 8
  while at + 8 <= len(data):
    length = int.from_bytes(data[at : at + 4])
    if data[at + 4 : at + 8] == b"IDAT":
      yield data[at + 8 : at + 8 + length]
    at += length + 12


def check_jpeg(path: pathlib.Path, corner: np.ndarray) -> None:
  """Refuses a JPEG that announces more or fewer rows than it holds.

  libjpeg fills up what lacks with grey, and leaves unread what is too much. What
  lies below the last row announced is grey unless the file holds more rows; and grey
  in the last corner changes with what follows the pixels, unless all are there.

  Args:
    path: a JPEG file.
    corner: its last pixel, as it was decoded.

  Raises:
    ValueError: the message goes on from "it cannot be read".
  """
  data = path.read_bytes()
  frames = [place + 5 for marker, place in _segments(data) if marker in _FRAMES]
  with contextlib.suppress(OSError):  # without its end mark: nobody can tell
    if frames and int.from_bytes(data[frames[0] + 2 : frames[0] + 4]) >= _EIGHTH:
      _check_rows_below(data, frames[0])
    blank = np.all(np.abs(corner.astype(int) - _BLANK) <= _ROUGHLY)
    if blank and np.any(_small(data) != _small(_lengthened(data))):
      raise ValueError("rows are missing; the file may be cut short")


def _check_rows_below(data: bytes, at: int) -> None:
  """See `check_jpeg`; `at` is where the height is."""
  height = int.from_bytes(data[at : at + 2])
  if height + _MORE >= 2**16:
    return
  components = data[at + 5 : at + 5 + 3 * data[at + 4]]
  step = max(sampling & 15 for sampling in components[1::3])  # of blocks, at a time
  more = data[:at] + (height + _MORE).to_bytes(2) + data[at + 2 :]
  # One step down, as the first blocks that lack may be made of the last bits.
  first = (-(-height // (_EIGHTH * step)) + 1) * step
  if np.any(_small(more)[first:] != _BLANK):
    raise ValueError("it holds more rows than it says")


def _lengthened(data: bytes) -> bytes:
  """A JPEG with noise behind its first scan, which shows only where blocks lack."""
  at = next(place for marker, place in _segments(data) if marker == _SCAN)
  expected = 0  # the number of the next restart
  while (at := data.find(b"\xff", at + 2)) >= 0:
    marker = data[at + 1]
    if marker in _RESTARTS:
      expected = marker - _RESTARTS[0] + 1
    elif marker:
      break
  noise = np.random.default_rng(0).integers(0, 255, (9, 512), np.uint8)
  filler = noise[0].tobytes()
  for i, more in enumerate(noise[1:]):
    filler += bytes([0xFF, _RESTARTS[(expected + i) % 8]]) + more.tobytes()
  return data[:at] + filler + data[at:]


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
  """Marker and place of what a JPEG says before its first scan, and of that."""
  at = 2
  while at + 4 <= len(data) and data[at] == 0xFF:
    marker = data[at + 1]
    if marker == 0xFF:  # a filler
      at += 1
      continue
    yield marker, at
    if marker == _SCAN:
      return
    at += 2 + int.from_bytes(data[at + 2 : at + 4])


def _small(data: bytes) -> np.ndarray:
  """Luma of every block of 8 x 8 pixels."""
  image = PIL.JpegImagePlugin.JpegImageFile(io.BytesIO(data))
  image.draft("L", (max(1, image.width // _EIGHTH), max(1, image.height // _EIGHTH)))
  return np.asarray(image)
