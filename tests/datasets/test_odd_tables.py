"""Tables of points as people and programs write them: read right, or refused."""

import numpy as np
import pytest
from annotations import assert_centers, assert_refused, write
from folders import add_image, add_index

from micronet_jax.datasets import load_samples
from micronet_jax.datasets.annotations import read_centers

TWO = [(186.45, 111.28), (91.35, 143.92)]


def test_more_fields_than_the_header(tmp_path):
  path = write(tmp_path / "a.csv", "x,y\n111,28,186,45\n143,92,91,35\n")
  assert_refused(path, "line 2", "4 fields", "names 2", "decimal comma")
  # Commas with nothing behind them are no fields.
  assert_centers(write(path, "x,y\n111.28,186.45,,\n143.92,91.35,\n"), TWO)


@pytest.mark.parametrize(
  "text",
  [
    "x;y\n111,28;186,45\n143,92;91,35\n",
    "x\ty\n111,28\t186,45\n143,92\t91,35\n",
    'x,y\n"111,28","186,45"\n"143,92","91,35"\n',
    "sep=;\nx;y\n111,28;186,45\n143,92;91,35\n",
  ],
)
def test_decimal_commas_that_are_clear(tmp_path, caplog, text):
  assert_centers(write(tmp_path / "a.csv", text), TWO)
  assert "4 numbers have a decimal comma" in caplog.text


@pytest.mark.parametrize("text", ["x;y\n111.28;186.45\n143.92;91.35", "Y\tX\n1\t2"])
def test_semicolons_and_tabs(tmp_path, caplog, text):
  expected = [(1, 2)] if "Y" in text else TWO
  assert_centers(write(tmp_path / "a.csv", text), expected)
  assert caplog.text == ""


@pytest.mark.parametrize(
  "text", ["x;y\n1,5;2.5\n", "x;y\n1,234;98\n", 'x,y\n"1,234.5",2\n']
)
def test_commas_that_may_mean_two_things(tmp_path, text):
  assert_refused(write(tmp_path / "a.csv", text), "line 2", "field x")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_encodings(tmp_path, encoding, caplog):
  text = "x,y,class\n111.28,186.45,größer\n143.92,91.35,µ\n"
  assert_centers(write(tmp_path / "a.csv", text.encode(encoding)), TWO)
  assert ("read as" in caplog.text) == (encoding != "utf-16")


def test_repeated_points_count_once(tmp_path, caplog):
  path = write(tmp_path / "a.csv", "x,y\n1,2\n3,4\n1,2\n1.0,2\n")
  assert_centers(path, [(2, 1), (4, 3)])
  assert f"{path}: nuclei read: 2; left out: 2 that repeat" in caplog.text


@pytest.mark.parametrize("unit", ["micron", "µm", "\u03bcm", "um", "Microns"])
def test_a_column_of_microns(tmp_path, unit, caplog):
  text = f"x,y,unit\n27.82,46.61,{unit}\n111.28,186.45,px\n"
  path = write(tmp_path / "a.csv", text)
  assert_centers(path, [(186.44, 111.28), (186.45, 111.28)], mpp=0.25)
  assert "1 points in microns" in caplog.text
  assert_refused(path, "microns", "mpp of index.csv")


def test_a_unit_that_nobody_knows(tmp_path):
  path = write(tmp_path / "a.csv", "x,y,unit\n1,2,px\n1,2,furlong\n")
  assert_refused(path, "line 3", "field unit", "'furlong'")


def test_microns_take_the_resolution_of_the_index(tmp_path):
  add_image(tmp_path, "a", text="x,y,unit\n1,2,micron\n")
  add_index(tmp_path, "a,,,0.5,,,")
  (sample,) = load_samples("folder", root=tmp_path, data_dir=tmp_path / "cache")
  np.testing.assert_allclose(sample.centers, [[4, 2]])


def spread(size, count=40):
  draw = np.random.default_rng(0)
  rows = draw.uniform(0, size, (count, 2))
  rows[:2] = [[0, size - 1], [size - 1, 0]]
  return "\n".join(f"{x:.2f},{y:.2f}" for x, y in rows)


def test_points_in_microns_by_their_size(tmp_path):
  path = write(tmp_path / "a.csv", f"x,y\n{spread(64)}\n")
  known = {"shape": (256, 256), "mpp": 0.25}
  assert_refused(path, "64 x 64", "256 x 256 pixels", "column unit", **known)
  # Who says that they are pixels is believed, and so are points elsewhere.
  lines = spread(64).replace("\n", ",px\n")
  assert len(read_centers(write(path, f"x,y,unit\n{lines},px\n"), **known)) == 40
  for size in (30, 100, 256):
    assert len(read_centers(write(path, f"x,y\n{spread(size)}\n"), **known)) == 40
  few = "\n".join(spread(64).splitlines()[:5])
  assert len(read_centers(write(path, f"x,y\n{few}\n"), **known)) == 5


def test_points_in_a_quarter_of_the_image_are_doubted(tmp_path, caplog):
  path = write(tmp_path / "a.csv", f"x,y\n{spread(128)}\n")
  assert len(read_centers(path, shape=(256, 256), mpp=0.5)) == 40
  assert "within 128 x 128" in caplog.text
  assert "taken as pixels" in caplog.text


def test_one_plane_of_a_table(tmp_path, caplog):
  text = "x,y,z,t\n1,2,0,0\n1,2,1,0\n3,4,1,0\n5,6,1,1\n"
  assert_centers(write(tmp_path / "a.csv", text), [(2, 1), (4, 3)])
  assert "of 3 planes, the one of z=1, t=0" in caplog.text
  assert "2 on other planes" in caplog.text
  # Depths in microns are no planes.
  depths = write(tmp_path / "b.csv", "x,y,z\n1,2,0.5\n3,4,1.25\n")
  assert_centers(depths, [(2, 1), (4, 3)])
