"""What people say of an image is saved at every edit, never half, nor over another."""

import contextlib
import signal
import subprocess
import sys

import httpx
import numpy as np
import pytest

from micronet_jax.annotate import store as stores
from micronet_jax.annotate.folder import Folder
from micronet_jax.annotate.store import Outdated, Store
from micronet_jax.datasets import load_samples
from micronet_jax.errors import InputError

SHAPE = (80, 120)


def change(revision, *, add=(), remove=(), hide=(), show=(), **more):
  lists = {"add": add, "remove": remove, "hide": hide, "show": show}
  return {"revision": revision, **{name: list(v) for name, v in lists.items()}, **more}


@pytest.fixture
def opened(folder):
  images = Folder(folder)
  return folder, Store(images), images.refresh()[0]


def test_what_is_marked_is_read_by_the_data_set(opened, tmp_path):
  root, store, picture = opened
  now = store.read(picture, SHAPE)
  marks = [[10.25, 20.5], [30, 40], [119.49, 79.4]]
  now = store.edit(picture, SHAPE, change(now.revision, add=marks))
  now = store.edit(
    picture,
    SHAPE,
    change(now.revision, remove=[[30, 40]], add=[[31, 41]], regions=[[0, 0, 60, 50]]),
  )
  assert Store(Folder(root)).read(picture, SHAPE) == now
  [sample] = load_samples("folder", root=root, data_dir=tmp_path / "tfds")
  assert sample.image.shape == (50, 60, 3)  # b has nothing, and of a this part
  np.testing.assert_array_equal(sample.centers, [[20.5, 10.25], [41, 31]])


def test_points_without_a_region_are_not_taken_for_a_whole_image(opened, tmp_path):
  root, store, picture = opened
  now = store.read(picture, SHAPE)
  store.edit(picture, SHAPE, change(now.revision, add=[[5, 5]]))
  with pytest.raises(InputError, match="none of 1 image"):
    load_samples("folder", root=root, data_dir=tmp_path / "tfds")


def test_an_edit_to_an_older_state_is_refused(opened):
  root, store, picture = opened
  first = store.read(picture, SHAPE)
  store.edit(picture, SHAPE, change(first.revision, add=[[1, 1]]))
  with pytest.raises(Outdated):
    store.edit(picture, SHAPE, change(first.revision, add=[[2, 2]]))
  # So is one after another program wrote.
  now = store.read(picture, SHAPE)
  (root / "points/a.csv").write_text("x,y\n7,8\n9,9\n")
  with pytest.raises(Outdated):
    store.edit(picture, SHAPE, change(now.revision, add=[[2, 2]]))
  assert list(store.read(picture, SHAPE).points) == [(700, 800), (900, 900)]
  assert (root / "points/a.csv").read_text() == "x,y\n7,8\n9,9\n"


@pytest.mark.parametrize(
  ("wrong", "said"),
  [
    ({"add": [[120, 5]]}, "outside the image"),
    ({"add": [[5]]}, "not \\(x, y\\)"),
    ({"add": [["<b>", 5]]}, "a number"),
    ({"add": [[float("nan"), 5]]}, "a number"),
    ({"regions": [[0, 0, 121, 5]]}, "does not lie on the image"),
    ({"regions": [[0, 0, 9, 9], [5, 5, 9, 9]]}, "overlap"),
  ],
)
def test_edits_that_cannot_be_are_refused_in_words(opened, wrong, said):
  root, store, picture = opened
  now = store.read(picture, SHAPE)
  with pytest.raises(InputError, match=said):
    store.edit(picture, SHAPE, change(now.revision) | wrong)
  assert not (root / "points").exists()


def test_annotations_of_other_programs_are_shown_and_left_alone(opened):
  root, store, picture = opened
  (root / "points").mkdir()
  (root / "points/a.txt").write_text("x\ty\n3\t4\n")
  store.refresh()
  now = store.read(picture, SHAPE)
  assert list(now.points) == [(300, 400)]
  assert now.regions == ((0, 0, 120, 80),)  # without regions, all of it is annotated
  with pytest.raises(InputError, match=r"points/a\.txt"):
    store.edit(picture, SHAPE, change(now.revision, add=[[1, 1]]))


QUPATH = """{"type": "FeatureCollection", "features": [%s]}"""
DOT = """{"type": "Feature", "geometry": {"type": "Point", "coordinates": [3.5, 4.5]},
 "properties": {"objectType": "annotation"}}"""
BOX = """{"type": "Feature", "geometry": {"type": "Polygon", "coordinates":
 [[[0, 0], [60, 0], [60, 50], [0, 50], [0, 0]]]}, "properties": {"objectType":
 "annotation", "classification": {"name": "Region*"}}}"""
COCO = """{"images": [{"id": 1, "file_name": "a.png", "width": 120, "height": 80}],
 "categories": [{"id": 1, "name": "nucleus"}], "annotations": [{"id": 1, "image_id": 1,
 "category_id": 1, "bbox": [2.5, 3.5, 2, 2]}]}"""
COUNTER = """<CellCounter_Marker_File><Marker_Data><Marker_Type><Type>1</Type><Marker>
<MarkerX>3</MarkerX><MarkerY>4</MarkerY><MarkerZ>1</MarkerZ></Marker></Marker_Type>
</Marker_Data></CellCounter_Marker_File>"""
PLAIN = "x,y\n3,4\n"


@pytest.mark.parametrize(
  "files",
  [
    {"points/a.csv": "x,y,class,score\n3,4,tumour,0.5\n"},
    {"points/a.csv": "x;y\n3;4\n"},
    {"points/a.csv": "Centroid X µm,Centroid Y µm\n0.875,1.125\n"},
    {"points/a.csv": PLAIN, "regions/a.csv": "x,y,width,height,by\n0,0,60,50,me\n"},
    {"points/a.csv": PLAIN, "regions/a.geojson": QUPATH % BOX},
    {"annotations/a.geojson": QUPATH % f"{DOT},{BOX}"},
    {"annotations/CellCounter_a.xml": COUNTER},
    {"annotations/all.json": COCO},
  ],
)
def test_what_the_data_set_reads_is_shown_and_what_is_not_ours_kept(
  opened, files, tmp_path
):
  root, store, picture = opened
  for name, text in files.items():
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
  store.refresh()
  now = store.read(picture, SHAPE)
  assert list(now.points) == [(300, 400)]
  [sample] = load_samples("folder", root=root, data_dir=tmp_path / "tfds")
  assert now.regions == ((0, 0, *sample.image.shape[1::-1]),)
  with pytest.raises(InputError, match=list(files)[-1]):
    store.edit(picture, SHAPE, change(now.revision, add=[[1, 1]]))
  held = [path for path in root.rglob("*/a*.*") if path.is_file()]
  assert len(held) == len([name for name in files if "/a" in name])
  for name, text in files.items():
    assert (root / name).read_text(encoding="utf-8") == text


def test_names_are_those_of_the_data_set_and_two_files_are_a_fault(folder):
  (folder / "a.png").rename(folder / "a.ome.tif")
  (folder / "points").mkdir()
  (folder / "points/a.csv").write_text(PLAIN)
  images = Folder(folder)
  picture, store = images.refresh()[0], Store(images)
  now = store.read(picture, SHAPE)
  assert (list(now.points), now.foreign) == ([(300, 400)], "points/a.csv")
  (folder / "points/a.ome.csv").write_text(PLAIN)
  store.refresh()
  with pytest.raises(InputError, match="one of them must go"):
    store.read(picture, SHAPE)


@pytest.mark.parametrize("writes", range(4))
def test_ending_between_two_files_does_no_harm(opened, monkeypatch, writes, tmp_path):
  """An edit replaces up to four files: after any number of them, it can be loaded."""
  root, store, picture = opened
  now = store.read(picture, SHAPE)
  edit = change(now.revision, add=[[5, 5]], hide=[[9, 9]], regions=[[0, 0, 20, 20]])
  stopped_after(monkeypatch, writes)
  with pytest.raises(KeyboardInterrupt):
    store.edit(picture, SHAPE, edit)
  monkeypatch.undo()
  after = Store(Folder(root)).read(picture, SHAPE)
  assert after.regions == ()  # the region is last, when its points are there
  if (root / "points/a.csv").exists():
    with pytest.raises(InputError, match="none of 1 image"):
      load_samples("folder", root=root, data_dir=tmp_path / "tfds")


@pytest.mark.parametrize("writes", range(3))
def test_ending_within_an_undo_leaves_no_region_without_its_nuclei(
  opened, monkeypatch, writes
):
  root, store, picture = opened
  regions = [[0, 0, 20, 20], [40, 0, 20, 20]]
  edit = change(store.read(picture, SHAPE).revision, add=[[5, 5], [45, 5]])
  now = store.edit(picture, SHAPE, {**edit, "regions": regions})
  edit = change(now.revision, remove=[[5, 5]], regions=regions[1:])
  stopped_after(monkeypatch, writes)
  with contextlib.suppress(KeyboardInterrupt):
    store.edit(picture, SHAPE, edit)
  monkeypatch.undo()
  after = Store(Folder(root)).read(picture, SHAPE)
  assert (500, 500) in after.points or tuple(regions[0]) not in after.regions
  assert tuple(regions[1]) in after.regions


def stopped_after(monkeypatch, writes):
  """The process ends when it would replace one more file than this."""
  left = writes

  def counted(real):
    def write(*arguments):
      nonlocal left
      if not left:
        raise KeyboardInterrupt
      left -= 1
      real(*arguments)

    return write

  for name in ("write_regions", "_write_points"):
    monkeypatch.setattr(stores, name, counted(getattr(stores, name)))


def test_a_killed_server_loses_at_most_the_click_under_way(folder):
  command = [sys.executable, "-m", "micronet_jax.cli", "annotate", str(folder)]
  with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE) as server:
    line = next(line for line in map(bytes.decode, server.stdout) if "token" in line)
    base = line.strip().partition("/?")[0]
    with httpx.Client(base_url=base, timeout=60) as client:
      client.get(line.strip())
      key = client.get("/api/state").json()["images"][0]["key"]
      revision = client.get(f"/api/images/{key}/annotation").json()["revision"]
      for x in range(20):
        edit = change(revision, add=[[x, 5]])
        answer = client.post(f"/api/images/{key}/edit", json=edit)
        revision = answer.json()["revision"]
        if x == 10:
          server.send_signal(signal.SIGKILL)
          break
  saved = (folder / "points/a.csv").read_text().split()
  assert saved == ["x,y", *(f"{x}.00,5.00" for x in range(11))]
  assert [path.name for path in (folder / "points").iterdir()] == ["a.csv"]


def test_what_training_would_overlook_is_refused_before_anything_is_marked(folder):
  (folder / "Points").mkdir()
  if (folder / "points").exists():
    pytest.skip("this disk does not tell upper from lower case")
  with pytest.raises(InputError, match="Points is not read under this name"):
    Folder(folder)
  (folder / "Points").rmdir()
  (folder / "index.csv").write_text("name,patient_id\na,p1\n")
  with pytest.raises(InputError, match="column patient_id seems to say patient"):
    Folder(folder)
  (folder / "index.csv").write_text("name,mpp\na,40\n")
  with pytest.raises(InputError, match=r"index.csv, line 2: field mpp must be within"):
    Folder(folder)
  (folder / "index.csv").write_text("name;mpp\na;0,5\n")
  opened = Folder(folder)
  assert [opened.stated_mpp(each) for each in opened.refresh()] == [0.5, None]


def test_only_what_index_csv_says_of_an_image_makes_it_another(folder):
  opened = Folder(folder)
  a, b = opened.refresh()
  bare = opened.stamp(a), opened.stamp(b)
  index = folder / "index.csv"
  index.write_text("name,mpp\nb,0.5\n")
  stated = opened.stamp(b)
  assert opened.stamp(a) == bare[0]  # so what was detected in it stays
  assert stated != bare[1]
  index.write_text("name,mpp,patient\nb,0.5,p1\na,,p2\n")
  assert (opened.stamp(a), opened.stamp(b)) == (bare[0], stated)
  index.write_text("name,mpp\nb,400\na,\n")
  assert opened.stamp(a) != bare[0]  # who opens it says what is wrong
  index.unlink()
  assert (opened.stamp(a), opened.stamp(b)) == bare


def test_images_that_index_csv_has_no_line_for_are_said_before_training_refuses(folder):
  opened = Folder(folder)
  pictures = opened.refresh()
  assert opened.unlisted(pictures) == ""  # there is none
  index = folder / "index.csv"
  index.write_text("name,mpp\nc,0.5\n")
  assert opened.unlisted(pictures).startswith("index.csv has no line for a and 1 more;")
  index.write_text("name,mpp\na,0.25\nother,0.25\n")
  assert "no line for b;" in opened.unlisted(pictures)
  assert opened.unlisted(pictures[:1]) == ""
  index.write_text("names,mpp\na,0.25\n")
  assert "index.csv" in opened.unlisted(pictures)
