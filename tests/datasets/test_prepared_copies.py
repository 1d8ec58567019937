"""Of a folder that is edited one prepared copy is kept, the newest."""

import json
import os

import pytest
from folders import add_image

from micronet_jax.datasets import load_samples


@pytest.fixture
def cache(tmp_path):
  return tmp_path / "cache"


def copies(cache):
  return sorted(p.name for p in (cache / "folder").iterdir() if p.is_dir())


def edit(root, number):
  (root / "points/a.csv").write_text(f"x,y\n{number},9\n")
  os.utime(root / "points/a.csv", ns=(0, number))


def test_ten_edits_leave_one_copy(tmp_path, cache):
  root = tmp_path / "mine"
  add_image(root, "a")
  for number in range(10):
    edit(root, number)
    (sample,) = load_samples("folder", root=root, data_dir=cache)
    assert sample.centers.tolist() == [[9, number]]
    assert len(copies(cache)) == 1


def test_two_folders_keep_a_copy_each(tmp_path, cache):
  for name in ("one", "other"):
    add_image(tmp_path / name, "a")
  for number in range(3):
    edit(tmp_path / "one", number)
    for name in ("one", "other"):
      load_samples("folder", root=tmp_path / name, data_dir=cache)
  assert len(copies(cache)) == 2


def test_two_folders_that_differ_in_content_alone(tmp_path, cache):
  """Of equal names, sizes and times, as unpacked archives have them."""
  for number, name in enumerate(("one", "other"), start=1):
    add_image(tmp_path / name, "a")
    edit(tmp_path / name, number)
    os.utime(tmp_path / name / "points/a.csv", ns=(0, 1))
    os.utime(tmp_path / name / "images/a.png", ns=(0, 1))
  (tmp_path / "link").symlink_to(tmp_path / "one")
  for name, x in (("one", 1), ("other", 2), ("link", 1)):
    (sample,) = load_samples("folder", root=tmp_path / name, data_dir=cache)
    assert sample.centers.tolist() == [[9, x]]
  assert len(copies(cache)) == 2


def test_a_copy_that_another_folder_is_served_from_stays(tmp_path, cache):
  """As versions before wrote it down, whose copies were of several places."""
  root = tmp_path / "mine"
  add_image(root, "a")
  load_samples("folder", root=root, data_dir=cache)
  (shared,) = copies(cache)
  index = cache / "folder/newest.json"
  places = json.loads(index.read_text())
  index.write_text(json.dumps({**places, "/elsewhere": shared}))
  edit(root, 2)
  load_samples("folder", root=root, data_dir=cache)
  assert len(copies(cache)) == 2
  assert shared in copies(cache)


@pytest.mark.parametrize("text", ["{", "[]", '{"/tmp": "../../precious"}', '{"/x": 3}'])
def test_an_index_that_is_not_ours_removes_nothing(tmp_path, cache, text):
  precious = tmp_path / "precious"
  precious.mkdir()
  (cache / "folder").mkdir(parents=True)
  (cache / "folder/newest.json").write_text(text)
  root = tmp_path / "mine"
  add_image(root, "a")
  assert len(load_samples("folder", root=root, data_dir=cache)) == 1
  assert precious.is_dir()


def test_the_index_names_the_folder(tmp_path, cache):
  root = tmp_path / "mine"
  add_image(root, "a")
  load_samples("folder", root=root, data_dir=cache)
  index = json.loads((cache / "folder/newest.json").read_text())
  assert index == {str(root.resolve()): copies(cache)[0]}
