"""What index.csv says of images: `micronet detect` obeys it as training does."""

import os

import numpy as np
import pytest
import tifffile
from folders import add_image, add_index
from predictions import options, read_summary

from micronet_jax.datasets import load_samples
from micronet_jax.errors import InputError
from micronet_jax.predict.finding import find_stated
from micronet_jax.predict.job import predict_images

pytestmark = pytest.mark.usefixtures("detector")


@pytest.fixture
def root(tmp_path):
  """A folder of two images of another resolution than their files and defaults say."""
  for name in ("a", "b"):
    add_image(tmp_path / "mine", name, shape=(60, 80))
  add_index(tmp_path / "mine", "a,0.5", "b,", header="name,mpp")
  return tmp_path / "mine"


@pytest.mark.parametrize("layout", ["images", "flat"])
def test_detection_and_training_take_the_same_resolution(
  root, tmp_path, capsys, layout, monkeypatch
):
  folder = root / "images"
  if layout == "flat":
    for path in folder.iterdir():
      path.rename(root / path.name)
    folder.rmdir()
    folder = root
  out = tmp_path / "out"
  first, other = predict_images(folder, out, options=options())
  index = root / "index.csv"
  told = f"{index} says the microns per pixel of 1 image(s); --mpp says otherwise\n"
  assert capsys.readouterr().out.startswith(told)
  samples = load_samples("folder", root=root, data_dir=tmp_path / "cache")
  assert [first["mpp"], other["mpp"]] == [each.mpp for each in samples] == [0.5, None]
  assert [line["mpp"] for line in read_summary(out)] == ["0.5", ""]
  given = options(mpp=0.5)
  predict_images(folder, tmp_path / "given", options=given)
  assert "index.csv" not in capsys.readouterr().out
  # So it does however the image is named, and the result is that of --mpp.
  monkeypatch.chdir(folder)
  (alone,) = predict_images("a.png", out, options=options())
  assert alone["repeated"]
  for name in ("a.csv", "a.geojson"):
    assert (out / name).read_bytes() == (tmp_path / "given" / name).read_bytes()


def test_an_option_goes_first_and_a_changed_index_is_another_result(root, tmp_path):
  images, out = root / "images", tmp_path / "out"
  both = predict_images(images, out, options=options(mpp=0.3))
  assert [each["mpp"] for each in both] == [0.3, 0.3]
  for mpp in (0.5, 0.4):
    add_index(root, f"a,{mpp}", f"b,{mpp}", header="name,mpp")
    both = predict_images(images, out, options=options())
    assert [each["mpp"] for each in both] == [mpp, mpp]
    assert not any("repeated" in each for each in both)


def test_names_with_ome_and_decimal_commas(root):
  tifffile.imwrite(root / "images/c.ome.tif", np.zeros((20, 30, 3), np.uint8))
  for line in ("c;0,25", "c.ome;0.25"):
    add_index(root, line, header="name;mpp")
    assert find_stated(str(root / "images/c.ome.tif")).mpp == 0.25
  assert find_stated(str(root / "images/d.png")) is None


@pytest.mark.parametrize(
  ("header", "line", "message"),
  [
    ("name,mpp", "a,40x", "line 2: field mpp must be a finite number"),
    ("name,mpp", "a,40", "line 2: field mpp must be within 0.01 and 5 microns"),
    ("name,pixel size", "a,0.5", "column pixel size seems to say mpp"),
    ("name,mpp", "a,0.5\na,0.25", "line 3: field mpp is 0.25, but another line says"),
  ],
)
def test_a_fault_in_the_index_is_said_before_anything_is_searched(
  root, tmp_path, header, line, message
):
  add_index(root, line, header=header)
  with pytest.raises(InputError, match=message):
    predict_images(root / "images", tmp_path / "out", options=options())
  assert not (tmp_path / "out").exists()
  predict_images(root / "images", tmp_path / "out", options=options(mpp=0.5))


def test_what_is_of_somebody_else_or_of_other_images_says_nothing(root, caplog):
  image = str(root / "images/a.png")
  (root / "index.csv").write_text("tile,mpp\na,0.5\n")
  for _ in range(2):
    assert find_stated(image) is None
  assert caplog.text.count("index.csv has no column name and is not read") == 1
  # Beside a folder of any other name than images it is about others.
  add_index(root, "a,0.5", header="name,mpp")
  os.rename(root / "images", root / "tiles")
  assert find_stated(str(root / "tiles/a.png")) is None
