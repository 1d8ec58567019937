"""Organs of data sets: known by their contents, cut and chosen alike everywhere."""

import dataclasses

import numpy as np
import pytest
import tissue

from micronet_jax.datasets.organs import find_organs, load_data_set, load_organ
from micronet_jax.datasets.sample import cut_middle
from micronet_jax.datasets.splits import split_by_patient, take_turns
from micronet_jax.errors import InputError


def write(root, patients):
  """Images of organs, each of so many patients."""
  samples = [
    dataclasses.replace(tissue.dots(f"{name}{i}"), organ=name)
    for name, count in patients.items()
    for i in range(count)
  ]
  tissue.write_folder(root, samples)


def test_an_organ_is_known_by_its_contents_alone(tmp_path):
  for place in ("one", "two"):
    write(tmp_path / place, {"a": 3, "b": 3})
  one, two = (
    find_organs(str(tmp_path / place), data_dir=str(tmp_path / f"tfds-{place}"))
    for place in ("one", "two")
  )
  assert [organ.name for organ in one] == ["a", "b"]
  assert [organ.identity() for organ in one] == [organ.identity() for organ in two]
  points = tmp_path / "two/points/b1.csv"
  points.write_text(points.read_text() + "20,20\n")
  (tmp_path / "two").rename(tmp_path / "three")  # as if in another process
  changed = find_organs(str(tmp_path / "three"), data_dir=str(tmp_path / "tfds"))
  assert changed[0].digest == one[0].digest
  assert changed[1].digest != one[1].digest
  loaded = load_organ(one[0]._replace(side=32))
  assert {sample.image.shape for sample in loaded} == {(32, 32, 3)}
  assert {s.organ for s in load_data_set(one[0])} == {"a", "b"}


def test_organs_that_there_are_not(tmp_path):
  write(tmp_path / "mine", {"a": 3, "b": 2, "c": 4})
  place, kept = str(tmp_path / "mine"), {"data_dir": str(tmp_path / "tfds")}
  few = "b: an organ needs images of at least 3 patients.*--config.organs=a,c"
  with pytest.raises(InputError, match=few):
    find_organs(place, **kept)
  found = find_organs(place, only=["a", "c"], **kept)
  assert [organ.name for organ in found] == ["a", "c"]
  assert [o.name for o in find_organs(place, only=["a", "c"], count=1, **kept)] == ["a"]
  with pytest.raises(InputError, match="'d'; the data has a, b, c"):
    find_organs(place, only=["a", "d"], **kept)
  with pytest.raises(InputError, match="no folder"):
    find_organs(str(tmp_path / "other"))


def test_synthetic_organs_are_known_by_their_generator():
  found = find_organs("synthetic", images=4, side=64)
  assert len(found) == 23
  assert {(o.kind, o.images, o.side, o.root) for o in found} == {
    ("synthetic_he", 4, 64, "")
  }
  assert [o.label for o in found][:2] == ["adrenal gland", "bile duct"]


def test_the_real_stand_in(real_data, monkeypatch, tmp_path):
  monkeypatch.delenv("MICRONET_DATA", raising=False)
  with pytest.raises(InputError, match="MICRONET_DATA"):
    find_organs("real")
  wanted = {"images": 24, "side": 500, "data_dir": str(tmp_path)}
  found = find_organs(
    "real", root=str(real_data), only=["colon", "bonemarrow"], **wanted
  )
  assert [organ.label for organ in found] == ["bone marrow", "colon"]
  assert found[1].root.endswith("crchisto")
  images = load_organ(found[1])
  assert len(images) == 24
  assert max(max(sample.image.shape) for sample in images) <= 500


def test_organs_of_one_slide_are_split_by_image(tmp_path, monkeypatch):
  """Mice only where they are named; a folder with an index stands for the download."""
  samples = [
    dataclasses.replace(tissue.dots(f"{name}_{i}"), organ=name, patient=name)
    for name in ("human_tonsil", "human_liver", "mouse_liver")
    for i in range(4)
  ]
  tissue.write_folder(tmp_path / "nuinsseg", samples)
  kept = {"root": str(tmp_path), "data_dir": str(tmp_path / "tfds")}
  found = find_organs("nuinsseg", **kept)
  assert [organ.label for organ in found] == ["liver", "tonsil"]
  assert {organ.kind for organ in found} == {"nuinsseg"}
  assert [sample.patient for sample in load_organ(found[1])] == [
    f"human_tonsil_{i}" for i in range(4)
  ]
  split = split_by_patient(load_organ(found[1]))
  assert [len(part) for part in (split.train, split.validation, split.test)] == [
    1,
    1,
    2,
  ]
  mice = find_organs("nuinsseg", only=["mouse_liver", "human_liver"], **kept)
  assert [organ.label for organ in mice] == ["liver", "mouse liver"]
  monkeypatch.delenv("MICRONET_DATA", raising=False)
  with pytest.raises(
    InputError, match="MICRONET_DATA to the folder that nuinsseg lies"
  ):
    find_organs("nuinsseg")


def test_patients_take_turns():
  names = ["p1_a", "p1_b", "p1_c", "p2_a", "p3_a", "p3_b"]
  samples = [tissue.dots(name, nuclei=0, size=8) for name in names]
  chosen = [sample.name for sample in take_turns(samples, 4)]
  assert chosen == ["p1_a", "p1_b", "p2_a", "p3_a"]
  assert len(take_turns(samples, 99)) == 6


def test_large_images_are_cut_around_their_middle():
  sample = tissue.dots("p1", size=65, nuclei=8)
  cut = cut_middle(sample, 33)
  assert cut.image.shape == (33, 33, 3)
  np.testing.assert_array_equal(cut.image, sample.image[16:49, 16:49])
  inside = [c for c in sample.centers if all(15.5 <= v < 48.5 for v in c)]
  np.testing.assert_allclose(cut.centers, np.array(inside).reshape(-1, 2) - 16)
  assert cut_middle(sample, 65) is sample
  assert cut_middle(sample, 0) is sample
  assert cut.pixels_digest == sample.pixels_digest  # still the same image
