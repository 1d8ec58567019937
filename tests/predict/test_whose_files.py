"""Detection replaces its own files only, and leaves nothing else behind."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
from predictions import DEFAULT, names, options, write_dots

from micronet_jax import files
from micronet_jax.errors import InputError
from micronet_jax.predict import image as image_job
from micronet_jax.predict import outputs, tables
from micronet_jax.predict.job import predict_images

pytestmark = pytest.mark.usefixtures("detector", "counted")


@pytest.mark.parametrize("ending", DEFAULT)
@pytest.mark.parametrize("text", ["mine", "[]", '{"version": "5.2", "shapes": []}', ""])
def test_a_file_of_somebody_else_is_not_replaced(image, tmp_path, ending, text):
  out = tmp_path / "out"
  out.mkdir()
  write_dots(tmp_path / "next.png", shape=(60, 90))
  (out / f"big{ending}").write_text(text)
  done = predict_images([image, str(tmp_path / "next.png")], out, options=options())
  assert f"big{ending} is there and was not written by this" in done[0]["error"]
  assert "error" not in done[1]
  assert (out / f"big{ending}").read_text() == text
  assert not (out / ".big.partial").exists()


def test_a_summary_of_somebody_else_is_not_replaced(image, tmp_path):
  out = tmp_path / "out"
  out.mkdir()
  (out / "summary.csv").write_text("a,b\n1,2\n")
  with pytest.raises(InputError, match=r"summary\.csv is there and was not written"):
    predict_images([image], out, options=options())
  assert (out / "summary.csv").read_text() == "a,b\n1,2\n"
  assert names(out) == ["summary.csv"]


def test_files_of_ours_are_replaced_whatever_the_order_of_formats(image, tmp_path):
  """And where a run was stopped while it wrote."""
  out = tmp_path / "out"
  for formats in (("csv", "overlay"), ("csv",), ("overlay",), ("geojson", "overlay")):
    (result,) = predict_images(
      [image], out, options=options(formats=formats, threshold=0.1 + len(formats) / 10)
    )
    assert "error" not in result
  (out / "big.json").unlink()
  (result,) = predict_images([image], out, options=options())
  assert "was not written by this program" in result["error"]


def test_a_run_that_was_stopped_while_writing_goes_on(image, tmp_path, monkeypatch):
  out = tmp_path / "out"
  predict_images([image], out, options=options(formats=("csv", "overlay")))

  def stop(*_, **__):
    raise KeyboardInterrupt

  changes = {"formats": ("csv", "geojson"), "threshold": 0.3}
  with monkeypatch.context() as patch:
    patch.setattr(tables, "write_geojson", stop)
    with pytest.raises(KeyboardInterrupt):
      predict_images([image], out, options=options(**changes))
  for each in (changes, {}):
    (result,) = predict_images([image], out, options=options(**each))
    assert "error" not in result


def test_after_a_stop_other_formats_are_still_somebody_elses(
  image, tmp_path, monkeypatch
):
  out = tmp_path / "out"
  out.mkdir()
  (out / "big.html").write_text("mine")

  def stop(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(tables, "write_csv", stop)
    with pytest.raises(KeyboardInterrupt):
      predict_images([image], out, options=options(formats=("csv",)))
  (result,) = predict_images([image], out, options=options(formats=("csv", "html")))
  assert "big.html is there and was not written by this program" in result["error"]
  (result,) = predict_images([image], out, options=options(formats=("csv",)))
  assert "error" not in result
  assert (out / "big.html").read_text() == "mine"


def test_what_a_kill_left_is_removed_by_the_next_run(image, tmp_path):
  out = tmp_path / "out"
  out.mkdir()
  script = (
    "import os, sys, signal; from micronet_jax.files import replacing\n"
    "with replacing(sys.argv[1]) as beside:\n"
    "  beside.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
  )
  for name in ("big.csv", "other.geojson"):
    command = [sys.executable, "-c", script, str(out / name)]
    root = pathlib.Path(__file__).parents[2]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(root)})
    assert killed.returncode == -signal.SIGKILL
  left = names(out)
  assert len(left) == 2
  mine, theirs = ".abcdef-1-01234567-a.csv", ".hidden-1.csv"
  for name in (mine, theirs):
    (out / name).write_text("of another machine, or of somebody else")
  with files.replacing(out / "running.csv") as beside:
    beside.write_text("of a process that runs")
    predict_images([image], out, options=options())
    assert beside.exists()
  expected = {mine, theirs, "running.csv", "summary.csv"}
  assert set(names(out)) == expected | {f"big{ending}" for ending in DEFAULT}
  assert re.match(r"\.[0-9a-f]{6}-\d+-[0-9a-f]{8}-big\.csv", left[0])


def write_bitmaps(tmp_path):
  """Two images that differ, of the same name, size and time of change."""
  images = [tmp_path / folder / "tile.bmp" for folder in ("one", "other")]
  for number, path in enumerate(images):
    path.parent.mkdir()
    # So large that not all of it is read to tell it from others.
    pixels = np.full((900, 900, 3), 255, np.uint8)
    pixels[400:430, 100 + 200 * number : 160 + 200 * number] = 90
    PIL.Image.fromarray(pixels).save(path)
    os.utime(path, ns=(0, 10**18))
  assert len({path.stat().st_size for path in images}) == 1
  return images


def test_another_image_of_the_same_name_is_refused(tmp_path):
  out = tmp_path / "out"
  one, other = write_bitmaps(tmp_path)
  small = options(tile=1024)
  predict_images([one], out, options=small)
  before = {name: (out / name).read_bytes() for name in names(out)}
  (tmp_path / "links").mkdir()
  (tmp_path / "links/tile.bmp").symlink_to(other)
  for image in (other, tmp_path / "links/tile.bmp"):
    message = f"{one} and {image} would both write {out / 'tile'}.*; detect them into "
    with pytest.raises(InputError, match=re.escape(message)):
      predict_images([image], out, options=small)
  assert {name: (out / name).read_bytes() for name in names(out)} == before
  (tmp_path / "links/tile.bmp").unlink()
  (tmp_path / "links/tile.bmp").symlink_to(one)
  (result,) = predict_images([tmp_path / "links/tile.bmp"], out, options=small)
  assert result["repeated"]


def test_an_image_that_was_moved_or_copied_is_the_same(tmp_path):
  out, there = tmp_path / "out", tmp_path / "there"
  one, other = write_bitmaps(tmp_path)
  small = options(tile=1024)
  (first,) = predict_images([one], out, options=small)
  there.mkdir()
  shutil.copy2(one, there)
  (result,) = predict_images([there / "tile.bmp"], out, options=small)
  assert result["repeated"]
  one.unlink()
  (result,) = predict_images([there / "tile.bmp"], out, options=small)
  assert result["repeated"]
  # Neither name nor size nor time tell this one from what is gone.
  (result,) = predict_images([other], out, options=small)
  assert "repeated" not in result
  assert result["settings"]["modified"] == first["settings"]["modified"]
  (fresh,) = predict_images([other], tmp_path / "fresh", options=small)
  for name in ("tile.csv", "tile.overlay.png"):
    assert (out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
  assert result["place"] == fresh["place"] == str(other)


def test_records_of_versions_that_knew_no_place_are_made_again(image, tmp_path):
  out = tmp_path / "out"
  predict_images([image], out, options=options())
  record = json.loads((out / "big.json").read_text())
  del record["place"], record["settings"]["content"]
  (out / "big.json").write_text(json.dumps(record))
  (result,) = predict_images([image], out, options=options())
  assert result["place"] == image
  assert "repeated" not in result


def test_rows_do_not_depend_on_the_tile(image, tmp_path):
  texts = []
  for tile in (272, 304, 512):
    out = tmp_path / f"{tile}"
    predict_images([image], out, options=options(tile=tile, threshold=0.5))
    texts.append((out / "big.csv").read_text())
  rows = np.array([line.split(",") for line in texts[0].split()[1:]], float)
  assert len(rows) > 20
  assert (np.lexsort([rows[:, 0], rows[:, 1]]) == np.arange(len(rows))).all()
  assert texts[0] == texts[1] == texts[2]


def test_files_of_another_result_do_not_stay_beside_a_new_one(image, tmp_path, caplog):
  out = tmp_path / "out"
  (out / "big").mkdir(parents=True)
  mine = ("big.txt", "big.geojson", "bigger.html", "big/big.html")
  for name in mine:
    (out / name).write_text("mine")
  predict_images([image], out, options=options(formats=("csv", "html", "density")))
  # Another format of the same settings: all of them are true.
  predict_images([image], out, options=options(formats=("overlay",)))
  endings = ("csv", "html", "density.png", "overlay.png", "json")
  assert set(names(out)) == {
    "summary.csv",
    "big",
    *mine,
    *(f"big.{e}" for e in endings),
  }
  assert "removed" not in caplog.text
  predict_images([image], out, options=options(formats=("csv",), threshold=0.5))
  assert set(names(out)) == {"summary.csv", "big", *mine, "big.csv", "big.json"}
  assert caplog.text.count("removed") == 1
  assert f"{out / 'big'}.*: 3 file(s) of an earlier result" in caplog.text
  assert "again: big.density.png, big.html, big.overlay.png\n" in caplog.text
  assert all((out / name).read_text() == "mine" for name in mine)


def test_new_content_and_another_network_make_files_stale(
  image, tmp_path, monkeypatch, network
):
  out = tmp_path / "out"
  both, csv = options(formats=("csv", "geojson")), options(formats=("csv",))
  predict_images([image], out, options=both)
  write_dots(tmp_path / "big.png", shape=(280, 300))
  predict_images([image], out, options=csv)
  assert set(names(out)) == {"summary.csv", "big.csv", "big.json"}
  predict_images([image], out, options=both)
  monkeypatch.setitem(network.meta, "xi", network.meta["xi"] / 2)
  predict_images([image], out, options=csv)
  assert set(names(out)) == {"summary.csv", "big.csv", "big.json"}


@pytest.mark.parametrize("when", ["search", "remove_record", "write_csv"])
def test_a_stop_leaves_no_two_results_with_a_record(image, tmp_path, monkeypatch, when):
  """While it searches, between the removals, and while it writes."""
  out = tmp_path / "out"
  predict_images([image], out, options=options(formats=("csv", "html")))
  old = {name: (out / name).read_bytes() for name in ("big.csv", "big.html")}

  def stop(*_, **__):
    raise KeyboardInterrupt

  places = {"search": image_job, "remove_record": outputs, "write_csv": tables}
  new = options(formats=("csv",), threshold=0.5)
  with monkeypatch.context() as patch:
    patch.setattr(places[when], "_search" if when == "search" else when, stop)
    with pytest.raises(KeyboardInterrupt):
      predict_images([image], out, options=new)
  if (out / "big.json").exists():
    left = old.keys() & set(names(out))
    assert left
    assert all((out / name).read_bytes() == old[name] for name in left)
  else:
    assert not (out / "big.html").exists()
  (result,) = predict_images([image], out, options=new)
  assert result["settings"]["threshold"] == 0.5
  assert set(names(out)) == {"summary.csv", "big.csv", "big.json"}


def test_a_file_that_cannot_be_removed_is_named(image, tmp_path):
  out = tmp_path / "out"
  predict_images([image], out, options=options(formats=("csv", "html")))
  record = (out / "big.json").read_text()
  (out / "big.html").unlink()
  (out / "big.html").mkdir()  # which `unlink` refuses
  new = options(formats=("csv",), threshold=0.5)
  (result,) = predict_images([image], out, options=new)
  assert f"{out / 'big.html'} is of an earlier result and cannot" in result["error"]
  assert (out / "big.json").read_text() == record


def test_what_versions_before_left_is_removed(image, tmp_path, caplog):
  """Their records say that they wrote it, but not that it is of this result."""
  out = tmp_path / "out"
  predict_images([image], out, options=options(formats=("csv",)))
  (out / "big.html").write_text("of other settings")
  record = json.loads((out / "big.json").read_text())
  record["written"] = ["big.csv", "big.html"]
  (out / "big.json").write_text(json.dumps(record))
  (result,) = predict_images([image], out, options=options(formats=("csv",)))
  assert result["repeated"]
  assert set(names(out)) == {"summary.csv", "big.csv", "big.json"}
  assert "1 file(s) of an earlier result" in caplog.text
