"""Turned, mirrored and bent patches against numpy, scipy and statistics."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from patches import (
  RADIUS,
  STILL,
  TURNED,
  _fields,
  affine,
  draw,
  keys_of,
  parts_of,
  pool_of,
  positions_of,
  raw,
  sample,
  scattered,
)

from micronet_jax.config import WarpConfig
from micronet_jax.training.targets import proximity_map

# --- Rotation and mirroring ----------------------------------------------------------


def ramp_image(shape):
  """Channels are row, column and their sum: bilinear reading of them is exact."""
  y, x = np.indices(shape)
  return np.stack([2 * y, 2 * x, y + x], -1).astype(np.uint8)


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_image_and_map_turn_together(mirror):
  shape = (64, 60)
  centers = scattered(shape, 40, seed=7)
  one = sample(shape, centers, image=ramp_image(shape))
  warp = dataclasses.replace(STILL, rotate=180.0, mirror=mirror)
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
  warp = dataclasses.replace(STILL, patch=17, rotate=10.0)
  big = positions_of(key, size=(200, 200), warp=warp)[0]
  at_ten = angle_of(affine(big)[0])
  assert 1 < abs(at_ten) < 10
  # The angle is a fraction of `rotate` that depends on the key alone.
  pool, index = raw(pool_of(one)), [0] * 1
  full = proximity_map(one.centers, (17, 17), radius=RADIUS)
  turned = set()
  for degrees in (90, 180, 270):
    quarter = dataclasses.replace(warp, rotate=float(10 * degrees / at_ten))
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
  warp = dataclasses.replace(STILL, patch=17, mirror=1.0)
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
  matrices, _ = motions(WarpConfig(patch=3, rotate=rotate, elastic=0.0, shift=0.0))
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
  matrices, _ = motions(WarpConfig(patch=3, mirror=mirror, elastic=0.0))
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


# --- Elastic distortion --------------------------------------------------------------


ELASTIC = WarpConfig(patch=48, elastic_sigma=5.0, elastic_alpha=35.0)


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
  stronger = fields(150, dataclasses.replace(ELASTIC, elastic_alpha=70.0))
  np.testing.assert_allclose(stronger, 2 * base, rtol=1e-4, atol=1e-5)
  rough = fields(150, dataclasses.replace(ELASTIC, elastic_sigma=2.0))
  assert autocorrelation(rough, 5, 1) < 0.4 < autocorrelation(base, 5, 1)


def test_elastic_distortion_moves_positions_by_the_field_and_as_often_as_asked():
  warp = dataclasses.replace(STILL, patch=32)
  keys, size = keys_of(500, seed=6), (5000, 5000)
  straight = positions_of(keys, size=size, warp=warp)
  bent = positions_of(keys, size=size, warp=dataclasses.replace(warp, elastic=0.3))
  moved = bent - straight
  distorted = moved.any((1, 2, 3))
  assert 0.24 < distorted.mean() < 0.36
  # Wherever one pixel moves, all do.
  assert (moved[distorted] != 0).mean() > 0.95
  expected = reference_fields(150, WarpConfig(patch=32))
  assert moved[distorted].std() == pytest.approx(expected.std(), rel=0.1)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 40))
def test_any_map_is_that_of_the_places_read(seed, count):
  shape = (40, 34)
  one = sample(shape, scattered(shape, count, seed=seed))
  key = keys_of(1, seed=seed)
  _, maps = draw(pool_of(one), [0], key, warp=TURNED, radius=RADIUS)
  positions = positions_of(key, size=shape, warp=TURNED)[0]
  offsets = positions[:, :, None].astype(float) - one.centers
  distance = np.linalg.norm(offsets, axis=-1).min(-1)
  equation_1 = (np.exp(3 * (1 - distance / RADIUS)) - 1) / (np.exp(3) - 1)
  expected = np.where(distance <= RADIUS, equation_1, 0)
  np.testing.assert_allclose(maps[0], expected, atol=1e-4)


# --- Zoom ----------------------------------------------------------------------------


def test_zoom_is_uniform_in_its_logarithm_and_leaves_other_draws_alone():
  keys, size = keys_of(1000, seed=5), (500, 500)
  plain = dataclasses.replace(STILL, rotate=180.0, mirror=0.5)
  zoomed = dataclasses.replace(plain, zoom=1.5)
  factors = []
  for positions, still in zip(
    positions_of(keys, size=size, warp=zoomed),
    positions_of(keys, size=size, warp=plain),
    strict=True,
  ):
    (matrix, _, bent), (unscaled, _, bent_too) = affine(positions), affine(still)
    if max(bent, bent_too) > 1e-2:
      continue  # reaches over the border
    factor = abs(np.linalg.det(matrix)) ** -0.5
    np.testing.assert_allclose(matrix * factor, unscaled, atol=2e-3)
    factors.append(factor)
  assert len(factors) > 900
  share = np.log(factors) / np.log(1.5)
  assert scipy.stats.kstest(share, scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 20))
def test_the_map_of_a_magnified_patch_is_equation_1_in_its_own_pixels(seed, count):
  shape = (60, 64)
  centers = scattered(shape, count, seed=seed)
  one = sample(shape, centers, image=ramp_image(shape))
  warp = dataclasses.replace(STILL, zoom=2.0)
  keys, index = keys_of(8, seed=seed), [0] * 8
  grey, maps = draw(raw(pool_of(one)), index, keys, warp=warp, radius=RADIUS)
  drawn = positions_of(keys, size=shape, warp=warp)
  for patch, drawn_map, positions in zip(grey, maps, drawn, strict=True):
    matrix, origin, residual = affine(positions)
    assert residual < 1e-3  # without a shift, it lies on the image
    np.testing.assert_allclose(matrix, np.eye(2) * matrix[0, 0], atol=1e-5)
    moved = (centers - origin) / matrix[0, 0]
    expected = proximity_map(moved, (16, 16), radius=RADIUS)
    np.testing.assert_allclose(drawn_map, expected, atol=1e-3)
    np.testing.assert_allclose(patch[..., 0], 2 * positions[..., 0], atol=1e-3)


def test_patches_of_any_zoom_reach_everything_and_nothing_else():
  warp = dataclasses.replace(STILL, zoom=2.0)
  drawn = positions_of(keys_of(600, seed=1), size=(40, 33), warp=warp)
  for axis, length in enumerate((40, 33)):
    assert 0 <= drawn[..., axis].min() < 1
    assert length - 2 < drawn[..., axis].max() <= length - 1
