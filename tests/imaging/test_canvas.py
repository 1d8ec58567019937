"""The canvas, an image at working resolution in pieces, against numpy."""

import numpy as np
import pytest

from micronet_jax.imaging import resampling
from micronet_jax.imaging.canvas import Box, Canvas
from micronet_jax.imaging.opening import open_image

STRIDE = 16


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize(
  ("shape", "mpp"), [((50, 37), None), ((50, 37), 0.5), ((90, 70), 0.124), ((3, 2), 1)]
)
@pytest.mark.parametrize("working", [0.25, 0.5])
def test_a_canvas_is_the_rescaled_image_and_nothing_around(shape, mpp, hold, working):
  image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
  canvas = Canvas(open_image(image), mpp=mpp, working_mpp=working, stride=STRIDE)
  if hold:
    canvas.hold()
  factor = (mpp or 0.25) / working
  whole = image if factor == 1 else resampling.rescale_image(image, factor)
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
@pytest.mark.parametrize("working", [0.25, 0.5])
def test_the_coarsest_level_that_is_fine_enough_is_read(mpp, level, shape, working):
  reader = Pyramid((4000, 3001), (2000, 1500), (1000, 750))
  canvas = Canvas(reader, mpp=mpp * working / 0.25, working_mpp=working, stride=STRIDE)
  assert canvas.shape == shape
  pixels = canvas.read(16, 32, 48, 64)
  assert pixels.shape == (48, 64, 3)
  assert (pixels == 10 * level).all()


def test_centres_and_boxes_go_between_the_image_and_the_canvas():
  canvas = Canvas(Pyramid((400, 300)), mpp=0.5, working_mpp=0.25, stride=STRIDE)
  own = canvas.to_own(np.array([[0.5, 0.5], [799.5, 599.5]]))
  np.testing.assert_allclose(own, [[0, 0], [399.5, 299.5]])
  assert own.dtype == np.float64
  assert canvas.from_own(Box(10, 20, 30, 40)) == (20, 40, 60, 80)
  assert canvas.from_own(Box(-5, 0, 999, 1)) == (0, 0, 800, 2)
