"""GeoJSON and Aperio XML against hand-worked and independent centres."""

import json
import math

import numpy as np
import pytest
import scipy.io
from annotations import (
  BOX,
  MANY,
  POINTS,
  aperio,
  assert_centers,
  assert_refused,
  feature,
  geojson,
  region,
  write,
)
from hypothesis import given
from hypothesis import strategies as st

from micronet_jax.datasets.annotations import read_centers

# --- GeoJSON -------------------------------------------------------------------------


@MANY
@given(POINTS, st.sampled_from(["collection", "list", "multi"]))
def test_geojson_points_round_trip(tmp_path, points, form):
  corner = [[x + 0.5, y + 0.5] for y, x in points]
  features = [feature("Point", xy) for xy in corner]
  document = {
    "collection": {"type": "FeatureCollection", "features": features},
    "list": features,
    "multi": feature("MultiPoint", corner),
  }[form]
  assert_centers(geojson(tmp_path, document), points)


@st.composite
def regular_polygons(draw):
  """A regular polygon, whose centroid is its middle, in either direction."""
  y, x = draw(st.tuples(st.integers(0, 500), st.floats(50, 1e5)))
  y = 200 * y + 100
  count, radius = draw(st.integers(3, 40)), draw(st.floats(2, 40))
  turn, sign = draw(st.floats(0, 6)), draw(st.sampled_from([1, -1]))
  angles = turn + sign * np.arange(count) * 2 * math.pi / count
  ring = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
  return (y, x), ring.tolist()


@MANY
@given(
  st.lists(  # far from each other
    regular_polygons(), max_size=4, unique_by=lambda shape: shape[0][0] // 200
  ),
  st.booleans(),
)
def test_polygons_round_trip(tmp_path, shapes, closed):
  rings = [ring + ring[:1] if closed else ring for _, ring in shapes]
  expected = np.reshape([center for center, _ in shapes], (-1, 2)) - 0.5
  geo = geojson(tmp_path, [feature("Polygon", [ring]) for ring in rings])
  xml = aperio(tmp_path, *[region(ring) for ring in rings])
  for path in (geo, xml):
    np.testing.assert_allclose(read_centers(path), expected, rtol=1e-6, atol=1e-2)


def test_geojson_outlines_worked_by_hand(tmp_path):
  triangle = feature("Polygon", [[[0, 0], [6, 0], [0, 9], [0, 0]]])  # mean of corners
  # 4 x 4 with its right half cut out but for the rim: (16*2 - 2*3) / 14 in x.
  holed = feature(
    "Polygon",
    [[[0, 0], [4, 0], [4, 4], [0, 4]], [[2.5, 1], [3.5, 1], [3.5, 3], [2.5, 3]]],
  )
  # Areas 24 at (12, 23) and 8 at (20, 21): weights 3 and 1.
  parts = feature("MultiPolygon", [[BOX], [[[19, 19], [21, 19], [21, 23], [19, 23]]]])
  # More vertices on one side must not pull the centre.
  uneven = feature("Polygon", [[*BOX, [10, 25], [10, 24], [10, 23.5], [10, 22]]])
  path = geojson(tmp_path, [triangle, holed, parts, uneven])
  assert_centers(path, [(2.5, 1.5), (1.5, 26 / 14 - 0.5), (22, 13.5), (22.5, 11.5)])


def test_geojson_single_feature_bare_geometry_and_json_ending(tmp_path):
  one = feature("Polygon", [BOX])
  for document in (one, one["geometry"]):
    assert_centers(geojson(tmp_path, document), [(22.5, 11.5)])
    path = write(tmp_path / "A.JSON", b"\xef\xbb\xbf" + json.dumps(document).encode())
    assert_centers(path, [(22.5, 11.5)])
  assert_centers(geojson(tmp_path, []), [])


def test_geojson_collection_of_geometries(tmp_path):
  parts = [
    {"type": "Point", "coordinates": [3.5, 2.5]},
    {"type": "Polygon", "coordinates": [BOX]},
  ]
  whole = {
    "type": "Feature",
    "geometry": {"type": "GeometryCollection", "geometries": parts},
  }
  assert_centers(geojson(tmp_path, whole), [(2, 3), (22.5, 11.5)])


def test_qupath_cells_give_their_nucleus_and_regions_are_left_out(tmp_path):
  far = [[0, 0], [90, 0], [90, 90], [0, 90]]
  region = feature("Polygon", [far], properties={"objectType": "annotation"})
  cell = feature(
    "Polygon",
    [far],
    nucleusGeometry={"type": "Polygon", "coordinates": [BOX]},
    properties={"objectType": "cell"},
  )
  point = feature("Point", [4, 5], properties={"objectType": "annotation"})
  assert_centers(geojson(tmp_path, [region, cell, point]), [(22.5, 11.5), (4.5, 3.5)])
  assert_centers(geojson(tmp_path, [region]), [(44.5, 44.5)])


def test_nuclei_that_a_person_outlines_beside_detections_count(tmp_path, caplog):
  detection = {"objectType": "detection", "classification": {"name": "Nucleus"}}
  drawn = {"objectType": "annotation", "classification": {"name": "Nucleus"}}
  around = [[40, 40], [90, 40], [90, 90], [40, 90]]
  objects = [
    feature("Point", [60.5, 50.5], properties=detection),
    feature("Polygon", [BOX], properties=drawn),
    feature("Polygon", [around], properties=drawn),  # holds the detection
    feature("Polygon", [BOX], properties={"objectType": "annotation"}),
  ]
  assert_centers(geojson(tmp_path, objects), [(50, 60), (22.5, 11.5)])
  assert "1 outlines beside detected nuclei or cells" in caplog.text
  assert "1 outlines that hold other objects" in caplog.text


@pytest.mark.parametrize(
  "mark",
  [
    {"properties": {"objectType": "cell"}},
    {"properties": {"object_type": "cell"}},  # 0.3 before its release
    {"properties": {"type": "cell"}},  # which QuPath reads too
    {"properties": {}, "id": "PathCellObject"},  # 0.2
    {"id": "PathDetectionObject"},
    {"properties": None, "id": "PathDetectionObject"},
  ],
)
def test_versions_of_qupath_name_nuclei_differently(tmp_path, mark):
  region = feature("Polygon", [[[0, 0], [90, 0], [90, 90], [0, 90]]])
  nucleus = {**feature("Polygon", [BOX]), **mark}
  assert_centers(geojson(tmp_path, [region, nucleus]), [(22.5, 11.5)])


def test_qupath_point_annotations_of_classes(tmp_path):
  def points(name, places, **more):
    named = {"name": name, "color": [200, 0, 0]}
    properties = {"objectType": "annotation", "classification": named, **more}
    kind = "MultiPoint" if isinstance(places[0], list) else "Point"
    return feature(kind, places, properties=properties, id="dfb1…")

  document = {
    "type": "FeatureCollection",
    "features": [
      points("Tumor", [[10.5, 20.5], [30.25, 40]]),
      points("Stroma", [1.5, 2.5], isLocked=True, measurements={"score": 0.3}),
    ],
  }
  expected = [(20, 10), (39.5, 29.75), (2, 1)]
  assert_centers(geojson(tmp_path, document), expected)
  for each in document["features"]:
    del each["properties"]["objectType"]
  assert_centers(geojson(tmp_path, document["features"]), expected)


@pytest.mark.parametrize("field", ["childObjects", "children"])
def test_qupath_objects_within_objects(tmp_path, field):
  def detection(x, y, **more):
    return feature("Point", [x, y], properties={"objectType": "detection", **more})

  first = detection(1.5, 2.5, **{field: [detection(3.5, 4.5)]})
  inside = [first, detection(5.5, 6.5)]
  properties = {"objectType": "annotation", field: inside}
  region = feature(
    "Polygon", [[[0, 0], [90, 0], [90, 90], [0, 90]]], properties=properties
  )
  path = geojson(tmp_path, [region, detection(7.5, 8.5)])
  assert_centers(path, [(2, 1), (4, 3), (6, 5), (8, 7)])


def test_a_region_drawn_around_clicked_points_is_no_nucleus(tmp_path):
  def drawn(kind, coordinates, name="annotation"):
    return feature(kind, coordinates, properties={"objectType": name})

  # A region with a dent, so that its box holds more than it does.
  region = [[0, 0], [90, 0], [90, 90], [50, 90], [50, 30], [0, 30]]
  inside = drawn("MultiPoint", [[10, 10], [70, 80]])
  beside = drawn("Point", [300, 300])
  outlined = drawn("Polygon", [[[20, 50], [26, 50], [26, 54], [20, 54]]])  # in the dent
  path = geojson(tmp_path, [drawn("Polygon", [region]), inside, beside, outlined])
  points = [(9.5, 9.5), (79.5, 69.5), (299.5, 299.5)]
  assert_centers(path, [*points, (51.5, 22.5)])
  # Without points in it, an outline is a nucleus.
  alone = geojson(tmp_path, [drawn("Polygon", [BOX]), beside])
  assert_centers(alone, [(22.5, 11.5), (299.5, 299.5)])
  parts = drawn("MultiPolygon", [[BOX], [[[0, 0], [30, 0], [30, 30], [0, 30]]]])
  assert_centers(geojson(tmp_path, [parts, inside]), points[:2])


def test_frames_and_rulers_are_passed_over(tmp_path):
  nucleus = feature("Point", [3.5, 4.5], properties={"objectType": "detection"})
  frames = [
    feature("Polygon", [[[0, 0], [9, 0], [9, 9]]], properties={"objectType": name})
    for name in ("tile", "tmaCore")
  ]
  properties = {"objectType": "root", "childObjects": [nucleus]}
  root = {"type": "Feature", "geometry": None, "properties": properties}
  ruler = feature(
    "LineString", [[0, 0], [5, 5]], properties={"objectType": "annotation"}
  )
  assert_centers(geojson(tmp_path, [*frames, root, ruler]), [(4, 3)])


def test_collections_within_a_list(tmp_path):
  point = feature("Point", [1.5, 2.5])
  others = [feature("Point", [3.5, 4.5]), feature("Point", [5.5, 6.5])]
  whole = {"type": "FeatureCollection", "features": others}
  assert_centers(geojson(tmp_path, [whole, point]), [(4, 3), (6, 5), (2, 1)])


def test_outlines_without_area_are_left_out(tmp_path):
  flat = [[[5, 5]], [[5, 5], [9, 9]], [[1, 1], [5, 1], [9, 1]]]
  sliver = [[5, 5], [8, 5], [8, 5.1]]
  features = [feature("Polygon", [ring]) for ring in (*flat, sliver, BOX)]
  assert_centers(geojson(tmp_path, features), [(22.5, 11.5)])


def test_outline_that_crosses_itself_stays_within_its_box(tmp_path):
  bow = [[0, 0], [10, 10], [10, 0], [0, 10.5]]
  centers = read_centers(geojson(tmp_path, feature("Polygon", [bow])))
  assert ((centers >= -0.5) & (centers <= 10)).all()


@pytest.mark.parametrize(
  "bad",
  [
    feature("LineString", [[0, 0], [1, 1]]),
    {"type": "Feature", "geometry": None},
    {"type": "Feature"},
    {"no": "type"},
    7,
    None,
    feature("Point", []),
    feature("Point", [1]),
    feature("Point", ["a", 1]),
    feature("Point", [None, 1]),
    feature("Polygon", []),
    feature("Polygon", [[]]),
    feature("MultiPolygon", []),
    feature("MultiPolygon", [[BOX], []]),
    feature("Polygon", [[1, 2], [3, 4]]),
    feature("Polygon", None),
  ],
)
def test_geojson_names_the_feature(tmp_path, bad):
  path = geojson(tmp_path, [feature("Point", [1, 1]), bad])
  assert_refused(path, "feature 2", "MultiPolygon")


@pytest.mark.parametrize("text", ["", "{", "x,y\n1,2", "[" * 100_000])
def test_no_json(tmp_path, text):
  assert_refused(write(tmp_path / "a.geojson", text), "cannot be read as GeoJSON")


@pytest.mark.parametrize("text", ["3", '"a"', '{"features": 3}', "null"])
def test_json_of_another_kind(tmp_path, text):
  assert_refused(write(tmp_path / "a.json", text), "must hold a list of features")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e300", "-1e40"])
def test_numbers_that_are_none(tmp_path, value):
  features = f'[{{"type": "Point", "coordinates": [1, {value}]}}]'
  assert_refused(write(tmp_path / "a.geojson", features), "feature 1", "finite")
  xml = aperio(tmp_path, region([*BOX[:3], [value, 3]]))
  assert_refused(xml, "region 1", "finite")
  with np.errstate(all="ignore"):
    rows = np.array([[1, 2], [3, float(value)]])
  scipy.io.savemat(tmp_path / "a.mat", {"detection": rows})
  assert_refused(tmp_path / "a.mat", "row 2", "finite")


# --- Aperio --------------------------------------------------------------------------


def test_aperio_worked_by_hand(tmp_path):
  path = aperio(
    tmp_path,
    region(BOX),
    region([[x + 50, y] for x, y in BOX[::-1]]),
    region([[0, 0], [8, 4]], kind="2"),  # an ellipse, by the corners of its box
    region(BOX, negative="1"),
    region([]),
    region([[5, 5], [9, 9]]),
  )
  assert_centers(path, [(22.5, 11.5), (22.5, 61.5), (1.5, 3.5)])
  assert_centers(aperio(tmp_path), [])


def test_aperio_that_cannot_be_used(tmp_path):
  path = tmp_path / "a.xml"
  assert_refused(write(path, "<Annotations>"), "cannot be read as XML", "line 1")
  assert_refused(write(path, "<annotation/>"), "must be Annotations", "annotation")
  assert_refused(aperio(tmp_path, region(BOX), region([["1a", 2]])), "region 2", "1a")
  broken = region(BOX).replace("Y=", "Z=")
  assert_refused(aperio(tmp_path, broken), "region 1 (Id 7)", "X and Y")


def square(x, y, side):
  ends = [(x, y), (x + side, y), (x + side, y + side), (x, y + side), (x, y)]
  return [[list(corner) for corner in ends]]


@pytest.mark.parametrize("told", ["annotation", "detection"])
def test_one_object_of_outlines_far_apart_is_no_nucleus(tmp_path, told):
  parts = [square(2, 2, 6), square(40, 40, 6), square(20, 40, 4)]
  merged = feature("MultiPolygon", parts, objectType=told)
  assert_refused(
    geojson(tmp_path, [merged]), "feature 1: one object has 3 outlines far"
  )


@pytest.mark.parametrize("other", [square(11, 2, 6), square(40, 40, 2)])
def test_pieces_near_each_other_and_specks_are_one_nucleus(tmp_path, other):
  nucleus = feature("MultiPolygon", [square(2, 2, 6), other], objectType="annotation")
  assert len(read_centers(geojson(tmp_path, [nucleus]))) == 1
