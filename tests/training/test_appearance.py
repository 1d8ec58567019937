"""Colours of patches against scikit-image, scipy and whole images."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from patches import OFF, STILL, draw, keys_of, pool_of, sample, scattered
from skimage.color import hed2rgb, rgb2hed

from micronet_jax.imaging.normalisation import channel_statistics
from micronet_jax.training import appearance
from micronet_jax.training.pool import PALETTE, sample_colors

vary = functools.partial(jax.jit, static_argnames="settings")
restain = jax.jit(appearance.restain)


@vary
def vary_and_normalise(key, values, palette, mean, std, settings):
  return appearance.vary_and_normalise(key, values, palette, mean, std, settings)


def tissue_like(shape=(100, 100), seed=0):
  """Stained grey levels: eosin everywhere, blobs of haematoxylin, a white corner."""
  random = np.random.default_rng(seed)
  noise = scipy.ndimage.gaussian_filter(random.normal(size=(2, *shape)), (0, 4, 4))
  haematoxylin = 0.06 * (noise[0] > 0.07) + 0.01 * random.random(shape)
  eosin = 0.04 + 0.2 * np.abs(noise[1])
  stains = np.stack([haematoxylin, eosin, np.full(shape, 0.003)], -1)
  stains[:30, :40] = 0
  return np.rint(255 * hed2rgb(stains)).astype(np.uint8)


def varied(key, values, settings):
  """One patch that is its whole image."""
  mean, std = channel_statistics(values)
  arrays = values.astype(np.float32), sample_colors(values), mean, std
  return np.asarray(vary_and_normalise(key, *arrays, settings))


# --- Off ---------------------------------------------------------------------------


def test_off_a_patch_is_normalised_by_its_image_to_the_bit():
  values = tissue_like()
  mean, std = channel_statistics(values)
  expected = jax.jit(lambda v, m, s: (v - m) / s)(values.astype(np.float32), mean, std)
  np.testing.assert_array_equal(varied(keys_of(1)[0], values, OFF), expected)


def test_colours_leave_place_and_map_alone():
  shape = (50, 45)
  one = sample(shape, scattered(shape, 20, seed=1), image=tissue_like(shape))
  arguments = pool_of(one), [0] * 4, keys_of(4)
  patches, maps = draw(*arguments, warp=STILL)
  changed, same = draw(
    *arguments, warp=STILL, appearance=dataclasses.replace(OFF, stain=0.6)
  )
  np.testing.assert_array_equal(same, maps)
  assert not np.allclose(changed, patches, atol=1e-3)


# --- Stain -------------------------------------------------------------------------

triple = functools.partial(st.tuples, *[st.floats(0.5, 1.5)] * 3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), gains=triple())
def test_gains_of_stains_are_scikit_images(seed, gains):
  stains = np.random.default_rng(seed).uniform(0, 0.06, (5, 6, 3))
  rgb = hed2rgb(stains)
  np.testing.assert_allclose(rgb2hed(rgb), stains, atol=1e-6)
  expected = 255 * hed2rgb(stains * gains)
  values = (255 * rgb).astype(np.float32)
  actual = restain(values, np.array(gains, np.float32), np.zeros(3, np.float32))
  np.testing.assert_allclose(actual, np.maximum(expected, 0), atol=0.05)


def test_offsets_are_densities_of_stains_and_white_stays_white():
  values = np.array([[200.0, 150, 180], [255, 255, 255]], np.float32)
  one = np.ones(3, np.float32)
  offsets = np.array([0.1, 0.0, 0.0], np.float32)
  darker = restain(values, one, offsets)
  np.testing.assert_allclose(
    darker, values * np.exp(-0.1 * np.array([0.65, 0.7, 0.29])), rtol=1e-5
  )
  np.testing.assert_allclose(restain(values, one, -offsets)[1], 255)
  np.testing.assert_allclose(restain(values, one, 0 * offsets), values, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), strength=st.sampled_from([0.1, 0.4]))
def test_normalisation_follows_as_if_the_whole_image_were_stained(seed, strength):
  values, key = tissue_like(seed=seed % 7), keys_of(1, seed=seed)[0]
  gains, offsets = appearance.draw_stain(jax.random.fold_in(key, 0), strength)
  assert (np.abs(gains - 1) <= strength).all()
  whole = np.asarray(restain(values.astype(np.float32), gains, offsets), np.float64)
  expected = (whole - whole.mean((0, 1))) / whole.std((0, 1))
  actual = varied(key, values, dataclasses.replace(OFF, stain=strength))
  # The palette is a sample of the pixels, so its change is near the image's.
  np.testing.assert_allclose(actual, expected, atol=0.1)


def test_stain_is_not_undone_by_normalisation():
  """An offset nearly is; a gain of one stain changes how it stands to the other."""
  values, strong = tissue_like(), dataclasses.replace(OFF, stain=0.6)
  plain = varied(keys_of(1)[0], values, OFF)
  moved = [np.abs(varied(key, values, strong) - plain).mean() for key in keys_of(10)]
  assert np.mean(moved) > 0.02


def test_a_flat_image_stays_finite():
  flat = np.full((20, 20, 3), 255, np.uint8)
  assert np.isfinite(
    varied(keys_of(1)[0], flat, dataclasses.replace(OFF, stain=0.5))
  ).all()


@pytest.mark.parametrize("shape", [(256, 256), (205, 205), (1, 1), (3, 700)])
def test_a_palette_is_spread_over_the_image(shape):
  place = np.stack([*np.indices(shape), np.zeros(shape, int)], -1)
  palette = sample_colors(place)
  assert palette.shape == (PALETTE, 3)
  for axis in (0, 1):
    tenths = np.bincount(10 * palette[:, axis] // shape[axis], minlength=10)
    assert shape[axis] < 10 or (np.abs(tenths - PALETTE / 10) < 8).all()


# --- Patches as images of their own ------------------------------------------------


def test_a_share_of_patches_is_normalised_by_themselves():
  image, patch = tissue_like(), tissue_like()[:40, 40:80]
  mean, std = channel_statistics(image)
  arrays = patch.astype(np.float32), sample_colors(image), mean, std
  keys, settings = keys_of(200), dataclasses.replace(OFF, own=0.3)
  made = np.stack([vary_and_normalise(key, *arrays, settings) for key in keys])
  alone = (patch - patch.mean((0, 1))) / patch.std((0, 1))
  of_image = (patch - mean) / std
  by_itself = np.abs(made - alone).max((1, 2, 3)) < 1e-3
  by_image = np.abs(made - of_image).max((1, 2, 3)) < 1e-3
  assert (by_itself ^ by_image).all()
  assert 40 <= by_itself.sum() <= 80  # 60 of 200, give or take three deviations
