"""A journal holds the finished tiles exactly, wherever its writing was cut off."""

import json
import multiprocessing
import pathlib
import tempfile

import numpy as np
import pytest
from folders import full_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from micronet_jax.errors import InputError
from micronet_jax.predict import journal as journals
from micronet_jax.predict.journal import (
  POINT,
  CannotWrite,
  Journal,
  finished_tiles,
)

ONE = np.ones(1, np.float32)
SETTINGS = {"file": "a.svs", "threshold": 0.4, "sides": (272, 272)}


@st.composite
def searches(draw):
  """Tiles in any order, each with its points and the scores that decide."""
  numbers = draw(st.lists(st.integers(0, 10**6), unique=True, max_size=6))
  generator = np.random.default_rng(draw(st.integers(0, 999)))
  tiles = []
  for number in numbers:
    n = draw(st.integers(0, 5))
    centers, scores = generator.uniform(0, 1e5, (n, 2)), generator.random(n, np.float32)
    tiles.append(
      (number, centers, scores, generator.random(draw(st.integers(0, 3)), np.float32))
    )
  return tiles


def write(journal, tiles):
  for each in tiles:
    journal.add(*each)


def assert_holds(journal, tiles, *, lowest=0.0):
  assert journal.done == {number for number, *_ in tiles}
  assert journal.count == sum(len(scores) for _, _, scores, _ in tiles)
  decisive = [score for *_, scores in tiles for score in scores]
  assert journal.decisive.dtype == np.float32
  assert journal.decisive.tolist() == decisive
  chunks = list(journal.chunks(lowest=lowest))
  centers = np.concatenate([np.zeros((0, 2)), *(each[0] for each in chunks)])
  scores = np.concatenate([np.zeros(0, np.float32), *(each[1] for each in chunks)])
  assert centers.dtype == np.float64
  assert scores.dtype == np.float32
  expected = [
    (y, x, s) for _, c, ss, _ in tiles for (y, x), s in zip(c, ss, strict=True)
  ]
  expected = [point for point in expected if point[2] >= np.float32(lowest)]
  expected.sort(key=lambda point: tuple(np.round(point[:2], 2)))
  assert list(zip(*centers.T, scores, strict=True)) == expected


@settings(max_examples=60, deadline=None)
@given(tiles=searches(), data=st.data())
def test_what_is_cut_off_anywhere_goes_on_with_the_finished_tiles(tiles, data):
  with tempfile.TemporaryDirectory() as root:
    folder = pathlib.Path(root) / ".a.partial"
    with Journal(folder, SETTINGS) as journal:
      write(journal, tiles)
      assert_holds(journal, tiles)
    points, lines = folder / "points.bin", folder / "tiles.jsonl"
    left = []
    for file in (points, lines):
      whole = file.read_bytes()
      left.append(whole[: data.draw(st.integers(0, len(whole)), label=file.name)])
      file.write_bytes(left[-1])
    if data.draw(
      st.booleans(), label="power cut"
    ):  # lengths came to the disk, no points
      kept = len(left[0]) // POINT.itemsize * POINT.itemsize
      kept = data.draw(st.integers(0, kept // POINT.itemsize), label="kept")
      lost = len(left[0]) - kept * POINT.itemsize
      points.write_bytes(left[0][: kept * POINT.itemsize] + bytes(lost))
      left[0] = left[0][: kept * POINT.itemsize]
    # A tile is finished if its line is whole and so are all points up to its own.
    ends = np.cumsum([0, *(len(scores) for _, _, scores, _ in tiles)])[1:]
    there = (len(left[0]) // POINT.itemsize >= ends).sum() if len(ends) else 0
    finished = tiles[: min(left[1].count(b"\n"), there)]
    with Journal(folder, SETTINGS) as journal:
      assert_holds(journal, finished)
      write(journal, tiles[len(finished) :])
      assert_holds(journal, tiles)
    with Journal(folder, SETTINGS) as journal:
      assert_holds(journal, tiles, lowest=0.5)


@pytest.mark.parametrize("cut", [False, True])
def test_other_settings_begin_anew(tmp_path, cut):
  tile = (3, np.ones((2, 2)), np.ones(2, np.float32), ONE)
  with Journal(tmp_path / "j", SETTINGS) as journal:
    write(journal, [tile])
  if cut:
    path = tmp_path / "j" / "settings.json"
    path.write_bytes(path.read_bytes()[:-3])
  changed = SETTINGS if cut else {**SETTINGS, "threshold": 0.5}
  with Journal(tmp_path / "j", changed) as journal:
    assert_holds(journal, [])
  with Journal(tmp_path / "j", changed) as journal:
    assert_holds(journal, [])
    write(journal, [tile])
  with Journal(tmp_path / "j", changed) as journal:
    assert_holds(journal, [tile])
    journal.remove()
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  "line",
  ["[1, 2]", "7", '{"tile": 1}', '{"tile": 1, "count": "9", "decisive": []}', "\0\0"],
)
def test_a_line_that_is_none_of_ours_ends_what_is_finished(tmp_path, line):
  tile = (3, np.ones((2, 2)), np.ones(2, np.float32), ONE)
  with Journal(tmp_path / "j", SETTINGS) as journal:
    write(journal, [tile])
  with (tmp_path / "j" / "tiles.jsonl").open("a") as file:
    file.write(line + "\n")
  for _ in range(2):
    with Journal(tmp_path / "j", SETTINGS) as journal:
      assert_holds(journal, [tile])


def test_points_are_read_in_chunks(tmp_path, monkeypatch):
  monkeypatch.setattr(journals, "CHUNK", 3)
  scores = np.linspace(0, 1, 10, dtype=np.float32)
  with Journal(tmp_path / "j", SETTINGS) as journal:
    write(journal, [(0, np.ones((10, 2)), scores, ONE)])
    assert [len(each) for _, each in journal.chunks()] == [3, 3, 3, 1]
    assert [len(each) for _, each in journal.chunks(lowest=0.5)] == [3, 2]


@pytest.mark.parametrize("most", [1, 7, 50, 1000])
def test_the_order_is_that_of_the_image_not_of_the_tiles(tmp_path, monkeypatch, most):
  monkeypatch.setattr(journals, "SORTED", most)
  monkeypatch.setattr(journals, "CHUNK", 16)
  generator = np.random.default_rng(0)
  centers = generator.integers(-1, 40, (200, 2)) / 2  # half a pixel beyond, and ties
  scores = generator.random(200, np.float32)
  orders = np.arange(200), generator.permutation(200)
  found = []
  for i, order in enumerate(orders):
    with Journal(tmp_path / f"{i}", SETTINGS) as journal:
      for tile, part in enumerate(np.array_split(order, 5)):
        noise = generator.uniform(-1e-5, 1e-5, (len(part), 2))
        journal.add(tile, centers[part] + noise, scores[part], scores[:0])
      found.append(
        [np.concatenate(each) for each in zip(*journal.chunks(), strict=True)]
      )
  rows = [np.round(each[0], 2) for each in found]
  np.testing.assert_array_equal(rows[0], rows[1])
  assert sorted(map(tuple, rows[0].tolist())) == list(map(tuple, rows[0].tolist()))
  assert sorted(found[1][1].tolist()) == sorted(scores.tolist())


@pytest.mark.parametrize("tiles", [10, 40])
def test_reading_grows_with_the_points_not_with_their_square(
  tmp_path, monkeypatch, tiles
):
  """A slide twice as high is read twice as long: from few stretches for each band."""
  monkeypatch.setattr(journals, "SORTED", 100)
  monkeypatch.setattr(journals, "CHUNK", 50)
  read, plain = [], np.fromfile

  def count(file, kind, number):
    read.append(number)
    return plain(file, kind, number)

  monkeypatch.setattr(np, "fromfile", count)
  generator = np.random.default_rng(0)
  with Journal(tmp_path / "j", SETTINGS) as journal:
    for tile in range(tiles):
      centers = generator.uniform(0, 100, (50, 2)) + np.array([100 * tile, 0])
      journal.add(tile, centers, np.ones(50, np.float32), np.zeros(0))
    found = np.concatenate([centers for centers, _ in journal.chunks()])
  assert len(found) == 50 * tiles
  assert (np.diff(np.round(found[:, 0], 2)) >= 0).all()
  assert sum(read) <= 4 * 50 * tiles


def test_points_that_another_program_took_are_missed(tmp_path):
  with Journal(tmp_path / "j", SETTINGS) as journal:
    write(journal, [(0, np.ones((10, 2)), np.ones(10, np.float32), ONE)])
    with (tmp_path / "j" / "points.bin").open("ab") as file:
      file.truncate(4 * POINT.itemsize)
    with pytest.raises(InputError, match="has lost 6 of 10 points"):
      list(journal.chunks())


@pytest.mark.parametrize("limit", [5 * POINT.itemsize, 5 * POINT.itemsize + 7, 130])
def test_a_full_disk_keeps_the_finished_tiles(tmp_path, limit):
  """Points or lines, whichever reaches the limit: 4 points or some 40 bytes a tile."""
  tiles = [(i, np.full((4, 2), i), np.ones(4, np.float32), ONE) for i in range(5)]
  with (
    Journal(tmp_path / "j", SETTINGS) as journal,
    full_disk(limit),
    pytest.raises(CannotWrite) as caught,
  ):
    write(journal, tiles)
  finished = tiles[: len(journal.done)]
  assert 1 <= len(finished) < 5
  assert f"the {len(finished)} tiles done so far are kept" in str(caught.value)
  # As long as the disk is full, and whoever looks in vain, nothing is lost.
  with full_disk(0), Journal(tmp_path / "j", SETTINGS) as journal:
    assert_holds(journal, finished)
  with Journal(tmp_path / "j", SETTINGS) as journal:
    assert_holds(journal, finished)
    write(journal, tiles[len(finished) :])
    assert_holds(journal, tiles)


def test_a_journal_that_cannot_be_begun_leaves_nothing(tmp_path):
  with full_disk(5), pytest.raises(CannotWrite, match="file too large"):
    Journal(tmp_path / "j", SETTINGS)
  assert list(tmp_path.iterdir()) == []
  (tmp_path / "file").write_text("mine")
  for folder in (tmp_path / "file", tmp_path / "file" / "j"):
    with pytest.raises(CannotWrite) as caught:
      Journal(folder, SETTINGS)
    assert "tiles done so far" not in str(caught.value)
  assert (tmp_path / "file").read_text() == "mine"


def _other_process(folder, answers):
  try:
    with Journal(folder, {}):
      answers.put("opened")
  except InputError as error:
    answers.put(str(error))


def test_two_processes_do_not_write_one_journal(tmp_path):
  spawned = multiprocessing.get_context("spawn")
  answers = spawned.Queue()
  arguments = (tmp_path / "j", answers)
  tile = (3, np.ones((2, 2)), np.ones(2, np.float32), ONE)
  with Journal(tmp_path / "j", SETTINGS) as journal:
    write(journal, [tile])
    process = spawned.Process(target=_other_process, args=arguments)
    process.start()
    assert "another process works in" in answers.get(timeout=300)
    process.join()
    assert_holds(journal, [tile])
  with Journal(tmp_path / "j", SETTINGS) as journal:  # and all is still there
    assert_holds(journal, [tile])
  assert json.loads((tmp_path / "j" / "settings.json").read_text())["file"] == "a.svs"


@pytest.mark.parametrize(
  "line",
  [
    '{"tile": 1e999, "count": 3, "decisive": [], "crc": 0}',
    '{"tile": 3, "count": -5, "decisive": [], "crc": 0}',
    '{"tile": 3, "count": 1, "decisive": [], "crc": 0}',
    '{"tile": 3, "count": 3, "decisive": {}, "crc": 0}',
    '{"tile": 3, "count": 1000000000000000, "decisive": [], "crc": 0}',
    "[" * 100_000,
  ],
)
def test_a_crafted_line_counts_for_nothing(tmp_path, line):
  folder = tmp_path / ".a.partial"
  tiles = [(1, np.ones((3, 2)), np.full(3, 0.5, np.float32), np.zeros(0, np.float32))]
  with Journal(folder, SETTINGS) as journal:
    write(journal, tiles)
  with (folder / "tiles.jsonl").open("a") as file:
    file.write(line + "\n")
  with Journal(folder, SETTINGS) as journal:
    assert_holds(journal, tiles)


@settings(max_examples=40, deadline=None)
@given(tiles=searches(), data=st.data())
def test_journals_of_parts_become_one_each_tile_once(tiles, data):
  """Tiles may be in several, one journal is cut off, and one is of other settings."""
  with tempfile.TemporaryDirectory() as root:
    folders = [pathlib.Path(root) / name for name in ("one", "two", "other")]
    held = []
    for folder in folders:
      mine = [tile for tile in tiles if data.draw(st.booleans(), label=folder.name)]
      other = {"threshold": 0.5} if folder.name == "other" else {}
      with Journal(folder, SETTINGS | other) as journal:
        write(journal, mine)
      held.append(mine)
    lines = folders[1] / "tiles.jsonl"
    whole = lines.read_bytes()
    lines.write_bytes(whole[: data.draw(st.integers(0, len(whole)), label="cut")])
    held[1] = held[1][: lines.read_bytes().count(b"\n")]
    expected = {tile[0]: tile for tile in held[0] + held[1]}
    assert finished_tiles([*folders, pathlib.Path("none")], SETTINGS) == {*expected}
    with Journal(pathlib.Path(root) / "all", SETTINGS) as journal:
      write(journal, held[0][:1])
      journal.take_over([*folders, pathlib.Path("none")])
      assert_holds(journal, [*expected.values()])
    with Journal(pathlib.Path(root) / "all", SETTINGS) as journal:
      assert_holds(journal, [*expected.values()])
