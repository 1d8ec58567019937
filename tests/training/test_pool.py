"""The pool of images on the device, and which of them is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cohorts import sample

from micronet_jax.imaging import normalisation
from micronet_jax.training.pool import choose_images, to_device


def test_pool():
  rng = np.random.default_rng(0)
  shapes = ((10, 7), (6, 12), (3, 3))
  counts = (3, 0, 1)
  samples = [
    sample(
      f"s{i}",
      image=rng.integers(1, 256, (*shape, 3), np.uint8),
      centers=rng.uniform(0, 1, (count, 2)) * (np.array(shape) - 1),
    )
    for i, (shape, count) in enumerate(zip(shapes, counts, strict=True))
  ]
  pool = to_device(samples)
  assert pool.pixels.shape == (3, 10, 12, 3)
  assert pool.pixels.dtype == jnp.uint8
  assert pool.nearest.shape == (3, 10, 12)
  assert pool.nearest.dtype == pool.sizes.dtype == jnp.int32
  assert pool.centers.shape == (3, 3, 2)
  np.testing.assert_array_equal(pool.sizes, shapes)
  for i, one in enumerate(samples):
    height, width = shapes[i]
    np.testing.assert_array_equal(pool.pixels[i, :height, :width], one.image)
    assert np.count_nonzero(pool.pixels[i]) == one.image.size
    np.testing.assert_array_equal(pool.centers[i, : counts[i]], one.centers)
    assert (pool.centers[i, counts[i] :] < -1e5).all()
    mean, std = normalisation.channel_statistics(one.image)
    np.testing.assert_array_equal(pool.mean[i], mean)
    np.testing.assert_array_equal(pool.std[i], std)
    if counts[i]:
      grid = np.stack(np.indices(shapes[i]), -1)[:, :, None]
      distance = np.linalg.norm(grid - one.centers, axis=-1)
      np.testing.assert_array_equal(
        pool.nearest[i, :height, :width], distance.argmin(-1)
      )
  assert not np.asarray(pool.nearest[1]).any()


def test_a_pool_of_one_image_without_centres():
  pool = to_device([sample("a")])
  assert pool.centers.shape == (1, 1, 2)
  assert (pool.centers < -1e5).all()


choose = jax.jit(jax.vmap(choose_images, in_axes=(0, 0, None)))


@pytest.mark.parametrize("pools", [[(0, 5)], [(0, 3), (3, 4)], [(0, 1), (1, 1)]])
def test_pools_take_turns_and_stay_in_their_range(pools):
  count = 1200
  keys = jax.random.split(jax.random.key(0), count)
  chosen = np.asarray(choose(keys, jnp.arange(count), jnp.array(pools, jnp.int32)))
  for turn, (first, size) in enumerate(pools):
    own = np.bincount(chosen[turn :: len(pools)], minlength=10)
    expected = count / len(pools) / size
    assert own.sum() == own[first : first + size].sum() == count / len(pools)
    # All, and about equally often: within 5 standard deviations.
    assert (np.abs(own[first : first + size] - expected) < 5 * expected**0.5).all()
