"""Plans of tiles by their promises."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from micronet_jax.detection import tiling
from micronet_jax.imaging.canvas import Box

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
