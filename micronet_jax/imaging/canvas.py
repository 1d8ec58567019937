"""An image at the resolution that a network works at, read box by box.

Called by `detection.scan`; `imaging.reader` gives the pixels.
"""

from typing import NamedTuple

import numpy as np

from micronet_jax.imaging import resampling
from micronet_jax.imaging.reader import Reader
from micronet_jax.lengths import SAME_MPP, scale_between


class Box(NamedTuple):
  """Part of an image: half-open, in pixels."""

  y0: int
  x0: int
  y1: int
  x1: int


def inside(centers: np.ndarray, box: Box) -> np.ndarray:
  """Which of `[N, 2]` centres (y, x) lie on the pixels of a box; bool `[N]`."""
  corner = centers + 0.5
  return np.all((corner >= box[:2]) & (corner < box[2:]), axis=1)


class Canvas:
  """An image brought to a network's resolution, read box by box.

  Attributes:
    reader: of the image.
    working_mpp: microns per pixel here.
    shape: (H, W) at working resolution.
    padded: (H, W) with what is added below and to the right.
  """

  def __init__(
    self, reader: Reader, *, mpp: float | None, working_mpp: float, stride: int
  ):
    """Chooses the level to read: the coarsest that is fine enough.

    Args:
      reader: of the image.
      mpp: its microns per pixel; None means 0.25.
      working_mpp: that the network sees.
      stride: the padded sides are multiples of it.
    """
    self.reader = reader
    self.working_mpp = working_mpp
    factor = scale_between(mpp, working_mpp)
    longest = int(np.argmax(reader.levels[0]))
    for level, shape in reversed(list(enumerate(reader.levels))):
      finer = shape[longest] / (reader.levels[0][longest] * factor)
      if finer > 1 - SAME_MPP or level == 0:
        break
    self._level, self._source = level, shape
    self.shape = shape
    if abs(finer - 1) >= SAME_MPP:
      height, width = (max(1, round(side * factor)) for side in reader.levels[0])
      self.shape = (height, width)
    height, width = (-(-side // stride) * stride for side in self.shape)
    self.padded = (height, width)
    self._held: np.ndarray | None = None

  def hold(self) -> None:
    """Reads the whole image once and keeps it."""
    self._held = self._read(0, 0, *self.shape)

  def read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
    """Reads uint8 `[height, width, 3]` from a place in the image; 0 beyond it."""
    rows = min(height, self.shape[0] - y)
    columns = min(width, self.shape[1] - x)
    inside = self._read(y, x, rows, columns)
    if (rows, columns) == (height, width):
      return inside
    return np.pad(inside, ((0, height - rows), (0, width - columns), (0, 0)))

  def _read(self, *box: int) -> np.ndarray:
    if self._held is not None:
      y, x, height, width = box
      return self._held[y : y + height, x : x + width]
    if self._source == self.shape:
      return self.reader.read(self._level, *box)
    source = resampling.source_box(self._source, self.shape, box)
    pixels = self.reader.read(self._level, *source)
    return resampling.resample(pixels, source[:2], self._source, self.shape, box)

  def to_own(self, centers: np.ndarray) -> np.ndarray:
    """Moves float64 centres `[N, 2]` from here to pixels of level 0."""
    return resampling.rescale_centers(centers, self.shape, self.reader.levels[0])

  def from_own(self, box: Box) -> Box:
    """The smallest box here, inside the image, that holds a box of level 0."""
    scale = np.asarray(self.shape) / np.asarray(self.reader.levels[0])
    low = np.floor(np.asarray(box[:2]) * scale).astype(int)
    high = np.ceil(np.asarray(box[2:]) * scale).astype(int)
    top, left = np.clip(low, 0, self.shape)
    bottom, right = np.clip(high, 0, self.shape)
    return Box(int(top), int(left), int(bottom), int(right))
