"""What somebody drew that is no nucleus: left out by rules, and counted."""

import json
import time

import numpy as np
import pytest
from annotations import (
  BOX,
  aperio,
  assert_centers,
  assert_refused,
  feature,
  geojson,
  region,
  write,
)

from micronet_jax.datasets.annotations import read_centers

WHOLE = [[0, 0], [256, 0], [256, 256], [0, 256]]


def box(x, y, side=10):
  return [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]


def drawn(ring, name=None, **more):
  properties = {"objectType": "annotation"}
  if name:
    properties["classification"] = {"name": name}
  return feature("Polygon", [ring], properties=properties, **more)


GRID = [(x, y) for y in (20, 50, 80) for x in (20, 50, 80)]
CENTERS = [(y + 4.5, x + 4.5) for x, y in GRID]


def test_a_rectangle_around_outlines_is_no_nucleus(tmp_path, caplog):
  outlines = [drawn(box(x, y), "Nucleus") for x, y in GRID]
  assert_centers(geojson(tmp_path, [drawn(WHOLE), *outlines]), CENTERS)
  assert "nuclei read: 9; left out: 1 outlines that hold other" in caplog.text
  xml = aperio(tmp_path, region(WHOLE), *[region(box(x, y)) for x, y in GRID])
  assert_centers(xml, CENTERS)
  shapes = [{"points": ring} for ring in (WHOLE, *[box(x, y) for x, y in GRID])]
  assert_centers(write(tmp_path / "a.json", json.dumps({"shapes": shapes})), CENTERS)


def test_a_region_may_hold_one_outline(tmp_path):
  path = geojson(tmp_path, [drawn(WHOLE), drawn(box(20, 20))])
  assert_centers(path, [(24.5, 24.5)])


def test_a_region_with_a_hole_and_one_of_parts(tmp_path):
  ring = feature("Polygon", [WHOLE, box(10, 10, 100)])
  path = geojson(tmp_path, [ring, *[drawn(box(x, y)) for x, y in GRID]])
  assert len(read_centers(path)) == 10  # none of them lies in it
  parts = feature("MultiPolygon", [[box(150, 150, 9)], [box(10, 10, 100)]])
  path = geojson(tmp_path, [parts, *[drawn(box(x, y)) for x, y in GRID]])
  assert_centers(path, CENTERS)


def test_nuclei_that_overlap_are_no_regions(tmp_path, caplog):
  twice = [box(20, 20), box(21, 21, 9)]
  inside = [box(60, 60, 20), box(62, 62, 8)]  # a small one on a large one
  crossing = [box(120, 120, 30), box(119, 125, 6), box(146, 140, 6)]
  rings = [*twice, *inside, *crossing]
  assert len(read_centers(geojson(tmp_path, [drawn(ring) for ring in rings]))) == 7
  assert caplog.text == ""


@pytest.mark.parametrize("name", ["Ignore*", "Region*", "Tumor: Ignore*", "Necrosis*"])
def test_classes_that_qupath_ignores(tmp_path, caplog, name):
  detection = {"objectType": "detection", "classification": {"name": name}}
  features = [
    drawn(BOX, name),
    feature("Point", [70, 70], properties=detection),
    drawn(box(50, 50)),
  ]
  parts = {"names": name.split(": ")}
  features[0]["properties"]["classification"] = parts
  assert_centers(geojson(tmp_path, features), [(54.5, 54.5)])
  assert "left out: 2 of a class whose name ends in *" in caplog.text


@pytest.mark.parametrize("name", ["Region", "ROI 2", "tissue", "Artefacts"])
def test_layers_and_classes_that_are_regions(tmp_path, caplog, name):
  features = [drawn(BOX, name), drawn(box(50, 50), "Region of cells")]
  assert_centers(geojson(tmp_path, features), [(54.5, 54.5)])
  assert f"1 of the class or layer '{name}'" in caplog.text
  text = aperio(tmp_path, region(BOX)).read_text()
  layer = text.replace('<Annotation Id="1">', f'<Annotation Id="1" Name="{name}">')
  assert_centers(write(tmp_path / "a.xml", layer), [])


def test_regions_beside_detections_are_counted(tmp_path, caplog):
  nucleus = feature("Point", [300, 300], properties={"objectType": "detection"})
  assert_centers(geojson(tmp_path, [drawn(BOX), nucleus]), [(299.5, 299.5)])
  assert "1 outlines beside detected nuclei" in caplog.text


def planar(x, y, z, t=0):
  found = feature("Point", [x, y], properties={"objectType": "annotation"})
  found["geometry"]["plane"] = {"c": -1, "z": z, "t": t}
  return found


def test_one_plane_and_time_point(tmp_path, caplog):
  features = [planar(x + 0.5, y + 0.5, z) for z in (2, 0, 1) for x, y in GRID]
  features += [planar(150, 150, 1), planar(3, 3, 1, t=1)]
  path = geojson(tmp_path, features)
  assert_centers(path, [*((y, x) for x, y in GRID), (149.5, 149.5)])
  assert "of 4 planes, the one of z=1, t=0" in caplog.text
  assert "nuclei read: 10; left out: 19 on other planes" in caplog.text
  # All on one plane, whichever it is: nothing to say.
  caplog.clear()
  assert len(read_centers(geojson(tmp_path, features[:9]))) == 9
  assert caplog.text == ""


def test_planes_that_are_as_full_give_the_first(tmp_path, caplog):
  path = geojson(tmp_path, [planar(x, 5, z) for z in (2, 1) for x in (1, 2)])
  assert len(read_centers(path)) == 2
  assert "z=1, t=0" in caplog.text


def test_aperio_counter_arrows_and_rulers(tmp_path, caplog):
  path = aperio(
    tmp_path,
    region([[3.5, 4.5]]),
    region([[5.5, 6.5]], kind="5"),
    region([[0, 0], [9, 9]], kind="3"),
    region([[0, 0], [9, 9]], kind="3"),
    region([[0, 0], [9, 9]], kind="4"),
    region(BOX, negative="1"),
    region([[0, 0], [8, 4]], kind="1"),
  )
  assert_centers(path, [(4, 3), (6, 5), (1.5, 3.5)])
  for part in ("2 arrows", "1 rulers", "1 negative regions"):
    assert part in caplog.text


def test_small_outlines_frames_and_lines_are_counted(tmp_path, caplog):
  line = feature(
    "LineString", [[0, 0], [5, 5]], properties={"objectType": "annotation"}
  )
  tile = feature("Polygon", [BOX], properties={"objectType": "tile"})
  path = geojson(tmp_path, [drawn([[5, 5], [8, 5], [8, 5.1]]), line, tile])
  assert_centers(path, [])
  for part in ("1 lines", "1 tiles", "1 outlines of less than one square pixel"):
    assert part in caplog.text


# --- Files that mean harm ------------------------------------------------------------


@pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 400, "1e999", "9" * 5000])
def test_numbers_of_many_digits(tmp_path, number):
  for kind, inner in (("Point", f"[1, {number}]"), ("Polygon", f"[[[1, {number}]]]")):
    text = f'[{{"type": "{kind}", "coordinates": {inner}}}]'
    assert_refused(write(tmp_path / "a.geojson", text))
  assert_refused(aperio(tmp_path, region([[1, 2], [number, 3], [5, 6]])))
  assert_refused(write(tmp_path / "a.csv", f"x,y\n1,{number}\n"))
  plane = f'{{"z": {number}}}'
  text = f'[{{"type": "Point", "coordinates": [1, 2], "plane": {plane}}}]'
  path = write(tmp_path / "b.geojson", text)
  if number == "1e999" or len(number) == 5000:
    assert_refused(path)


@pytest.mark.parametrize(
  "encoding", ["x-none", "utf-7", "shift_jis", "utf-32", "\u00e9"]
)
def test_xml_of_unknown_encoding(tmp_path, encoding):
  text = f'<?xml version="1.0" encoding="{encoding}"?><Annotations/>'
  assert_refused(write(tmp_path / "a.xml", text), "cannot be read as XML")


def test_geometries_within_each_other_without_end(tmp_path):
  inner = '{"type": "Point", "coordinates": [1, 2]}'
  depth = 900
  text = '{"type": "GeometryCollection", "geometries": [' * depth + inner + "]}" * depth
  path = write(tmp_path / "a.geojson", text)
  try:
    read_centers(path)
  except ValueError:
    assert_refused(path)


def test_many_points_in_many_regions(tmp_path):
  draw = np.random.default_rng(0)
  points = draw.uniform(1, 9999, (20_000, 2)).round(2).tolist()
  features = [feature("MultiPoint", points)]
  for x, y in draw.uniform(0, 5000, (3000, 2)):
    side = 5000 - max(x, y) / 2
    features.append(drawn(box(x, y, side)))
  path = geojson(tmp_path, features)
  began = time.process_time()
  assert len(read_centers(path)) == 20_000
  assert time.process_time() - began < 10
