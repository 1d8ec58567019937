"""Trained networks in other formats: run and read by others, against ours."""

import json

import jax
import numpy as np
import pytest
from networks import META, NETWORK, random_weights

from micronet_jax import checkpoints, cli
from micronet_jax.detection import exports
from micronet_jax.detection.detector import Detector
from micronet_jax.imaging.normalisation import normalise

SIZES = ((96, 128), (160, 48), (16, 16))
CARD = {**META, "mpp": 0.5, "threshold_rule": "absolute", "smoothing": 2.0}


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
  assert card["threshold_rule"] == "absolute"
  assert "of at least xi" in card["nuclei"]
  assert "times the highest" not in card["nuclei"]
  assert "less its mean, by its standard deviation" in card["normalisation"]
  assert json.loads(card["model"])["name"] == "micronet"


def test_onnx_runtime_makes_our_maps_of_images_of_any_size(run, tmp_path):
  onnxruntime = pytest.importorskip("onnxruntime")
  path = tmp_path / "network.onnx"
  export(run, path, "onnx")
  session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
  (images,), (output,) = session.get_inputs(), session.get_outputs()
  assert (images.name, output.name) == ("images", "map")
  assert images.shape == ["B", "H", "W", 3]
  differences = maps(lambda batch: session.run(["map"], {"images": batch})[0])
  assert max(differences) < 1e-5
  assert_card(session.get_modelmeta().custom_metadata_map)


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
  assert "of at least xi times the highest of the map" in card["nuclei"]
  assert json.loads(card["mpp"]) == 0.25
  assert all(isinstance(value, str) for value in card.values())


def test_a_package_that_is_missing_is_named(run, tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
  path = tmp_path / "out"
  arguments = ["export", run, "--format", "safetensors", "-o", str(path)]
  assert cli.main(arguments) == 1
  assert "`pip install 'micronet-jax[safetensors]'`" in capsys.readouterr().err


def test_the_command_offers_what_there_is():
  options = cli.parser().parse_args(["export", "base", "-o", "x"])
  assert options.format == next(iter(exports.WRITERS))
  for kind in exports.WRITERS:
    arguments = ["export", "base", "-o", "x", "--format", kind]
    assert cli.parser().parse_args(arguments).format == kind
