"""Where patches come from, and that image and map come from the same place."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from micronet_jax.datasets.sample import Sample
from micronet_jax.imaging import normalisation
from micronet_jax.training import augmentation
from micronet_jax.training.augmentation import Warp
from micronet_jax.training.pool import to_device
from micronet_jax.training.targets import proximity, proximity_map

STILL = Warp(patch=16, rotate=0.0, mirror=0.0, shift=0.0, elastic=0.0)
RADIUS = 6.0

TURNED = Warp(patch=16, elastic=1.0)

reflect = jax.jit(augmentation.reflect)
read_bilinear = jax.jit(augmentation.read_bilinear)


# Compiling takes most of the time here: numbers of a warp are arguments, and the
# two that must be constants are few.
compiled = functools.partial(jax.jit, static_argnames=("patch", "elastic"))


def parts_of(warp):
  numbers = warp._asdict()
  constants = {name: numbers.pop(name) for name in ("patch", "elastic")}
  return numbers, constants


@compiled
def _positions(keys, size, numbers, **constants):
  warp = Warp(**numbers, **constants)
  return jax.vmap(lambda key: augmentation.source_positions(key, size, warp))(keys)


def positions_of(keys, *, size, warp):
  """Source positions of many patches, [B, P, P, 2]."""
  numbers, constants = parts_of(warp)
  size = jnp.asarray(size, jnp.int32)
  return np.asarray(_positions(keys, size, numbers, **constants))


@compiled
def _draw(images, index, keys, numbers, radius, **constants):
  warp = Warp(**numbers, **constants)
  label = functools.partial(proximity, radius=radius)
  return augmentation.draw_patches(images, index, keys, warp=warp, label=label)


def draw(images, index, keys, *, warp, radius=15.0):
  """Patches and maps of these images and keys; batches of 8, compiled once."""
  numbers, constants = parts_of(warp)
  room = -len(index) % 8
  padded = jnp.concatenate([jnp.asarray(index, jnp.int32), jnp.zeros(room, jnp.int32)])
  data = jax.random.key_data(keys)
  data = jnp.concatenate([data, jnp.zeros((room, *data.shape[1:]), data.dtype)])
  keys = jax.random.wrap_key_data(data)
  batches = [
    _draw(images, padded[i : i + 8], keys[i : i + 8], numbers, radius, **constants)
    for i in range(0, len(padded), 8)
  ]
  patches, maps = (
    np.concatenate(parts)[: len(index)] for parts in zip(*batches, strict=True)
  )
  return patches, maps


@compiled
def _fields(keys, numbers, **constants):
  warp = Warp(**numbers, **constants)
  return jax.vmap(lambda key: augmentation.elastic_field(key, warp))(keys)


def keys_of(count, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def sample(shape, centers=(), *, seed=0, image=None, name="a"):
  if image is None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
  else:
    pixels = image
  centers = np.asarray(centers, np.float32).reshape(-1, 2)
  return Sample(name, "organ", name, None, pixels, centers)


def scattered(shape, count, *, apart=0.0, seed=0):
  """Random points at least so far apart."""
  rng, points = np.random.default_rng(seed), []
  for _ in range(10_000):
    point = rng.uniform(0, np.array(shape) - 1).astype(np.float32)
    if all(np.linalg.norm(point - other) >= apart for other in points):
      points.append(point)
    if len(points) == count:
      return np.array(points)
  raise AssertionError("no room for the points")


def pool_of(*samples):
  """These images on the device, padded as 2 of 64 x 64 with 40 centres each."""
  filler = sample((64, 64), scattered((64, 64), 40), seed=99, name="filler")
  pool = to_device([*samples, filler])
  keep = np.array([0, 1])
  assert len(samples) <= 2
  return jax.tree.map(lambda array: array[keep], pool)


def raw(images):
  """The pool without normalisation: patches hold grey levels."""
  return images._replace(
    mean=jnp.zeros_like(images.mean), std=jnp.ones_like(images.std)
  )


def mirrored_index(size, margin):
  """Row numbers of an image that numpy extends by so many on each side."""
  mode = "reflect" if size > 1 else "edge"
  return np.pad(np.arange(size), margin, mode=mode)


def affine(positions):
  """Least-squares fit of patch -> image; matrix [2, 2], origin [2], residual."""
  side = positions.shape[0]
  grid = np.indices((side, side)).reshape(2, -1).T
  design = np.column_stack([grid, np.ones(len(grid))])
  target = np.asarray(positions, np.float64).reshape(-1, 2)
  solution, *_ = np.linalg.lstsq(design, target, rcond=None)
  residual = np.abs(design @ solution - target).max()
  return solution[:2].T, solution[2], residual


# Borders.


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


# Reading.


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


# Crops.


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
  warp = STILL._replace(shift=3.0)
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


@pytest.mark.parametrize("warp", [STILL._replace(shift=4.0), TURNED])
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


def test_padding_is_never_read():
  small = sample((18, 25), scattered((18, 25), 5), seed=5)
  large = sample((40, 40), scattered((40, 40), 5), seed=6, name="b")
  pool = pool_of(small, large)
  inside = np.zeros((2, 64, 64), bool)
  inside[0, :18, :25] = inside[1, :40, :40] = True
  # Garish padding, whose nearest centre lies on every pixel.
  spoilt = pool._replace(
    pixels=jnp.where(inside[..., None], pool.pixels, 255 - pool.pixels),
    nearest=jnp.where(inside, pool.nearest, 4 - pool.nearest),
  )
  assert (spoilt.pixels != pool.pixels).any()
  assert (spoilt.nearest != pool.nearest).any()
  warp = TURNED
  index = np.zeros(64, int)
  for clean, dirty in zip(
    draw(pool, index, keys_of(64), warp=warp),
    draw(spoilt, index, keys_of(64), warp=warp),
    strict=True,
  ):
    np.testing.assert_array_equal(clean, dirty)


# Rotation and mirroring.


def ramp_image(shape):
  """Channels are row, column and their sum: bilinear reading of them is exact."""
  y, x = np.indices(shape)
  return np.stack([2 * y, 2 * x, y + x], -1).astype(np.uint8)


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_image_and_map_turn_together(mirror):
  shape = (64, 60)
  # Where two centres are nearly equally far, both are out of reach.
  centers = scattered(shape, 11, apart=2 * RADIUS + 3, seed=7)
  one = sample(shape, centers, image=ramp_image(shape))
  warp = STILL._replace(rotate=180.0, mirror=mirror)
  count = 60
  keys, index = keys_of(count, seed=2), [0] * count
  grey, maps = draw(raw(pool_of(one)), index, keys, warp=warp, radius=RADIUS)
  drawn = positions_of(keys, size=shape, warp=warp)
  tested = with_nuclei = 0
  for patch, drawn_map, positions in zip(
    np.asarray(grey), np.asarray(maps), drawn, strict=True
  ):
    matrix, origin, residual = affine(positions)
    if residual > 1e-3:
      continue  # reaches over the border: not a rigid motion
    tested += 1
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(2), atol=1e-5)
    assert np.linalg.det(matrix) == pytest.approx(-1 if mirror else 1, abs=1e-5)
    moved = np.linalg.solve(matrix, (centers - origin).T).T
    expected = proximity_map(moved, (16, 16), radius=RADIUS)
    with_nuclei += expected.max() > 0.5
    np.testing.assert_allclose(drawn_map, expected, atol=1e-4)
    grid = np.indices((16, 16)).reshape(2, -1)
    y, x = matrix @ grid + origin[:, None]
    values = np.stack([2 * y, 2 * x, y + x], -1).reshape(16, 16, 3)
    np.testing.assert_allclose(patch, values, atol=1e-3)
  assert tested >= 20
  assert with_nuclei >= 10


def centred(shape):
  """An image that a patch of 17 fits on in one place, and its corner."""
  assert shape == (17, 17)
  return sample(shape, [[3, 5], [12, 13]], seed=8)


def angle_of(matrix):
  """From the direction of a patch's columns, which mirroring leaves alone."""
  return np.degrees(np.arctan2(matrix[..., 1, 0], matrix[..., 0, 0]))


def test_a_quarter_turn_is_numpys():
  one = centred((17, 17))
  key = keys_of(1, seed=3)
  warp = STILL._replace(patch=17, rotate=10.0)
  big = positions_of(key, size=(200, 200), warp=warp)[0]
  at_ten = angle_of(affine(big)[0])
  assert 1 < abs(at_ten) < 10
  # The angle is a fraction of `rotate` that depends on the key alone.
  pool, index = raw(pool_of(one)), [0] * 1
  full = proximity_map(one.centers, (17, 17), radius=RADIUS)
  turned = set()
  for degrees in (90, 180, 270):
    quarter = warp._replace(rotate=float(10 * degrees / at_ten))
    positions = positions_of(key, size=(17, 17), warp=quarter)[0]
    patch, drawn = draw(pool, index, key, warp=quarter, radius=RADIUS)
    matrix, _, residual = affine(positions)
    assert residual < 1e-3
    assert np.cos(np.radians(angle_of(matrix) - degrees)) > 1 - 1e-6
    turns = next(
      k for k in range(4) if np.allclose(patch[0], np.rot90(one.image, k), atol=0.1)
    )
    turned.add(turns)
    np.testing.assert_allclose(drawn[0], np.rot90(full, turns), atol=1e-3)
  assert turned == {1, 2, 3}


def test_a_mirror_image_is_numpys():
  one = centred((17, 17))
  warp = STILL._replace(patch=17, mirror=1.0)
  patch, drawn = draw(raw(pool_of(one)), [0], keys_of(1), warp=warp, radius=RADIUS)
  full = proximity_map(one.centers, (17, 17), radius=RADIUS)
  np.testing.assert_array_equal(patch[0], one.image[:, ::-1])
  np.testing.assert_allclose(drawn[0], full[:, ::-1], atol=2e-6)


def motions(warp, count=1500):
  """Matrices of many patches far from any border, and their fits' residuals."""
  drawn = positions_of(keys_of(count, seed=4), size=(10_000, 10_000), warp=warp)
  fits = [affine(np.asarray(positions)) for positions in drawn]
  return np.stack([fit[0] for fit in fits]), np.array([fit[2] for fit in fits])


@pytest.mark.parametrize("rotate", [180.0, 30.0])
def test_angles_are_uniform_over_the_range(rotate):
  matrices, _ = motions(Warp(patch=3, rotate=rotate, elastic=0.0, shift=0.0))
  angles = angle_of(matrices)
  assert np.abs(angles).max() <= rotate + 0.1
  assert angles.min() < -0.97 * rotate
  assert angles.max() > 0.97 * rotate
  uniform = scipy.stats.uniform(-rotate, 2 * rotate)
  assert scipy.stats.kstest(angles, uniform.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
  ("mirror", "low", "high"), [(0.5, 0.45, 0.55), (0.2, 0.15, 0.25)]
)
def test_mirror_images_are_as_frequent_as_asked_for(mirror, low, high):
  matrices, _ = motions(Warp(patch=3, mirror=mirror, elastic=0.0))
  flipped = np.linalg.det(matrices) < 0
  assert low < flipped.mean() < high
  # Neither depends on the other.
  angles = angle_of(matrices)
  assert scipy.stats.ks_2samp(angles[flipped], angles[~flipped]).pvalue > 1e-3


def test_places_are_uniform():
  drawn = positions_of(keys_of(3000), size=(16 + 9, 16), warp=STILL)
  rows = np.asarray(drawn)[:, 0, 0, 0].astype(int)
  counts = np.bincount(rows, minlength=10)
  assert len(counts) == 10
  assert scipy.stats.chisquare(counts).pvalue > 1e-3


# Elastic distortion.

ELASTIC = Warp(patch=48, elastic_sigma=5.0, elastic_alpha=35.0)


def fields(count, warp=ELASTIC, seed=5):
  numbers, constants = parts_of(warp)
  return np.asarray(_fields(keys_of(count, seed=seed), numbers, **constants))


def reference_fields(count, warp=ELASTIC):
  """As in the authors' code: noise, scipy's filter, times alpha."""
  noise = np.random.default_rng(0).uniform(-1, 1, (count, warp.patch, warp.patch, 2))
  smooth = scipy.ndimage.gaussian_filter(
    noise, (0, warp.elastic_sigma, warp.elastic_sigma, 0), mode="constant"
  )
  return warp.elastic_alpha * smooth


def autocorrelation(field, lag, axis):
  """Correlation with itself so many pixels on, in the middle of the patch."""
  middle = field[:, 12:-12, 12:-12]
  moved = np.roll(field, -lag, axis=axis)[:, 12:-12, 12:-12]
  return (middle * moved).mean() / (middle**2).mean()


def test_elastic_field_has_the_strength_and_smoothness_of_scipys():
  actual, expected = fields(150), reference_fields(150)
  assert actual.shape == (150, 48, 48, 2)
  assert actual.mean() == pytest.approx(0, abs=0.05)
  # In the middle, and at the border, where scipy's filter sees zeros beyond.
  for region in (np.s_[:, 16:-16, 16:-16], np.s_[:, :2], np.s_[:, :, -2:]):
    assert actual[region].std() == pytest.approx(expected[region].std(), rel=0.1)
  # By hand: variance of the noise 1/3, over 4 pi sigma^2.
  assert actual[:, 16:-16, 16:-16].std() == pytest.approx(
    35 * np.sqrt(1 / 3 / (4 * np.pi * 25)), rel=0.1
  )
  for lag in (2, 5, 10):
    for axis in (1, 2):
      assert autocorrelation(actual, lag, axis) == pytest.approx(
        autocorrelation(expected, lag, axis), abs=0.06
      )
  # Both components, independent of each other.
  y, x = actual[..., 0].ravel(), actual[..., 1].ravel()
  assert y.std() == pytest.approx(x.std(), rel=0.1)
  assert abs(np.corrcoef(y, x)[0, 1]) < 0.1


def test_smoothness_and_strength_follow_their_fields():
  base = fields(150)
  stronger = fields(150, ELASTIC._replace(elastic_alpha=70.0))
  np.testing.assert_allclose(stronger, 2 * base, rtol=1e-4, atol=1e-5)
  rough = fields(150, ELASTIC._replace(elastic_sigma=2.0))
  assert autocorrelation(rough, 5, 1) < 0.4 < autocorrelation(base, 5, 1)


def test_elastic_distortion_moves_positions_by_the_field_and_as_often_as_asked():
  warp = STILL._replace(patch=32)
  keys, size = keys_of(500, seed=6), (5000, 5000)
  straight = positions_of(keys, size=size, warp=warp)
  bent = positions_of(keys, size=size, warp=warp._replace(elastic=0.3))
  moved = bent - straight
  distorted = moved.any((1, 2, 3))
  assert 0.24 < distorted.mean() < 0.36
  # Wherever one pixel moves, all do.
  assert (moved[distorted] != 0).mean() > 0.95
  expected = reference_fields(150, Warp(patch=32))
  assert moved[distorted].std() == pytest.approx(expected.std(), rel=0.1)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 40))
def test_any_map_is_that_of_the_places_read_but_for_a_pixel(seed, count):
  """The nearest centre is looked up at the nearest pixel, at most 0.71 px away."""
  shape = (40, 34)
  one = sample(shape, scattered(shape, count, seed=seed))
  key = keys_of(1, seed=seed)
  _, maps = draw(pool_of(one), [0], key, warp=TURNED, radius=RADIUS)
  drawn = maps[0]
  positions = positions_of(key, size=shape, warp=TURNED)[0]
  offsets = positions[:, :, None] - one.centers
  distance = np.linalg.norm(offsets, axis=-1).min(-1)

  def equation_1(distance):
    inside = (np.exp(3 * (1 - distance / RADIUS)) - 1) / (np.exp(3) - 1)
    return np.where(distance <= RADIUS, inside, 0)

  assert (drawn <= equation_1(distance) + 1e-4).all()
  assert (drawn >= equation_1(distance + np.sqrt(2)) - 1e-4).all()
  # And where one centre alone is near, exactly.
  two = np.sort(np.linalg.norm(offsets, axis=-1), -1)[..., :2]
  clear = np.diff(two).min(-1, initial=np.inf) > 1.5
  np.testing.assert_allclose(drawn[clear], equation_1(distance)[clear], atol=1e-4)


# Randomness.


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
    functools.partial(augmentation.draw_patches, warp=warp, label=proximity)
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
