"""Thumbnails are means of areas, whatever is read at once."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyramids import HALF, RGB, TILED, area_mean, write_pyramid

from micronet_jax.errors import InputError
from micronet_jax.imaging import thumbnails
from micronet_jax.imaging.opening import open_image
from micronet_jax.imaging.thumbnails import thumbnail

MANY = settings(
  max_examples=30,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@MANY
@given(height=st.integers(1, 200), width=st.integers(1, 260))
def test_thumbnail_is_the_mean_of_areas_in_pieces(height, width):
  piece = pytest.MonkeyPatch()
  piece.setattr(thumbnails, "_ROWS", 37)
  piece.setattr(thumbnails, "_COLUMNS", 50)
  with piece.context(), open_image(RGB) as reader:
    small = thumbnail(reader, height=height, width=width)
  piece.undo()
  assert small.dtype == np.uint8
  assert small.shape == (height, width, 3)
  assert np.abs(small - area_mean(RGB, height, width)).max() <= 0.5 + 1e-4


def test_thumbnail_of_its_own_size_is_the_image():
  with open_image(RGB) as reader:
    np.testing.assert_array_equal(thumbnail(reader, height=157, width=211), RGB)


def test_thumbnail_of_the_smallest_level_that_is_large_enough(tmp_path):
  small = np.full((40, 53, 3), 7, np.uint8)
  levels = [RGB, np.full_like(HALF, 99), small]
  path = write_pyramid(tmp_path / "a.tif", levels, **TILED)
  with open_image(path) as reader:
    assert (thumbnail(reader, height=40, width=53) == 7).all()
    assert (thumbnail(reader, height=41, width=53) == 99).all()
    assert (thumbnail(reader, height=10, width=60) == 99).all()
    largest = thumbnail(reader, height=100, width=100)
    assert np.abs(largest - area_mean(RGB, 100, 100)).max() <= 0.5 + 1e-4
    assert thumbnail(reader, height=300, width=300).shape == (300, 300, 3)


def test_thumbnail_of_no_size():
  with open_image(RGB) as reader:
    for height, width in ((0, 5), (5, 0), (-1, 5)):
      with pytest.raises(InputError, match="at least 1"):
        thumbnail(reader, height=height, width=width)
