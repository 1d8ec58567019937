"""The tiles that an image is read in.

Tiling cannot be seen in the result, for three reasons. Tiles begin at multiples of the
network's stride, so its strided layers read the same pixels together. Each tile
reads `halo` pixels beyond the part it answers for, as far as the network and the
search for maxima look, except where the image ends, where all tiles end with it. And
each centre belongs to the one tile whose core it lies in.

Sides are brought to a multiple of the network's stride, below and to the right, by
pixels that are zero once normalised: the mean colour. It is the same whether the image
is read whole or in tiles, and centres are not looked for there. (Reflection makes half
nuclei whole, and cost 0.005 of F1 on tiles of 500²: benchmarks/RESULTS.md.)

Tiles may lie in larger arrays, in which many sizes share a compiled program;
`models.bounds` then ends them, in every layer, where they would end else. Called by
`detection.scan` and `detection.detector`.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from micronet_jax.imaging.canvas import Box

SHARED = 3
"""How many sizes of arrays tiles share: the largest, its half, and so on."""


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


def shared_side(length: int, *, largest: int, stride: int) -> int:
  """The least of few sides, `SHARED` for each `largest`, that holds a length.

  Args:
    length: of the longer side of a tile, at most `largest`.
    largest: longest side of a tile, a multiple of the stride.
    stride: of the network.
  """
  unit = [2**halvings * stride for halvings in range(SHARED)]
  sides = (-(-largest // each) * stride for each in unit)
  return min(side for side in sides if side >= length)


def plan_tiles(
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
