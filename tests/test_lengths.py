"""Lengths that people write, in the pixels of networks: worked by hand."""

import pytest

from micronet_jax import lengths
from micronet_jax.config import ProximityConfig, WarpConfig


@pytest.mark.parametrize(
  ("mpp", "wanted", "factor"),
  [
    (None, 0.25, 1),
    (None, 0.5, 0.5),
    (0.5, 0.25, 2),
    (0.252, 0.25, 1),
    (0.2, 0.5, 0.4),
  ],
)
def test_between_resolutions(mpp, wanted, factor):
  assert lengths.scale_between(mpp, wanted) == factor


@pytest.mark.parametrize(
  ("min_distance", "mpp", "radius"),
  [
    *((1, 0.25, 1), (5, 0.25, 5), (3, 0.5, 1), (5, 0.5, 2), (7, 0.5, 3), (11, 0.5, 5)),
    *((1, 0.5, 1), (5, 0.125, 11), (5, 1.0, 1)),
  ],
)
def test_maxima_stay_as_far_apart(min_distance, mpp, radius):
  assert lengths.window_radius(min_distance, mpp) == radius


def test_a_recipe_at_half_the_resolution():
  warp = lengths.warp_at(WarpConfig(), 0.5)
  assert (warp.patch, warp.shift) == (200, 5.0)
  assert (warp.elastic_sigma, warp.elastic_alpha) == (2.5, 8.75)
  # The sd of a displacement is in proportion to alpha / sigma: as many microns.
  assert 0.5 * 8.75 / 2.5 == 0.25 * 35 / 5
  assert lengths.proximity_at(ProximityConfig(), 0.5).radius == 7.5
  assert lengths.warp_at(WarpConfig(), 0.25) == WarpConfig()
