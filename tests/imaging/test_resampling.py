"""Resampling: against Pillow, against itself in pieces, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tissue import blob, centroid

from micronet_jax.imaging import resampling


@settings(max_examples=30, deadline=None)
@given(
  y=st.floats(16, 31),
  x=st.floats(16, 39),
  factor=st.sampled_from([0.5, 0.7, 1.3, 2.0]),
)
def test_a_spot_stays_under_its_centre(y, x, factor):
  image = blob((48, 56), (y, x), 3.5)
  np.testing.assert_allclose(centroid(image), (y, x), atol=0.05)
  resized = resampling.rescale_image(image, factor)
  assert resized.dtype == np.uint8
  assert resized.shape == (round(48 * factor), round(56 * factor), 3)
  centers = np.array([[y, x]], np.float32)
  moved = resampling.rescale_centers(centers, image.shape, resized.shape)
  assert moved.dtype == np.float32
  np.testing.assert_allclose(moved[0], centroid(resized), atol=0.1)


def test_a_square_doubled_and_halved_by_hand():
  image = np.zeros((12, 20, 3), np.uint8)
  image[4:6, 10:12] = 255  # its middle is the corner of four pixels
  middle = np.array([[4.5, 10.5]])
  twice = resampling.rescale_image(image, 2)
  moved = resampling.rescale_centers(middle, (12, 20, 3), twice.shape)
  np.testing.assert_allclose(moved, [[9.5, 21.5]])  # pixels 8 to 11 and 20 to 23
  assert (twice[8:12, 20:24] > 127).all()
  half = resampling.rescale_image(image, 0.5)
  moved = resampling.rescale_centers(middle, (12, 20), half.shape)
  np.testing.assert_allclose(moved, [[2, 5]])
  assert np.unravel_index(half[..., 0].argmax(), (6, 10)) == (2, 5)


@settings(max_examples=50, deadline=None)
@given(
  old=st.tuples(st.integers(1, 500), st.integers(1, 500)),
  new=st.tuples(st.integers(1, 500), st.integers(1, 500)),
  points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=5),
)
def test_centres_go_there_and_back(old, new, points):
  centers = np.array(points).reshape(-1, 2) * (np.array(old) - 1)
  moved = resampling.rescale_centers(centers, old, new)
  back = resampling.rescale_centers(moved, new, old)
  assert back.shape == centers.shape
  np.testing.assert_allclose(back, centers, rtol=1e-4, atol=1e-3)
  # Inside stays inside: the corners of the image stay its corners.
  assert (moved >= -0.5).all()
  assert (moved <= np.array(new) - 0.5).all()


def test_rescaling_never_leaves_nothing():
  assert resampling.rescale_image(np.zeros((4, 4, 3), np.uint8), 0.01).shape == (
    1,
    1,
    3,
  )


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.93, 1.996, 3.0])
def test_it_is_pillows_lanczos(factor):
  generator = np.random.default_rng(0)
  smooth = generator.integers(0, 256, (13, 11, 3), np.uint8)
  image = np.asarray(Image.fromarray(smooth).resize((110, 130)))
  ours = resampling.rescale_image(image, factor)
  size = round(110 * factor), round(130 * factor)
  theirs = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
  # Pillow rounds to 8 bit between rows and columns, too.
  difference = np.abs(ours.astype(int) - np.asarray(theirs))
  assert difference.max() <= 2
  assert difference.mean() < 0.3


def test_a_flat_image_stays_flat_to_its_corners():
  flat = np.full((37, 23, 3), 217, np.uint8)
  for factor in (0.21, 0.77, 1.0, 2.6):
    assert (resampling.rescale_image(flat, factor) == 217).all()


@settings(max_examples=60, deadline=None)
@given(
  old=st.tuples(st.integers(1, 60), st.integers(1, 60)),
  new=st.tuples(st.integers(1, 80), st.integers(1, 80)),
  data=st.data(),
)
def test_a_part_is_to_the_bit_the_part_of_the_whole(old, new, data):
  image = np.random.default_rng(1).integers(0, 256, (*old, 3), np.uint8)
  whole = resampling.resample(image, (0, 0), old, new, (0, 0, *new))
  y, x = (data.draw(st.integers(0, side - 1)) for side in new)
  height, width = (
    data.draw(st.integers(1, side - start))
    for side, start in zip(new, (y, x), strict=True)
  )
  box = (y, x, height, width)
  top, left, rows, columns = resampling.source_box(old, new, box)
  assert min(top, left) >= 0
  pixels = image[top : top + rows, left : left + columns]
  assert pixels.shape[:2] == (rows, columns)
  part = resampling.resample(pixels, (top, left), old, new, box)
  np.testing.assert_array_equal(part, whole[y : y + height, x : x + width])
