"""Images of many sizes share few compiled programs, and nothing else changes."""

import numpy as np
import pytest
import tissue
from networks import META, random_weights

from micronet_jax import devices
from micronet_jax.detection import detector as detectors
from micronet_jax.detection import searching, tiling
from micronet_jax.detection.detector import OWN_PROGRAM, Detector
from micronet_jax.imaging.opening import open_image

LARGEST = 288


@pytest.fixture
def shapes(monkeypatch):
  """The shapes that programs are compiled for, each once."""
  seen = {}
  plain = searching.compile_search

  def noted(program):
    def search(weights, tiles, *rest):
      seen[program, tiles.shape] = tiles.shape[1:3]
      return plain(program)(weights, tiles, *rest)

    return search

  monkeypatch.setattr(searching, "compile_search", noted)
  return seen


def assert_equal(one, other):
  """To rounding: the order of nearly equal scores may differ."""
  assert len(one.scores) == len(other.scores) > 0
  orders = np.lexsort(one.centers.T), np.lexsort(other.centers.T)
  for each in ("centers", "scores"):
    pair = (
      getattr(found, each)[i] for found, i in zip((one, other), orders, strict=True)
    )
    np.testing.assert_allclose(*pair, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
  ("mpp", "widths"),
  [
    (0.25, range(150, 250)),
    (0.5, range(150, 250, 4)),
    (0.25, range(300, 400, 2)),  # longer than a tile on one side
  ],
)
def test_images_of_100_sizes_compile_four_programs(shapes, mpp, widths):
  meta = {**META, "mpp": mpp}
  detector = Detector(random_weights(), meta)
  image = tissue.dots("many", size=400, nuclei=270).image
  sides = np.random.default_rng(0).permuted(np.arange(100)) + 40
  found = {}
  pairs = zip(sides.tolist(), widths, strict=False)
  for height, width in pairs:
    part = image[:height, :width]
    found[part.shape] = detector.detect(part, mpp=mpp, tile=LARGEST, devices=1)
  assert len(found) == len(widths)
  assert len(shapes) <= 4
  for height, width, _ in [*found][:: len(found) // 4]:
    alone = Detector(detector.weights, meta).detect(
      image[:height, :width], mpp=mpp, tile=LARGEST, devices=1
    )
    assert_equal(found[height, width, 3], alone)


def test_a_size_that_comes_often_has_a_program_of_its_own(shapes):
  detector = Detector(random_weights(), META)
  image = tissue.dots("often", size=200, nuclei=40).image
  first, other = image[:100, :64], image[:120, :90]
  for _ in range(OWN_PROGRAM):
    detector.detect(first, mpp=0.25, tile=LARGEST, devices=1)
    detector.detect(other, mpp=0.25, tile=LARGEST, devices=1)
  assert {*shapes.values()} == {(112, 64), (144, 144)}
  detector.detect(other, mpp=0.25, tile=LARGEST, devices=1)
  assert {*shapes.values()} == {(112, 64), (144, 144), (128, 96)}


def test_images_longer_than_a_tile_on_both_sides_share_programs_too(shapes):
  detector = Detector(random_weights(), META)
  image = tissue.dots("both", size=400, nuclei=270).image
  for side in (330, 345, 360, 375, 390):
    found = detector.detect(image[:side, :-5], mpp=0.25, tile=LARGEST, devices=1)
    alone = Detector(detector.weights, META).detect(
      image[:side, :-5], mpp=0.25, tile=LARGEST, devices=1
    )
    assert_equal(found, alone)


def test_tiles_depend_on_the_image_alone(shapes):
  """Else a search that was broken off would begin anew, with other images behind it."""
  used = Detector(random_weights(), META)
  image = tissue.dots("again", size=400, nuclei=270).image
  used.detect(image[:90, :70], mpp=0.25, tile=LARGEST, devices=1)
  for part in (image[:100, :330], image[:100, :80], image):
    reader = open_image(part)
    scans = [
      each.scan(reader, mpp=0.25, tile=LARGEST)
      for each in (used, Detector(used.weights, META))
    ]
    assert scans[0].sides == scans[1].sides
    assert scans[0].tiles == scans[1].tiles


def test_maxima_for_evaluation_share_programs_too(shapes):
  image = tissue.dots("p", size=200, nuclei=40).image
  parts = [(image[:side, : side + 9], 0.25) for side in range(30, 180, 3)]
  detector = Detector(random_weights(), META)
  found = detector.peaks(parts, (5,))[5]
  assert len(shapes) <= 4
  for (part, _), points in [*zip(parts, found, strict=True)][::13]:
    alone = Detector(detector.weights, META).peaks([(part, 0.25)], (5,))[5][0]
    assert_equal(points, alone)


def test_statistics_of_the_batch_see_no_more_than_the_image(shapes):
  meta = {**META, "model": {**META["model"], "test_norm": "batch"}}
  detector = Detector(random_weights(), meta)
  image = tissue.dots("b", size=100, nuclei=20).image
  for side in (40, 70, 100):
    detector.detect(image[:side], mpp=0.25, devices=1)
  assert {*shapes.values()} == {(48, 112), (80, 112), (112, 112)}


def test_shared_sides_are_few_and_hold_what_they_should():
  for largest, stride in ((1152, 16), (1536, 32), (272, 16), (32, 32)):
    sides = {
      length: tiling.shared_side(length, largest=largest, stride=stride)
      for length in range(stride, largest + 1, stride)
    }
    assert all(length <= side <= largest for length, side in sides.items())
    assert all(side % stride == 0 for side in sides.values())
    assert len(set(sides.values())) <= tiling.SHARED
  assert detectors.LARGEST_TILE["cpu"] == 1152


def test_nothing_changes_when_programs_are_given_up(monkeypatch):
  image = tissue.dots("given up", size=200, nuclei=60).image
  detector = Detector(random_weights(), META)
  before = [detector.detect(image[:side], mpp=0.25) for side in (200, 60)]
  monkeypatch.setattr(devices, "MAPPINGS", 0)
  devices.make_room_for("another")
  for side, found in zip((200, 60), before, strict=True):
    assert_equal(detector.detect(image[:side], mpp=0.25), found)
