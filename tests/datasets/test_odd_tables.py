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
  # What does not say its resolution is taken as 0.25 everywhere else, too.
  assert_refused(path, "0.25 a pixel", shape=(256, 256))
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


# --- Tables about several images -----------------------------------------------------


def load_three(root, load, header, lines, ending="csv"):
  """One table, saved for each of three images; the first centre of each, (x, y)."""
  for name in ("a", "b - c", "d.1"):
    add_image(root, name, text=None)
    (root / f"points/{name}.{ending}").write_text("\n".join([header, *lines]) + "\n")
  samples = load()
  assert [sample.name for sample in samples] == ["a", "b - c", "d.1"]
  return [sample.centers[:, ::-1].tolist() for sample in samples]


@pytest.mark.parametrize(
  ("header", "names"),
  [
    ("image", ("a.png", "b - c.png", "d.1.png")),
    ("Image Name", ("a", "b - c", "d.1")),
    ("filename", ("mine/images/a.tif", "C:\\x\\b - c.svs", "/d.1.tif")),
    ("Image", ("a.vsi - 20x_01", "b - c.scn - Series 0", "d.1 - Series 2")),
    ("Label", ("a.tif:0001-0002", "b - c.tif:cell", "d.1.tif")),  # of ImageJ
    ("slide", ("a.svs", "b - c.svs", "d.1.svs")),
  ],
)
def test_each_image_has_its_lines_of_a_table(root, load, caplog, header, names):
  lines = [f"{name},{x},{2 * x}" for x, name in enumerate(names, start=1)]
  lines = [*lines, f"{names[0]},7,8"]
  found = load_three(root, load, f"{header},x,y", lines)
  assert found == [[[1, 2], [7, 8]], [[2, 4]], [[3, 6]]]
  assert "a.csv: nuclei read: 2; left out: 2 of other images" in caplog.text
  assert "b - c.csv: nuclei read: 1; left out: 3 of other images" in caplog.text


def test_measurements_of_several_images(root, load):
  header = "Image\tObject type\tROI\tCentroid X px\tCentroid Y px"
  lines = [
    f"{name}.png\tCell\tPolygon\t{x + 0.5}\t9.5"
    for x, name in enumerate(("a", "d.1", "b - c", "d.1"), start=1)
  ]
  found = load_three(root, load, header, lines, "tsv")
  assert found == [[[1, 9]], [[3, 9]], [[2, 9], [4, 9]]]


@pytest.mark.parametrize(
  ("names", "parts"),
  [
    (["b.png", "c.png", "A.png", "e"], ["'b.png', 'c.png', 'A.png' and 1 more"]),
    (["old.svs", "old.svs"], ["names 'old.svs', but", "column must go"]),
    (["train/a.png", "test/a.png"], ["2 images that may be the image a ", "'test/a"]),
    (["a.png", ""], ["line 3: field image is empty"]),
  ],
)
def test_tables_about_other_images(tmp_path, names, parts):
  lines = "\n".join(f"{name},1,2" for name in names)
  path = write(tmp_path / "a.csv", f"image,x,y\n{lines}\n")
  assert_refused(path, "image a" if len(parts) > 1 else "image", *parts, name="a")


def test_tables_that_name_no_image_or_are_for_none(tmp_path):
  for text in ("image,x,y\n,1,2\n", "Label,x,y\nnucleus,1,2\n", "image,x,y\n"):
    count = text.count("1,2")
    assert len(read_centers(write(tmp_path / "a.csv", text), name="a")) == count
  path = write(tmp_path / "a.csv", "image,x,y\na.tif,1,2\nb.tif,1,2\n")
  assert len(read_centers(path, image=tmp_path / "a.ome.tif")) == 1
  # Nobody says which image is meant: one is clear, two are not.
  assert len(read_centers(write(tmp_path / "a.csv", "image,x,y\nb,1,2\n"))) == 1
  path = write(tmp_path / "a.csv", "image,x,y\nb,1,2\nc,1,2\n")
  assert_refused(path, "names 2 images that may be meant ('b', 'c')")


# --- Boxes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
  "sides",
  [
    "width,height",
    "w,h",
    "Bbox Width,bbox-height",
    "xmax,ymax",
    "x_max,y_max",
    "x2,y2",
  ],
)
def test_boxes_are_no_centres(tmp_path, sides):
  path = write(tmp_path / "a.csv", f"x,y,{sides},class\n10,20,30,40,nucleus\n")
  named = f"x, y, {sides.replace(',', ', ').lower()}"
  assert_refused(path, "boxes", f"columns {named})", "centres are needed")


@pytest.mark.parametrize(
  "header",
  [
    "X,Y,BX,BY,Width,Height",  # ImageJ's results
    "x,y,xmin,ymin,xmax,ymax",
    "x,y,bbox_x,bbox_y,bbox_width,bbox_height",
    "x,y,left,top,width,height",
  ],
)
def test_centres_beside_their_boxes(tmp_path, header):
  values = ["25", "40", "10", "20", "30", "40"]
  path = write(tmp_path / "a.csv", f"{header}\n{','.join(values)}\n")
  assert_centers(path, [(40, 25)])


def test_the_size_of_the_image_beside_centres(tmp_path):
  path = write(tmp_path / "a.csv", "x,y,width,height\n3,4,30,20\n5,6,30,20\n")
  assert_centers(path, [(4, 3), (6, 5)], shape=(20, 30))
  assert_refused(path, "boxes", shape=(30, 20))
  assert_centers(write(path, "x,y,width,height\n3,4,,\n"), [(4, 3)])
