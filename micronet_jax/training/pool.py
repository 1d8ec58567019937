"""The annotated images that training draws from, on the accelerator.

Called by `training.loop`; read by `training.augmentation`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from micronet_jax.datasets.sample import Sample, to_resolution
from micronet_jax.imaging.normalisation import channel_statistics
from micronet_jax.training.data import Data
from micronet_jax.training.targets import CELL, FAR_AWAY, nearby_centers

PALETTE = 1024
"""Pixels of each image that stand for all its colours."""

BLOCK = 4096
"""Pixels in a row of the pool: addresses of 32 bits reach beyond any memory."""


class Images(NamedTuple):
  """Annotated images on the accelerator, one after the other, whatever their sizes.

  Attributes:
    pixels: uint8 `[B, BLOCK, 3]`: of each image all rows; each image begins a block.
    nearby: float32 `[M, K, 2]` (y, x), for each cell of each image, row by row, the
      centres that may be nearest to a place in it (`targets.nearby_centers`).
    first: int32 `[N, 2]`, the first block and the first cell of each image.
    sizes: int32 `[N, 2]`, its height and width.
    mean: float32 `[N, 3]`, per image and channel, 0 to 255.
    std: float32 `[N, 3]`, > 0.
    palette: uint8 `[N, PALETTE, 3]`, pixels spread over each image.
  """

  pixels: jax.Array
  nearby: jax.Array
  first: jax.Array
  sizes: jax.Array
  mean: jax.Array
  std: jax.Array
  palette: jax.Array

  def read(self, index: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    """Pixels of one image, uint8 `[..., 3]`; int32 `y` and `x` are inside of it."""
    place = y * self.sizes[index, 1] + x
    return self.pixels[self.first[index, 0] + place // BLOCK, place % BLOCK]

  def near(self, index: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """Centres near cells of one image, `[..., K, 2]`; cells by int32 row and column."""
    columns = (self.sizes[index, 1] + CELL - 1) // CELL
    return self.nearby[self.first[index, 1] + row * columns + column]


def to_device(
  samples: Sequence[Sample], *, mpp: float, reach: float, coarse: bool = False
) -> Images:
  """Puts annotated images on the accelerator.

  Args:
    samples: at least one, of any sizes and resolutions.
    mpp: microns per pixel that they are brought to.
    reach: distance in these pixels up to which maps depend on the nearest centre.
    coarse: make all lengths a little larger, up to round numbers, so that similar
      pools share one compiled step.

  Returns:
    The pool that `augmentation.draw_patches` reads.
  """
  samples = [to_resolution(sample, mpp) for sample in samples]
  tables = [nearby_centers(s.centers, s.image.shape[:2], reach=reach) for s in samples]
  most = max(table.shape[2] for table in tables)
  blocks = [-(-s.image[..., 0].size // BLOCK) for s in samples]
  cells = [table[..., 0, 0].size for table in tables]
  lengths = [len(samples), sum(blocks), sum(cells)]
  if coarse:
    most, lengths = most + -most % 4, [*map(_rounded, lengths)]
  count, all_blocks, all_cells = lengths
  pixels = np.zeros((all_blocks, BLOCK, 3), np.uint8)
  nearby = np.full((all_cells, most, 2), FAR_AWAY, np.float32)
  first = np.zeros((count, 2), np.int32)
  sizes = np.ones((count, 2), np.int32)
  mean, std = np.zeros((count, 3), np.float32), np.ones((count, 3), np.float32)
  palette = np.zeros((count, PALETTE, 3), np.uint8)
  first[: len(samples), 0] = np.cumsum([0, *blocks[:-1]])
  first[: len(samples), 1] = np.cumsum([0, *cells[:-1]])
  for i, (sample, table) in enumerate(zip(samples, tables, strict=True)):
    block, cell = first[i]
    colours = sample.image.reshape(-1, 3)
    pixels[block:].reshape(-1, 3)[: len(colours)] = colours
    nearby[cell : cell + cells[i], : table.shape[2]] = table.reshape(cells[i], -1, 2)
    sizes[i] = sample.image.shape[:2]
    mean[i], std[i] = channel_statistics(sample.image)
    palette[i] = sample_colors(sample.image)
  arrays = pixels, nearby, first, sizes, mean, std, palette
  return Images(*map(jnp.asarray, arrays))


def _rounded(length: int) -> int:
  """A round number that is at most a quarter more."""
  return length + -length % 2 ** max(
    0, (length - 1).bit_length() - (3 if length > 8 else 2)
  )


def sample_colors(image: np.ndarray) -> np.ndarray:
  """Pixels spread evenly over an image, uint8 `[PALETTE, 3]`, always the same.

  They lie at a sequence of low discrepancy (multiples of the powers of 1 / 1.3247, the
  root of x³ = x + 1), which no image's width lines up with.
  """
  place = np.arange(1, PALETTE + 1)[:, None] * (0.7548776662466927, 0.5698402909980532)
  y, x = ((place % 1) * image.shape[:2]).astype(int).T
  return image[y, x]


def choose_images(key: jax.Array, position: jax.Array, pools: jax.Array) -> jax.Array:
  """Draws the image of one patch: target and auxiliary pool take turns.

  Args:
    key: typed random key.
    position: int32, the patch's place in the whole batch; it reads pool
      `position % P`.
    pools: int32 `[P, 2]`, first image and number of images of each pool.

  Returns:
    int32, an index into `Images`.
  """
  first, count = pools[position % pools.shape[0]]
  return first + jax.random.randint(key, (), 0, count)


def pool_images(
  data: Data, *, balanced: bool, mpp: float, reach: float
) -> tuple[Images, jax.Array, list[str]]:
  """Training images on the accelerator, the pools that batches read, and names.

  Args:
    data: of a run.
    balanced: whether target and auxiliary images are pools of their own.
    mpp: as `to_device` takes it, as `reach`.
    reach: see there.
  """
  samples = [*data.train, *data.auxiliary]
  ranges = [(0, len(samples))]
  if balanced:
    ranges = [(0, len(data.train)), (len(data.train), len(data.auxiliary))]
  images = to_device(samples, mpp=mpp, reach=reach, coarse=True)
  return images, jnp.asarray(ranges, jnp.int32), [s.name for s in samples]
