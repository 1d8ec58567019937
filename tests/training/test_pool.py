"""The pool of images on the device, and which of them is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cohorts import sample

from micronet_jax.imaging import normalisation
from micronet_jax.training.pool import choose_images, to_device
from micronet_jax.training.targets import FAR_AWAY, nearby_centers


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
  pool = to_device(samples, mpp=0.25, reach=5.0)
  assert pool.pixels.shape == (3, 10, 12, 3)
  assert pool.pixels.dtype == jnp.uint8
  assert pool.sizes.dtype == jnp.int32
  np.testing.assert_array_equal(pool.sizes, shapes)
  for i, one in enumerate(samples):
    height, width = shapes[i]
    np.testing.assert_array_equal(pool.pixels[i, :height, :width], one.image)
    assert np.count_nonzero(pool.pixels[i]) == one.image.size
    mean, std = normalisation.channel_statistics(one.image)
    np.testing.assert_array_equal(pool.mean[i], mean)
    np.testing.assert_array_equal(pool.std[i], std)
    own = nearby_centers(one.centers, shapes[i], reach=5.0)
    rows, columns, most, _ = own.shape
    np.testing.assert_array_equal(pool.nearby[i, :rows, :columns, :most], own)
    listed = {tuple(each) for each in np.asarray(pool.nearby[i]).reshape(-1, 2)}
    # Every centre is listed in its own cell, and what is added is out of any reach.
    assert listed - {(FAR_AWAY, FAR_AWAY)} == {*map(tuple, one.centers)}


@pytest.mark.parametrize("coarse", [False, True])
def test_a_pool_of_one_image_without_centres(coarse):
  pool = to_device([sample("a")], mpp=0.25, reach=15.0, coarse=coarse)
  assert pool.pixels.shape == (1, 4, 4, 3)
  assert (pool.nearby == FAR_AWAY).all()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 17, 33, 100])
def test_a_coarse_pool_is_less_than_half_larger(count):
  samples = [sample(f"s{i}") for i in range(count)]
  pool = to_device(samples, mpp=0.25, reach=15.0, coarse=True)
  assert count <= len(pool.pixels) < 1.5 * count
  exact = to_device(samples, mpp=0.25, reach=15.0)
  np.testing.assert_array_equal(pool.pixels[:count], exact.pixels)
  np.testing.assert_array_equal(pool.mean[:count], exact.mean)


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
