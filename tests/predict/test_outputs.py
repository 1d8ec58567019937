"""Which images are searched, and under which names results are written."""

import pathlib

import numpy as np
import pytest

from micronet_jax.errors import InputError
from micronet_jax.predict import finding, outputs


def test_images_are_found_once_and_in_order(tmp_path, monkeypatch):
  for name in ("b.png", "a.tif", "c.SVS", "notes.txt", ".hidden.png", "b.csv"):
    (tmp_path / name).write_text("")
  for name in ("b.overlay.png", "b.density.png"):  # of an earlier run into this folder
    (tmp_path / name).write_text("")
  (tmp_path / "empty").mkdir()
  (tmp_path / "folder.png").mkdir()
  (tmp_path / "[x].png").write_text("")
  monkeypatch.chdir(tmp_path)
  find = finding.find_images
  assert find(["."]) == [f"./{n}" for n in ("[x].png", "a.tif", "b.png", "c.SVS")]
  assert find(["b.png", "*.tif", "./b.png", str(tmp_path)])[:2] == ["b.png", "a.tif"]
  assert len(find(["b.png", "*.tif", str(tmp_path)])) == 4
  assert find(["**/*.SVS"]) == ["c.SVS"]
  assert find(["[x].png"]) == ["[x].png"]
  assert find(["gone.png"]) == ["gone.png"]  # reported with the others
  assert find(["b.overlay.png"]) == ["b.overlay.png"]  # who says so, gets it
  for pattern, message in {
    "x*.png": "named like x",
    "empty": "in the folder em",
  }.items():
    with pytest.raises(InputError, match=message):
      find(["b.png", pattern])
  with pytest.raises(InputError, match="no image was named"):
    find([])


def test_images_may_be_one_path_or_several_of_any_kind(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("a.png", "b.png", "c.txt"):
    pathlib.Path(name).write_text("")
  find, a = finding.find_images, pathlib.Path("a.png")
  for one in ("a.png", a, b"a.png", [a], ("a.png",), {a: 1}, iter([a]), "a*", [b"a*"]):
    assert find(one) == ["a.png"]
  assert find(tmp_path) == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
  assert find([a, "b.png"]) == ["a.png", "b.png"]
  for none in (3, None, [3], ["a.png", None], "", [""], [["a.png"]], [np.zeros(3)]):
    with pytest.raises(InputError, match="images: expected a path, as text or pathlib"):
      find(none)


def test_brackets_in_the_name_of_a_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for folder in ("set[1]/a[x]/deep", "set1", "b"):
    pathlib.Path(folder).mkdir(parents=True)
  for name in ("set[1]/1.png", "set[1]/a[x]/2.png", "set[1]/a[x]/deep/3.png"):
    pathlib.Path(name).write_text("")
  pathlib.Path("b/4.png").write_text("")
  find = finding.find_images
  assert find(["set[1]/*.png"]) == ["set[1]/1.png"]
  assert find(["set[1]/a[x]/[12].png"]) == ["set[1]/a[x]/2.png"]
  assert find([f"{tmp_path}/set[1]/*/*.png"]) == [f"{tmp_path}/set[1]/a[x]/2.png"]
  assert len(find(["set[1]/**/*.png"])) == 3
  assert find(["[bc]/*.png"]) == ["b/4.png"]  # there is no folder of that name


def test_what_is_left_out_of_a_folder_is_said_once(tmp_path, caplog):
  for name in ("a.png", "b.jpe", "c.JFIF", "d.gif", "e.overlay.png", "f.csv"):
    (tmp_path / name).write_text("")
  (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
  found = finding.find_images(tmp_path)
  assert [pathlib.Path(each).name for each in found] == ["a.png", "b.jpe", "c.JFIF"]
  told = f"{tmp_path}: 2 file(s) that look like images are not read: d.gif, gone.png (a"
  assert [record.getMessage()[: len(told)] for record in caplog.records] == [told]
  caplog.clear()
  finding.find_images([str(tmp_path / "a.png"), str(tmp_path / "*.j*")])
  assert not caplog.text
  gone = finding.find_images(str(tmp_path / "gone.*"))  # its error is reported
  assert gone == [str(tmp_path / "gone.png")]
  (tmp_path / "none").mkdir()
  (tmp_path / "none/x.gif").touch()
  with pytest.raises(InputError, match="there is no image in the folder"):
    finding.find_images(tmp_path / "none")
  assert "1 file(s) that look like images are not read: x.gif" in caplog.text


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize("there", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("typed", [COMPOSED, DECOMPOSED])
def test_composed_and_decomposed_names(tmp_path, monkeypatch, there, typed):
  monkeypatch.chdir(tmp_path)
  pathlib.Path(there).mkdir()
  pathlib.Path(there, f"{there}.png").write_text("")
  expected = [f"{there}/{there}.png"]
  for pattern in (typed, f"{typed}/{typed}.png", f"{typed}/*.png"):
    assert finding.find_images([pattern]) == expected


def test_two_forms_of_a_name_would_write_the_same_files():
  images = [f"a/{COMPOSED}.png", f"b/{DECOMPOSED}.png"]
  with pytest.raises(InputError, match="would both write"):
    outputs.name_outputs(images, pathlib.Path("out"), ("csv",))


@pytest.mark.parametrize(
  ("images", "out", "message"),
  [
    (["a/x.png", "b/x.tif"], "out", "a/x.png and b/x.tif would both write out/x"),
    (["a/x.png", "a/x.overlay.png"], "a", "would replace a/x.overlay.png, which is an"),
    (["a/summary.png"], "out", "would write out/summary.csv, which lists all images"),
  ],
)
def test_no_file_is_written_twice_nor_over_an_image(tmp_path, images, out, message):
  with pytest.raises(InputError, match=message):
    outputs.name_outputs(images, pathlib.Path(out), ("csv", "overlay"))
  outputs.name_outputs(images[-1:], pathlib.Path("other"), ("overlay",))
