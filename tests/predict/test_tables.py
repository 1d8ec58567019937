"""CSV and GeoJSON of points: read back by other readers, whole or absent."""

import csv
import errno
import io
import itertools
import json
import os
import pathlib
import tracemalloc
import uuid

import numpy as np
import pytest
from folders import add_image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micronet_jax.datasets import load_samples
from micronet_jax.datasets.annotations import read_centers
from micronet_jax.errors import InputError
from micronet_jax.predict import tables

MANY = settings(
  max_examples=40,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
HALF_STEP = 0.005 + 2.5e-4  # of two decimals, and twice of float32 below 4096
POINTS = st.lists(
  st.tuples(st.floats(-0.5, 3000), st.floats(-0.5, 3000), st.floats(0, 2)),
  max_size=40,
  unique_by=lambda point: (round(point[0], 2) + 0.0, round(point[1], 2) + 0.0),
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


# --- CSV -----------------------------------------------------------------------------


@MANY
@given(chunked())
def test_csv_round_trip(tmp_path, case):
  points, chunks = case
  path = tmp_path / "a.csv"
  tables.write_csv(path, iter(chunks))
  with path.open(newline="") as file:
    rows = [
      [float(row[key]) for key in ("y", "x", "score")] for row in csv.DictReader(file)
    ]
  written = np.reshape(rows, (-1, 3))
  np.testing.assert_allclose(written[:, :2], points[:, :2], rtol=0, atol=HALF_STEP)
  np.testing.assert_allclose(written[:, 2], points[:, 2], atol=5.1e-5)
  # Read back, points that repeat another to the last digit count once.
  once = list(dict.fromkeys(map(tuple, written[:, :2])))
  np.testing.assert_allclose(read_centers(path), np.reshape(once, (-1, 2)), atol=1e-3)


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


@MANY
@given(chunked())
def test_parquet_holds_what_csv_says(tmp_path, case):
  pyarrow = pytest.importorskip("pyarrow.parquet")
  _, chunks = case
  tables.write_csv(tmp_path / "a.csv", chunks)
  tables.write_parquet(tmp_path / "a.parquet", iter(chunks), about={"image": "a.svs"})
  found = pyarrow.read_table(tmp_path / "a.parquet")
  lines = (tmp_path / "a.csv").read_text().split()[1:]
  rows = np.array([line.split(",") for line in lines], np.float32).reshape(-1, 3)
  assert found.column_names == ["x", "y", "score"]
  assert found.schema.metadata == {b"image": b"a.svs"}
  columns = np.array([found[name].to_numpy() for name in found.column_names])
  np.testing.assert_array_equal(columns.T, rows)


def test_parquet_of_many_is_smaller_and_in_few_groups(tmp_path):
  pyarrow = pytest.importorskip("pyarrow.parquet")
  centers, scores = some(300_000)
  chunks = [
    (centers[i : i + 1000], scores[i : i + 1000]) for i in range(0, 300_000, 1000)
  ]
  tables.write_csv(tmp_path / "a.csv", chunks)
  tables.write_parquet(tmp_path / "a.parquet", chunks, about={})
  sizes = [(tmp_path / name).stat().st_size for name in ("a.parquet", "a.csv")]
  assert sizes[0] < 0.7 * sizes[1]
  file = pyarrow.ParquetFile(tmp_path / "a.parquet")
  assert (file.metadata.num_rows, file.num_row_groups) == (300_000, 2)


# --- GeoJSON -------------------------------------------------------------------------


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


@pytest.mark.parametrize("objects", [1, 1000])
def test_geojson_in_the_frame_of_qupath(tmp_path, monkeypatch, objects):
  monkeypatch.setattr(tables, "GEOJSON_OBJECTS", objects)
  centers, scores = some(3)
  path = tmp_path / "a.geojson"
  tables.write_geojson(path, [(centers, scores)], count=3, origin=(100, 200))
  shown = centers - [200, 100]
  np.testing.assert_allclose(read_centers(path), shown, atol=HALF_STEP)
  whole = read_centers(path, origin=(100, 200))
  np.testing.assert_allclose(whole, centers, atol=HALF_STEP)


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


# --- Both ----------------------------------------------------------------------------


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
