"""Rings on a whole image, checked on their pixels."""

import errno
import os
import tracemalloc

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from overlaying import MANY, PINK, chunks_of, tissue

from micronet_jax.datasets.annotations import read_centers
from micronet_jax.errors import InputError
from micronet_jax.figures import NUCLEUS_COLOR
from micronet_jax.imaging import decoding
from micronet_jax.predict import density, overlays


def mark(centers, *, shape, scale=1.0, color=PINK):
  picture = tissue(round(shape[0] * scale), round(shape[1] * scale), color)
  return overlays.overlay(picture, chunks_of(centers), shape=shape)


def changed(picture, color=PINK):
  return (picture != np.array(color, np.uint8)).any(axis=2)


# --- Marks ---------------------------------------------------------------------------


def test_ring_leaves_the_centre_and_everything_beyond_it_as_it_was():
  picture = mark([(20, 30)], shape=(60, 70))
  y, x = np.mgrid[:60, :70]
  distance = np.hypot(y - 20, x - 30)
  on = changed(picture)
  assert not on[distance < 3].any()
  assert not on[distance > 9].any()
  line = np.abs(distance - overlays.RING) < 0.3
  np.testing.assert_array_equal(picture[line], np.tile(NUCLEUS_COLOR, (line.sum(), 1)))
  rim = np.abs(distance - overlays.RING - 1.6) < 0.3
  assert (picture[rim].mean(axis=1) < 100).all()  # dark around the bright


@pytest.mark.parametrize("color", [(90, 50, 130), (245, 245, 245), PINK, (30, 10, 60)])
def test_marks_stand_out_from_nuclei_stroma_and_glass(color):
  picture = mark([(20, 20)], shape=(40, 40), color=color).astype(float)
  grey = picture @ (0.299, 0.587, 0.114)
  assert np.ptp(grey[changed(picture, color)]) > 80  # line against rim, without colour
  assert np.abs(grey - np.dot(color, (0.299, 0.587, 0.114))).max() > 80


@pytest.mark.parametrize("scale", [1.0, 0.7, 0.5, 0.3, 0.2])
def test_marks_are_symmetric_about_their_centre_at_any_scale(scale):
  shape = (100, 140)
  on = changed(mark([(49.5, 69.5)], shape=shape, scale=scale))
  y, x = np.nonzero(on)
  # The middle of the image in the image's pixels is its middle in the thumbnail's.
  middle = np.array(on.shape) / 2 - 0.5
  np.testing.assert_allclose([y.mean(), x.mean()], middle, atol=0.5)
  np.testing.assert_array_equal(y.max() - y.mean(), y.mean() - y.min())
  np.testing.assert_array_equal(x.max() - x.mean(), x.mean() - x.min())


def test_marks_shrink_with_the_thumbnail():
  scales = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.02)
  sizes = [
    changed(mark([(500, 700)], shape=(1000, 1400), scale=s)).sum() for s in scales
  ]
  assert sizes == sorted(sizes, reverse=True)
  assert sizes[0] > 60
  assert sizes[-2:] == [1, 1]
  for scale in scales[3:]:  # dots are bright in the middle
    height, width = round(1000 * scale), round(1400 * scale)
    picture = mark([(500, 700)], shape=(1000, 1400), scale=scale)
    assert tuple(picture[height // 2, width // 2]) == NUCLEUS_COLOR


@MANY
@given(
  st.lists(st.tuples(st.floats(-5, 205), st.floats(-5, 305)), max_size=30),
  st.sampled_from([(20, 30), (7, 11), (1, 1), (30, 20)]),
)
def test_single_pixels_are_where_the_nuclei_are(centers, size):
  shape = (200, 300)
  picture = overlays.overlay(tissue(*size), chunks_of(centers), shape=shape)
  edges = [np.linspace(-0.5, n - 0.5, k + 1) for n, k in zip(shape, size, strict=True)]
  points = np.array(centers).reshape(-1, 2)
  points = points[(points < np.array(shape) - 0.5).all(axis=1)]
  expected = np.histogram2d(*points.T, bins=edges)[0] > 0
  np.testing.assert_array_equal(changed(picture), expected)


def test_image_that_is_drawn_much_larger():
  picture = mark([(0, 0)], shape=(1, 2), scale=400)
  on = changed(picture)
  assert on[200, 220]
  assert not on[200, 200]
  assert not on[:, 250:].any()


def test_marks_that_touch_do_not_hide_each_other():
  both = mark([(20, 20), (20, 27)], shape=(40, 50))
  for center in ((20, 20), (20, 27)):
    alone = mark([center], shape=(40, 50))
    line = (alone == NUCLEUS_COLOR).all(axis=2)
    assert (both[line] == NUCLEUS_COLOR).all()


def test_marks_at_the_border_and_beyond_it():
  corners = [(-0.5, -0.5), (0, 49), (39, 0), (39.4, 49.4)]
  on = changed(mark(corners, shape=(40, 50)))
  assert on[[5, 5, 34, 34], [0, 49, 0, 49]].all()
  beyond = [(-0.6, 20), (40, 20), (20, -9), (20, 1e300)]
  assert not changed(mark(beyond, shape=(40, 50))).any()
  assert not changed(mark([], shape=(40, 50))).any()


def test_thumbnail_is_not_changed_and_chunks_do_not_matter():
  picture = tissue(60, 60)
  centers = np.random.default_rng(0).uniform(0, 59, (50, 2))
  one, other = (
    overlays.overlay(picture, chunks_of(centers, size), shape=(60, 60))
    for size in (1, 50)
  )
  np.testing.assert_array_equal(one, other)
  assert not changed(picture).any()


def test_marks_sit_on_real_nuclei(real_data):
  name = "breast__TCGA-A7-A13E-01Z-00-DX1_r0c0"
  image = decoding.read_image(real_data / "monuseg" / "images" / f"{name}.jpg")
  centers = read_centers(real_data / "monuseg" / "points" / f"{name}.csv")
  picture = overlays.overlay(image, chunks_of(centers), shape=image.shape[:2])
  on = (picture != image).any(axis=2)
  within = np.zeros_like(on)
  for y, x in np.rint(centers).astype(int):
    within[max(y - 9, 0) : y + 10, max(x - 9, 0) : x + 10] = True
    assert on[max(y - 9, 0) : y + 10, max(x - 9, 0) : x + 10].any()
  assert not on[~within].any()
  # Haematoxylin takes red away: marked nuclei are darker in red than the tissue.
  ringed = [image[y, x, 0] for y, x in np.rint(centers).astype(int)]
  assert np.median(ringed) < np.median(image[:, :, 0]) - 20


def test_a_million_marks_in_little_memory():
  picture = tissue(1000, 1000)
  chunk = np.random.default_rng(0).uniform(0, 1e5, (10_000, 2)), np.ones(10_000)
  tracemalloc.start()
  try:
    overlays.overlay(picture, (chunk for _ in range(100)), shape=(100_000, 100_000))
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < 32e6  # 32 bytes a pixel of the picture


@pytest.mark.parametrize(
  "pixels",
  [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))],
)
def test_pixels_of_another_kind(tmp_path, pixels):
  with pytest.raises(InputError, match="must be uint8"):
    overlays.overlay(pixels, [], shape=(4, 4))
  with pytest.raises(InputError, match="must be uint8"):
    overlays.write_image(tmp_path / "a.png", pixels)
  with pytest.raises(InputError, match="must be uint8"):
    density.density_map(density.density_grid((4, 4)), thumbnail=pixels)
  assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("centers", [[[np.nan, 1]], [[1, np.inf]], [[1, 2, 3]], [1, 2]])
def test_centres_that_are_none(centers):
  chunks = [(np.array(centers), np.ones(1))]
  with pytest.raises(InputError, match="finite"):
    overlays.overlay(tissue(4, 4), chunks, shape=(4, 4))
  with pytest.raises(InputError, match="finite"):
    [*density.density_grid((4, 4)).counted(chunks)]


# --- Files ---------------------------------------------------------------------------


def test_image_round_trip(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
  path = tmp_path / "new" / "a.PNG"
  overlays.write_image(path, pixels)
  with PIL.Image.open(path) as image:
    assert image.format == "PNG"
    np.testing.assert_array_equal(np.asarray(image), pixels)
  assert [*path.parent.iterdir()] == [path]


def test_image_of_another_ending(tmp_path):
  with pytest.raises(InputError, match=r"\.png"):
    overlays.write_image(tmp_path / "a.jpg", tissue(2, 2))


def test_image_on_a_full_disk(tmp_path, monkeypatch):
  path = tmp_path / "a.png"
  path.write_bytes(b"old")

  def save(self, beside, **_):
    beside.write_bytes(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(PIL.Image.Image, "save", save)
  with pytest.raises(InputError, match="No space left"):
    overlays.write_image(path, tissue(2, 2))
  assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]
