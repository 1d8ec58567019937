"""Plans of tiles by their promises, the canvas against numpy, tissue by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tissue import blob

from micronet_jax.detection import tiling
from micronet_jax.imaging import resampling, tissue
from micronet_jax.imaging.canvas import Box, Canvas
from micronet_jax.imaging.opening import open_image

STRIDE = 16


@st.composite
def plans(draw):
  halo = STRIDE * draw(st.integers(0, 3))
  largest = 2 * halo + STRIDE * draw(st.integers(1, 6))
  padded = tuple(STRIDE * draw(st.integers(1, 30)) for _ in range(2))
  starts = [draw(st.integers(0, n - 1)) for n in padded]
  stops = [draw(st.integers(a + 1, n)) for a, n in zip(starts, padded, strict=True)]
  region = Box(*starts, *stops)
  return padded, region, halo, largest


@settings(max_examples=200, deadline=None)
@given(plans())
def test_a_plan_covers_its_region_once_with_the_halo_around(case):
  padded, region, halo, largest = case
  sides = tuple(
    tiling.tile_side(length, largest=largest, halo=halo, stride=STRIDE)
    for length in padded
  )
  assert all(side % STRIDE == 0 for side in sides)
  assert all(
    side <= largest or side == n for side, n in zip(sides, padded, strict=True)
  )
  tiles = tiling.plan_tiles(padded, region, sides, halo=halo, stride=STRIDE)
  times = np.zeros(padded, int)
  for index, tile in enumerate(tiles):
    assert tile.index == index
    core = tile.core
    times[core.y0 : core.y1, core.x0 : core.x1] += 1
    begins, ends = (tile.y, tile.x), (tile.y + sides[0], tile.x + sides[1])
    for axis in (0, 1):
      assert begins[axis] % STRIDE == 0
      assert begins[axis] >= 0
      assert ends[axis] <= padded[axis]
      # The halo ends where the image does, and only there.
      assert begins[axis] == 0 or core[axis] - begins[axis] >= halo
      assert ends[axis] == padded[axis] or ends[axis] - core[axis + 2] >= halo
  assert (times[region.y0 : region.y1, region.x0 : region.x1] == 1).all()
  assert times.max() == 1


def test_an_image_a_little_longer_than_a_tile_is_not_read_twice_over():
  options = {"largest": 1024, "halo": 112, "stride": 16}
  assert tiling.tile_side(1008, **options) == 1008
  assert tiling.tile_side(1040, **options) == 640  # (1040 + 2 · 112) / 2 = 632
  assert tiling.tile_side(40000, **options) == 1024


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize(
  ("shape", "mpp"), [((50, 37), None), ((50, 37), 0.5), ((90, 70), 0.124), ((3, 2), 1)]
)
def test_a_canvas_is_the_rescaled_image_and_nothing_around(shape, mpp, hold):
  image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
  canvas = Canvas(open_image(image), mpp=mpp, stride=STRIDE)
  if hold:
    canvas.hold()
  whole = image if mpp is None else resampling.rescale_image(image, mpp / 0.25)
  assert canvas.shape == whole.shape[:2]
  assert canvas.padded == tuple(-(-side // STRIDE) * STRIDE for side in canvas.shape)
  more = [(0, p - s) for p, s in zip(canvas.padded, canvas.shape, strict=True)]
  expected = np.pad(whole, [*more, (0, 0)])
  np.testing.assert_array_equal(canvas.read(0, 0, *canvas.padded), expected)
  height, width = canvas.padded
  part = canvas.read(height - 16, width - 16, 16, 16)
  np.testing.assert_array_equal(part, expected[-16:, -16:])
  np.testing.assert_array_equal(canvas.read(0, 1, 3, 3), expected[:3, 1:4])


class Pyramid:
  """A reader of several levels, the coarser ones marked by their brightness."""

  name, mpp, overviews = "pyramid", 0.0625, ()

  def __init__(self, *shapes):
    self.levels = shapes

  def read(self, level, y, x, height, width):
    assert y + height <= self.levels[level][0]
    assert x + width <= self.levels[level][1]
    return np.full((height, width, 3), 10 * level, np.uint8)


@pytest.mark.parametrize(
  ("mpp", "level", "shape"),
  [
    (0.25, 0, (4000, 3001)),
    (0.125, 1, (2000, 1500)),  # as it is, though half of 3001 is not 1500
    (0.0625, 2, (1000, 750)),
    (0.1, 1, (1600, 1200)),
    (0.13, 0, (2080, 1561)),  # level 1 would be too coarse
    (0.05, 2, (800, 600)),
    (0.5, 0, (8000, 6002)),
  ],
)
def test_the_coarsest_level_that_is_fine_enough_is_read(mpp, level, shape):
  reader = Pyramid((4000, 3001), (2000, 1500), (1000, 750))
  canvas = Canvas(reader, mpp=mpp, stride=STRIDE)
  assert canvas.shape == shape
  pixels = canvas.read(16, 32, 48, 64)
  assert pixels.shape == (48, 64, 3)
  assert (pixels == 10 * level).all()


def test_centres_and_boxes_go_between_the_image_and_the_canvas():
  canvas = Canvas(Pyramid((400, 300)), mpp=0.5, stride=STRIDE)
  own = canvas.to_own(np.array([[0.5, 0.5], [799.5, 599.5]]))
  np.testing.assert_allclose(own, [[0, 0], [399.5, 299.5]])
  assert own.dtype == np.float64
  assert canvas.from_own(Box(10, 20, 30, 40)) == (20, 40, 60, 80)
  assert canvas.from_own(Box(-5, 0, 999, 1)) == (0, 0, 800, 2)


# Tissue.


def test_tissue_by_hand():
  cells = np.full((40, 50, 3), 243, np.uint8)  # glass
  cells[3, 4] = (225, 200, 225)  # pale eosin: log10(244 / 201) = 0.084
  cells[20, 30] = (239, 236, 240)  # dust: 0.014
  cells[35:] = 0  # not scanned
  found = tissue.find_tissue(cells)
  assert np.argwhere(found).tolist() == [[3, 4]]
  grown = tissue.grow_tissue(found)
  assert grown[:8, :9].all()
  assert grown.sum() == 8 * 9


def test_without_white_all_is_tissue():
  assert tissue.find_tissue(np.full((4, 4, 3), 60, np.uint8)).all()
  assert not tissue.find_tissue(np.full((4, 4, 3), 255, np.uint8)).any()


def test_points_and_boxes_find_their_cells():
  cells = np.zeros((4, 8), bool)
  cells[1, 6] = True
  mask = tissue.Tissue(cells, (128, 256))  # cells of 32 pixels
  points = np.array([[32.0, 192.0], [31.4, 200], [63.4, 223.4], [63.6, 200], [300, 0]])
  assert mask.contains(points).tolist() == [True, False, True, False, False]
  assert mask.touches((0, 0, 33, 193))
  assert not mask.touches((0, 0, 32, 256))
  assert not mask.touches((33, 0, 64, 192))
  assert mask.share == 1 / 32
  assert tissue.cell_grid((128, 257)) == (4, 9)


def test_annotated_nuclei_lie_on_tissue(real_data):
  from micronet_jax.datasets import load_samples

  kept = total = 0
  for sample in load_samples("folder", root=real_data / "monuseg")[::6]:
    rows, columns = tissue.cell_grid(sample.image.shape)
    cells = cell_means(sample.image, rows, columns)
    mask = tissue.Tissue(
      tissue.grow_tissue(tissue.find_tissue(cells)), sample.image.shape[:2]
    )
    kept += mask.contains(sample.centers).sum()
    total += len(sample.centers)
  assert total > 2000
  assert kept == total


def cell_means(image, rows, columns):
  from PIL import Image

  return np.asarray(
    Image.fromarray(image).resize((columns, rows), Image.Resampling.BOX)
  )


def test_a_dark_spot_on_glass_is_tissue():
  cells = 255 - blob((30, 30), (15, 15), 2) // 2
  assert tissue.find_tissue(cells)[15, 15]
  assert not tissue.find_tissue(cells)[0, 0]
