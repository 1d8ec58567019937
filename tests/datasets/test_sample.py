"""Samples at a network's resolution, and points in pixels at 0.25 microns."""

import dataclasses

import numpy as np
import pytest
from cohorts import sample
from tissue import blob, centroid

from micronet_jax.datasets.sample import Sample, cut_middle, to_resolution
from micronet_jax.errors import InputError


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


GREY = np.full((6, 8, 3), 128, np.uint8)
ONE = np.ones((1, 2), np.float32)


@pytest.mark.parametrize(
  ("image", "given"),
  [
    (GREY / 255, r"an array float64 \[6, 8, 3\]"),
    (GREY.astype(np.uint16) * 257, r"an array uint16 \[6, 8, 3\]"),
    (GREY.astype(np.int64), r"an array int64 \[6, 8, 3\]"),
    (GREY > 0, r"an array bool \[6, 8, 3\]"),
    (GREY[..., 0], r"an array uint8 \[6, 8\]"),
    (np.dstack([GREY, GREY[..., :1]]), r"an array uint8 \[6, 8, 4\]"),
    (GREY[None], r"an array uint8 \[1, 6, 8, 3\]"),
    (GREY.tolist(), "of type list"),
    ("a.png", "of type str"),
    (None, "of type NoneType"),
  ],
)
def test_an_image_is_bytes_in_three_colours(image, given):
  """Training would see fractions as black, and 16 bits wrapped."""
  with pytest.raises(InputError, match=f"^sample 'mine': image is {given}; it must"):
    Sample("mine", "a", "a", None, image, ONE)


@pytest.mark.parametrize(
  ("centers", "given"),
  [
    ([[1.0, 2.0]], "centers is of type list"),
    (None, "centers is of type NoneType"),
    (np.ones(2), r"centers is an array float64 \[2\]"),
    (np.ones((4, 3)), r"centers is an array float64 \[4, 3\]"),
    (np.array([["1", "2"]]), r"centers is an array <U1 \[1, 2\]"),
    (np.array([[1, np.nan]]), "NaN or infinite centers"),
    (np.array([[np.inf, 1]]), "NaN or infinite centers"),
  ],
)
def test_centres_are_finite_pairs(centers, given):
  with pytest.raises(InputError, match=f"^sample 'mine': {given}; "):
    Sample("mine", "a", "a", None, GREY, centers)


def test_a_sample_keeps_the_arrays_that_it_is_given():
  one = Sample("mine", "a", "a", None, GREY, ONE)
  assert one.image is GREY
  assert one.centers is ONE
  assert Sample("mine", "a", "a", None, GREY, ONE[:0]).centers.shape == (0, 2)
