"""Pictures of a whole image, checked on their pixels and against numpy's histogram."""

import errno
import os
import tracemalloc

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micronet_jax import figures
from micronet_jax.datasets.annotations import read_centers
from micronet_jax.errors import InputError
from micronet_jax.figures import NUCLEUS_COLOR
from micronet_jax.imaging import decoding
from micronet_jax.predict import density, overlays

MANY = settings(max_examples=40, deadline=None)
PINK = (228, 150, 190)


def tissue(height, width, color=PINK):
  return np.full((height, width, 3), color, np.uint8)


def chunks_of(centers, size=3):
  centers = np.asarray(centers, np.float64).reshape(-1, 2)
  for start in range(0, len(centers), size):
    part = centers[start : start + size]
    yield part, np.ones(len(part))


def mark(centers, *, shape, scale=1.0, color=PINK):
  picture = tissue(round(shape[0] * scale), round(shape[1] * scale), color)
  return overlays.overlay(picture, chunks_of(centers), shape=shape)


def changed(picture, color=PINK):
  return (picture != np.array(color, np.uint8)).any(axis=2)


# Marks


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


# Files


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


# Density


@MANY
@given(
  st.lists(st.tuples(st.integers(-1, 1998), st.integers(-1, 3298)), max_size=60),
  st.sampled_from([0.25, 0.5, None]),
)
def test_density_against_numpys_histogram(whole, mpp):
  centers = [(y + 0.7, x + 0.7) for y, x in whole]  # on no line between two cells
  shape = (2000, 3300)
  grid = density.density_grid(shape, mpp=mpp)
  passed = [*grid.counted(chunks_of(centers))]
  np.testing.assert_array_equal(
    np.concatenate([np.zeros((0, 2)), *(part for part, _ in passed)]),
    np.array(centers).reshape(-1, 2),
  )
  edges = [
    np.arange(k + 1) * n / k - 0.5
    for n, k in zip(shape, grid.counts.shape, strict=True)
  ]
  expected = np.histogram2d(*np.array(centers).reshape(-1, 2).T, bins=edges)[0]
  np.testing.assert_array_equal(grid.counts, expected)


def test_density_worked_by_hand():
  # 4000 x 2000 pixels of 0.25 microns: 1 mm x 0.5 mm, cells of 50 microns.
  grid = density.density_grid((2000, 4000), mpp=0.25)
  assert grid.counts.shape == (10, 20)
  assert grid.cell == (200, 200)
  [*grid.counted([(np.full((5, 2), 250.0), np.ones(5))])]
  assert grid.values[1, 1] == pytest.approx(5 / 0.05**2)
  assert np.count_nonzero(grid.values) == 1
  unknown = density.density_grid((2000, 4000))
  [*unknown.counted([(np.full((5, 2), 250.0), np.ones(5))])]
  assert unknown.values[1, 1] == pytest.approx(5 / 4)  # 200² px are 4 times 10⁴


@pytest.mark.parametrize(
  ("shape", "mpp", "cells"),
  [
    ((500, 500), 0.25, (5, 5)),  # 125 microns: a fifth of it
    ((80_000, 99_200), 0.25, (50, 62)),  # 20 x 24.8 mm: 400 microns
    ((1, 99_200), 0.25, (1, 62)),
    ((1, 1), 0.25, (1, 1)),
    ((3, 3), None, (3, 3)),  # a cell is no smaller than a pixel
    ((10**7, 10**7), None, (98, 98)),
  ],
)
def test_density_grid_is_never_large(shape, mpp, cells):
  assert density.density_grid(shape, mpp=mpp).counts.shape == cells


@pytest.mark.parametrize(
  ("shape", "mpp"), [((0, 5), 0.25), ((5, 5), 0.0), ((5, 5), np.nan), ((5, 5), -1)]
)
def test_density_of_nothing(shape, mpp):
  with pytest.raises(InputError, match="above 0"):
    density.density_grid(shape, mpp=mpp)


def drawn(figure):
  figure.canvas.draw()
  return np.asarray(figure.canvas.buffer_rgba())[:, :, :3]


@pytest.mark.parametrize("shape", [(900, 1800), (1800, 900), (1000, 1000)])
@pytest.mark.parametrize("mpp", [0.5, None])
@pytest.mark.parametrize("with_thumbnail", [True, False])
def test_density_map(tmp_path, shape, mpp, with_thumbnail):
  grid = density.density_grid(shape, mpp=mpp)
  generator = np.random.default_rng(0)
  centers = generator.uniform(0, 1, (300, 2)) * np.array(shape) / 2  # top-left quarter
  [*grid.counted([(centers, np.ones(300))])]
  thumbnail = tissue(shape[0] // 4, shape[1] // 4) if with_thumbnail else None
  figure = density.density_map(grid, thumbnail=thumbnail, title="a slide")
  heat = figure.axes[-2]
  extent = np.array(heat.images[0].get_extent())
  pixel = 1 if mpp is None else mpp / 1000
  np.testing.assert_allclose(extent, np.array([0, shape[1], shape[0], 0]) * pixel)
  unit, label = ("px", "10⁴ px") if mpp is None else ("mm", "mm²")
  assert heat.get_xlabel() == f"x ({unit})"
  assert figure.axes[-1].get_ylabel() == f"nuclei / {label}"
  assert "a slide: 300 nuclei" in figure.get_suptitle()
  pixels = drawn(figure)
  # Cells without nuclei are white, the others are not; y points down.
  for (y, x), expected in (((0.25, 0.25), False), ((0.75, 0.75), True)):
    at = heat.transData.transform(np.array([x * shape[1], y * shape[0]]) * pixel)
    column, row = round(at[0]), round(pixels.shape[0] - at[1])
    assert (pixels[row, column] == 255).all() == expected
  if with_thumbnail:
    first = figure.axes[0]
    x, y = first.transAxes.transform((0.5, 0.5))
    assert tuple(pixels[round(pixels.shape[0] - y), round(x)]) == PINK
    sizes = [each.get_window_extent().size for each in (first, heat)]
    np.testing.assert_allclose(*sizes, rtol=0.02)  # side by side they compare
  figures.save_figure(figure, tmp_path / "density.png")


def test_density_map_of_no_nuclei():
  figure = density.density_map(density.density_grid((500, 500), mpp=0.25))
  low, high = figure.axes[0].images[0].get_clim()
  assert low == 0 < high
  drawn(figure)
