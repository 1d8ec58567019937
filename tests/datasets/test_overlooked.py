"""What a folder holds under names that nobody reads: refused, or said."""

import pytest
from folders import add_image, add_index

from micronet_jax.datasets import read_samples
from micronet_jax.errors import InputError, collecting_faults

# --- Columns of index.csv ------------------------------------------------------------


@pytest.mark.parametrize(
  ("column", "meant"),
  [
    *[
      (name, "patient") for name in ("patient_id", "Patient ID", "PatientID", "pateint")
    ],
    *[(name, "patient") for name in ("case", "Subject No", "slide_id", "donors")],
    ("case_submitter_id", "patient"),
    *[(name, "mpp") for name in ("mpp_um", "microns_per_pixel", "µm/px", "MPP-x")],
    *[(name, "mpp") for name in ("resolution", "Pixel Size (µm)", "openslide.mpp-x")],
    *[(name, "organ") for name in ("organs", "Organ name", "ogran", "tissue")],
  ],
)
def test_columns_that_seem_to_mean_one_that_is_read(root, refused, column, meant):
  add_image(root, "a")
  add_index(root, "a,0.5", header=f"name,{column}")
  place = f"{root / 'index.csv'}, line 1: the column {column.lower()} seems"
  refused(place, f"must be named {meant},")
  # So it does where the right one is empty.
  add_index(root, "a,0.5,", header=f"name,{column},{meant}")
  refused(place)


def test_other_columns_are_named_and_not_read(root, load, caplog):
  add_image(root, "a")
  header = "name,patient,case_id,organism,patient_age,,stain,nuclei,width,empty"
  add_index(root, "a,p,c7,man,60,0,H&E,1,30,", header=header)
  (sample,) = load()
  assert (sample.patient, sample.organ, sample.mpp) == ("p", "unknown", None)
  unread = "case_id, organism, patient_age, one without name, stain"
  assert f"index.csv: columns that are not read: {unread}\n" in caplog.text
  caplog.clear()
  add_index(root, "a,,,,,,,", header="name,organ,patient,mpp,width,height,nuclei,case")
  load()
  assert caplog.text == ""


def test_a_column_that_stands_twice(root, refused):
  add_image(root, "a")
  add_index(root, "a,p,q", header="name,patient,Patient")
  refused(f"{root / 'index.csv'}, line 1", "column patient 2 times")


# --- Names and places ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["Images", "Points", "REGIONS", "Masks", "Index.csv"])
def test_names_that_differ_in_case(root, refused, name):
  proper = root / name.lower()
  add_image(root, "a")
  if not proper.exists():
    if name.endswith(".csv"):
      add_index(root, "a", header="name")
    else:
      proper.mkdir()
  proper.rename(root / name)
  if proper.exists():
    pytest.skip("this disk does not tell upper from lower case")
  refused(f"{root / name} is not read", f"must be {proper.name}, in lower case")


@pytest.mark.parametrize("name", ["index.csv", "Index.csv", "points", "Regions"])
def test_what_belongs_beside_the_images(root, refused, name):
  add_image(root, "a")
  path = root / "images" / name
  path.write_text("name\na\n") if name.endswith("csv") else path.mkdir()
  refused(f"{path} is not read there", f"beside the folder images, as {root}")


def test_images_elsewhere_are_counted(root, load, caplog):
  add_image(root, "a")
  for place in ("images/batch 2/b", "images/batch 2/c", "images/old/deep/d", "e"):
    path = root / f"{place}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((root / "images/a.png").read_bytes())
  (root / "images/.thumbnails").mkdir()
  (root / "images/.thumbnails/a.png").touch()
  assert [sample.name for sample in load()] == ["a"]
  assert f"{root / 'images'}: 3 images in folders of it (batch 2, old)" in caplog.text
  assert f"{root}: 1 images beside the folder images are left out" in caplog.text


@pytest.mark.parametrize("place", ["images", "."])
def test_what_looks_like_an_image_is_never_left_out_silently(root, load, caplog, place):
  add_image(root, "a")
  if place == ".":
    for path in (root / "images").iterdir():
      path.rename(root / path.name)
    (root / "images").rmdir()
  (root / place / "b.gif").touch()
  assert [sample.name for sample in load()] == ["a"]
  told = f"{root / place}: 1 file(s) that look like images are not read: b.gif\n"
  assert told in caplog.text
  (root / place / "gone.png").symlink_to(root / "nowhere.png")
  if place == "images":  # where each must be annotated
    with pytest.raises(InputError, match=r"gone\.png has no annotation file"):
      read_samples("folder", root=root)
  else:
    assert [sample.name for sample in load()] == ["a"]
    assert "2 file(s) that look like images are not read: b.gif, gone" in caplog.text
    assert "1 of 2 images are left out, as they have neither" in caplog.text
  (root / "points/gone.csv").write_text("x,y\n3,4\n")
  with pytest.raises(InputError, match=r"gone\.png cannot be read \(No such file"):
    load()


@pytest.mark.parametrize("place", ["a.json", "a.txt", "batch 2/a.csv", "x/a.geojson"])
def test_regions_that_would_be_overlooked(root, refused, load, place):
  add_image(root, "a")
  path = root / "regions" / place
  path.parent.mkdir(parents=True)
  path.write_text("x,y,width,height\n0,0,5,5\n")
  refused(f"{path} is not read", f"from {root / 'regions/a'} with", ".csv, .geojson")
  path.rename(path.parent / "notes.txt")
  assert [sample.name for sample in load()] == ["a"]


def test_who_checks_sees_all_of_these_at_once(root):
  add_image(root, "a")
  add_index(root, "a,p,0.5", header="name,case,mpp")
  (root / "Regions").mkdir()
  (root / "images/index.csv").touch()
  (root / "points/a.csv").write_text("x,y,w,h\n1,2,3,4\n")
  with collecting_faults() as faults:
    assert read_samples("folder", root=root) == []
  assert len(faults) == 4
