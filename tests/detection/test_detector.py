"""The detector: coordinates, sizes, resolution, what it refuses."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tissue
from flax import nnx
from networks import META, NETWORK
from PIL import Image

import micronet_jax as mn
from micronet_jax import models
from micronet_jax.detection.detector import Detector
from micronet_jax.detection.peaks import detect_points, select_peaks
from micronet_jax.detection.points import Detections
from micronet_jax.detection.searching import share_out
from micronet_jax.errors import InputError
from micronet_jax.imaging.normalisation import normalise
from micronet_jax.imaging.resampling import rescale_image
from micronet_jax.models import graphs


@pytest.fixture(scope="module")
def weights():
  return graphs.split_model(models.create_model(NETWORK))[1]


@pytest.fixture(scope="module")
def detector(weights):
  return Detector(weights, META)


@pytest.fixture(scope="module")
def image():
  return tissue.dots("a", size=64).image


def test_detections_are_the_maxima_of_the_map_over_the_threshold(detector, image):
  result = detector.detect(image)
  proximity = np.asarray(detector.proximity(image))
  assert proximity.shape == image.shape[:2]
  centers, scores = detect_points(proximity, min_distance=5, xi=0.4)
  np.testing.assert_array_equal(result.centers, centers)
  np.testing.assert_allclose(result.scores, scores, rtol=1e-5)
  assert len(scores)
  assert scores.min() >= 0.4 * scores.max()


def test_the_network_of_a_detector_is_a_module_of_its_own(detector, image):
  """Compiled it gives the map; its gradient is the slope; changed, it alone is."""
  network, before = detector.network(), np.asarray(detector.proximity(image))
  pixels = jnp.asarray(normalise(image))[None]
  maps = nnx.jit(lambda network: network(pixels))(network)
  np.testing.assert_allclose(maps[0] / 5.0, before, atol=1e-5)
  means = nnx.jit(nnx.value_and_grad(lambda network: network(pixels).mean()))
  low, slopes = means(network)
  steepness = sum(float((slope**2).sum()) for slope in jax.tree.leaves(slopes))
  step = 1e-3 / steepness
  weights = nnx.state(network, nnx.Param)
  nnx.update(network, jax.tree.map(lambda x, y: x + step * y, weights, slopes))
  np.testing.assert_allclose(means(network)[0] - low, 1e-3, rtol=0.1)
  np.testing.assert_array_equal(detector.proximity(image), before)


def test_the_map_is_the_networks_output_in_units_of_eq_1(detector, weights, image):
  graph, _ = graphs.abstract_model(NETWORK)
  model = graphs.merge_model(graph, jax.tree.map(jnp.asarray, weights))
  direct = model(jnp.asarray(normalise(image))[None])[0] / 5.0
  np.testing.assert_allclose(detector.proximity(image), direct, atol=1e-5)


def test_the_map_is_of_what_detection_sees_whatever_the_array_holds(detector, image):
  expected = np.asarray(detector.proximity(image))
  whole = detector.proximity(np.round(image / 255, 6).astype(np.float32))
  np.testing.assert_allclose(whole, expected, atol=1e-5)
  with pytest.raises(InputError, match="0 to 1"):
    detector.proximity(image.astype(np.float32))


def test_what_is_kept_of_detections_keeps_its_frame():
  found = Detections(np.ones((2, 2), np.float32), np.ones(2), origin=(100, 200))
  for other in (
    found._replace(centers=found.centers[:1], scores=found.scores[:1]),
    pickle.loads(pickle.dumps(found)),
    copy.copy(found),
  ):
    assert other.origin == (100, 200)
    assert type(other) is Detections
  assert Detections(*found).origin == (0, 0)
  centers, scores = found
  assert len(centers) == len(scores) == 2


@pytest.mark.parametrize(
  ("tiles", "devices", "batch", "expected"),
  [
    (1, None, None, (1, 1)),
    (1, 4, 8, (1, 1)),
    (2, None, None, (8, 8)),
    (9, None, None, (8, 8)),
    (2, 1, 8, (1, 2)),
    (5, 1, 8, (1, 8)),
    (3, 3, 2, (3, 3)),
    (9, 3, 7, (3, 9)),
  ],
)
def test_tiles_are_shared_out_by_few_programs(tiles, devices, batch, expected):
  assert jax.local_device_count() == 8
  assert share_out(tiles, devices=devices, batch=batch) == expected


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (17, 31)])
def test_any_size_works(detector, shape):
  image = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
  proximity = np.asarray(detector.proximity(image))
  assert proximity.shape == shape
  expected, _ = detect_points(proximity, min_distance=5, xi=0.4)
  np.testing.assert_array_equal(detector.detect(image).centers, expected)


def test_a_flat_image_is_normalised_to_zero(detector, weights):
  graph, _ = graphs.abstract_model(NETWORK)
  model = graphs.merge_model(graph, jax.tree.map(jnp.asarray, weights))
  direct = model(jnp.zeros((1, 32, 32, 3)))[0] / 5.0
  for value in (0, 255):
    flat = np.full((32, 32, 3), value, np.uint8)
    np.testing.assert_allclose(detector.proximity(flat), direct, atol=1e-6)


def test_results_are_in_the_images_own_pixels(detector):
  image = tissue.dots("b", size=64).image
  fine = np.asarray(Image.fromarray(image).resize((128, 128), Image.Resampling.BOX))
  # At 0.125 microns a pixel the image is halved first: back to what it was.
  own = detector.detect(fine, mpp=0.125)
  plain = detector.detect(image, mpp=0.25)
  reference = detector.detect(rescale_image(fine, 0.5))
  np.testing.assert_allclose(
    own.centers, (reference.centers + 0.5) * 2 - 0.5, atol=1e-4
  )
  np.testing.assert_array_equal(plain.centers, detector.detect(image).centers)


@pytest.mark.parametrize(
  ("image", "message"),
  [
    (np.full((20, 20, 3), np.nan, np.float32), "nan"),
    (np.zeros((20, 20, 5), np.uint8), "5 channels"),
    (np.zeros((0, 20, 3), np.uint8), "at least one pixel"),
    (np.zeros((2, 20, 20, 3), np.uint8), "shape"),
    ("nowhere.png", "nowhere.png"),
    (None, "must be a path, an array or a PIL image"),
  ],
)
def test_what_is_no_image_is_refused(detector, image, message):
  with pytest.raises(mn.InputError, match=message):
    detector.detect(image)


def test_arrays_and_images_of_every_kind_are_one(detector, image, tmp_path):
  expected = detector.detect(image, mpp=0.25)
  Image.fromarray(image).save(tmp_path / "image.png")
  opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
  for same in (
    tmp_path / "image.png",
    str(tmp_path / "image.png"),
    Image.fromarray(image),
    np.concatenate([image, opaque], -1),
    image / 255.0,
  ):
    found = detector.detect(same, mpp=0.25).centers
    assert {*map(tuple, found.tolist())} == {*map(tuple, expected.centers.tolist())}


@pytest.mark.parametrize("mpp", [0, -1, float("nan"), float("inf")])
def test_a_resolution_is_positive(detector, image, mpp):
  with pytest.raises(mn.InputError, match=r"mpp is .*; it must be from 0\.01 to 5"):
    detector.detect(image, mpp=mpp)


def test_a_resolution_is_a_number(detector, image):
  with pytest.raises(mn.InputError, match=r"mpp is '0\.25'; it must be a number"):
    detector.detect(image, mpp="0.25")


def test_peaks_are_found_for_each_min_distance(detector, image):
  peaks = detector.peaks([(image, None), (image, 0.25)], (3, 9))
  assert set(peaks) == {3, 9}
  assert [len(each) for each in peaks.values()] == [2, 2]
  assert len(peaks[3][0][0]) > len(peaks[9][0][0])
  for xi, min_distance in ((0.9, 3), (0.2, 9)):
    expected, _ = select_peaks(*peaks[min_distance][0][:2], xi=xi)
    other = detector.with_threshold(xi=xi, min_distance=min_distance)
    np.testing.assert_array_equal(other.detect(image).centers, expected)


@pytest.mark.parametrize(
  ("given", "message"),
  [
    *(({"xi": xi}, "xi is .*; it must be from 0 to 1") for xi in (np.nan, -1, 1.5)),
    *(({"xi": xi}, "xi is .*; it must be a number") for xi in ("a", None, True, [0.5])),
    *(
      ({"min_distance": far}, "min_distance is .*; it must be from 1 to 10000")
      for far in (-50, 0, np.int64(10**6))
    ),
    *(
      ({"min_distance": far}, "min_distance is .*; it must be a whole number")
      for far in (2.5, "3", None, np.float32(2.5))
    ),
  ],
)
def test_impossible_thresholds(detector, given, message):
  with pytest.raises(mn.InputError, match=message):
    detector.with_threshold(**{"xi": 0.5, "min_distance": 5, **given})


def test_thresholds_may_be_numbers_of_numpy(detector):
  other = detector.with_threshold(xi=np.float32(0.25), min_distance=np.int64(7))
  assert (other.meta["xi"], other.meta["min_distance"]) == (0.25, 7)


def test_weights_of_another_model_are_refused(weights):
  with pytest.raises(mn.InputError, match="another model"):
    Detector(weights, {**META, "model": {**NETWORK, "width": 3}})


def test_unknown_models_and_arguments_are_refused():
  with pytest.raises(mn.InputError, match=r"config\.model\.name is 'no'"):
    models.create_model({"name": "no"})
  with pytest.raises(mn.InputError, match="micronet has no such argument"):
    models.create_model({"name": "micronet", "depth": 3})
