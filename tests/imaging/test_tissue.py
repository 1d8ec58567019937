"""Where tissue is, by hand and on real tiles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tissue import blob

from micronet_jax.imaging import tissue


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
  nothing = np.zeros_like(cells)  # what was found does not say what is searched
  mask = tissue.Tissue(nothing, cells, (128, 256))  # cells of 32 pixels
  points = np.array([[32.0, 192.0], [31.4, 200], [63.4, 223.4], [63.6, 200], [300, 0]])
  assert mask.contains(points).tolist() == [True, False, True, False, False]
  assert mask.touches((0, 0, 33, 193))
  assert not mask.touches((0, 0, 32, 256))
  assert not mask.touches((33, 0, 64, 192))
  assert tissue.cell_grid((128, 257), 0.25) == (4, 9)
  assert tissue.cell_grid((128, 257), 0.5) == (8, 17)


BOXES = st.lists(st.tuples(*[st.integers(0, 18)] * 4), max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), BOXES)
def test_the_area_of_tissue_against_painted_pixels(seed, corners):
  """Of 18 x 36 pixels in 3 x 4 cells, which are 6 x 9; searched is all."""
  found = np.random.default_rng(seed).random((3, 4)) < 0.5
  mask = tissue.Tissue(found, np.ones_like(found), (90, 180))
  painted = found.repeat(6, axis=0).repeat(9, axis=1)
  assert mask.area(painted.shape) == pytest.approx(painted.sum())
  assert mask.area((36, 72)) == pytest.approx(4 * painted.sum())
  boxes = [(min(a, b), min(c, d), max(a, b), max(c, d)) for a, b, c, d in corners]
  within = np.zeros_like(painted)
  for top, left, bottom, right in boxes:
    within[top:bottom, left:right] = True
  expected = (painted & within).sum() if boxes else painted.sum()
  assert mask.area(painted.shape, boxes) == pytest.approx(expected)


def test_annotated_nuclei_lie_on_tissue(real_data):
  from micronet_jax.datasets import load_samples

  kept = total = 0
  for sample in load_samples("folder", root=real_data / "monuseg")[::6]:
    rows, columns = tissue.cell_grid(sample.image.shape, 0.25)
    cells = cell_means(sample.image, rows, columns)
    found = tissue.find_tissue(cells)
    mask = tissue.Tissue(found, tissue.grow_tissue(found), sample.image.shape[:2])
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
