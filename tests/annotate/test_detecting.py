"""Detection in the background: from the view outwards, kept, resumed, replaced."""

import sys
import time

import numpy as np
import pytest
from networks import META, random_weights
from serving import save_image

from micronet_jax import checkpoints
from micronet_jax.annotate import detecting
from micronet_jax.annotate.candidates import Shelf
from micronet_jax.annotate.detecting import Searches
from micronet_jax.annotate.folder import Folder
from micronet_jax.annotate.tiles import Pictures
from micronet_jax.detection import detector
from micronet_jax.errors import InputError

SIZE = 1400  # several tiles of 512


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "tiny"
  checkpoints.export_weights(path, random_weights(), META, dtype="float32")
  return path


@pytest.fixture
def opened(tmp_path, monkeypatch):
  monkeypatch.setitem(detector.LARGEST_TILE, "cpu", 512)
  monkeypatch.setattr(detecting, "AT_ONCE", 1)
  pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
  save_image(tmp_path / "mine/a.png", pixels)
  folder = Folder(tmp_path / "mine")
  return folder, folder.refresh()[0]


def searching(folder, weights):
  return Searches(folder, Pictures(folder), str(weights))


def until(condition):
  end = time.monotonic() + 300
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.02)


def test_the_view_comes_first_and_what_was_found_is_gone_on_with(opened, weights):
  folder, picture = opened
  searches = searching(folder, weights)
  searches.want(picture, (SIZE - 10, SIZE - 10))
  until(lambda: (f := searches.found(picture)) and len(f.done) >= 2)
  searches.stop()
  searches.end()
  assert searches.error == ""
  begun = searches.found(picture)
  assert 2 <= len(begun.done) < len(begun.tiles)
  assert begun.rows[0][:, :2].mean(0).min() > SIZE / 2  # the corner that was in view

  # A part of the image is known when its tiles are, nothing else.
  corner = (SIZE - 100, SIZE - 100, 100, 100)
  known = {"threshold": 0.4}
  assert searches.searched(picture, corner, **known) == (True, begun.weights)
  assert not searches.searched(picture, (0, 0, SIZE, SIZE), **known)[0]
  assert not searches.searched(picture, (0, 0, 50, 50), **known)[0]
  # This network's own threshold is a share of the highest score of all of it.
  assert not searches.searched(picture, corner)[0]
  parts = np.minimum(begun.tiles, SIZE)  # the last reach beyond
  areas = (parts[:, 2:] - parts[:, :2]).prod(1)
  assert areas.sum() == pytest.approx(SIZE**2)

  again = searching(folder, weights)
  again.want_all([picture])
  until(lambda: (f := again.found(picture)) and f.complete)
  again.end()
  rows = again.found(picture).all_rows()
  assert again.searched(picture, (0, 0, SIZE, SIZE))[0]
  np.testing.assert_array_equal(rows[: len(begun.all_rows())], begun.all_rows())

  # All of it is what the detector finds in one go.
  whole = detector.load(weights).detect(
    folder.root / "a.png", threshold=detecting.LEAST
  )
  order = np.lexsort(rows.T[:2])
  want = np.column_stack([whole.centers[:, ::-1], whole.scores])
  want = want[np.lexsort(np.round(want, 2).T[:2])]
  np.testing.assert_allclose(rows[order], want, atol=0.011)


def test_what_cannot_be_searched_is_said_and_does_not_stop_others(opened, weights):
  folder, picture = opened
  (folder.root / "bad.png").write_bytes(b"no image")
  bad = next(each for each in folder.refresh() if each.name == "bad")
  searches = searching(folder, weights)
  searches.want_all([bad, picture])
  until(lambda: (f := searches.found(picture)) and f.complete)
  assert "bad.png" in searches.error
  searches.use(str(folder.root / "nowhere"))
  searches.want(picture, (0, 0))
  until(lambda: "nowhere" in searches.error)
  searches.end()


def test_one_may_look_while_images_leave_the_queue(opened, monkeypatch):
  folder, picture = opened
  monkeypatch.setattr(Searches, "_is_done", lambda *_: True)
  searches = searching(folder, "base")
  interval = sys.getswitchinterval()
  sys.setswitchinterval(1e-6)
  try:
    searches.want_all([picture] * 3000)
    until(lambda: not searches.status()["waiting"])
  finally:
    sys.setswitchinterval(interval)
    searches.end()


def test_an_image_that_is_deleted_meanwhile_ends_nothing(opened, weights):
  folder, picture = opened
  searches = searching(folder, weights)
  searches.want(picture, None)
  until(lambda: (found := searches.found(picture)) and found.done)
  searches.stop()
  picture.path.unlink()
  searches.end()
  assert searches.found(picture) is None


@pytest.mark.parametrize("changed", ["image", "resolution"])
def test_what_was_found_in_another_image_or_scale_counts_no_more(
  opened, weights, changed
):
  folder, picture = opened
  save_image(picture.path, np.full((64, 64, 3), 200, np.uint8))
  searches = searching(folder, weights)
  searches.want_all([picture])
  until(lambda: (found := searches.found(picture)) and found.complete)
  if changed == "image":
    save_image(picture.path, np.full((32, 32, 3), 200, np.uint8))
  else:
    (folder.root / "index.csv").write_text("name,mpp\na,0.5\n")
  assert searches.found(picture) is None
  searches.want_all([picture])
  until(lambda: (found := searches.found(picture)) and found.complete)
  searches.end()


def test_a_full_disk_when_the_server_ends_is_said(opened, weights, monkeypatch, caplog):
  def full(*_):
    raise InputError("no space left")

  folder, picture = opened
  monkeypatch.setattr(Shelf, "write", full)
  monkeypatch.setattr(detecting, "SAVED_EVERY", 1000)  # so that only the end writes
  searches = searching(folder, weights)
  searches.want(picture, None)
  until(lambda: (found := searches.found(picture)) and found.done)
  searches.end()
  assert "what was found in a is not kept: no space left" in caplog.text


def test_another_devices_tiles_are_searched_anew(opened, weights, monkeypatch):
  folder, picture = opened
  searches = searching(folder, weights)
  searches.want(picture, None)
  until(lambda: (found := searches.found(picture)) and found.done)
  searches.end()
  monkeypatch.setitem(detector.LARGEST_TILE, "cpu", 768)
  again = searching(folder, weights)
  again.want_all([picture])
  until(lambda: (found := again.found(picture)) and found.complete)
  again.end()
  whole = detector.load(weights).detect(picture.path, threshold=detecting.LEAST)
  assert len(again.found(picture).all_rows()) == len(whole.centers)
