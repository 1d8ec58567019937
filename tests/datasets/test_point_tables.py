"""Points in CSV and MATLAB files, and centres at the image's border."""

import numpy as np
import pytest
import scipy.io
from annotations import MANY, POINTS, assert_centers, assert_refused, write
from hypothesis import given

from micronet_jax.datasets.annotations import ANNOTATION_ENDINGS, read_centers

# --- CSV -----------------------------------------------------------------------------


@MANY
@given(POINTS)
def test_csv_round_trip(tmp_path, points):
  lines = [f"{x!r},{y!r}" for y, x in points]
  path = write(tmp_path / "a.csv", "\n".join(["x,y", *lines]) + "\n")
  np.testing.assert_array_equal(
    read_centers(path), np.array(points, np.float32).reshape(-1, 2)
  )


@pytest.mark.parametrize(
  "text",
  [
    "x,y\n3,7.5\n",
    "y,x\n7.5,3\n",
    " X , Y \r\n 3 , 7.5 \r\n",
    "\ufeffx,y\n3,7.5",
    "label,Y,score,X\nnucleus,7.5,0.3,3\n",
    'x,y,note\n3,7.5,"a, b"\n\n\n',
    "x,y\r3,7.5\r",
  ],
)
def test_csv_as_programs_write_it(tmp_path, text):
  assert_centers(write(tmp_path / "a.csv", text), [(7.5, 3)])


@pytest.mark.parametrize("text", ["x,y", "x,y\n", "x,y\r\n\r\n"])
def test_csv_may_hold_the_header_alone(tmp_path, text):
  assert_centers(write(tmp_path / "a.csv", text), [])


@pytest.mark.parametrize("value", ["1a2", "nan", "inf", "", "1_0", "1;2", "-Infinity"])
@pytest.mark.parametrize("field", ["x", "y"])
def test_csv_names_line_field_and_value(tmp_path, value, field):
  row = f"{value},5" if field == "x" else f"5,{value}"
  path = write(tmp_path / "a.csv", f"x,y\n1,2\n\n{row}\n")
  assert_refused(path, "line 4", f"field {field}", f"'{value}'")


def test_csv_line_that_is_too_short(tmp_path):
  assert_refused(write(tmp_path / "a.csv", "x,y\n1,2\n3\n"), "line 3", "field y", "''")


@pytest.mark.parametrize(
  "text", ["", "\n", "1,2\n3,4\n", "x,z\n1,2", "x|y\n1|2", "x,x,y"]
)
def test_csv_without_the_columns(tmp_path, text):
  assert_refused(write(tmp_path / "a.csv", text), "line 1", "the header must name")


@pytest.mark.parametrize(
  "data", [b"x,y\n\x81,1", b'x,y\n"1,2\n', b"x,y\n1,\0", b"\xff\xfex\0,\0y"]
)
def test_csv_that_is_no_text_table(tmp_path, data):
  assert_refused(write(tmp_path / "a.csv", data), "cannot be read as a CSV file")


def test_missing_file_and_folder_in_its_place(tmp_path):
  for ending in (*ANNOTATION_ENDINGS,):
    assert_refused(tmp_path / f"none{ending}")
    (tmp_path / f"folder{ending}").mkdir()
    assert_refused(tmp_path / f"folder{ending}")


def test_unknown_ending(tmp_path):
  assert_refused(write(tmp_path / "a.doc", "x,y"), "'.doc'", ".geojson")


# --- The image's border --------------------------------------------------------------


def test_border_is_half_a_pixel_beyond_the_outer_centres(tmp_path):
  path = write(tmp_path / "a.csv", "x,y\n-0.5,-0.5\n19.5,9.5\n")
  assert_centers(path, [(-0.5, -0.5), (9.5, 19.5)], shape=(10, 20))


@pytest.mark.parametrize("shape", [(1, 1), (10, 20), (512, 99_999)])
def test_the_last_border_belongs_to_the_last_pixel(tmp_path, shape):
  height, width = shape
  rows = [f"{width - 0.5},0", f"0,{height - 0.5}", f"{width - 0.5 - 1e-9:.9f},0"]
  for text in ("\n".join(["x,y", *rows[:2]]), "\n".join(["x,y", *rows[1:]])):
    centers = read_centers(write(tmp_path / "a.csv", text), shape=shape)
    assert len(centers) == 2
    assert (np.floor(centers + 0.5).max(axis=0) == (height - 1, width - 1)).all()


@pytest.mark.parametrize("row", ["20,3", "3,10", "-0.6,3", "3,-1", "9.6,19.4"])
def test_centre_outside_the_image(tmp_path, row):
  path = write(tmp_path / "a.csv", f"x,y\n1,2\n{row}\n")
  x, y = row.split(",")
  assert_refused(path, "line 3", f"x={x}", f"y={y}", "20 x 10 pixels", shape=(10, 20))


def test_published_sets_are_clipped_to_the_border(tmp_path):
  path = write(tmp_path / "a.csv", "x,y\n-3,4\n25,9.7\n")
  assert_centers(path, [(4, 0), (9, 19)], shape=(10, 20), clip=True)


# --- MATLAB --------------------------------------------------------------------------


@MANY
@given(POINTS)
def test_mat_round_trip(tmp_path, points):
  rows = np.array([(x + 1, y + 1) for y, x in points]).reshape(-1, 2)
  scipy.io.savemat(tmp_path / "a.mat", {"detection": rows, "other": 1})
  assert_centers(tmp_path / "a.mat", points)


def test_mat_that_cannot_be_used(tmp_path):
  path = tmp_path / "a.mat"
  assert_refused(write(path, "text"), "detection")
  assert_refused(write(path, b"\x89HDF\r\n\x1a\n" * 40), "detection")
  scipy.io.savemat(path, {"other": 1})
  assert_refused(path, "detection")
  scipy.io.savemat(path, {"detection": "letters"})
  assert_refused(path, "detection")
  scipy.io.savemat(path, {"detection": np.ones((4, 3))})
  assert_refused(path, "(4, 3)")
