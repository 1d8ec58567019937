"""Which images are searched, and under which names results are written."""

import pathlib

import pytest

from micronet_jax.errors import InputError
from micronet_jax.predict import outputs


def test_images_are_found_once_and_in_order(tmp_path, monkeypatch):
  for name in ("b.png", "a.tif", "c.SVS", "notes.txt", ".hidden.png", "b.csv"):
    (tmp_path / name).write_text("")
  for name in ("b.overlay.png", "b.density.png"):  # of an earlier run into this folder
    (tmp_path / name).write_text("")
  (tmp_path / "empty").mkdir()
  (tmp_path / "folder.png").mkdir()
  (tmp_path / "[x].png").write_text("")
  monkeypatch.chdir(tmp_path)
  find = outputs.find_images
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
