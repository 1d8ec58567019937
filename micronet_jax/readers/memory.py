"""An image that is in memory already."""

import numpy as np

from micronet_jax.readers.base import Reader, check_box


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
