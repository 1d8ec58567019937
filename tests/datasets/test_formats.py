"""Annotations of more programs: a small file by hand each, and a real one."""

import gzip
import io
import json
import zipfile

import numpy as np
import pytest
import roifile
from annotations import BOX, MANY, assert_centers, assert_refused, feature, write
from hypothesis import given
from hypothesis import strategies as st
from scipy import spatial

from micronet_jax.datasets.annotations import read_centers

BOX_CENTER = (22.5, 11.5)  # (y, x) here of BOX, which counts from the corner


def sample(real_data, name):
  return real_data / "formats" / "annotations" / name


def count(path, **options):
  return len(read_centers(path, **options))


# --- QuPath's tables -----------------------------------------------------------------


def test_qupath_points_export(tmp_path):
  text = "x\ty\tclass\tcolor\t\n12.5\t7.5\t\t-65536\n3\t4\tTumor\t-65536\n"
  assert_centers(write(tmp_path / "a.tsv", text), [(7, 12), (3.5, 2.5)])
  # Without QuPath's columns, x and y count from the pixel's centre.
  assert_centers(write(tmp_path / "b.tsv", "x\ty\n12.5\t7.5\n"), [(7.5, 12.5)])


def test_qupath_points_export_in_the_frame_of_qupath(tmp_path):
  path = write(tmp_path / "a.tsv", "x\ty\tclass\tcolor\t\n12.5\t7.5\t\t1\n")
  assert_centers(path, [(207, 112)], origin=(100, 200))


def test_real_qupath_points_export(real_data):
  assert count(sample(real_data, "qupath_points_export.tsv")) == 1502


MEASURED = "Object type\tROI\tCentroid X {0}\tCentroid Y {0}\tClass\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("unit", ["µm", "px"])
def test_qupath_measurements(tmp_path, unit, encoding, caplog):
  factor = 0.5 if unit == "µm" else 1
  objects = [("Annotation", 40, ""), ("Detection", 7.5, "Tumor"), ("Cell", 9.5, "")]
  lines = [
    f"{kind}\tPolygon\t{12.5 * factor}\t{y * factor}\t{name}"
    for kind, y, name in [*objects, ("Cell", 3, "Ignore*")]
  ]
  text = MEASURED.format(unit) + "\n".join(lines)
  path = write(tmp_path / "a.txt", text.encode(encoding))
  assert_centers(path, [(7, 12), (9, 12)], mpp=0.5)
  assert "1 annotations" in caplog.text
  assert "1 of a class whose name ends in *" in caplog.text
  if unit == "µm":
    assert_refused(path, "microns", "mpp of index.csv")


def test_qupath_annotations_by_hand_are_nuclei(tmp_path):
  text = MEASURED.format("px") + "Annotation\tPolygon\t12.5\t7.5\t\n"
  assert_centers(write(tmp_path / "a.txt", text), [(7, 12)])


def test_centroid_of_several_points_is_no_centre(tmp_path):
  text = "Name\tROI\tCentroid X px\tCentroid Y px\tNum points\nPathAnnotationObject"
  path = write(tmp_path / "a.txt", f"{text}\tPoints\t5\t6\t40")
  assert_refused(path, "line 2", "num points", "'40'")


def test_real_qupath_tables(real_data, caplog):
  assert count(sample(real_data, "annotations_export.txt"), mpp=0.5) == 0
  assert "1 annotations that hold detections" in caplog.text
  table = sample(real_data, "annotations_export.txt")  # names S02-3868_7_.svs
  assert count(table, mpp=0.5, name="S02-3868_7_") == 0
  assert_refused(table, "'S02-3868_7_.svs'", "the image tile_4,", name="tile_4")
  # 102 lines, of which 10 repeat the place of another.
  assert count(sample(real_data, "test.qptiff.tsv")) == 92
  assert "10 that repeat another" in caplog.text
  assert_refused(sample(real_data, "CaseKI67J_0003.csv"), "the header must name")


# --- ImageJ --------------------------------------------------------------------------


def roi_set(tmp_path, *rois):
  content = io.BytesIO()
  with zipfile.ZipFile(content, "w") as archive:
    for number, roi in enumerate(rois):
      archive.writestr(f"{number}.roi", roi.tobytes())
  return write(tmp_path / "a.zip", content.getvalue())


def roi_of(points, kind, **more):
  roi = roifile.ImagejRoi.frompoints(np.array(points))
  roi.roitype = roifile.ROI_TYPE[kind]
  for name, value in more.items():
    setattr(roi, name, value)
  return roi


def test_imagej_regions(tmp_path, caplog):
  path = roi_set(
    tmp_path,
    roi_of(BOX, "POLYGON"),
    roi_of([[40, 50]], "POINT"),
    roi_of([[60.5, 70.25]], "POINT"),  # between two columns: ImageJ has centres at 0
    roi_of([[0, 0], [9, 9]], "POLYLINE"),
  )
  assert_centers(path, [BOX_CENTER, (50, 40), (70.25, 60.5)])
  assert "1 lines and angles" in caplog.text
  one = write(tmp_path / "a.roi", roi_of(BOX, "POLYGON").tobytes())
  assert_centers(one, [BOX_CENTER])


def test_imagej_boxes(tmp_path):
  box = {"left": 10, "top": 20, "right": 14, "bottom": 26, "n_coordinates": 0}
  for kind in ("RECT", "OVAL"):
    path = roi_set(tmp_path, roi_of(BOX, kind, **box))
    assert_centers(path, [BOX_CENTER])


def test_imagej_slices(tmp_path, caplog):
  here = [roi_of([[x, 5]], "POINT", position=2) for x in (1, 2, 3)]
  there = roi_of([[1, 5]], "POINT", position=1)
  assert_centers(roi_set(tmp_path, there, *here), [(5, 1), (5, 2), (5, 3)])
  assert "1 on other planes" in caplog.text


def test_imagej_that_cannot_be_read(tmp_path):
  assert_refused(write(tmp_path / "a.zip", "text"), "cannot be read as regions")
  assert_refused(write(tmp_path / "a.roi", "text"), "region a.roi")
  whole = roi_of(BOX, "POLYGON").tobytes()
  for cut in (4, 20, 60, len(whole) - 2):
    path = write(tmp_path / "b.roi", whole[:cut])
    try:
      read_centers(path)
    except ValueError:
      assert_refused(path, "region b.roi")


def test_real_imagej_regions(real_data, caplog):
  assert count(sample(real_data, "TCGA-DE-A4MA_RoiSet.zip")) == 59
  assert count(sample(real_data, "TCGA-S4-A8RO_RoiSet.zip")) == 116  # one stands twice
  assert "1 that repeat another" in caplog.text


# --- Fiji's Cell Counter -------------------------------------------------------------


def markers(*places):
  fields = [
    "".join(
      f"<Marker{axis}>{value}</Marker{axis}>"
      for axis, value in zip("XYZ", p, strict=True)
    )
    for p in places
  ]
  inner = "".join(f"<Marker>{each}</Marker>" for each in fields)
  return (
    "<CellCounter_Marker_File><Marker_Data><Marker_Type><Type>1</Type></Marker_Type>"
    f"<Marker_Type>{inner}</Marker_Type></Marker_Data></CellCounter_Marker_File>"
  )


def test_cell_counter(tmp_path, caplog):
  path = write(tmp_path / "a.xml", markers((9, 277, 1), (2, 289, 1), (2, 3, 2)))
  assert_centers(path, [(277, 9), (289, 2)])
  assert "1 on other planes" in caplog.text
  assert_refused(write(path, markers((9, "a", 1))), "marker 1", "MarkerX")


def test_real_cell_counter(real_data):
  assert count(sample(real_data, "CellCounter_Formalin_1.xml")) == 1082


# --- COCO ----------------------------------------------------------------------------


def coco(tmp_path, *annotations, images=("b.png", "folder/a.png")):
  images = [{"id": n, "file_name": name} for n, name in enumerate(images)]
  found = [{"image_id": 1, **each} for each in annotations]
  categories = [{"id": 1, "name": "Nuclei"}, {"id": 2, "name": "Region"}]
  document = {"images": images, "annotations": found, "categories": categories}
  return write(tmp_path / "a.json", json.dumps(document))


FLAT = [value for vertex in BOX for value in vertex]
RUNS = {"size": [4, 5], "counts": [5, 2, 2, 2, 9]}  # rows 1 and 2 of columns 1 and 2


def compressed(runs):
  """What COCO's own library makes of run lengths, after its C code."""
  text = ""
  for i, value in enumerate(runs):
    value -= runs[i - 2] if i > 2 else 0
    more = True
    while more:
      bits = value & 31
      value >>= 5
      more = value != -1 if bits & 16 else value != 0
      text += chr((bits | 32 if more else bits) + 48)
  return text


@MANY
@given(st.integers(0, 2**32 - 1))
def test_coco_masks(tmp_path, seed):
  draw = np.random.default_rng(seed)
  mask = np.zeros((60, 90), bool)
  top, left = draw.integers(0, 59), draw.integers(0, 89)
  mask[top : top + draw.integers(1, 60), left : left + draw.integers(1, 90)] = True
  mask &= draw.random(mask.shape) < 0.8
  mask[top, left] = True
  flat = mask.T.ravel()
  ends = [*np.flatnonzero(np.diff(flat)) + 1, flat.size]
  runs = np.diff([0, *ends]).tolist()
  runs = [0, *runs] if flat[0] else runs
  for counts in (runs, compressed(runs)):
    path = coco(tmp_path, {"segmentation": {"size": [60, 90], "counts": counts}})
    assert_centers(path, [np.argwhere(mask).mean(0)], name="a")


def test_coco(tmp_path, caplog):
  path = coco(
    tmp_path,
    {"segmentation": [FLAT], "bbox": [10, 20, 4, 6]},
    {"segmentation": [FLAT], "bbox": [10, 20, 5, 7]},  # of indices of pixels
    {"segmentation": RUNS},
    {"segmentation": {**RUNS, "counts": compressed(RUNS["counts"])}},
    {"bbox": [30, 40, 10, 20], "segmentation": []},
    {"segmentation": [FLAT], "iscrowd": 1},
    {"segmentation": [[100, 100, 140, 100, 140, 140]], "category_id": 2},
    {"segmentation": [FLAT], "image_id": 0},
    {"bbox": [50, 60, 10, 20], "image_id": "1"},  # text for a number
    {"segmentation": [FLAT], "image_id": 9},
  )
  expected = [BOX_CENTER, (23, 12), (1.5, 1.5), (49.5, 34.5), (69.5, 54.5)]
  assert_centers(path, expected, name="a")
  assert "1 crowds" in caplog.text
  assert "1 of an image that is not listed" in caplog.text
  for part in ("'Region'", "1 that repeat"):  # the same mask twice
    assert part in caplog.text
  assert_refused(path, "2 images", "named c", name="c")


def test_coco_of_one_image_need_not_name_it(tmp_path):
  path = coco(tmp_path, {"bbox": [0, 0, 2, 2], "image_id": 0}, images=("b.png",))
  assert_centers(path, [(0.5, 0.5)], name="a")


@pytest.mark.parametrize(
  "bad",
  [
    {},
    {"bbox": [1, 2]},
    {"segmentation": [[1, 2, 3]]},
    {"segmentation": [["a", 2]]},
    {"segmentation": {"size": [4, 5], "counts": [1]}},
    {"segmentation": {"size": [10**9, 10**9], "counts": [1]}},
    {"segmentation": {"size": [4, 5], "counts": "oooo"}},
    {"segmentation": {"counts": []}},
    {"bbox": [10**400, 0, 1, 1]},
  ],
)
def test_coco_names_the_annotation(tmp_path, bad):
  assert_refused(coco(tmp_path, bad), "annotation 1", "bbox", name="a")


def test_real_coco_agrees_with_its_twin(real_data):
  path = sample(real_data, "coco_two_images.json")
  total = 0
  for name in ("human_epiglottis_3", "human_placenta_14"):
    twin = real_data / "nuinsseg" / "points" / f"{name}.csv"
    expected = np.loadtxt(twin, delimiter=",", skiprows=1)[:, ::-1]
    centers = read_centers(path, name=name, shape=(512, 512))
    distances = spatial.KDTree(expected).query(centers)[0]
    assert len(centers) == len(expected)
    assert np.median(distances) < 0.05
    assert distances.max() < 0.5
    total += len(centers)
  assert total == 89


# --- LabelMe -------------------------------------------------------------------------


def labelme(tmp_path, *shapes, **more):
  found = [{"shape_type": kind, "points": points} for kind, points in shapes]
  return write(tmp_path / "a.json", json.dumps({"shapes": found, **more}))


def test_labelme(tmp_path, caplog):
  path = labelme(
    tmp_path,
    ("polygon", BOX),
    ("rectangle", [[40, 40], [50, 60]]),
    ("circle", [[80, 80], [85, 80]]),
    ("point", [[3.5, 4.5]]),
    ("line", [[0, 0], [5, 5]]),
    imageHeight=90,
    imageWidth=100,
  )
  assert_centers(
    path, [BOX_CENTER, (49.5, 44.5), (79.5, 79.5), (4, 3)], shape=(90, 100)
  )
  assert "1 lines" in caplog.text
  assert_refused(path, "100 x 90 pixels", "90 x 90", shape=(90, 90))


@pytest.mark.parametrize(
  "bad", [("circle", [[1, 2]]), ("star", BOX), ("polygon", []), ("point", [["a", 1]])]
)
def test_labelme_names_the_shape(tmp_path, bad):
  assert_refused(labelme(tmp_path, bad), "shape 1", "shape_type")


def test_real_labelme(real_data, caplog):
  assert count(sample(real_data, "primitives.json")) == 6
  assert "2 lines" in caplog.text


# --- ASAP ----------------------------------------------------------------------------


def asap(*annotations):
  parts = []
  for kind, group, points in annotations:
    inner = "".join(
      f'<Coordinate Order="{n}" X="{x}" Y="{y}"/>' for n, (x, y) in enumerate(points)
    )
    parts.append(
      f'<Annotation Name="n" Type="{kind}" PartOfGroup="{group}"><Coordinates>{inner}'
      "</Coordinates></Annotation>"
    )
  return (
    f"<ASAP_Annotations><Annotations>{''.join(parts)}</Annotations></ASAP_Annotations>"
  )


def test_asap(tmp_path, caplog):
  text = asap(
    ("Polygon", "None", BOX),
    ("Dot", "lymphocyte", [[3.5, 4.5]]),
    ("PointSet", "None", [[5.5, 6.5], [7.5, 8.5]]),
    ("Measurement", "None", [[0, 0], [5, 5]]),
    ("Polygon", "tissue", [[0, 0], [90, 0], [90, 90]]),
  )
  path = write(tmp_path / "a.xml", text)
  assert_centers(path, [BOX_CENTER, (4, 3), (6, 5), (8, 7)])
  assert "1 measurements" in caplog.text
  assert "'tissue'" in caplog.text
  assert_refused(write(path, asap(("Star", "", BOX))), "annotation 1", "'Star'")
  assert_refused(write(path, asap(("Dot", "", [["a", 2]]))), "annotation 1", "Order")


def test_real_asap_files_hold_regions_alone(real_data, caplog):
  assert count(sample(real_data, "OC-AH-093_RES.xml")) == 0
  assert "2 of the class or layer 'tissue'" in caplog.text
  assert count(sample(real_data, "camelyon16_tumor_085.xml")) == 0
  assert "50 of the class or layer 'metastasis'" in caplog.text


# --- GeoJSON -------------------------------------------------------------------------


def test_compressed_geojson(tmp_path):
  content = gzip.compress(json.dumps([feature("Polygon", [BOX])]).encode())
  for name in ("a.geojson.gz", "a.json.gz", "A.GeoJSON.GZ"):
    assert_centers(write(tmp_path / name, content), [BOX_CENTER])
  path = write(tmp_path / "b.geojson.gz", content[:-20])
  assert_refused(path, "cannot be read as GeoJSON")


def test_compressed_geojson_that_grows_without_end(tmp_path, monkeypatch):
  from micronet_jax.datasets.annotations import documents

  monkeypatch.setattr(documents, "_LARGEST", 1000)
  path = write(tmp_path / "a.geojson.gz", gzip.compress(b" " * 10_000))
  assert_refused(path, "when decompressed")


def test_real_geojson(real_data, caplog):
  assert count(sample(real_data, "qupath05.geojson")) == 3
  assert count(sample(real_data, "training_set_primary_roi_010_nuclei.geojson")) == 374
  assert caplog.text == ""


def test_a_zip_file_without_regions_is_no_image_without_nuclei(tmp_path):
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w") as archive:
    archive.writestr("README.txt", "regions")
  assert_refused(write(tmp_path / "a.zip", file.getvalue()), "it holds no region")
