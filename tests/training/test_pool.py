"""The pool of images on the device, and which of them is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cohorts import sample

from micronet_jax.imaging import normalisation
from micronet_jax.training.pool import BLOCK, choose_images, to_device
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
  assert pool.pixels.shape == (3, BLOCK, 3)
  assert pool.pixels.dtype == jnp.uint8
  assert pool.sizes.dtype == jnp.int32
  np.testing.assert_array_equal(pool.sizes, shapes)
  np.testing.assert_array_equal(pool.first, [(0, 0), (1, 3 * 2), (2, 3 * 2 + 2 * 3)])
  assert len(pool.nearby) == 3 * 2 + 2 * 3 + 1
  for i, one in enumerate(samples):
    y, x = np.indices(shapes[i])
    np.testing.assert_array_equal(pool.read(i, y, x), one.image)
    assert np.count_nonzero(pool.pixels[i]) == one.image.size
    mean, std = normalisation.channel_statistics(one.image)
    np.testing.assert_array_equal(pool.mean[i], mean)
    np.testing.assert_array_equal(pool.std[i], std)
    own = nearby_centers(one.centers, shapes[i], reach=5.0)
    near = np.asarray(pool.near(i, *np.indices(own.shape[:2])))
    np.testing.assert_array_equal(near[:, :, : own.shape[2]], own)
    assert (near[:, :, own.shape[2] :] == FAR_AWAY).all()
    # Every centre is listed in its own cell, and what is added is out of any reach.
    listed = {tuple(each) for each in near.reshape(-1, 2)}
    assert listed - {(FAR_AWAY, FAR_AWAY)} == {*map(tuple, one.centers)}


def test_a_large_image_takes_no_room_for_the_small_ones():
  """Pixels and cells of 40 tiles and one image of 300 x 400, not of 41 such."""
  rng = np.random.default_rng(0)
  samples = [sample(f"s{i}", image=np.full((8, 9, 3), i, np.uint8)) for i in range(40)]
  large = rng.integers(0, 256, (300, 400, 3), np.uint8)
  samples.insert(7, sample("large", image=large, centers=np.array([[250.5, 399.0]])))
  pool = to_device(samples, mpp=0.25, reach=5.0)
  assert len(pool.pixels) == 40 + -(-300 * 400 // BLOCK)
  assert len(pool.nearby) == 40 * 2 * 3 + 75 * 100
  np.testing.assert_array_equal(pool.read(7, *np.indices((300, 400))), large)
  assert (np.asarray(pool.read(8, *np.indices((8, 9)))) == 7).all()
  assert (250.5, 399.0) in [*map(tuple, np.asarray(pool.near(7, 62, 99)))]
  assert (np.asarray(pool.near(8, *np.indices((2, 3)))) == FAR_AWAY).all()


@pytest.mark.parametrize("coarse", [False, True])
def test_a_pool_of_one_image_without_centres(coarse):
  pool = to_device([sample("a")], mpp=0.25, reach=15.0, coarse=coarse)
  assert pool.pixels.shape == (1, BLOCK, 3)
  assert (pool.nearby == FAR_AWAY).all()


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 17, 33, 100])
def test_a_coarse_pool_is_less_than_half_larger(count):
  samples = [sample(f"s{i}") for i in range(count)]
  pool = to_device(samples, mpp=0.25, reach=15.0, coarse=True)
  assert count <= len(pool.pixels) < 1.5 * count
  assert count <= len(pool.sizes) < 1.5 * count
  exact = to_device(samples, mpp=0.25, reach=15.0)
  assert len(exact.nearby) <= len(pool.nearby) < 1.5 * len(exact.nearby)
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
