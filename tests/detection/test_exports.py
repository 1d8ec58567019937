"""Trained networks in other formats: run and read by others, against ours."""

import contextlib
import json
import pathlib
import re
import types

import jax
import numpy as np
import PIL.Image
import pytest
from folders import full_disk
from networks import META, NETWORK, random_weights

from micronet_jax import checkpoints, cli
from micronet_jax.detection import exports
from micronet_jax.detection.detector import Detector, load
from micronet_jax.imaging.normalisation import normalise
from micronet_jax.imaging.resampling import rescale_image

SIZES = ((96, 128), (160, 48), (16, 16))
CARD = {**META, "mpp": 0.5, "threshold_rule": "absolute", "smoothing": 2.0}
CARD["proximity"] = {"scale": 0.2}  # so that some maxima of random weights are clear


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A checkpoint of a small random network."""
  folder = tmp_path_factory.mktemp("run") / "weights"
  checkpoints.export_weights(folder, random_weights(), CARD, dtype="float32")
  return str(folder)


def export(run, path, kind):
  assert cli.main(["export", run, "--format", kind, "-o", str(path)]) == 0


def maps(program):
  """What a program and our detector make of images of several sizes: the difference.

  Returns:
    For each size the largest difference, in units of the largest value.
  """
  detector, differences = Detector(random_weights(), CARD), []
  for number, size in enumerate(SIZES):
    image = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
    expected = np.asarray(detector.proximity(image))
    twice = np.stack([normalise(image), normalise(image[::-1])])
    found = np.asarray(program(twice))
    assert found.shape == (2, *size)
    assert found.dtype == np.float32
    differences.append(np.abs(found[0] - expected).max() / np.abs(expected).max())
  return differences


def assert_card(card):
  """Says with what numbers nuclei are found."""
  numbers = ("xi", "min_distance", "mpp", "smoothing", "stride")
  assert [json.loads(card[name]) for name in numbers] == [0.4, 5, 0.5, 2.0, 16]
  assert [json.loads(card[name]) for name in ("radius_px", "smoothing_px")] == [2, 1.0]
  assert (card["threshold_rule"], card["threshold"]) == ("absolute", "xi")
  assert "smooth the map by a Gaussian" in card["search"]
  assert "neither smoothed nor searched" in card["output"]
  assert "less its mean, by its standard deviation" in card["normalisation"]
  assert json.loads(card["model"])["name"] == "micronet"


@pytest.fixture(scope="module")
def session(run, tmp_path_factory):
  """ONNX Runtime with that network."""
  onnxruntime = pytest.importorskip("onnxruntime")
  path = tmp_path_factory.mktemp("onnx") / "network.onnx"
  export(run, path, "onnx")
  return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_onnx_runtime_makes_our_maps_of_images_of_any_size(session):
  (images,), (output,) = session.get_inputs(), session.get_outputs()
  assert (images.name, output.name) == ("images", "map")
  assert images.shape == ["B", "H", "W", 3]
  differences = maps(lambda batch: session.run(["map"], {"images": batch})[0])
  assert max(differences) < 1e-5
  assert_card(session.get_modelmeta().custom_metadata_map)


def code_of(page):
  """The first block of Python in one of the pages, as a name space."""
  text = (pathlib.Path(__file__).parents[2] / "docs" / page).read_text("utf-8")
  names = {}
  exec(re.search(r"```python\n(.*?)```", text, re.S)[1], names)
  return names


def assert_same_points(session, detector, image):
  """What the page's code finds by the card, and our detector; how many they are."""
  ours = detector.detect(image, mpp=detector.mpp)
  centers, scores = code_of("export.md")["find_nuclei"](session, image)
  order, expected = (np.lexsort(each.T) for each in (centers, ours.centers))
  places = centers[order], ours.centers[expected]
  np.testing.assert_allclose(*places, rtol=0, atol=1e-3)
  np.testing.assert_allclose(scores[order], ours.scores[expected], rtol=1e-4)
  return len(scores)


@pytest.mark.parametrize("rule", exports.THRESHOLDS)
def test_what_the_page_does_by_the_card_finds_our_points(session, rule):
  """ONNX Runtime, numpy and scipy, knowing nothing but the card."""
  assert session.get_modelmeta().custom_metadata_map == exports.describe_network(CARD)
  meta = {**CARD, "threshold_rule": rule}
  told = types.SimpleNamespace(custom_metadata_map=exports.describe_network(meta))
  other = types.SimpleNamespace(run=session.run, get_modelmeta=lambda: told)
  detector = Detector(random_weights(), meta)
  found = []
  for sides in ((90, 121), (75, 106)):
    image = np.random.default_rng(0).integers(0, 256, (*sides, 3), np.uint8)
    found.append(assert_same_points(other, detector, image))
  assert min(found) > 5


def test_the_base_in_onnx_runtime_on_real_tissue(tmp_path, real_data):
  onnxruntime = pytest.importorskip("onnxruntime")
  export("base", tmp_path / "base.onnx", "onnx")
  session = onnxruntime.InferenceSession(
    tmp_path / "base.onnx", providers=["CPUExecutionProvider"]
  )
  detector = load("base")
  path = sorted((real_data / "monuseg" / "images").glob("prostate*"))[0]
  pixels = rescale_image(np.asarray(PIL.Image.open(path).convert("RGB")), 0.5)
  for image in (pixels, pixels[:150, :101]):  # 250 pixels, and fewer
    expected = np.asarray(detector.proximity(image))
    height, width = image.shape[:2]
    padded = [(0, -height % 16), (0, -width % 16), (0, 0)]
    batch = np.pad(normalise(image), padded)[None]
    (found,) = session.run(["map"], {"images": batch})
    difference = np.abs(found[0, :height, :width] - expected).max()
    assert difference < 1e-4 * np.abs(expected).max()
    assert assert_same_points(session, detector, image) > 10


def test_stablehlo_makes_our_maps_of_images_of_any_size(run, tmp_path):
  path = tmp_path / "network.stablehlo"
  export(run, path, "stablehlo")
  program = jax.export.deserialize(bytearray(path.read_bytes()))
  assert set(program.platforms) == {"cpu", "cuda", "rocm", "tpu"}
  assert max(maps(program.call)) < 1e-5
  assert_card(json.loads((tmp_path / "network.stablehlo.json").read_text()))


def test_safetensors_hold_every_array(run, tmp_path):
  safetensors = pytest.importorskip("safetensors")
  path = tmp_path / "network.safetensors"
  export(run, path, "safetensors")
  with safetensors.safe_open(path, framework="numpy") as file:
    found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    card = file.metadata()
  expected = checkpoints.flatten(random_weights())
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    np.testing.assert_array_equal(found[name], array)
  assert_card(card)


def test_a_folder_of_weights_is_read_back_as_it_was(run, tmp_path, capsys):
  out = tmp_path / "mine"
  assert cli.main(["export", run, "-o", str(out)]) == 0
  weights, meta = checkpoints.load_weights(str(out))
  assert meta == checkpoints.load_weights(run)[1]
  expected = checkpoints.flatten(random_weights())
  for name, array in checkpoints.flatten(weights).items():
    np.testing.assert_array_equal(array, expected[name])
  assert f"{out}: {run} as micronet" in capsys.readouterr().out


@pytest.mark.parametrize("kind", exports.WRITERS)
def test_what_is_there_is_not_replaced(run, tmp_path, capsys, kind):
  path = tmp_path / "taken"
  path.write_text("mine")
  assert cli.main(["export", run, "--format", kind, "-o", str(path)]) == 1
  assert "taken exists; export to another folder" in capsys.readouterr().err
  assert path.read_text() == "mine"


@pytest.mark.parametrize("place", ["a file", "a full disk"])
@pytest.mark.parametrize("kind", exports.WRITERS)
def test_where_nothing_can_be_written_it_says_so(run, tmp_path, capsys, kind, place):
  (tmp_path / "file").write_text("mine")
  full = place == "a full disk"
  path = tmp_path / ("out" if full else "file/out")
  with full_disk(100) if full else contextlib.nullcontext():
    assert cli.main(["export", run, "--format", kind, "-o", str(path)]) == 1
  said = capsys.readouterr().err
  assert said.startswith("error: ")
  assert said.count("\n") == 1
  assert "cannot be written (" in said
  assert [each.name for each in tmp_path.iterdir()] == ["file"]
  assert (tmp_path / "file").read_text() == "mine"


def test_a_file_where_the_card_belongs_is_not_replaced(run, tmp_path, capsys):
  card = tmp_path / "out.json"
  card.write_text("mine")
  out = str(tmp_path / "out")
  assert cli.main(["export", run, "--format", "stablehlo", "-o", out]) == 1
  assert "out.json exists" in capsys.readouterr().err
  assert card.read_text() == "mine"
  assert list(tmp_path.iterdir()) == [card]


@pytest.mark.parametrize("kind", ["onnx", "stablehlo"])
def test_a_network_that_depends_on_its_batch_is_no_program(tmp_path, capsys, kind):
  batch = {**CARD, "model": {**NETWORK, "test_norm": "batch"}}
  checkpoints.export_weights(tmp_path / "run", random_weights(), batch, dtype="float32")
  arguments = ["export", str(tmp_path / "run"), "--format", kind]
  assert cli.main([*arguments, "-o", str(tmp_path / "out")]) == 1
  assert "normalises by each batch" in capsys.readouterr().err
  assert not (tmp_path / "out").exists()


def test_a_threshold_of_the_paper_is_told_as_such():
  card = exports.describe_network({**META, "threshold_rule": "relative"})
  assert card["threshold"].startswith("xi times the highest value found in the image")
  assert json.loads(card["mpp"]) == 0.25
  assert all(isinstance(value, str) for value in card.values())


def test_a_package_that_is_missing_is_named(run, tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
  path = tmp_path / "out"
  arguments = ["export", run, "--format", "safetensors", "-o", str(path)]
  assert cli.main(arguments) == 1
  assert "pip install -e '.[safetensors]' in the checkout" in capsys.readouterr().err


def test_the_command_offers_what_there_is():
  options = cli.parser().parse_args(["export", "base", "-o", "x"])
  assert options.format == next(iter(exports.WRITERS))
  for kind in exports.WRITERS:
    arguments = ["export", "base", "-o", "x", "--format", kind]
    assert cli.parser().parse_args(arguments).format == kind
