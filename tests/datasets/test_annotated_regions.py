"""Regions: what of an image is annotated completely, and the samples it becomes."""

import json

import numpy as np
import PIL.Image
import pytest
import tifffile
from annotations import MANY, feature
from folders import RNG, add_image, add_index
from hypothesis import given
from hypothesis import strategies as st

from micronet_jax.datasets.annotations import regions as regions_module
from micronet_jax.datasets.annotations.regions import read_regions, write_regions
from micronet_jax.errors import InputError

SHAPE = (60, 80)
HEADER = "x,y,width,height\n"


def box(x, y, width, height):
  return [[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]]


def drawn(ring, name=None, kind="annotation"):
  properties = {"objectType": kind}
  if name:
    properties["classification"] = {"name": name}
  return feature("Polygon", [ring], properties=properties)


def put(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return path


# --- The files -----------------------------------------------------------------------


grids = st.lists(  # one rectangle in each of some cells of 10 x 10: they lie apart
  st.tuples(
    *[st.integers(0, 5)] * 2, *[st.integers(0, 4)] * 2, *[st.integers(1, 5)] * 2
  ),
  unique_by=lambda each: each[:2],
)


@MANY
@given(cells=grids)
def test_what_is_written_is_read_back(tmp_path, cells):
  regions = [
    (10 * i + dx, 10 * j + dy, width, height) for i, j, dx, dy, width, height in cells
  ]
  path = tmp_path / "regions/a.csv"
  write_regions(path, regions)
  found = read_regions(path, shape=(60, 60))
  assert found.shape == (len(regions), 4)
  assert found.dtype == np.int64
  np.testing.assert_array_equal(found, np.reshape(regions, (-1, 4)))
  assert [each.name for each in path.parent.iterdir()] == ["a.csv"]
  document = [drawn(box(*each)) for each in regions]
  same = read_regions(put(tmp_path / "a.geojson", document), shape=(60, 60))
  np.testing.assert_array_equal(same, found)


def test_sides_move_to_the_nearest_border_between_pixels(tmp_path, caplog):
  path = put(tmp_path / "a.csv", "height,X,y,width\n10.2, 3.6,0.4,5.5\n")
  np.testing.assert_array_equal(read_regions(path, shape=SHAPE), [[4, 0, 5, 11]])
  assert caplog.text == ""
  write_regions(path, np.array([[3.6, 0.4, 5.5, 10.2]]))
  assert path.read_text() == HEADER + "4,0,5,11\n"


def test_what_reaches_beyond_the_image_is_cut_off_and_said(tmp_path, caplog):
  path = put(tmp_path / "a.csv", HEADER + "-5,50,20,20\n30,0,9,9\n")
  found = read_regions(path, shape=SHAPE)
  np.testing.assert_array_equal(found, [[0, 50, 15, 10], [30, 0, 9, 9]])
  assert "a.csv: 1 region(s) reach beyond the image of 80 x 60 pixels" in caplog.text


@pytest.mark.parametrize(
  ("text", "parts"),
  [
    ("1,2,3\n", ["line 2", "field height", "''"]),
    ("1,2,3,four\n", ["line 2", "field height", "'four'"]),
    ("1,2,0,5\n", ["line 2", "width=0", "covers no pixel", "80 x 60"]),
    ("1,2,5,-5\n", ["line 2", "height=-5"]),
    ("80,2,5,5\n", ["line 2", "x=80", "covers no pixel"]),
    ("0,0,9,9\n20,20,9,9\n28,28,9,9\n", ["line 4", "overlaps", "line 3"]),
  ],
)
def test_faults_of_a_table_are_named(tmp_path, text, parts):
  path = put(tmp_path / "a.csv", HEADER + text)
  refused(path, *parts)


def refused(path, *parts):
  with pytest.raises(InputError) as caught:
    read_regions(path, shape=SHAPE)
  message = str(caught.value)
  for part in (path, *parts):
    assert str(part) in message
  assert "\n" not in message
  assert message.endswith(".")


def test_regions_that_touch_do_not_overlap(tmp_path):
  path = put(tmp_path / "a.csv", HEADER + "0,0,10,10\n10,0,10,10\n0,10,20,10\n")
  assert len(read_regions(path, shape=SHAPE)) == 3


def test_rectangles_of_qupath(tmp_path, caplog):
  objects = [
    drawn(box(10.4, 20, 5, 6), "Region*"),
    drawn(box(30, 20, 5, 6), "Tumor"),
    drawn(box(50, 20, 5, 6), "Ignore*"),
    drawn(box(60, 20, 5, 6), kind="detection"),
    feature("Point", [3, 4]),
  ]
  found = read_regions(put(tmp_path / "a.geojson", objects), shape=SHAPE)
  np.testing.assert_array_equal(found, [[10, 20, 5, 6], [30, 20, 5, 6]])
  assert "regions read: 2; left out: 1 of a class whose name" in caplog.text
  assert "2 points, detections and cells" in caplog.text
  for ring in ([[0, 0], [9, 0], [9, 9]], [[5, 0], [10, 5], [5, 10], [0, 5]]):
    path = put(tmp_path / "b.geojson", [drawn(box(30, 30, 5, 5)), drawn(ring)])
    refused(path, "feature 2", "upright rectangle")


# --- The samples ---------------------------------------------------------------------


def test_each_region_is_a_sample_of_its_own(root, load, caplog):
  text = "x,y\n10,20\n9.5,20\n9.4,20\n29.4,39\n29.5,39\n50,50\n30.25,5\n"
  pixels = add_image(root, "Kidney__a", shape=SHAPE, text=text)
  put(root / "regions/Kidney__a.csv", HEADER + "30,0,10,15\n10,20,20,20\n")
  add_image(root, "b", shape=SHAPE)
  add_index(root, "Kidney__a,,p1,0.5,,,", "b,,p2,,,,")
  first, second, whole = load()
  assert first.name == "Kidney__a@10,20,20,20"
  assert second.name == "Kidney__a@30,0,10,15"
  assert (whole.name, whole.image.shape) == ("b", (*SHAPE, 3))
  for sample in (first, second):
    assert (sample.organ, sample.patient, sample.mpp) == ("kidney", "p1", 0.5)
  np.testing.assert_array_equal(first.image, pixels[20:40, 10:30])
  np.testing.assert_array_equal(second.image, pixels[0:15, 30:40])
  # A pixel reaches half a pixel around its centre; the right and lower border is not
  # of the region.
  expected = [[0, 0], [0, -0.5], [19, 19.4]]
  np.testing.assert_allclose(first.centers, expected, atol=1e-5)
  np.testing.assert_allclose(second.centers, [[5, 0.25]])
  assert "3 of 7 centres lie beyond its 2 region(s) and are left out" in caplog.text


def test_points_on_the_border_of_the_image_are_kept(root, load, caplog):
  """In one of two regions that touch, or in the image; none is lost, none twice."""
  ends = [(80, 5), (5, 60), (80, 60), (40, 30), (0, 0)]  # corners, as QuPath counts
  points = [feature("Point", list(end)) for end in ends]
  for name in ("a", "b"):
    add_image(root, name, shape=SHAPE, text=None)
    put(root / f"annotations/{name}.geojson", points)
  put(root / "regions/a.csv", HEADER + "0,0,40,60\n40,0,40,60\n")
  left, right, whole = load()
  at = [tuple(np.floor(c + 0.5).astype(int)) for c in right.centers]
  assert sorted(at) == [(5, 39), (30, 0), (59, 39)]
  assert len(left.centers) == 2
  assert len(whole.centers) == 5
  assert caplog.text == ""


def test_a_table_of_regions_of_several_images(root, load, caplog):
  for name in ("a", "b"):
    add_image(root, name)
    text = "image,x,y,width,height\na.png,0,0,5,5\nb.png,1,2,3,4\nb.png,9,9,3,4\n"
    put(root / f"regions/{name}.csv", text)
  assert [s.name for s in load()] == ["a@0,0,5,5", "b@1,2,3,4", "b@9,9,3,4"]
  assert "a.csv: regions read: 1; left out: 2 of other images" in caplog.text


def test_an_image_whose_regions_are_none_is_not_annotated(root, load, caplog):
  for name in ("a", "b", "c"):
    add_image(root, name)
  put(root / "regions/a.csv", HEADER)
  put(root / "regions/b.geojson", [])
  assert [sample.name for sample in load()] == ["c"]
  assert caplog.text.count("2 of 3 images are left out") == 1
  put(root / "regions/c.csv", HEADER)
  with pytest.raises(InputError, match=r"none of 3 image\(s\) is annotated: .*a.csv"):
    load()


def test_changed_regions_are_never_served_from_the_old_copy(root, load):
  add_image(root, "a")
  assert load()[0].name == "a"
  for text in ("0,0,5,5\n", "0,0,5,6\n"):
    put(root / "regions/a.csv", HEADER + text)
    assert load()[0].name == f"a@{text.strip()}"


def test_regions_among_the_annotations(root, load, caplog):
  """Where QuPath's own class Region* says it: ignored as nuclei, heeded as regions."""
  add_image(root, "a", shape=SHAPE, text=None)
  points = [feature("Point", [x + 0.5, 5.5]) for x in (5, 15, 40)]
  rings = [
    drawn(box(10, 0, 10, 10), "Region*"),
    drawn(box(30, 0, 20, 10), "region 2"),
    drawn([[0, 20], [9, 20], [0, 30]], "Region*"),
    drawn(box(0, 30, 9, 9), "Tissue"),
  ]
  path = put(root / "annotations/a.geojson", [*points, *rings])
  first, second = load()
  assert [first.name, second.name] == ["a@10,0,10,10", "a@30,0,20,10"]
  np.testing.assert_allclose(first.centers, [[5, 5]])
  np.testing.assert_allclose(second.centers, [[5, 10]])
  assert "1 outline(s) of the class Region are no upright rectangles" in caplog.text
  # A file of regions says more.
  put(root / "regions/a.csv", HEADER + "0,0,10,10\n")
  assert [sample.name for sample in load()] == ["a@0,0,10,10"]
  (root / "regions/a.csv").unlink()
  put(path, points)
  assert len(load()[0].centers) == 3


def test_regions_in_the_frame_of_qupath(tmp_path, monkeypatch):
  """A slide of which QuPath shows a part: its (0, 0) is elsewhere."""
  monkeypatch.setattr(regions_module.Subject, "origin", (7, 30))
  path = put(tmp_path / "a.geojson", [drawn(box(1, 2, 5, 6))])
  found = read_regions(path, shape=SHAPE, image=tmp_path / "a.mrxs")
  np.testing.assert_array_equal(found, [[8, 32, 5, 6]])


# --- The folder ----------------------------------------------------------------------


def test_files_of_regions_that_fit_no_image_or_one_twice(root, load):
  add_image(root, "a")
  put(root / "regions/b.csv", HEADER)
  with pytest.raises(InputError, match=r"b\.csv belongs to no image"):
    load()
  (root / "regions/b.csv").rename(root / "regions/a.csv")
  put(root / "regions/a.geojson", [])
  with pytest.raises(InputError, match=r"a\.csv and .*a\.geojson belong to the same"):
    load()


def test_a_region_without_any_points_file_is_refused(root, load):
  add_image(root, "a")
  add_image(root, "b", text=None)
  put(root / "regions/b.csv", HEADER + "0,0,5,5\n")
  with pytest.raises(InputError, match=r"b\.png has regions .* no file of points"):
    load()
  put(root / "points/b.csv", "x,y\n")
  assert [s.name for s in load()] == ["a", "b@0,0,5,5"]


def test_images_directly_in_the_folder(root, load, caplog):
  root.mkdir()
  for name in "abc":
    PIL.Image.fromarray(RNG.integers(0, 256, (9, 9, 3), np.uint8)).save(
      root / f"{name}.png"
    )
  with pytest.raises(InputError, match=r"a\.png has no annotation file; .*points/a"):
    load()
  put(root / "points/b.csv", "x,y\n3,4\n")
  add_index(root, "a,,,,,,", "b,liver,p1,,,,")
  (sample,) = load()
  assert (sample.name, sample.organ, sample.patient) == ("b", "liver", "p1")
  assert caplog.text.count("2 of 3 images are left out, as they have neither") == 1
  put(root / "points/d.csv", "x,y\n")
  with pytest.raises(InputError, match=r"d\.csv belongs to no image; .* named d"):
    load()


def test_images_are_left_out_where_regions_show_that_people_annotate(root, load):
  add_image(root, "a")
  add_image(root, "b", text=None)
  with pytest.raises(InputError, match=r"b\.png has no annotation file"):
    load()
  put(root / "regions/a.csv", HEADER + "0,0,5,5\n")
  assert [sample.name for sample in load()] == ["a@0,0,5,5"]


# --- Slides --------------------------------------------------------------------------


def test_a_slide_of_40000_pixels_is_read_by_its_regions(root, load):
  """4.8 GB as RGB: two tiles of it were ever written."""
  side, tile = 40_000, RNG.integers(0, 256, (512, 512, 3), np.uint8)
  count = -(-side // 512)
  tiles = (tile if i in (0, count**2 - 1) else None for i in range(count**2))
  root.mkdir()
  tifffile.imwrite(
    root / "a.tif",
    tiles,
    shape=(side, side, 3),
    dtype=np.uint8,
    tile=(512, 512),
    photometric="rgb",
    compression="zlib",
    resolution=(20_000, 20_000),  # a centimetre
    resolutionunit="CENTIMETER",
  )
  put(root / "points/a.csv", "x,y\n39990,39980.5\n5,6\n")
  with pytest.raises(InputError, match=r"40000 x 40000 .* regions/a\.csv with"):
    load()
  put(root / "regions/a.csv", HEADER + "39950,39960,50,40\n10,10,30,20\n")
  first, second = load()
  assert (first.name, second.name) == ("a@10,10,30,20", "a@39950,39960,50,40")
  np.testing.assert_array_equal(first.image, tile[10:30, 10:40])
  at = 39_950 % 512, 39_960 % 512
  expected = tile[at[1] : at[1] + 40, at[0] : at[0] + 50]
  np.testing.assert_array_equal(second.image, expected)
  np.testing.assert_allclose(second.centers, [[20.5, 40]])
  assert (first.mpp, second.mpp, first.patient) == (0.5, 0.5, "a")


def test_a_real_slide_needs_regions(real_data, root, load):
  pytest.importorskip("openslide")
  source = real_data / "slides/CMU-1-Small-Region.svs"
  (root / "images").mkdir(parents=True)
  (root / "images/s.svs").symlink_to(source)
  put(root / "points/s.csv", "x,y\n100,200\n2000,2500\n")
  with pytest.raises(InputError, match=r"s\.svs is a slide of 2220 x 2967 .* regions"):
    load()
  put(root / "regions/s.csv", HEADER + "1900,2450,300,200\n")
  (sample,) = load()
  assert sample.image.shape == (200, 300, 3)
  assert sample.mpp == pytest.approx(0.499)
  np.testing.assert_allclose(sample.centers, [[50, 100]])
  with tifffile.TiffFile(source) as tiff:  # another decoder of the same JPEG
    pixels = tiff.pages[0].asarray()[2450:2650, 1900:2200]
  assert np.abs(pixels.astype(int) - sample.image).mean() < 2
