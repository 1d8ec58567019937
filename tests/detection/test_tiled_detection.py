"""Tiling cannot be seen: not by tile, batch, devices or region, nor at all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tifffile
import tissue
from flax import nnx
from networks import META, NETWORK
from scipy import ndimage

import micronet_jax as mn
from micronet_jax import models
from micronet_jax.config import ABSOLUTE, MEDIAN, RELATIVE, Config
from micronet_jax.detection import peaks, units
from micronet_jax.detection import scan as scan_module
from micronet_jax.detection.detector import Detector
from micronet_jax.detection.scan import sample_statistics
from micronet_jax.imaging.canvas import Canvas, inside
from micronet_jax.imaging.opening import open_image
from micronet_jax.imaging.resampling import rescale_centers, rescale_image
from micronet_jax.models import CONTEXT_FACTORS, graphs

SMALLEST = 272  # two halos of 128 and a stride


@pytest.fixture(scope="module")
def detector():
  """A small random network whose maps have maxima above and below ξ."""
  return Detector(graphs.split_model(models.create_model(NETWORK))[1], META)


@pytest.fixture(scope="module")
def base():
  return mn.load("base")


def assert_same(one, other, *, atol=0.01):
  """Point for point, whatever the order of nearly equal scores."""
  assert len(one.scores) == len(other.scores) > 0
  order, other_order = (np.lexsort(each.centers.T) for each in (one, other))
  np.testing.assert_allclose(
    one.centers[order], other.centers[other_order], rtol=0, atol=atol
  )
  np.testing.assert_allclose(
    one.scores[order], other.scores[other_order], rtol=0, atol=1e-4
  )


def at_half(detector, rule="absolute", xi=0.1):
  """The same network, as if it had been trained at 0.5 microns."""
  more = {"mpp": 0.5, "threshold_rule": rule, "xi": xi}
  return Detector(detector.weights, {**detector.meta, **more})


def smoothed(maps, sd):
  """By scipy: a Gaussian cut off at three sd, with no weight beyond the image."""
  if not sd:
    return maps
  one = functools.partial(ndimage.gaussian_filter, sigma=sd, mode="constant")
  radius = int(np.ceil(3 * sd))
  return one(np.asarray(maps), radius=radius) / one(np.ones(maps.shape), radius=radius)


def whole(detector, image):
  """One pass over the whole image at the network's resolution, by the plain way."""
  meta = detector.meta
  shape = image.shape
  window = meta["min_distance"]
  if detector.mpp == 0.5:
    # By hand: maxima 6 or 10 pixels apart are 3 or 5 of twice the size apart.
    image, window = rescale_image(image, 0.5), {5: 2, 9: 4}[window]
  relative = meta.get("threshold_rule", "relative") == "relative"
  rule = "xi" if relative else "absolute"
  maps = smoothed(detector.proximity(image), detector.smoothing * 0.25 / detector.mpp)
  centers, scores = peaks.detect_points(maps, min_distance=window, **{rule: meta["xi"]})
  return mn.Detections(rescale_centers(centers, image.shape, shape), scores)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shape", [(363, 345), (288, 475), (60, 45)])
def test_tiles_equal_one_pass_over_the_image(detector, shape, half):
  detector = at_half(detector) if half else detector
  if half:
    shape = tuple(2 * side for side in shape)  # as many tiles
  image = tissue.dots("big", size=max(shape), nuclei=max(shape) ** 2 // 2000).image
  image = image[: shape[0], : shape[1]]
  expected = whole(detector, image)
  # 7 by 6 and 2 by 14 tiles, with cores of 16 pixels; then four that fill no batch.
  for tile, batch, devices in ((SMALLEST, 1, 1), (320, 6, 3)):
    found = detector.detect(image, mpp=0.25, tile=tile, batch=batch, devices=devices)
    assert_same(found, expected)


@pytest.mark.parametrize("half", [False, True])
def test_tiles_equal_one_pass_of_smoothed_maps(detector, half):
  head = detector.weights["params"]["output"]["head"]
  raised = {**head, "bias": head["bias"] + 15}  # smoothed, all would be negative
  output = {**detector.weights["params"]["output"], "head": raised}
  params = {**detector.weights["params"], "output": output}
  detector = Detector(
    {**detector.weights, "params": params}, {**detector.meta, "smoothing": 3.0}
  )
  detector = at_half(detector, xi=0.3) if half else detector
  shape = (1046, 802) if half else (523, 401)
  image = tissue.dots("big", size=max(shape), nuclei=500).image[: shape[0], : shape[1]]
  expected = whole(detector, image)
  assert_same(detector.detect(image, mpp=0.25, tile=320, batch=2), expected)


@pytest.mark.parametrize("half", [False, True])
def test_tiles_equal_one_pass_on_real_tissue(base, real_data, half):
  now = {"threshold_rule": "absolute", "xi": 0.2}
  # Or the same weights, as if of version 0.1.
  old = {"mpp": 0.25, "threshold_rule": "relative", "min_distance": 5}
  base = Detector(base.weights, {**base.meta, **(now if half else old)})
  path = sorted((real_data / "monuseg" / "images").glob("*.jpg"))[7]
  with open_image(path) as reader:
    image = reader.read(0, 0, 0, *reader.levels[0])
  expected = whole(base, image)
  assert len(expected.scores) > 20
  assert_same(base.detect(path, mpp=0.25), expected)
  part = image[:, :431]
  assert_same(base.detect(part, mpp=0.25, tile=400), whole(base, part))


def test_a_slide_is_the_same_whatever_the_tiles(base, real_data):
  path = real_data / "slides" / "CMU-1-Small-Region.svs"
  base = base.with_threshold(xi=0.05, min_distance=5)  # many points on little tissue
  base = base.with_search(Config(threshold_rule=ABSOLUTE))
  around = [(1000, 1200, 131, 127)]
  expected = base.detect(path, regions=around, tile=512, devices=1)
  assert len(expected.scores) > 10
  # More than 1 mm² at 0.25 microns: the threshold is ξ itself.
  assert expected.scores.min() >= np.float32(base.meta["xi"])
  tiled = base.detect(path, regions=around, tile=416, batch=4, devices=2)
  assert_same(tiled, expected)
  parts = [(1000, 1200, 60, 127), (1050, 1200, 40, 99), (1100, 1300, 31, 20)]
  y, x = expected.centers.T + 0.5
  inside = np.zeros(len(x), bool)
  for left, top, width, height in parts:
    inside |= (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
  kept = mn.Detections(expected.centers[inside], expected.scores[inside])
  assert_same(base.detect(path, regions=parts, tile=512, devices=1), kept)


@pytest.mark.slow
def test_the_whole_slide_is_the_same_whatever_the_tiles(base, real_data):
  path = real_data / "slides" / "CMU-1-Small-Region.svs"
  expected = base.detect(path, tile=1536, devices=1)
  assert len(expected.scores) > 1000
  assert_same(base.detect(path, tile=640, batch=3, devices=3), expected)


@pytest.mark.parametrize("half", [False, True])
def test_a_region_of_an_image_has_the_points_of_the_image(detector, half):
  detector = at_half(detector) if half else detector
  image = tissue.dots("r", size=300, nuclei=60).image
  everywhere = detector.detect(image, mpp=0.25)
  best = everywhere.centers[0]
  x = 0 if best[1] > 150 else 150  # ξ times a maximum that the region does not hold
  found = detector.detect(image, mpp=0.25, regions=[(x, 0, 150, 300)])
  inside = (everywhere.centers[:, 1] >= x - 0.5) & (
    everywhere.centers[:, 1] < x + 149.5
  )
  assert_same(
    found, mn.Detections(everywhere.centers[inside], everywhere.scores[inside])
  )


@pytest.mark.parametrize("context", [("up4", "up3"), tuple(CONTEXT_FACTORS)])
def test_the_reach_is_what_a_pixel_can_change(context):
  """NaN spreads through every layer, so it shows exactly what reads a pixel."""
  model = models.create_model({**NETWORK, "width": 1, "context": context})
  graph, state = nnx.split(model)
  predict = jax.jit(lambda x: nnx.merge(graph, state)(x))
  reach = 0
  for row in range(256, 256 + models.MicroNet.STRIDE):
    image = np.zeros((1, 512, 32, 3), np.float32)
    image[0, row] = np.nan
    rows = np.isnan(predict(jnp.asarray(image))[0]).any(1).nonzero()[0]
    reach = max(reach, row - rows.min(), rows.max() - row)
  assert reach == models.MicroNet.REACH


def test_a_threshold_is_a_score(detector):
  image = tissue.dots("t", size=120, nuclei=12).image
  every = detector.detect(image, threshold=0.0)
  least = float(np.median(every.scores))
  some = detector.detect(image, threshold=least)
  np.testing.assert_array_equal(some.scores, every.scores[every.scores >= least])


def test_a_network_reads_a_scan_of_its_own_resolution_as_it_is(detector):
  """And one of 0.25 microns at half, wherever the centres then lie."""
  half = at_half(detector)
  fine = tissue.dots("o", size=200, nuclei=20).image
  own = rescale_image(fine, 0.5)
  direct = half.detect(own, mpp=0.5)
  with open_image(own) as reader:
    np.testing.assert_array_equal(
      half.scan(reader, mpp=0.5).canvas.read(0, 0, 100, 100), own
    )
  through = half.detect(fine, mpp=0.25)
  moved = mn.Detections((direct.centers + 0.5) * 2 - 0.5, direct.scores)
  assert_same(through, moved, atol=1e-4)


def test_an_absolute_threshold_asks_no_other_score(detector):
  """What else the image holds moves a relative threshold, and not this one."""
  image = tissue.dots("h", size=160, nuclei=16).image
  chosen = detector.with_threshold(xi=0.2, min_distance=5)
  absolute, relative = (
    chosen.with_search(Config(threshold_rule=rule)) for rule in (ABSOLUTE, RELATIVE)
  )
  every = detector.detect(image, threshold=0.0)
  for each, least in ((absolute, 0.2), (relative, 0.2 * every.scores.max())):
    kept = every.scores >= np.float32(least)
    np.testing.assert_array_equal(each.detect(image).centers, every.centers[kept])


def median_unless_faint(scores):
  held = sorted(score for score in scores.tolist() if score >= np.float32(0.1))
  middle = len(held) // 2
  return held[middle] if len(held) % 2 else (held[middle - 1] + held[middle]) / 2


@pytest.mark.parametrize("tile", [None, 320])
def test_a_share_of_the_median_of_maxima_that_are_not_faint(detector, tile):
  image = tissue.dots("h", size=400, nuclei=60).image
  every = detector.detect(image, threshold=0.0)
  unit = median_unless_faint(every.scores)
  chosen = detector.with_threshold(xi=0.9, min_distance=5)
  chosen = chosen.with_search(Config(threshold_rule=MEDIAN))
  kept = every.scores >= np.float32(0.9) * np.float32(unit)
  assert 0 < kept.sum() < len(kept)
  expected = mn.Detections(every.centers[kept], every.scores[kept])
  assert_same(chosen.detect(image, tile=tile), expected)
  # A region's points are those of the whole image there.
  part = chosen.detect(image, tile=tile, regions=[(0, 0, 170, 400)])
  here = expected.centers[:, 1] < 169.5
  assert_same(part, mn.Detections(expected.centers[here], expected.scores[here]))
  # What ξ and min_distance are chosen by counts the same.
  [points] = chosen.peaks([(image, 0.25)], [5])[5]
  assert len(points.over(0.9)) == kept.sum()


def test_the_palest_image_has_a_least_threshold(detector, monkeypatch):
  image = tissue.dots("h", size=160, nuclei=16).image
  every = detector.detect(image, threshold=0.0)
  best = float(every.scores.max())
  chosen = detector.with_threshold(xi=0.5, min_distance=5)
  chosen = chosen.with_search(Config(threshold_rule=MEDIAN))
  monkeypatch.setattr(units, "FAINT", 1.01 * best)  # all are
  monkeypatch.setattr(units, "PALEST", 1.5 * best)
  kept = every.scores >= 0.75 * best
  assert 0 < kept.sum() < len(kept)
  np.testing.assert_array_equal(chosen.detect(image).scores, every.scores[kept])
  monkeypatch.setattr(units, "PALEST", 2.1 * best)
  assert len(chosen.detect(image).scores) == 0


def test_on_a_slide_samples_stand_for_its_scores(detector, monkeypatch):
  monkeypatch.setattr(scan_module, "SLIDE_PIXELS", 400 * 400)
  monkeypatch.setattr(scan_module, "SAMPLE_SIDE", 64)
  monkeypatch.setattr(scan_module, "SCORED", 3)
  image = tissue.dots("s", size=640, nuclei=200).image
  chosen = detector.with_threshold(xi=0.9, min_distance=5)
  chosen = chosen.with_search(Config(threshold_rule=MEDIAN))
  with open_image(image) as reader:
    scan = chosen.scan(reader, mpp=0.25)
    region = chosen.scan(reader, mpp=0.25, tile=400, regions=[(9, 9, 50, 50)])
    given = chosen.scan(reader, mpp=0.25, threshold=0.2)
  assert scan.unit == region.unit
  assert given.samples is None  # nobody asks
  every = chosen.detect(image, mpp=0.25, threshold=0.0, tissue=False)
  cores = [tile.core for tile in scan.samples.tiles]
  assert len(cores) == 3
  held = [inside(every.centers.astype(float), core) for core in cores]
  decisive = np.concatenate([every.scores[each] for each in held])
  assert scan.unit == pytest.approx(median_unless_faint(decisive), abs=1e-4)
  found = chosen.detect(image, mpp=0.25, tissue=False)
  kept = every.scores >= 0.9 * scan.unit
  assert_same(found, mn.Detections(every.centers[kept], every.scores[kept]))


def test_glass_is_not_looked_at_on_slides(detector, monkeypatch):
  monkeypatch.setattr(scan_module, "SLIDE_PIXELS", 400 * 400)
  detector = detector.with_threshold(xi=0.01, min_distance=5)
  image = np.full((480, 720, 3), 245, np.uint8)
  image[330:430, 560:660] = tissue.dots("g", size=100, nuclei=9).image
  with open_image(image) as reader:
    scan = detector.scan(reader, mpp=0.25, tile=SMALLEST)
    everywhere = detector.scan(reader, mpp=0.25, tile=SMALLEST, tissue=False)
  assert scan.is_slide
  assert 0 < len(scan.tiles) < len(everywhere.tiles)
  # What pixels are normalised by does not depend on where is looked.
  np.testing.assert_array_equal(scan.mean, everywhere.mean)
  found = detector.detect(image, mpp=0.25, tile=SMALLEST, devices=1)
  assert_same(found, detector.detect(image, mpp=0.25, tile=368, devices=1))
  # The tissue's cells of 32 pixels, grown by as many as `tissue` adds, and no more.
  assert (found.centers.min(0) > [330 - 5 * 32, 560 - 5 * 32]).all()


def test_samples_of_a_slide_are_of_its_tissue(monkeypatch):
  image = np.full((640, 960, 3), 250, np.uint8)
  image[:, :320] = np.random.default_rng(0).integers(60, 120, (640, 320, 3))
  canvas = Canvas(open_image(image), mpp=None, working_mpp=0.25, stride=16)
  found = np.zeros((20, 30), bool)
  found[4:16, 4:6] = True  # samples of 256² around cells in the middle of the tissue
  mean, std = sample_statistics(canvas, found)
  np.testing.assert_allclose(mean, 89.5, atol=0.5)
  np.testing.assert_allclose(std, np.sqrt((60**2 - 1) / 12), atol=0.3)


@pytest.mark.parametrize("shape", [(1, 1), (40, 60), (600, 600)])
@pytest.mark.parametrize("value", [0, 255])
def test_one_colour_holds_no_nuclei_and_is_told(detector, shape, value, caplog):
  result = detector.detect(np.full((*shape, 3), value, np.uint8), mpp=0.25)
  assert result.centers.shape == (0, 2)
  assert result.scores.shape == (0,)
  assert "image shows no tissue" in caplog.text


def test_an_unknown_resolution_is_told_once(detector, caplog, monkeypatch):
  monkeypatch.setattr(scan_module, "_told", set())
  image = tissue.dots("u", size=64).image
  for _ in range(2):
    detector.detect(image)
  assert caplog.text.count("does not say its microns per pixel") == 1


def test_a_resolution_that_contradicts_the_file_is_told_once(
  detector, tmp_path, caplog, monkeypatch
):
  """Of files of 0.5 microns, to 10 % up or down: 0.46 to 0.54."""
  monkeypatch.setattr(scan_module, "_told", set())
  image = tissue.dots("u", size=64).image
  density = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
  for name in ("one.tif", "other.tif"):
    tifffile.imwrite(tmp_path / name, image, photometric="rgb", **density)
  for mpp in (None, 0.5, 0.46, 0.54):
    detector.detect(tmp_path / "one.tif", mpp=mpp)
  detector.detect(image, mpp=0.25)
  assert not caplog.records
  for name in ("one.tif", "other.tif", "one.tif"):
    detector.detect(tmp_path / name, mpp=0.25)
  [record] = caplog.records
  assert "one.tif says that it has 0.5 microns per" in record.getMessage()
  assert "taken as 0.25" in record.getMessage()
  detector.detect(tmp_path / "other.tif", mpp=0.45)
  assert "other.tif" in caplog.records[1].getMessage()


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"mpp": 0.0}, "mpp is 0.0; it must be from 0.01 to 5"),
    ({"mpp": -0.25}, "mpp is -0.25; it must be from 0.01 to 5"),
    ({"mpp": float("nan")}, "mpp is nan; it must be from"),
    ({"mpp": 250.0}, "0.01 to 5"),
    ({"mpp": "0.25"}, "mpp is '0.25'; it must be a number"),
    ({"threshold": float("nan")}, "threshold is nan; it must be from 0 to 1"),
    ({"threshold": 1.5}, "threshold is 1.5; it must be from 0 to 1"),
    ({"batch": 0}, "batch is 0; it must be at least 1"),
    ({"batch": 1.5}, "batch is 1.5; it must be a whole number"),
    ({"devices": -1}, "devices is -1; it must be at least 1"),
    ({"devices": 99}, "devices is 99, but this machine has 8"),
    ({"tile": "big"}, "tile is 'big'; it must be a whole number"),
    ({"tissue": "yes"}, "tissue is 'yes'; it must be True or False"),
    *(
      ({"regions": given}, r"must be a list of \(x, y, width, height\)$")
      for given in (5, None, "a", (0, 0, 9, 9), np.arange(4), [(0, 0, 9)], ["0,0,9,9"])
    ),
    ({"regions": [(0, 0, 10, 10.5)]}, "regions is 10.5; it must be a whole number"),
    ({"tile": 256}, "multiple of 16 beyond 256"),
    ({"tile": 1000}, "multiple of 16"),
    ({"regions": [(300, 0, 10, 10)]}, "holds nothing of image"),
    ({"regions": [(0, 0, 0, 10)]}, "holds nothing of image"),
  ],
)
def test_impossible_arguments(detector, options, message):
  image = tissue.dots("w", size=300).image
  with pytest.raises(mn.InputError, match=message):
    detector.detect(image, **options)


def test_numbers_of_numpy_are_numbers(detector):
  image = tissue.dots("n", size=100, nuclei=10).image
  plain = detector.detect(image, mpp=0.25, regions=[(0, 0, 50, 60)], threshold=0.0)
  same = detector.detect(
    image,
    mpp=np.float32(0.25),
    regions=np.array([[0, 0, 50, 60]], np.uint16),
    threshold=np.zeros(())[()],
    batch=np.int64(1),
    tissue=np.False_,
  )
  fractions = [(0.0, 0.0, 50.0, 60.0)]
  assert_same(plain, same)
  assert_same(plain, detector.detect(image, mpp=0.25, regions=fractions, threshold=0))


def test_batch_statistics_see_an_image_whole_and_no_slide(monkeypatch):
  meta = {**META, "model": {**NETWORK, "test_norm": "batch"}}
  weights = graphs.split_model(models.create_model(meta["model"]))[1]
  detector = Detector(weights, meta)
  image = tissue.dots("n", size=300, nuclei=40).image
  assert_same(detector.detect(image, mpp=0.25, tile=SMALLEST), whole(detector, image))
  monkeypatch.setattr(scan_module, "SLIDE_PIXELS", 250 * 250)
  with pytest.raises(mn.InputError, match="test_norm='running'"):
    detector.detect(image, mpp=0.25)


def test_a_tile_that_cannot_be_read_ends_the_search(detector, monkeypatch):
  monkeypatch.setattr(scan_module, "SLIDE_PIXELS", 200 * 200)
  with open_image(tissue.dots("k", size=300, nuclei=30).image) as reader:
    scan = detector.scan(reader, mpp=0.25, tile=SMALLEST)
    read = reader.read

    def cut(level, y, x, height, width):
      if y > 0:
        raise mn.InputError("broken.svs is cut short")
      return read(level, y, x, height, width)

    monkeypatch.setattr(reader, "read", cut)
    search = detector.run(scan, batch=1, devices=1)
    assert next(search).tile.index == 0
    with pytest.raises(mn.InputError, match="cut short"):
      list(search)
