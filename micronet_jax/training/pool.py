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


class Images(NamedTuple):
  """Annotated images on the accelerator, padded to one size.

  Attributes:
    pixels: uint8 `[N, H, W, 3]`.
    sizes: int32 `[N, 2]`, height and width of what is not padding.
    mean: float32 `[N, 3]`, per image and channel, 0 to 255.
    std: float32 `[N, 3]`, > 0.
    nearby: float32 `[N, R, C, K, 2]` (y, x), for each cell of each image the centres
      that may be nearest to a place in it (`targets.nearby_centers`).
    palette: uint8 `[N, PALETTE, 3]`, pixels spread over each image.
  """

  pixels: jax.Array
  sizes: jax.Array
  mean: jax.Array
  std: jax.Array
  nearby: jax.Array
  palette: jax.Array


def to_device(
  samples: Sequence[Sample], *, mpp: float, reach: float, coarse: bool = False
) -> Images:
  """Puts annotated images on the accelerator, padded to one size.

  Args:
    samples: at least one, of any sizes and resolutions.
    mpp: microns per pixel that they are brought to.
    reach: distance in these pixels up to which maps depend on the nearest centre.
    coarse: add a few empty images and centres, up to round numbers, so that similar
      pools share one compiled step.

  Returns:
    The pool that `augmentation.draw_patches` reads.
  """
  samples = [to_resolution(sample, mpp) for sample in samples]
  nearby = [nearby_centers(s.centers, s.image.shape[:2], reach=reach) for s in samples]
  height, width = (max(s.image.shape[axis] for s in samples) for axis in (0, 1))
  most = max(each.shape[2] for each in nearby)
  count = len(samples)
  if coarse:
    most += -most % 4
    # At most a quarter more.
    count += -count % 2 ** max(0, (count - 1).bit_length() - (3 if count > 8 else 2))
  pixels = np.zeros((count, height, width, 3), np.uint8)
  cells = (-(-height // CELL), -(-width // CELL), most, 2)
  table = np.full((count, *cells), FAR_AWAY, np.float32)
  sizes = np.ones((count, 2), np.int32)
  mean, std = np.zeros((count, 3), np.float32), np.ones((count, 3), np.float32)
  palette = np.zeros((count, PALETTE, 3), np.uint8)
  for i, (sample, near) in enumerate(zip(samples, nearby, strict=True)):
    h, w = sample.image.shape[:2]
    pixels[i, :h, :w] = sample.image
    table[i, : near.shape[0], : near.shape[1], : near.shape[2]] = near
    sizes[i] = h, w
    mean[i], std[i] = channel_statistics(sample.image)
    palette[i] = sample_colors(sample.image)
  arrays = pixels, sizes, mean, std, table, palette
  return Images(*map(jnp.asarray, arrays))


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
