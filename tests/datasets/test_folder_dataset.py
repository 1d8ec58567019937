"""A folder of one's own: what may stand in it, and every fault it can have."""

import functools
import json
import unicodedata

import imagecodecs
import numpy as np
import pytest
import tifffile
from folders import add_image, add_index
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from micronet_jax.datasets import load_samples
from micronet_jax.errors import InputError


def test_folder_without_index(root, load):
  pixels = {
    name: add_image(root, name, text=text, shape=shape)
    for name, text, shape in (
      ("Kidney__p2", "x,y\n1,2\n7.25,0\n", (20, 30)),
      ("plain", "x,y\n", (1, 1)),
      ("__odd", "x,y\n0,0\n", (40, 7)),
    )
  }
  samples = load()
  assert [s.name for s in samples] == ["Kidney__p2", "__odd", "plain"]
  assert [s.organ for s in samples] == ["kidney", "unknown", "unknown"]
  assert [s.patient for s in samples] == ["Kidney__p2", "__odd", "plain"]
  assert [s.mpp for s in samples] == [None] * 3
  for sample in samples:
    assert sample.image.dtype == np.uint8
    assert sample.centers.dtype == np.float32
    np.testing.assert_array_equal(sample.image, pixels[sample.name])
  np.testing.assert_array_equal(samples[0].centers, [[2, 1], [0, 7.25]])
  assert samples[2].centers.shape == (0, 2)


def test_folder_with_index(root, load):
  add_image(root, "a")
  add_image(root, "b__c")
  add_index(root, "b__c,,p2,,30,20,1", "a,Liver,p1,0.2468,,,")
  first, second = load()
  assert (first.organ, first.patient, first.mpp) == ("liver", "p1", 0.2468)
  assert (second.organ, second.patient, second.mpp) == ("b", "p2", None)


def test_patients_are_told_of_all_images_or_of_none(root, load):
  for name in "abc":
    add_image(root, name)
  # As spreadsheets have it, where the first line of a group names the patient.
  add_index(root, "a,p1", "b,", "c,p2", header="name,patient")
  with pytest.raises(InputError, match=r"index.csv, line 3: field patient is empty"):
    load()
  add_index(root, "a,", "b,", "c,", header="name,patient")
  assert [sample.patient for sample in load()] == ["a", "b", "c"]


def test_folder_with_every_kind_of_annotation(root, load):
  for name in ("csv", "geo", "map"):
    add_image(root, name, text=None)
  (root / "points/csv.csv").write_text("x,y\n3,4\n")
  for folder in ("annotations", "masks", "labels"):
    (root / folder).mkdir()
  point = '{"type": "Point", "coordinates": [3.5, 4.5]}'
  (root / "annotations/geo.geojson").write_text(point)
  labels = np.zeros((20, 30), np.uint16)
  labels[3:6, 2:5] = 900
  (root / "masks/map.png").write_bytes(imagecodecs.png_encode(labels))
  (root / "images/.DS_Store").touch()
  (root / "images/Thumbs.db").touch()
  (root / "points/._csv.csv").touch()
  for sample in load():
    np.testing.assert_array_equal(sample.centers, [[4, 3]])


@settings(
  max_examples=8,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_folder_round_trip(tmp_path_factory, data):
  root = tmp_path_factory.mktemp("folder")
  composed = functools.partial(unicodedata.normalize, "NFC")  # as names are known
  name = st.from_regex(r"[a-z]{1,3}(__\w{1,3})?", fullmatch=True)
  alike = {"unique_by": lambda each: composed(each).lower()}
  names = data.draw(st.lists(name, min_size=1, max_size=4, **alike))
  expected = {}
  for name in names:
    shape = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    points = data.draw(
      st.lists(st.tuples(*[st.floats(0, n - 1) for n in shape]), unique=True)
    )
    text = "\n".join(["y,x", *(f"{y},{x}" for y, x in points)])
    expected[composed(name)] = add_image(root, name, shape=shape, text=text), points
  samples = load_samples("folder", root=root, data_dir=root / "cache")
  assert [sample.name for sample in samples] == sorted(expected)
  for sample in samples:
    pixels, points = expected[sample.name]
    np.testing.assert_array_equal(sample.image, pixels)
    np.testing.assert_array_equal(
      sample.centers, np.array(points, np.float32).reshape(-1, 2)
    )


def test_missing_parts_of_a_folder(root, refused, tmp_path):
  refused(f"there is no folder {root}", "images/")
  with pytest.raises(InputError, match=r"root is missing; .*images/.*\."):
    load_samples("folder", data_dir=tmp_path / "cache")
  root.mkdir()
  refused(f"{root} has no folder images")
  (root / "images").mkdir()
  (root / "images/notes.txt").touch()
  refused(f"{root / 'images'} holds no images", ".png")


def test_image_without_annotation_and_the_reverse(root, refused):
  add_image(root, "a")
  add_image(root, "b", text=None)
  refused(f"{root / 'images/b.png'} has no annotation", root / "points/b.csv")
  (root / "images/b.png").unlink()
  (root / "points/b.csv").write_text("x,y\n")
  refused(f"{root / 'points/b.csv'} belongs to no image")


def test_two_files_for_one_name(root, refused):
  add_image(root, "a")
  (root / "labels").mkdir()
  (root / "labels/a.tif").touch()
  refused(root / "points/a.csv", root / "labels/a.tif", "same image a")
  (root / "labels/a.tif").unlink()
  add_image(root, "a", ending=".jpg")
  refused(root / "images/a.png", root / "images/a.jpg", "same image a")


def test_faults_in_points(root, refused):
  add_image(root, "a")
  add_image(root, "b", text="x,y\n3,4\n5,1x2\n")
  refused(f"{root / 'points/b.csv'}, line 3: field y", "'1x2'")
  (root / "points/b.csv").write_text("x,y\n3,4\n\n7,20\n")
  refused(f"{root / 'points/b.csv'}, line 4", "x=7, y=20", "30 x 20 pixels")
  (root / "points/b.csv").write_text("x,z\n3,4\n")
  refused(f"{root / 'points/b.csv'}, line 1", "column y")


def test_faults_in_images(root, refused):
  add_image(root, "a")
  add_image(root, "b", ending=".jpg")
  path = root / "images/b.jpg"
  path.write_bytes(path.read_bytes()[:-200])
  refused(path, "truncated")
  path.write_bytes(b"")
  refused(path, "is empty")
  path.unlink()
  (root / "images/b.tif").mkdir()
  refused(root / "images/b.tif", "is a directory")
  (root / "images/b.tif").rmdir()
  path.symlink_to(root / "nowhere.jpg")
  refused(path, "No such file")


@pytest.mark.parametrize(
  ("lines", "parts"),
  [
    (["c,,,,,,"], ["line 2", "field name", "'c'", "no such image"]),
    (["a,,,,,,"], ["no line for", "b.png"]),
    (["a,,,,,,", "b,,,,,,", "a,,,,,,"], ["line 4", "'a'", "line 2"]),
    (["a,,,0,,,", "b,,,,,,"], ["line 2", "field mpp", "0.01 and 5", "'0'"]),
    (["a,,,,,,", "b,,,-0.5,,,"], ["line 3", "field mpp", "0.01 and 5", "'-0.5'"]),
    (["a,,,20x,,,", "b,,,,,,"], ["line 2", "field mpp", "'20x'"]),
    (["a,,,nan,,,", "b,,,,,,"], ["line 2", "field mpp", "'nan'"]),
    (["a,,,,30,19,", "b,,,,,,"], ["a.png", "30 x 20", "width 30", "height 19"]),
    (["a,,,,30,x,", "b,,,,,,"], ["line 2", "field height", "'x'"]),
    (["a,,,,30.5,20,", "b,,,,,,"], ["line 2", "field width", "whole", "'30.5'"]),
  ],
)
def test_faults_in_the_index(root, refused, lines, parts):
  add_image(root, "a")
  add_image(root, "b")
  add_index(root, *lines)
  refused(root, *parts)


@pytest.mark.parametrize("mpp", ["0.009", "5.01", "250", "1e-9"])
def test_resolution_out_of_range(root, refused, mpp):
  add_image(root, "a")
  add_index(root, f"a,,,{mpp},,,")
  refused(f"{root / 'index.csv'}, line 2", "field mpp", "0.01 and 5", f"'{mpp}'")


def test_index_without_columns(root, load, refused):
  add_image(root, "liver__a")
  for header, line, expected in (
    ("name", "liver__a", ("liver", "liver__a", None)),
    ("name,organ,patient", "liver__a,skin,p", ("skin", "p", None)),
    ("name;mpp", "liver__a;0,25", ("liver", "liver__a", 0.25)),
  ):
    add_index(root, line, header=header)
    (sample,) = load()
    assert (sample.organ, sample.patient, sample.mpp) == expected


def test_index_without_names(root, refused):
  add_image(root, "a")
  add_index(root, "liver,p", header="organ,patient")
  refused(f"{root / 'index.csv'}, line 1", "column name")


def test_index_line_with_more_fields_than_its_header(root, refused):
  add_image(root, "a")
  add_index(root, "a,0,25", header="name,mpp")
  refused(f"{root / 'index.csv'}, line 2", "3 fields", "names 2")


# --- Names ---------------------------------------------------------------------------


def test_composed_and_decomposed_names_are_the_same(root, load):
  composed, decomposed = "caf\u00e9", "cafe\u0301"
  assert composed != decomposed
  add_image(root, decomposed, text=None)
  (root / "points" / f"{composed}.csv").write_text("x,y\n3,4\n")
  add_index(root, f"{decomposed},,{decomposed}", header="name,organ,patient")
  (sample,) = load()
  assert sample.name == sample.patient == composed
  np.testing.assert_array_equal(sample.centers, [[4, 3]])


def test_two_forms_of_one_name_are_two_files_for_it(root, refused):
  add_image(root, "caf\u00e9")
  add_image(root, "cafe\u0301", text=None)
  refused("belong to the same image")


def add_tiff(root, name):
  add_image(root, "other")
  tifffile.imwrite(root / "images" / name, np.zeros((20, 30, 3), np.uint8))


def test_ome_tiff_and_its_points(root, load):
  add_tiff(root, "a.ome.tif")
  (root / "points/a.csv").write_text("x,y\n3,4\n")
  assert [sample.name for sample in load()] == ["a", "other"]
  for name in ("a", "a.ome"):
    add_index(root, f"{name},p", "other,q", header="name,patient")
    assert load()[0].patient == "p"
  (root / "points/a.csv").rename(root / "points/a.ome.csv")
  assert [sample.name for sample in load()] == ["a.ome", "other"]


@pytest.mark.parametrize("name", ["a.txt", "README.txt", "a.zip", "notes.tsv"])
def test_other_files_beside_annotations_are_passed_over(root, load, caplog, name):
  add_image(root, "a")
  (root / "points" / name).write_text("of something else")
  (sample,) = load()
  np.testing.assert_array_equal(sample.centers, [[4, 3]])
  assert "1 files" in caplog.text
  assert "are passed over" in caplog.text


def test_names_that_fiji_makes(root, load):
  add_image(root, "a", text=None)
  marker = (
    "<Marker><MarkerX>3</MarkerX><MarkerY>4</MarkerY><MarkerZ>1</MarkerZ></Marker>"
  )
  text = f"<CellCounter_Marker_File>{marker}</CellCounter_Marker_File>"
  (root / "points/CellCounter_a.xml").write_text(text)
  (sample,) = load()
  np.testing.assert_array_equal(sample.centers, [[4, 3]])


def add_coco(path, *names, boxes):
  path.parent.mkdir(exist_ok=True)
  images = [
    {"id": n, "file_name": f"images/{name}.png"} for n, name in enumerate(names)
  ]
  objects = [{"image_id": number, "bbox": box} for number, box in boxes]
  path.write_text(json.dumps({"images": images, "annotations": objects}))


def test_one_coco_file_for_all_images(root, load):
  for name in ("a", "b"):
    add_image(root, name, text=None)
  path = root / "annotations/instances.json"
  add_coco(path, "a", "b", boxes=[(1, [3, 4, 5, 6]), (0, [1, 1, 2, 2])])
  first, second = load()
  np.testing.assert_array_equal(first.centers, [[1.5, 1.5]])
  np.testing.assert_array_equal(second.centers, [[6.5, 5]])


def test_coco_files_of_different_images(root, load):
  for name in ("a", "b"):
    add_image(root, name, text=None)
    path = root / f"annotations/of_{name}.json"
    add_coco(path, name, "elsewhere", boxes=[(0, [3, 4, 5, 6])])
  for sample in load():
    np.testing.assert_array_equal(sample.centers, [[6.5, 5]])


def test_two_coco_files_of_one_image(root, refused):
  for name in ("a", "b"):
    add_image(root, name, text=None)
  paths = [root / f"annotations/batch{number}.json" for number in (1, 2)]
  add_coco(paths[0], "a", "b", boxes=[(0, [3, 4, 5, 6])])
  add_coco(paths[1], "b", boxes=[(0, [1, 1, 2, 2])])
  refused(f"{paths[0]} and {paths[1]} belong to the same image b; one of them must go.")


def test_coco_and_points_of_one_image(root, refused):
  add_image(root, "a", text=None)
  add_image(root, "b")
  path = root / "annotations/all.json"
  add_coco(path, "a", "b", boxes=[(0, [3, 4, 5, 6]), (1, [1, 1, 2, 2])])
  refused(f"{root / 'points/b.csv'} and {path} belong to the same image b;")


def test_a_name_that_coco_has_twice(root, refused):
  add_image(root, "a", text=None)
  add_coco(root / "annotations/all.json", "a", "a", boxes=[(0, [3, 4, 5, 6])])
  refused("is about 2 images (a, a…), 2 of them named a;")


def test_coco_counts_before_files_of_common_endings(root, load, caplog):
  add_image(root, "a", text=None)
  add_coco(root / "annotations/all.json", "a", boxes=[(0, [3, 4, 5, 6])])
  (root / "annotations/a.txt").write_text("of something else")
  (sample,) = load()
  np.testing.assert_array_equal(sample.centers, [[6.5, 5]])
  assert "1 files" in caplog.text
