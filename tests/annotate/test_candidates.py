"""What was found: in bounded memory, and read from disk only when it changed."""

import numpy as np
import pytest
from serving import save_image

from micronet_jax.annotate import candidates
from micronet_jax.annotate.candidates import Candidates, Shelf
from micronet_jax.annotate.folder import Folder


@pytest.fixture
def opened(tmp_path):
  for number in range(6):
    save_image(tmp_path / f"{number}.png", np.zeros((40, 40, 3), np.uint8))
  folder = Folder(tmp_path)
  return folder, folder.refresh()


def found_in(number, count=100):
  rows = np.random.default_rng(number).random((count, 3)).astype(np.float32)
  tiles = np.array([[0, 0, 20, 40], [20, 0, 40, 40]], np.float64)
  return Candidates("w", [rows[:30], rows[30:]], {0}, tiles, number / 10, 7, number > 2)


def held(shelf):
  return sum(each.all_rows().nbytes for each in shelf._held.values())


def test_what_is_read_is_what_was_written(opened):
  folder, pictures = opened
  shelf = Shelf(folder)
  assert shelf.get(pictures[0]) is shelf.glance(pictures[0]) is None
  found = found_in(3)
  shelf.write(pictures[0], found)
  again = Shelf(folder)
  assert again.glance(pictures[0]) == found.glance == ("w", 1, 2, 0.3, 7)
  assert not again._held  # a glance reads no detections
  read = again.get(pictures[0])
  np.testing.assert_array_equal(read.all_rows(), found.all_rows())
  assert read.glance == found.glance
  assert read.follows is found.follows is True
  path = next(folder.root.rglob("*.npz"))
  path.write_bytes(path.read_bytes()[:-50])
  assert Shelf(folder).get(pictures[0]) is None


def test_memory_is_bounded_and_the_image_under_way_stays(opened, monkeypatch):
  folder, pictures = opened
  size = found_in(0).all_rows().nbytes + found_in(0).tiles.nbytes
  monkeypatch.setattr(candidates, "HELD_BYTES", int(2.5 * size))
  shelf = Shelf(folder)
  for number, picture in enumerate(pictures):
    shelf.write(picture, found_in(number))
  growing = found_in(0)
  shelf.put(pictures[0], growing)
  for number, picture in enumerate(pictures[1:], 1):
    np.testing.assert_array_equal(
      shelf.get(picture).all_rows(), found_in(number).all_rows()
    )
    growing.rows.append(np.zeros((100, 3), np.float32))
    growing.done.add(1)
    shelf.put(pictures[0], growing)
    assert shelf.get(pictures[0]) is growing
    assert len(shelf._held) <= 3
  assert pictures[5].key in shelf._held
  assert pictures[1].key not in shelf._held
  # When another is put, the first can go as any other, large as it is.
  shelf.put(pictures[1], found_in(1))
  assert pictures[0].key not in shelf._held
  assert held(shelf) <= candidates.HELD_BYTES + size


def test_a_file_that_did_not_change_is_looked_at_once(opened, monkeypatch):
  folder, pictures = opened
  Shelf(folder).write(pictures[0], found_in(1))
  shelf = Shelf(folder)
  reads = []
  read = Shelf._read
  monkeypatch.setattr(
    Shelf, "_read", lambda *args, **options: reads.append(1) or read(*args, **options)
  )
  for _ in range(3):
    assert shelf.glance(pictures[0]).threshold == pytest.approx(0.1)
  assert len(reads) == 1
  Shelf(folder).write(pictures[0], found_in(2))
  assert shelf.glance(pictures[0]).threshold == pytest.approx(0.2)
  assert len(reads) == 2


def test_a_part_is_covered_by_the_tiles_that_meet_it():
  found = found_in(0)  # the left half is searched
  assert found.covers((0, 0, 19, 40))
  assert not found.covers((0, 0, 19.5, 40))  # within a pixel of the other
  assert not found.covers((25, 0, 5, 5))
  found.done.add(1)
  assert found.covers((0, 0, 40, 40))
