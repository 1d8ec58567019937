"""What one does with detections: tables, QuPath objects, a data frame, a picture."""

import csv
import json
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import micronet_jax as mn
from micronet_jax.datasets.annotations import read_centers
from micronet_jax.predict import pictures

SHAPE = (60, 90)


@pytest.fixture
def found():
  centers = np.array([[10, 20], [0, 0], [59, 89], [30.25, 7.5]], np.float32)
  return mn.Detections(centers, np.array([1.1, 0.9, 0.5, 0.25], np.float32))


def test_qupath_shows_a_slide_from_its_origin_on(found, tmp_path):
  found.origin = (100, 200)
  found.to_geojson(tmp_path / "found.geojson")
  first = json.loads((tmp_path / "found.geojson").read_text())["features"][0]
  assert first["geometry"]["coordinates"] == [20.5 - 100, 10.5 - 200]
  found.to_csv(tmp_path / "found.csv")  # of the whole image
  np.testing.assert_allclose(read_centers(tmp_path / "found.csv"), found.centers)


def test_lists_become_arrays(tmp_path):
  """And are written, as (y, x) = (1, 2) is x 2 and y 1."""
  found = mn.Detections([[1, 2]], [0.5])
  assert (found.centers.dtype, found.scores.dtype) == (np.float32, np.float32)
  found.to_csv(tmp_path / "found.csv")
  assert (tmp_path / "found.csv").read_text() == "x,y,score\n2.00,1.00,0.5000\n"
  found.to_geojson(tmp_path / "found.geojson")
  assert found.to_dataframe().to_numpy().tolist() == [[2, 1, 0.5]]
  none = mn.Detections([], [])
  assert (none.centers.shape, none.scores.shape) == ((0, 2), (0,))
  none.to_csv(tmp_path / "found.csv")


@pytest.mark.parametrize(
  ("centers", "scores", "message"),
  [
    ([[1, 2], [3]], [0.5], "centers: expected an \\[N, 2\\] array"),
    (None, [0.5], "centers: expected"),
    ([[1, 2]], ["a"], "scores is a list that is no list of numbers"),
    ([[1, 2]], None, "scores"),
    ([[1, 2]], [0.5, 0.4], r"centers is \[1, 2\] and scores \[2\]; they must be"),
    ([[1, 2]], [[0.5]], r"centers is \[1, 2\] and scores \[1, 1\]"),
    (np.ones((2, 3)), np.ones(2), r"centers is \[2, 3\] and scores \[2\]"),
    (np.ones((1, 1, 2)), np.ones((1, 1)), r"centers is \[1, 1, 2\]"),
  ],
)
def test_detections_are_places_with_a_score_each(centers, scores, message):
  with pytest.raises(mn.InputError, match=message):
    mn.Detections(centers, scores)


@pytest.fixture
def image():
  return np.random.default_rng(0).integers(150, 250, (*SHAPE, 3), np.uint8)


def test_detections_are_a_pair(found):
  centers, scores = found
  assert centers is found.centers
  assert scores is found.scores


def test_a_table_holds_columns_then_rows(found, tmp_path):
  found.to_csv(tmp_path / "new" / "found.csv")
  with (tmp_path / "new" / "found.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
  assert [float(row["x"]) for row in rows] == [20, 0, 89, 7.5]
  assert [float(row["y"]) for row in rows] == [10, 0, 59, 30.25]
  assert [float(row["score"]) for row in rows] == [1.1, 0.9, 0.5, 0.25]


def test_qupath_counts_from_the_corner_of_a_pixel(found, tmp_path):
  found.to_geojson(tmp_path / "found.geojson")
  features = json.loads((tmp_path / "found.geojson").read_text())["features"]
  places = [feature["geometry"]["coordinates"] for feature in features]
  assert places == [[20.5, 10.5], [0.5, 0.5], [89.5, 59.5], [8, 30.75]]
  measured = [feature["properties"]["measurements"]["score"] for feature in features]
  assert measured == [1.1, 0.9, 0.5, 0.25]


def to_decimals(point):
  return tuple(round(value, 2) + 0.0 for value in point)


@settings(
  max_examples=20,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_files_are_read_back_by_the_folder_data_set(tmp_path, data):
  sides = [st.floats(0, side - 1, width=32) for side in SHAPE]
  points = data.draw(st.lists(st.tuples(*sides), max_size=20, unique_by=to_decimals))
  centers = np.array(points, np.float32).reshape(-1, 2)
  result = mn.Detections(centers, np.ones(len(centers), np.float32))
  result.to_csv(tmp_path / "found.csv")
  result.to_geojson(tmp_path / "found.geojson")
  for name in ("found.csv", "found.geojson"):
    back = read_centers(tmp_path / name, shape=SHAPE)
    np.testing.assert_allclose(back, centers, atol=0.0051)  # two decimals


def test_a_data_frame_has_x_y_and_score(found):
  table = found.to_dataframe()
  assert list(table.columns) == ["x", "y", "score"]
  np.testing.assert_array_equal(table[["y", "x"]].to_numpy(), found.centers)
  np.testing.assert_array_equal(table["score"], found.scores)
  none = mn.Detections(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
  assert none.to_dataframe().shape == (0, 3)


def test_without_pandas_a_sentence_says_what_to_install(found, monkeypatch):
  monkeypatch.setitem(sys.modules, "pandas", None)
  with pytest.raises(mn.InputError, match="pip install pandas") as caught:
    found.to_dataframe()
  assert "\n" not in str(caught.value)


def test_files_that_cannot_be_written_are_refused(found, tmp_path):
  (tmp_path / "file").touch()
  for write in (found.to_csv, found.to_geojson):
    with pytest.raises(mn.InputError, match="cannot be written"):
      write(tmp_path / "file" / "found")
  assert [path.name for path in tmp_path.iterdir()] == ["file"]


def _rings(figure):
  (line,) = figure.axes[0].get_lines()
  return np.stack([line.get_ydata(), line.get_xdata()], 1)


def test_every_kind_of_image_is_drawn_with_a_ring_a_nucleus(found, image, tmp_path):
  path = tmp_path / "tissue.png"
  Image.fromarray(image).save(path)
  for source in (image, path, str(path), Image.fromarray(image), image / 255):
    figure = found.plot(source)
    np.testing.assert_array_equal(_rings(figure), found.centers)
    (shown,) = figure.axes[0].get_images()
    np.testing.assert_array_equal(shown.get_array(), image)
  assert figure.axes[0].get_title() == "4 nuclei"
  assert found.plot(image, title="mine").axes[0].get_title() == "mine"
  one, none = (mn.Detections(*(each[:n] for each in found)) for n in (1, 0))
  assert one.plot(image).axes[0].get_title() == "1 nucleus"
  assert _rings(none.plot(image)).shape == (0, 2)


@pytest.mark.parametrize("largest", [pictures.PICTURE_SIDE, 45])
@pytest.mark.parametrize("place", [(0, 0), (31, 70), (59, 89)])
def test_rings_lie_where_the_image_has_the_nucleus(monkeypatch, largest, place):
  """Found in the rendered picture, for images drawn as they are and shrunk."""
  monkeypatch.setattr(pictures, "PICTURE_SIDE", largest)
  image = np.zeros((*SHAPE, 3), np.uint8)
  image[max(place[0] - 1, 0) : place[0] + 2, max(place[1] - 1, 0) : place[1] + 2] = 255
  none = mn.Detections(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
  figure = none.plot(image)
  (axes,) = figure.axes
  figure.canvas.draw()
  box = axes.get_window_extent()
  pixels = np.asarray(figure.canvas.buffer_rgba())[::-1, :, 0].astype(float)
  inside = np.zeros_like(pixels)
  inner = (slice(int(box.y0) + 2, int(box.y1) - 1), slice(int(box.x0) + 2,
           int(box.x1) - 1))  # fmt: skip
  inside[inner] = pixels[inner]
  bright = np.argwhere(inside > 128)
  middle = (bright.min(0) + bright.max(0)) / 2
  ring = axes.transData.transform(place[::-1])[::-1]
  image_pixel = box.height / SHAPE[0]
  assert np.abs(middle - ring).max() < 1.3 * image_pixel


@pytest.mark.parametrize("shape", [(1, 1), (300, 20), (20, 300), (5000, 30)])
def test_images_of_every_form_fit_into_the_figure(shape):
  centers = np.array([[0, 0], np.array(shape) - 1], np.float32)
  figure = mn.Detections(centers, np.ones(2, np.float32)).plot(np.ones(shape))
  figure.draw_without_rendering()
  assert 2 < figure.get_figwidth() <= 8.5
  assert 1 < figure.get_figheight() <= 8.5
  drawn = figure.get_tightbbox()
  assert min(drawn.x0, drawn.y0) >= 0
  assert drawn.x1 <= figure.get_figwidth()
  assert drawn.y1 <= figure.get_figheight()


def test_marks_shrink_to_dots_on_large_images():
  at = np.zeros((1, 2), np.float32)
  sizes = []
  for side in (500, 2000, 8000):
    figure = pictures.nuclei_on_tissue(np.zeros((side, 40), np.uint8), at)
    sizes.append(figure.axes[0].get_lines()[0].get_markersize())
  assert sizes[0] > sizes[1] > sizes[2] > 0.3


def test_another_image_is_refused(found, image):
  with pytest.raises(mn.InputError, match="has 50 x 60 pixels, but a nucleus is at"):
    found.plot(image[:, :50])
  with pytest.raises(mn.InputError, match=r"nowhere\.png"):
    found.plot("nowhere.png")
