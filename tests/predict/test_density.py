"""Densities of a whole image against numpy's histogram and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from overlaying import MANY, PINK, chunks_of, tissue

from micronet_jax import figures
from micronet_jax.errors import InputError
from micronet_jax.imaging.canvas import Box
from micronet_jax.predict import density


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


def test_density_of_regions_worked_by_hand():
  # Cells of 200 pixels, 50 microns: of four, a half, a quarter, all, and none searched.
  regions = [Box(0, 100, 200, 200), Box(0, 200, 100, 300), Box(200, 0, 400, 200)]
  grid = density.density_grid((2000, 4000), mpp=0.25, regions=regions)
  centers = np.array([(150, 150), (50, 250), (50, 260), (300, 50)])
  [*grid.counted([(centers, np.ones(4))])]
  cell = 0.05**2  # mm²
  # A quarter of a cell tells nothing.
  expected = [[1 / (cell / 2), np.nan], [1 / cell, np.nan]]
  np.testing.assert_allclose(grid.values[:2, :2], expected)
  assert np.isnan(grid.values).sum() == 200 - 2
  assert grid.top == pytest.approx(2 * 400)


def test_density_of_a_region_within_a_cell():
  """Less than half of any cell is searched: what there is tells."""
  grid = density.density_grid((2000, 4000), mpp=0.25, regions=[Box(20, 20, 120, 120)])
  [*grid.counted([(np.full((3, 2), 60.0), np.ones(3))])]
  assert grid.top == grid.values[0, 0] == pytest.approx(3 / 0.025**2)
  assert np.isnan(grid.values).sum() == 200 - 1


@pytest.mark.parametrize("seed", range(20))
def test_what_is_searched_of_cells_against_pixels(seed):
  generator = np.random.default_rng(seed)
  shape = generator.integers(3, 90, 2)
  mask, regions = np.zeros(shape, bool), []
  for _ in range(generator.integers(1, 6)):
    y0, x0 = generator.integers(0, shape)
    y1, x1 = generator.integers([y0, x0], shape) + 1
    regions.append(Box(*map(int, (y0, x0, y1, x1))))
    mask[y0:y1, x0:x1] = True
  grid = density.density_grid(tuple(map(int, shape)), regions=regions)
  rows, columns = grid.counts.shape
  # Pixels in so many parts that each is of one cell; cells at the border are as large.
  fine = np.kron(mask, np.ones((rows, columns)))
  parts = fine.reshape(rows, shape[0], columns, shape[1]).sum((1, 3))
  np.testing.assert_allclose(grid.areas, parts / (rows * columns), atol=1e-9)


def test_a_region_that_is_the_whole_image_changes_nothing():
  shape = (991, 1777)
  whole = density.density_grid(shape, mpp=0.25)
  same = density.density_grid(shape, mpp=0.25, regions=[Box(0, 0, *shape)])
  for grid in (whole, same):
    [*grid.counted([(np.array([(990.4, 1776.4), (5.0, 6.0)]), np.ones(2))])]
  np.testing.assert_array_equal(whole.values, same.values)
  np.testing.assert_allclose(whole.areas.sum(), shape[0] * shape[1])
  unit = (1000 / 0.25) ** 2 / np.prod(whole.cell)
  np.testing.assert_allclose(whole.values, whole.counts * unit)


def test_one_nucleus_in_a_strip_does_not_decide_the_scale():
  regions = [Box(0, 0, 400, 401)]
  grid = density.density_grid((2000, 2000), mpp=0.25, regions=regions)
  [*grid.counted([(np.full((3, 2), 50.0), np.ones(3))])]
  assert grid.top == pytest.approx(3 * 400)
  [*grid.counted([(np.array([(50, 400)]), np.ones(1))])]
  assert grid.top == np.nanmax(grid.values) == pytest.approx(3 * 400)
  assert density.density_map(grid).axes[-1].get_ylim() == (0, pytest.approx(3 * 400))


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


def test_density_map_of_a_region():
  region = Box(0, 0, 1000, 2000)
  grid = density.density_grid((2000, 2000), mpp=0.5, regions=[region])
  [*grid.counted([(np.full((9, 2), 250.0), np.ones(9))])]
  heat = density.density_map(grid).axes[0]
  assert (
    heat.get_title() == "cells of 50 × 50 µm; grey: not searched, or less than half"
  )
  pixels = drawn(heat.figure)

  def at(y, x):  # in pixels of the image, half a micron each
    column, row = heat.transData.transform((x / 2000, y / 2000))
    return pixels[round(pixels.shape[0] - row), round(column)]

  assert (at(750, 750) == 255).all()
  assert len(set(at(250, 250))) > 1  # coloured
  assert tuple(at(1500, 750)) == (0x8F,) * 3
  whole = density.density_map(density.density_grid((2000, 2000), mpp=0.5))
  assert "grey" not in whole.axes[0].get_title()


def test_density_map_of_no_nuclei():
  figure = density.density_map(density.density_grid((500, 500), mpp=0.25))
  heat = figure.axes[0]
  assert heat.images[0].get_clim() == (0, 1)
  pixels = drawn(figure)
  x, y = heat.transData.transform((0.06, 0.06))  # of 0.125 mm
  assert (pixels[round(pixels.shape[0] - y), round(x)] == 255).all()
