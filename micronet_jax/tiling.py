"""An image at working resolution, and the tiles it is read in.

Tiling cannot be seen in the result, for three reasons. Tiles begin at multiples of the
network's stride, so its strided layers read the same pixels together. Each tile
reads `halo` pixels beyond the part it answers for, as far as the network and the
search for maxima look, except where the image ends, where all tiles end with it. And
each centre belongs to the one tile whose core it lies in.

Sides are brought to a multiple of the network's stride, below and to the right, by
pixels that are zero once normalised: the mean colour. It is the same whether the image
is read whole or in tiles, and centres are not looked for there. (Reflection makes half
nuclei whole, and cost 0.005 of F1 on tiles of 500²: benchmarks/RESULTS.md.)
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from micronet_jax import resampling
from micronet_jax.input_pipeline import WORKING_MPP
from micronet_jax.readers import Reader

SAME = 0.01
"""Resolutions that differ by less than this share are taken as the same."""


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


@dataclasses.dataclass(frozen=True)
class Tile:
  """One read of an image, at working resolution.

  Attributes:
    index: its place in the plan.
    y, x: where the read begins; multiples of the stride.
    core: what the tile answers for; the cores of a plan do not overlap.
  """

  index: int
  y: int
  x: int
  core: Box


class Canvas:
  """An image brought to working resolution, read box by box.

  Attributes:
    reader: of the image.
    shape: (H, W) at working resolution.
    padded: (H, W) with what is added below and to the right.
  """

  def __init__(self, reader: Reader, *, mpp: float | None, stride: int):
    """Chooses the level to read: the coarsest that is fine enough.

    Args:
      reader: of the image.
      mpp: its microns per pixel; None leaves it as it is.
      stride: the padded sides are multiples of it.
    """
    self.reader = reader
    factor = 1.0 if mpp is None else mpp / WORKING_MPP
    longest = int(np.argmax(reader.levels[0]))
    for level, shape in reversed(list(enumerate(reader.levels))):
      finer = shape[longest] / (reader.levels[0][longest] * factor)
      if finer > 1 - SAME or level == 0:
        break
    self._level, self._source = level, shape
    self.shape = shape
    if abs(finer - 1) >= SAME:
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


def tile_side(length: int, *, largest: int, halo: int, stride: int) -> int:
  """The side of tiles along a padded length: at most `largest`, and not wasteful.

  A length that one tile covers is its side. Up to four tiles share the length evenly,
  so that an image slightly longer than a tile is not read twice over; beyond, the
  largest side is taken, so that slides share one compiled program.
  """
  if length <= largest:
    return length
  for count in (2, 3, 4):
    side = -(-(length + 2 * halo * (count - 1)) // (count * stride)) * stride
    if side <= largest:
      return side
  return largest


def plan(
  padded: Sequence[int],
  region: Box,
  sides: Sequence[int],
  *,
  halo: int,
  stride: int,
) -> list[Tile]:
  """Covers a region with tiles of one size.

  Args:
    padded: (H, W) of the canvas, multiples of the stride.
    region: to be covered, inside the canvas.
    sides: (height, width) of every tile: multiples of the stride, not longer than the
      canvas, and longer than 2 halos unless as long as it.
    halo: how far a read goes beyond its core; a multiple of the stride.
    stride: where tiles may begin.

  Returns:
    The tiles in raster order; their cores cover the region.
  """
  rows, columns = (
    list(_spans(padded[i], region[i], region[i + 2], sides[i], halo, stride))
    for i in (0, 1)
  )
  cores = [(y, x, Box(y0, x0, y1, x1)) for y, y0, y1 in rows for x, x0, x1 in columns]
  return [Tile(index, *each) for index, each in enumerate(cores)]


def _spans(
  length: int, start: int, stop: int, side: int, halo: int, stride: int
) -> Iterable[tuple[int, int, int]]:
  """Where each tile's read begins along one axis, and its core from and to."""
  low = start // stride * stride
  while low < stop:
    begin = min(max(low - halo, 0), length - side)
    end = begin + side
    high = end if end == length else end - halo
    yield begin, low, high
    low = high
