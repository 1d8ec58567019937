"""The napari plugin, without napari: its manifest by npe2, its functions by arrays."""

import pathlib
import tomllib
import types

import numpy as np
import pytest
from npe2 import PluginManifest

from micronet_jax import napari_plugin
from micronet_jax.datasets.annotations import read_centers
from micronet_jax.datasets.annotations.regions import read_regions
from micronet_jax.detection.points import Detections
from micronet_jax.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[1]
MANIFEST = ROOT / "micronet_jax/napari.yaml"


def layer(data, **changes):
  """An image layer of napari, as far as the plugin looks at it."""
  placed = {"scale": (0.25, 0.25), "translate": (3, 4), "rotate": np.eye(2)}
  placed |= {"shear": (0.0,), "affine": np.eye(3)}
  values = {"data": data, "name": "tile", "rgb": True}
  return types.SimpleNamespace(**{"multiscale": False, **placed, **values, **changes})


@pytest.fixture
def asked(monkeypatch):
  """What the detector was asked; it finds two nuclei."""
  calls = []

  class Fake:
    def detect(self, pixels, *, mpp):
      calls.append((pixels, mpp))
      centers = np.array([[1, 2], [3, 4]], np.float32)
      return Detections(centers, np.array([0.9, 0.5], np.float32))

  def load(weights):
    calls.append(weights)
    return Fake()

  monkeypatch.setattr(napari_plugin, "_detector", load)
  return calls


def test_the_manifest_is_valid_and_every_function_is_there():
  manifest = PluginManifest.from_file(MANIFEST)
  manifest.validate_imports()
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  assert manifest.name == project["name"]
  found = project["entry-points"]["napari.manifest"]
  assert found == {project["name"]: "micronet_jax:napari.yaml"}
  contributions = manifest.contributions
  commands = {each.id: each.python_name for each in contributions.commands}
  asked = [
    *(each.command for each in contributions.widgets),
    *(each.command for each in contributions.readers),
    *(each.command for each in contributions.writers),
  ]
  assert sorted(asked) == sorted(commands)
  for name in commands.values():
    assert callable(getattr(napari_plugin, name.split(":")[1]))


def test_nuclei_of_a_layer_lie_where_it_lies(asked):
  pixels = np.zeros((20, 30, 3), np.uint8)
  centers, attributes, kind = napari_plugin.detect_nuclei(layer(pixels), "mine", 0.5)
  assert kind == "points"
  np.testing.assert_array_equal(centers, [[1, 2], [3, 4]])
  np.testing.assert_array_equal(attributes["features"]["score"], asked_scores())
  assert (attributes["scale"], attributes["translate"]) == ((0.25, 0.25), (3, 4))
  assert attributes["name"] == "nuclei of tile"
  assert asked[0] == "mine"
  assert asked[1][0].shape == (20, 30, 3)
  assert asked[1][1] == 0.5


def asked_scores():
  return np.array([0.9, 0.5], np.float32)


def test_of_a_pyramid_the_finest_level_is_searched(asked):
  levels = [np.zeros((20, 30)), np.zeros((10, 15))]
  napari_plugin.detect_nuclei(layer(levels, multiscale=True, rgb=False))
  assert asked[1][0].shape == (20, 30)


def test_a_stack_is_refused(asked):
  with pytest.raises(InputError, match="layer tile has 3 dimensions, but nuclei are"):
    napari_plugin.detect_nuclei(layer(np.zeros((5, 20, 30)), rgb=False))
  assert asked == []


def test_points_are_saved_and_opened_and_a_folder_data_set_reads_them(tmp_path):
  centers = np.array([[1.25, 2.5], [0, 30], [7.123, 0]])
  path = str(tmp_path / "points/tile.csv")
  assert napari_plugin.save_points(path, centers, {"name": "n"}) == [path]
  assert pathlib.Path(path).read_text().splitlines()[:2] == ["x,y", "2.50,1.25"]
  np.testing.assert_allclose(read_centers(path), np.round(centers, 2))
  opened = napari_plugin.open_table(path)(path)
  ((data, attributes, kind),) = opened
  np.testing.assert_allclose(data, np.round(centers, 2))
  assert (attributes["name"], kind) == ("tile", "points")


def test_regions_are_saved_and_opened_with_borders_between_pixels(tmp_path):
  path = str(tmp_path / "regions/tile.csv")
  # Rows 2 to 5 and columns 10 to 29: borders lie half a pixel beyond their centres.
  corners = np.array([[1.5, 9.5], [1.5, 29.5], [5.5, 29.5], [5.5, 9.5]])
  both = [corners, corners[::-1] + np.array([40, 0])]
  napari_plugin.save_regions(path, both, {"name": "r"})
  assert pathlib.Path(path).read_text() == "x,y,width,height\n10,2,20,4\n10,42,20,4\n"
  expected = [[10, 2, 20, 4], [10, 42, 20, 4]]
  np.testing.assert_array_equal(read_regions(path, shape=(100, 100)), expected)
  ((data, attributes, kind),) = napari_plugin.open_table(path)(path)
  assert (attributes["shape_type"], kind) == ("rectangle", "shapes")
  np.testing.assert_allclose(data[0], corners)
  napari_plugin.save_regions(path, data, attributes)
  np.testing.assert_array_equal(read_regions(path, shape=(100, 100)), expected)


@pytest.mark.parametrize(
  "shape", [[[0, 0], [0, 9], [9, 9]], [[0, 5], [5, 0], [9, 5], [5, 9]], [[0, 0, 0]] * 4]
)
def test_other_shapes_are_no_regions(tmp_path, shape):
  with pytest.raises(
    InputError, match="shape 1 of the layer r is no upright rectangle"
  ):
    napari_plugin.save_regions(str(tmp_path / "r.csv"), [shape], {"name": "r"})
  assert not (tmp_path / "r.csv").exists()


@pytest.mark.parametrize("points", [np.zeros((4, 3)), [[np.nan, 0]]])
def test_points_of_a_stack_are_not_saved(tmp_path, points):
  with pytest.raises(InputError, match=r"layer p holds points .* one plane are needed"):
    napari_plugin.save_points(str(tmp_path / "p.csv"), points, {"name": "p"})


def test_tables_of_others_are_left_to_others(tmp_path):
  (tmp_path / "a.csv").write_text("index,axis-0,axis-1\n0,1,2\n")
  (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
  for name in ("a.csv", "b.csv", "missing.csv"):
    assert napari_plugin.open_table(str(tmp_path / name)) is None
  assert napari_plugin.open_table([str(tmp_path / "a.csv")]) is None


def test_napari_takes_what_the_plugin_makes(asked, tmp_path):
  """Where napari is installed (it needs no display for this)."""
  layers = pytest.importorskip("napari.layers", reason="napari is not installed")
  image = layers.Image(np.zeros((20, 30)), name="tile", scale=(0.5, 0.5))
  points = layers.Layer.create(*napari_plugin.detect_nuclei(image))
  np.testing.assert_array_equal(points.data, [[1, 2], [3, 4]])
  np.testing.assert_array_equal(points.features["score"], asked_scores())
  np.testing.assert_array_equal(points.scale, (0.5, 0.5))
  path = str(tmp_path / "r.csv")
  pathlib.Path(path).write_text("x,y,width,height\n10,2,20,4\n")
  (opened,) = napari_plugin.open_table(path)(path)
  shapes = layers.Layer.create(*opened)
  assert shapes.shape_type == ["rectangle"]
  napari_plugin.save_regions(path, shapes.data, {"name": shapes.name})
  assert pathlib.Path(path).read_text() == "x,y,width,height\n10,2,20,4\n"
