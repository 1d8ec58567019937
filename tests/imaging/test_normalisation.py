"""Statistics of an image's channels equal numpy's."""

import numpy as np
import pytest

from micronet_jax.imaging import normalisation


def test_statistics_equal_numpys():
  image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
  image[..., 1] //= 4
  mean, std = normalisation.channel_statistics(image)
  assert mean.dtype == std.dtype == np.float32
  for channel in range(3):
    values = image[..., channel].astype(np.float64)
    assert mean[channel] == pytest.approx(np.mean(values), rel=1e-6)
    assert std[channel] == pytest.approx(np.sqrt(np.var(values)), rel=1e-6)
  normal = normalisation.normalise(image)
  assert normal.dtype == np.float32
  np.testing.assert_allclose(normal.mean((0, 1)), 0, atol=1e-4)
  np.testing.assert_allclose(normal.std((0, 1)), 1, atol=1e-4)


def test_a_flat_image_stays_finite():
  flat = np.full((5, 6, 3), (0, 100, 255), np.uint8)
  _, std = normalisation.channel_statistics(flat)
  assert (std == 1).all()
  assert not normalisation.normalise(flat).any()
