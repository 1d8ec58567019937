"""The annotated images that training draws from, on the accelerator."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from micronet_jax.datasets.sample import Sample
from micronet_jax.imaging.normalisation import channel_statistics
from micronet_jax.training.data import Data
from micronet_jax.training.targets import nearest_center


class Images(NamedTuple):
  """Annotated images on the accelerator, padded to one size.

  Attributes:
    pixels: uint8 `[N, H, W, 3]`.
    sizes: int32 `[N, 2]`, height and width of what is not padding.
    mean: float32 `[N, 3]`, per image and channel, 0 to 255.
    std: float32 `[N, 3]`, > 0.
    centers: float32 `[N, M, 2]` (y, x); unused rows are far outside.
    nearest: int32 `[N, H, W]`, for each pixel the row of its nearest centre.
  """

  pixels: jax.Array
  sizes: jax.Array
  mean: jax.Array
  std: jax.Array
  centers: jax.Array
  nearest: jax.Array


FAR_AWAY = -1e6
"""Where unused rows of centres are, in pixels: no map reaches so far."""


def to_device(samples: Sequence[Sample], *, coarse: bool = False) -> Images:
  """Puts annotated images on the accelerator, padded to one size.

  Args:
    samples: at least one, of any sizes, at working resolution.
    coarse: add empty images and rows of centres up to round numbers, so that similar
      pools share one compiled step.

  Returns:
    The pool that `augmentation.draw_patches` reads.
  """
  height, width = (max(s.image.shape[axis] for s in samples) for axis in (0, 1))
  most = max(1, *(len(s.centers) for s in samples))
  count = len(samples)
  if coarse:
    most = 2 ** max(6, (most - 1).bit_length())
    # A power of two up to 32; beyond, at most a quarter more.
    unit = 2 ** max(3, (count - 1).bit_length() - (3 if count > 32 else 0))
    count += -count % unit
  pixels = np.zeros((count, height, width, 3), np.uint8)
  nearest = np.zeros((count, height, width), np.int32)
  centers = np.full((count, most, 2), FAR_AWAY, np.float32)
  sizes = np.ones((count, 2), np.int32)
  mean, std = np.zeros((count, 3), np.float32), np.ones((count, 3), np.float32)
  for i, sample in enumerate(samples):
    h, w = sample.image.shape[:2]
    pixels[i, :h, :w] = sample.image
    nearest[i, :h, :w] = nearest_center(sample.centers, (h, w))
    centers[i, : len(sample.centers)] = sample.centers
    sizes[i] = h, w
    mean[i], std[i] = channel_statistics(sample.image)
  return Images(
    pixels=jnp.asarray(pixels),
    sizes=jnp.asarray(sizes),
    mean=jnp.asarray(mean),
    std=jnp.asarray(std),
    centers=jnp.asarray(centers),
    nearest=jnp.asarray(nearest),
  )


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


def pool_images(data: Data, *, balanced: bool) -> tuple[Images, jax.Array, list[str]]:
  """Training images on the accelerator, the pools that batches read, and names."""
  samples = [*data.train, *data.auxiliary]
  ranges = [(0, len(samples))]
  if balanced:
    ranges = [(0, len(data.train)), (len(data.train), len(data.auxiliary))]
  images = to_device(samples, coarse=True)
  return images, jnp.asarray(ranges, jnp.int32), [s.name for s in samples]
