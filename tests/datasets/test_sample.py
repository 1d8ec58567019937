"""Samples at a network's resolution, and points in pixels at 0.25 microns."""

import dataclasses

import numpy as np
import pytest
from cohorts import sample
from tissue import blob, centroid

from micronet_jax.datasets.sample import cut_middle, to_resolution


@pytest.mark.parametrize(
  ("mpp", "wanted", "side"),
  [
    *((None, 0.25, 32), (0.25, 0.25, 32), (0.2499, 0.25, 32), (0.5, 0.25, 64)),
    *((0.125, 0.25, 16), (0.5, 0.5, 32), (0.25, 0.5, 16), (None, 0.5, 16)),
  ],
)
def test_the_nucleus_moves_with_its_centre(mpp, wanted, side):
  image = blob((32, 32), (11.5, 19.5), 4)
  one = sample("a", image=image, centers=[[11.5, 19.5]], mpp=mpp)
  moved = to_resolution(one, wanted)
  assert moved.image.shape == (side, side, 3)
  if side == 32:
    assert moved is one
    return
  assert moved.mpp == wanted
  assert (moved.name, moved.organ, moved.patient) == ("a", "a", "a")
  np.testing.assert_allclose(moved.centers[0], centroid(moved.image), atol=0.1)


def test_no_centres_stay_none():
  one = sample("a", image=blob((32, 32), (16, 16), 4), mpp=0.25)
  assert to_resolution(one, 0.5).centers.shape == (0, 2)


@pytest.mark.parametrize("mpp", [None, 0.25, 0.5, 0.125])
def test_points_in_reference_pixels_are_those_of_the_resampled_sample(mpp):
  one = sample(
    "a", image=blob((32, 48), (16, 16), 4), centers=[[0, 0], [7, 9]], mpp=mpp
  )
  expected = to_resolution(one, 0.25)
  np.testing.assert_allclose(one.in_reference(one.centers), expected.centers)
  assert one.reference_shape == expected.image.shape[:2]


@pytest.mark.parametrize(("mpp", "side"), [(None, 20), (0.25, 20), (0.5, 10)])
def test_the_middle_is_cut_to_a_length_in_reference_pixels(mpp, side):
  one = sample("a", image=blob((32, 32), (16, 16), 4), centers=[[16, 15]], mpp=mpp)
  cut = cut_middle(dataclasses.replace(one), 20)
  assert cut.image.shape == (side, side, 3)
  corner = (32 - side) // 2
  np.testing.assert_array_equal(cut.centers, [[16 - corner, 15 - corner]])
