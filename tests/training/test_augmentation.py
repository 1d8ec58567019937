"""Where patches come from, and that image and map come from the same place."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from patches import (
  OFF,
  RADIUS,
  STILL,
  TURNED,
  draw,
  keys_of,
  mirrored_index,
  pool_of,
  positions_of,
  raw,
  sample,
  scattered,
)

from micronet_jax.imaging import normalisation
from micronet_jax.training import augmentation
from micronet_jax.training.targets import proximity, proximity_map

reflect = jax.jit(augmentation.reflect)
read_bilinear = jax.jit(augmentation.read_bilinear)


# --- Borders -------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 50))
def test_reflect_is_what_numpy_calls_reflect(size):
  positions = np.arange(-60, 120, dtype=np.float32)
  folded = reflect(positions, size)
  np.testing.assert_array_equal(folded, mirrored_index(size, 120)[60:240])


@settings(max_examples=60, deadline=None)
@given(
  size=st.integers(2, 40),
  position=st.floats(-200, 200, width=32, allow_subnormal=False),
)
def test_reflect_between_pixels_is_scipys_mirror(size, position):
  # Reading a ramp of slope 1 returns the position that was read.
  ramp = np.arange(size, dtype=np.float64)
  expected = scipy.ndimage.map_coordinates(ramp, [[position]], order=1, mode="mirror")
  folded = reflect(np.float32(position), size)
  assert 0 <= folded <= size - 1
  np.testing.assert_allclose(folded, expected[0], atol=1e-4)


def test_reflect_of_a_hair_below_zero_stays_inside():
  folded = reflect(np.float32(-1e-12), 5)
  assert 0 <= folded <= 4
  np.testing.assert_allclose(folded, 0, atol=1e-6)


# --- Reading -------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_bilinear_reading_equals_scipy(seed):
  rng = np.random.default_rng(seed)
  small, large = sample((9, 13), seed=seed), sample((20, 17), seed=seed + 1, name="b")
  images = pool_of(small, large)
  for index, one in enumerate((small, large)):
    last = np.array(one.image.shape[:2]) - 1
    positions = (rng.random((8, 8, 2)) * last).astype(np.float32)
    positions[0, 0], positions[0, 1], positions[0, 2] = 0, last, (0, last[1])
    actual = np.asarray(read_bilinear(raw(images), index, positions))
    for channel in range(3):
      expected = scipy.ndimage.map_coordinates(
        one.image[..., channel].astype(np.float64),
        np.moveaxis(positions, -1, 0).astype(np.float64),
        order=1,
      )
      np.testing.assert_allclose(actual[..., channel], expected, atol=2e-3)


def test_patches_are_normalised_by_their_own_image():
  images = pool_of(sample((20, 20), seed=1), sample((24, 24), seed=2, name="b"))
  keys = keys_of(2)
  index = jnp.array([0, 1])
  normal, _ = draw(images, index, keys, warp=STILL)
  grey, _ = draw(raw(images), index, keys, warp=STILL)
  for i, seed, shape in ((0, 1, (20, 20)), (1, 2, (24, 24))):
    pixels = sample(shape, seed=seed).image.reshape(-1, 3).astype(np.float64)
    expected = (np.asarray(grey[i]) - pixels.mean(0)) / pixels.std(0)
    np.testing.assert_allclose(normal[i], expected, atol=1e-5)


# --- Crops ---------------------------------------------------------------------------


def corners_that_fit(patch, proximity, image, full):
  """Every corner at which this is the crop."""
  side = patch.shape[0]
  return [
    (y, x)
    for y in range(image.shape[0] - side + 1)
    for x in range(image.shape[1] - side + 1)
    if np.array_equal(patch, image[y : y + side, x : x + side])
    and np.allclose(proximity, full[y : y + side, x : x + side], atol=2e-6)
  ]


def test_without_warp_a_patch_is_a_crop_and_all_crops_are_drawn():
  one = sample((20, 22), scattered((20, 22), 7), seed=3)
  full = proximity_map(one.centers, (20, 22), radius=RADIUS)
  count = 400
  arguments = ([0] * count, keys_of(count))
  images = pool_of(one)
  grey, maps = draw(raw(images), *arguments, warp=STILL, radius=RADIUS)
  normal, _ = draw(images, *arguments, warp=STILL, radius=RADIUS)
  normalised = normalisation.normalise(one.image)
  seen = set()
  for patch, exact, drawn in zip(
    np.asarray(normal), np.asarray(grey), np.asarray(maps), strict=True
  ):
    fitting = corners_that_fit(exact, drawn, one.image, full)
    assert len(fitting) == 1
    y, x = fitting[0]
    seen.add((y, x))
    crop = normalised[y : y + 16, x : x + 16]
    np.testing.assert_allclose(patch, crop, atol=1e-6)
  assert len(seen) == 5 * 7  # all corners, so every pixel too


@pytest.mark.parametrize("size", [(18, 19), (16, 16), (7, 5), (3, 40), (1, 1)])
def test_shift_reaches_over_the_border_so_far_and_no_further(size):
  warp = dataclasses.replace(STILL, shift=3.0)
  drawn = positions_of(keys_of(600), size=size, warp=warp)
  for axis, length in enumerate(size):
    # Rows (columns) do not depend on the column (row).
    lines = np.moveaxis(drawn[..., axis], axis + 1, 1)[:, :, 0]
    np.testing.assert_array_equal(
      np.moveaxis(drawn[..., axis], axis + 1, 1), np.repeat(lines[..., None], 16, 2)
    )
    last = max(length - 16, 0) + 3
    extended = mirrored_index(length, 40)
    allowed = {
      tuple(extended[40 + corner : 56 + corner]) for corner in range(-3, last + 1)
    }
    assert {tuple(line.astype(int)) for line in lines} == allowed
    np.testing.assert_array_equal(lines, np.round(lines))


@pytest.mark.parametrize("warp", [dataclasses.replace(STILL, shift=4.0), TURNED])
@pytest.mark.parametrize("size", [(40, 33), (10, 64), (5, 5), (1, 1)])
def test_positions_are_inside_and_reach_everything(size, warp):
  drawn = positions_of(keys_of(600, seed=1), size=size, warp=warp)
  assert drawn.min() >= 0
  for axis in (0, 1):
    assert drawn[..., axis].max() <= size[axis] - 1
  pixel = np.round(drawn).astype(int).reshape(-1, 2)
  reached = np.zeros(size, bool)
  reached[pixel[:, 0], pixel[:, 1]] = True
  assert reached.all()


def test_an_image_smaller_than_the_patch_is_reflected_with_its_centres():
  one = sample((9, 12), [[2.0, 3.5], [6.25, 9.0]], seed=4)
  grey, maps = draw(raw(pool_of(one)), [0] * 4, keys_of(4), warp=STILL, radius=3.0)
  rows, columns = mirrored_index(9, 20)[20:36], mirrored_index(12, 20)[20:36]
  full = proximity_map(one.centers, (9, 12), radius=3.0)
  for patch, drawn in zip(grey, maps, strict=True):
    np.testing.assert_array_equal(patch, one.image[np.ix_(rows, columns)])
    np.testing.assert_allclose(drawn, full[np.ix_(rows, columns)], atol=2e-6)


def test_an_image_of_one_pixel_works():
  one = sample((1, 1), [[0, 0]], image=np.full((1, 1, 3), 77, np.uint8))
  patch, drawn = draw(raw(pool_of(one)), [0], keys_of(1), warp=TURNED)
  np.testing.assert_allclose(patch, 77, rtol=1e-6)
  np.testing.assert_allclose(drawn, 1)


def test_without_points_the_map_is_zero():
  pool = pool_of(sample((30, 30), [[5, 5]]), sample((30, 30), name="b"))
  _, maps = draw(pool, jnp.ones(6, jnp.int32), keys_of(6), warp=TURNED)
  assert maps.shape == (6, 16, 16)
  assert not np.asarray(maps).any()


def test_nothing_but_the_image_itself_is_read():
  small = sample((18, 25), scattered((18, 25), 5), seed=5)
  large = sample((40, 40), scattered((40, 40), 5), seed=6, name="b")
  pool = pool_of(large, small)
  # What stands before, behind and beside the small one's pixels and cells is garish,
  # with a nucleus in the middle of it.
  (_, cells), block = pool.first, int(pool.first[1, 0])
  own = np.zeros(pool.pixels.shape[:2], bool)
  own[block, : 18 * 25] = True
  listed = np.zeros(len(pool.nearby), bool)
  listed[int(cells[1]) : int(cells[1]) + 5 * 7] = True
  spoilt = pool._replace(
    pixels=jnp.where(own[..., None], pool.pixels, 255 - pool.pixels),
    nearby=jnp.where(listed[:, None, None], pool.nearby, 9.0),
  )
  assert (spoilt.pixels != pool.pixels).any()
  assert (spoilt.nearby != pool.nearby).any()
  warp = TURNED
  index = np.ones(64, int)
  for clean, dirty in zip(
    draw(pool, index, keys_of(64), warp=warp),
    draw(spoilt, index, keys_of(64), warp=warp),
    strict=True,
  ):
    np.testing.assert_array_equal(clean, dirty)


# --- Randomness ----------------------------------------------------------------------


def test_the_same_key_gives_the_same_patch_and_others_differ():
  pool = pool_of(sample((40, 40), [[9, 9], [30, 22]]))
  index = [0] * 6
  keys = keys_of(6)
  first, again = (draw(pool, index, keys, warp=TURNED) for _ in range(2))
  for one, two in zip(first, again, strict=True):
    np.testing.assert_array_equal(one, two)
  patches = np.asarray(first[0]).reshape(6, -1)
  assert len(np.unique(patches, axis=0)) == 6


def test_an_example_does_not_depend_on_its_neighbours():
  pool = pool_of(
    sample((40, 40), [[9, 9], [30, 22]]), sample((25, 31), [[20, 20]], name="b")
  )
  warp = TURNED
  keys, others = keys_of(4), keys_of(4, seed=9)
  patches, maps = draw(pool, jnp.array([0, 1, 1, 0]), keys, warp=warp)
  mixed = jnp.concatenate([others[:2], keys[2:]])
  neighbours = draw(pool, jnp.array([1, 0, 1, 0]), mixed, warp=warp)
  np.testing.assert_array_equal(neighbours[0][2:], patches[2:])
  np.testing.assert_array_equal(neighbours[1][2:], maps[2:])
  assert not np.array_equal(neighbours[0][:2], patches[:2])
  # Alone it is another program, so equal up to rounding.
  draw_alone = jax.jit(
    functools.partial(
      augmentation.draw_patches,
      warp=warp,
      label=proximity,
      appearance=OFF,
    )
  )
  alone = draw_alone(pool, jnp.array([1]), keys[1:2])
  np.testing.assert_allclose(alone[0][0], patches[1], atol=2e-3)
  np.testing.assert_allclose(alone[1][0], maps[1], atol=1e-4)


def test_shapes_types_and_range():
  pool = pool_of(sample((40, 40), [[9, 9], [30, 22]]))
  patches, maps = draw(pool, [0] * 5, keys_of(5), warp=TURNED)
  assert patches.shape == (5, 16, 16, 3)
  assert maps.shape == (5, 16, 16)
  assert patches.dtype == maps.dtype == jnp.float32
  assert (maps >= 0).all()
  assert (maps <= 1).all()
