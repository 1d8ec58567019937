"""What detection leaves behind: read back by other readers, whole or absent."""

import csv
import errno
import io
import itertools
import json
import os
import pathlib
import stat
import tracemalloc
import uuid

import numpy as np
import pytest
from folders import add_image
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from micronet_jax import files
from micronet_jax.datasets import load_samples
from micronet_jax.datasets.annotations import read_centers
from micronet_jax.errors import InputError
from micronet_jax.predict import summary, tables

MANY = settings(
  max_examples=40,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
HALF_STEP = 0.005 + 1e-4  # of two decimals, and of float32 below 5000
POINTS = st.lists(
  st.tuples(st.floats(-0.5, 3000), st.floats(-0.5, 3000), st.floats(0, 2)),
  max_size=40,
)


@st.composite
def chunked(draw):
  """Points, and the same cut into chunks, some of them empty."""
  points = np.array(draw(POINTS), np.float64).reshape(-1, 3)
  cuts = sorted(draw(st.lists(st.integers(0, len(points)), max_size=4)))
  parts = np.split(points.astype(draw(st.sampled_from([np.float32, float]))), cuts)
  return points, [(part[:, :2], part[:, 2]) for part in parts]


def write_any(kind, path, chunks, count=0):
  if kind == "csv":
    tables.write_csv(path, chunks)
  else:
    tables.write_geojson(path, chunks, count=count)


def features(path):
  return json.loads(path.read_text())["features"]


def some(count, *, seed=0, size=3000):
  draw = np.random.default_rng(seed)
  return draw.uniform(0, size, (count, 2)), draw.uniform(0, 1, count)


# CSV


@MANY
@given(chunked())
def test_csv_round_trip(tmp_path, case):
  points, chunks = case
  path = tmp_path / "a.csv"
  tables.write_csv(path, iter(chunks))
  np.testing.assert_allclose(read_centers(path), points[:, :2], rtol=0, atol=HALF_STEP)
  with path.open(newline="") as file:
    scores = [float(row["score"]) for row in csv.DictReader(file)]
  np.testing.assert_allclose(scores, points[:, 2], atol=5.1e-5)


def test_csv_worked_by_hand(tmp_path):
  centers = np.array([[7.125, 3.0], [-0.001, 12345.678]])
  tables.write_csv(tmp_path / "a.csv", [(centers, np.array([0.98768, 1.0]))])
  expected = b"x,y,score\n3.00,7.12,0.9877\n12345.68,0.00,1.0000\n"
  assert (tmp_path / "a.csv").read_bytes() == expected


def test_csv_reads_back_through_the_folder_data_set(tmp_path):
  centers, scores = some(30, size=49)
  add_image(tmp_path, "a", shape=(50, 50), text=None)
  tables.write_csv(tmp_path / "points" / "a.csv", [(centers, scores)])
  (sample,) = load_samples("folder", root=tmp_path)
  np.testing.assert_allclose(sample.centers, centers, atol=HALF_STEP)


# GeoJSON


@MANY
@given(chunked(), st.sampled_from([1, 3, 1000]))
def test_geojson_round_trip(tmp_path, case, objects):
  points, chunks = case
  path = tmp_path / "a.geojson"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tables, "GEOJSON_OBJECTS", objects)  # both forms, at any boundary
    tables.write_geojson(path, iter(chunks), count=len(points))
  np.testing.assert_allclose(read_centers(path), points[:, :2], rtol=0, atol=HALF_STEP)
  found = features(path)
  if len(points) <= objects:
    assert len(found) == len(points)
    scores = [each["properties"]["measurements"]["score"] for each in found]
    np.testing.assert_allclose(scores, points[:, 2], atol=5.1e-5)
  else:
    sizes = [len(each["geometry"]["coordinates"]) for each in found]
    assert sum(sizes) == len(points)
    assert set(sizes[:-1]) <= {objects}
    assert 0 < sizes[-1] <= objects
  ids = [str(uuid.UUID(each["id"])) for each in found]
  assert len({*ids}) == len(found)
  assert ids == [each["id"] for each in found]


def test_geojson_detection_as_qupath_writes_it(tmp_path):
  path = tmp_path / "a.geojson"
  corner = (np.array([[0.0, 0.0]]), np.array([0.5]))  # the top-left pixel's centre
  tables.write_geojson(path, [corner], count=1)
  document = json.loads(path.read_text())
  (nucleus,) = document["features"]
  assert document["type"] == "FeatureCollection"
  uuid.UUID(nucleus.pop("id"))
  assert nucleus == {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [0.5, 0.5]},
    "properties": {
      "objectType": "detection",
      "classification": {"name": "Nucleus", "color": [86, 180, 233]},
      "measurements": {"score": 0.5},
    },
  }


def test_geojson_beyond_100_000_nuclei(tmp_path):
  centers, scores = some(200_001)
  path = tmp_path / "a.geojson"
  tables.write_geojson(path, [(centers, scores)], count=len(centers))
  found = features(path)
  assert [len(each["geometry"]["coordinates"]) for each in found] == [
    *(100_000, 100_000, 1)
  ]
  for each in found:
    assert each["geometry"]["type"] == "MultiPoint"
    assert each["properties"]["objectType"] == "annotation"
    assert each["properties"]["classification"]["name"] == "Nucleus"
  assert found[2]["properties"]["name"] == "nuclei 200001 to 200001"
  np.testing.assert_allclose(read_centers(path), centers, atol=HALF_STEP)
  tables.write_geojson(path, [(centers[:100_000], scores[:100_000])], count=100_000)
  assert len(features(path)) == 100_000


@pytest.mark.parametrize("objects", [2, 100])
def test_geojson_is_valid_for_another_library(tmp_path, monkeypatch, objects):
  geojson = pytest.importorskip("geojson")
  monkeypatch.setattr(tables, "GEOJSON_OBJECTS", objects)
  for count in (0, 1, 2, 5):
    path = tmp_path / "a.geojson"
    tables.write_geojson(path, [some(count)], count=count)
    read = geojson.loads(path.read_text())
    assert isinstance(read, geojson.FeatureCollection)
    assert read.is_valid, read.errors()
    geometries = [each["geometry"] for each in read["features"]]
    assert sum(len([*geojson.utils.coords(each)]) for each in geometries) == count


def test_equal_nuclei_give_equal_files_however_they_are_cut(tmp_path):
  centers, scores = some(25_000)
  pieces = [(centers[i : i + 777], scores[i : i + 777]) for i in range(0, 25_000, 777)]
  for kind, chunks in itertools.product(["csv", "geojson"], [[some(25_000)], pieces]):
    write_any(kind, tmp_path / f"{len(chunks)}.{kind}", chunks, 25_000)
  for kind in ("csv", "geojson"):
    one, other = (p.read_bytes() for p in sorted(tmp_path.glob(f"*.{kind}")))
    assert one == other
  other = tmp_path / "b.geojson"
  tables.write_geojson(other, [some(25_000, seed=1)], count=25_000)
  ids = [{each["id"] for each in features(p)} for p in (other, tmp_path / "1.geojson")]
  assert not ids[0] & ids[1]  # QuPath asks about objects whose ids it has already


@pytest.mark.parametrize("objects", [2, 100])
@pytest.mark.parametrize("count", [4, 6])
def test_geojson_count_that_is_wrong(tmp_path, monkeypatch, objects, count):
  monkeypatch.setattr(tables, "GEOJSON_OBJECTS", objects)
  with pytest.raises(InputError, match=f"expected {count} nuclei.* hold 5"):
    tables.write_geojson(tmp_path / "a.geojson", [some(5)], count=count)
  assert not [*tmp_path.iterdir()]


# Both


@pytest.mark.parametrize("kind", ["csv", "geojson"])
def test_no_nuclei(tmp_path, kind):
  for chunks in ([], [(np.zeros((0, 2)), np.zeros(0))]):
    path = tmp_path / f"a.{kind}"
    write_any(kind, path, chunks)
    assert read_centers(path).shape == (0, 2)


@pytest.mark.parametrize("kind", ["csv", "geojson"])
@pytest.mark.parametrize("column", [0, 1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_number_that_is_none(tmp_path, kind, column, value):
  rows = np.ones((12_000, 3))
  rows[11_000, column] = value
  chunks = [some(5), (rows[:, :2], rows[:, 2])]
  with pytest.raises(InputError, match=r"nucleus 11006 has .* finite"):
    write_any(kind, tmp_path / f"a.{kind}", chunks, 12_005)
  assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
  ("centers", "scores"),
  [((3, 2), (4,)), ((3, 3), (3,)), ((6,), (3,)), ((3, 2), (3, 1))],
)
def test_chunk_of_another_shape(tmp_path, centers, scores):
  with pytest.raises(InputError, match=r"\[N, 2\] and \[N\] are needed"):
    tables.write_csv(tmp_path / "a.csv", [(np.ones(centers), np.ones(scores))])


@pytest.mark.parametrize("kind", ["csv", "geojson"])
@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, InputError])
def test_chunks_that_fail_in_the_middle(tmp_path, kind, failure):
  def chunks():
    yield some(20_000)
    raise failure("stop")

  path = tmp_path / f"a.{kind}"
  for old in (None, b"old"):
    if old:
      path.write_bytes(old)
    with pytest.raises(failure, match="stop"):
      write_any(kind, path, chunks(), 40_000)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([old] if old else [])


class FullDisk(io.TextIOWrapper):
  """A text file on a disk that fills up after so many bytes."""

  room = 100_000

  def write(self, text):
    self.room -= len(text)
    if self.room < 0:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return super().write(text)


@pytest.mark.parametrize("kind", ["csv", "geojson"])
def test_full_disk(tmp_path, monkeypatch, kind):
  def opened(self, mode="r", **options):
    return FullDisk(io.FileIO(self, mode), **options)

  path = tmp_path / f"a.{kind}"
  path.write_bytes(b"old")
  monkeypatch.setattr(pathlib.Path, "open", opened)
  with pytest.raises(InputError) as caught:
    write_any(kind, path, (some(1000) for _ in range(50)), 50_000)
  monkeypatch.undo()
  assert str(caught.value).startswith(f"{path} cannot be written (No space left on")
  assert path.read_bytes() == b"old"
  assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(("kind", "count"), [("csv", 300_000), ("geojson", 500_000)])
def test_many_nuclei_in_little_memory(tmp_path, kind, count):
  chunk = some(4000, size=100_000)
  tracemalloc.start()
  try:
    chunks = (chunk for _ in range(count // len(chunk[1])))
    write_any(kind, tmp_path / "a", chunks, count)
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < 4e6
  assert (tmp_path / "a").stat().st_size > 1.5 * 4e6  # what holding it all would take


# Files


def refused(path):
  with pytest.raises(InputError) as caught, files.replacing(path) as beside:
    beside.write_text("new")
  message = str(caught.value)
  assert message.startswith(f"{path} cannot be written (")
  assert "\n" not in message
  return message


def test_places_where_nothing_can_be_written(tmp_path):
  (tmp_path / "file").write_text("mine")
  (tmp_path / "folder").mkdir()
  (tmp_path / "folder" / "in").write_text("mine")
  assert "is a file where a folder" in refused(tmp_path / "file" / "a.csv")
  assert "directory" in refused(tmp_path / "folder").lower()
  assert "name too long" in refused(tmp_path / ("a" * 300 + ".csv"))
  assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder", "in"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(tmp_path):
  tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
  try:
    assert "Permission denied" in refused(tmp_path / "a.csv")
  finally:
    tmp_path.chmod(stat.S_IRWXU)


@pytest.mark.parametrize(
  "name", ["a.csv", "a" * 251 + ".csv", "ü" * 125 + ".csv", "a." + "b" * 253, "a"]
)
def test_any_name_that_the_file_system_takes(tmp_path, name):
  path = tmp_path / "new" / "folders" / name
  with files.replacing(path) as beside:
    if len(path.suffix) < 10:  # which says what is written
      assert beside.suffix == path.suffix
    assert beside.name.startswith(".")
    assert not path.exists()
    beside.write_text("new")
  assert path.read_text() == "new"
  assert [p.name for p in path.parent.iterdir()] == [name]


def test_errors_of_other_files_are_not_taken_for_this_ones(tmp_path):
  missing = tmp_path / "slide.svs"
  with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "a.csv"):
    missing.read_bytes()
  with pytest.raises(OSError, match="no number"), files.replacing(tmp_path / "a.csv"):
    raise OSError("no number")  # as libraries raise it, not the operating system
  assert not [*tmp_path.iterdir()]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
  path = tmp_path / "a.txt"
  with files.replacing(path) as one, files.replacing(path) as other:
    one.write_text("one")
    other.write_text("other")
  assert path.read_text() == "one"  # the block that ended last
  assert [*tmp_path.iterdir()] == [path]


def test_json_is_json(tmp_path):
  values = {"a": float("nan"), "b": [np.inf, 1.5, ("ξ", None)], "c": {"d": -np.inf}}
  files.write_json(tmp_path / "a.json", values)

  def never(name):
    raise AssertionError(f"{name} is not JSON")

  text = (tmp_path / "a.json").read_text(encoding="utf-8")
  expected = {"a": None, "b": [None, 1.5, ["ξ", None]], "c": {"d": None}}
  assert json.loads(text, parse_constant=never) == expected


# Summary


def summarised(**changes):
  values = {
    "name": "a.svs",
    "shape": (4000, 8000),
    "mpp": 0.25,
    "count": 300,
    "seconds": 12.345,
    "threshold": 0.45,
    "weights": "base",
  }
  return summary.summarise(**values | changes)


def test_summary_worked_by_hand():
  # 8000 x 4000 pixels of 0.25 microns are 2 mm x 1 mm.
  whole = summarised()
  assert (whole["width"], whole["height"], whole["nuclei"]) == (8000, 4000, 300)
  assert whole["area_mm2"] == 2.0
  assert (whole["nuclei_per_mm2"], whole["per"]) == (150.0, "image")
  tissue = summarised(tissue_mm2=0.5, tiles=7)
  assert (tissue["nuclei_per_mm2"], tissue["per"], tissue["tiles"]) == (
    *(600.0, "tissue", 7),
  )
  assert json.loads(json.dumps(tissue)) == tissue


def test_summary_of_regions_that_overlap_and_stand_out():
  def box(x, y, width, height, nuclei):
    return {"x": x, "y": y, "width": width, "height": height, "nuclei": nuclei}

  # 1 mm x 1 mm, the same moved by half, and one with a quarter on the image.
  regions = [
    box(0, 0, 4000, 4000, 100),
    box(2000, 0, 4000, 4000, 200),
    box(7600, 3600, 800, 800, 4),
  ]
  found = summarised(regions=regions)
  assert found["area_mm2"] == 1.51
  assert (found["nuclei_per_mm2"], found["per"]) == (round(300 / 1.51, 1), "regions")
  areas = [each["area_mm2"] for each in found["regions"]]
  densities = [each["nuclei_per_mm2"] for each in found["regions"]]
  assert (areas, densities) == ([1.0, 1.0, 0.01], [100.0, 200.0, 400.0])


def test_summary_without_resolution_or_area():
  box = {"x": 0, "y": 0, "width": 10, "height": 10, "nuclei": 3}
  unknown = summarised(mpp=None, regions=[box])
  assert unknown["area_mm2"] is unknown["nuclei_per_mm2"] is None
  assert unknown["regions"][0]["nuclei_per_mm2"] is None
  assert summarised(tissue_mm2=0.0, count=0)["nuclei_per_mm2"] is None
  beyond = summarised(regions=[{**box, "x": 9000}])
  assert beyond["regions"][0]["area_mm2"] == 0
  assert beyond["nuclei_per_mm2"] is None


SIDES = st.integers(-3, 12)
BOXES = st.lists(st.tuples(SIDES, SIDES, st.integers(1, 9), st.integers(1, 9)))


@MANY
@given(BOXES.filter(len))
@example([(0, 0, 3, 9), (0, 1, 3, 2), (0, 5, 3, 2)])  # two within one
def test_area_of_regions_against_painted_pixels(boxes):
  canvas = np.zeros((10, 12), bool)
  regions = []
  for x, y, width, height in boxes:
    canvas[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
    regions.append({"x": x, "y": y, "width": width, "height": height, "nuclei": 0})
  found = summarised(shape=canvas.shape, mpp=1000.0, regions=regions)
  assert found["area_mm2"] == canvas.sum()


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_no_name_is_refused(path):
  with pytest.raises(InputError, match="no name for a file"), files.replacing(path):
    pass
