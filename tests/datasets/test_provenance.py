"""What a network has seen: by content, of ancestors and auxiliary data too."""

import dataclasses
import json

import numpy as np
import pytest
from cohorts import sample

from micronet_jax.datasets.provenance import (
  PARTS,
  ImageRecord,
  Provenance,
  check_same_data,
  check_unseen,
  provenance_of,
  records_of,
)
from micronet_jax.datasets.sample import to_resolution
from micronet_jax.errors import InputError


def image(name, seed, **options):
  """An image of its own, with one nucleus."""
  pixels = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8)
  return sample(name, image=pixels, centers=[[seed, 2]], **options)


A, B, C, D, E, F = (image(name, seed) for seed, name in enumerate("abcdef"))


def run_on(*, inherited=(), **parts):
  """Provenance of a run with these samples in its parts."""
  own = [record for part in parts for record in records_of(parts[part], part)]
  return Provenance(tuple(own), tuple(inherited))


FIRST = run_on(train=[A, B], validation=[C], test=[D], auxiliary=[E])


def test_digests_are_of_pixels_and_points_whatever_the_name_or_resampling():
  (record,) = records_of([image("other", 0, mpp=0.5)], "train")
  working = to_resolution(image("a", 0, mpp=0.5), 0.25)
  assert working.image.shape == (16, 18, 3)
  same = dataclasses.replace(record, name="a", patient="a")
  assert records_of([working], "train") == [same]
  moved = dataclasses.replace(A, centers=A.centers + 1)
  assert moved.pixels_digest == A.pixels_digest
  assert moved.points_digest != A.points_digest
  # The same bytes as an image of another shape are another image.
  turned = dataclasses.replace(A, image=A.image.reshape(9, 8, 3))
  assert len({A.pixels_digest, turned.pixels_digest, B.pixels_digest}) == 3


def test_all_but_the_test_part_is_seen_and_goes_on_to_what_is_started_from_it():
  assert [record.name for record in FIRST.seen] == ["a", "b", "c", "e"]
  child = run_on(train=[F], test=[A], inherited=FIRST.seen)
  assert [record.name for record in child.seen] == ["f", "a", "b", "c", "e"]
  grandchild = Provenance((), child.seen)
  for each in (A, B, C, E, F):
    assert grandchild.has_seen(each)
  assert not grandchild.has_seen(D)
  assert PARTS == ("train", "validation", "test", "auxiliary")


def test_images_are_known_by_their_pixels_not_by_their_names():
  renamed = dataclasses.replace(A, name="z", patient="z")
  with pytest.raises(InputError, match=r"trained on 1 of the 2 images .* 'z'"):
    check_unseen([D, renamed], [D, renamed], FIRST)
  namesake = dataclasses.replace(D, name="a")
  check_unseen([namesake], [namesake], FIRST)


@pytest.mark.parametrize("which", [B, C, E], ids=["train", "validation", "auxiliary"])
def test_every_part_that_was_learned_from_is_refused(which):
  with pytest.raises(InputError, match=f"first '{which.name}'"):
    check_unseen([which], [which], FIRST)


def test_another_image_of_a_patient_that_was_seen_is_refused():
  other = image("a_other", 7, patient="a")
  everything = [A, other, D]
  with pytest.raises(InputError, match=r"patient 'a' \(image 'a'\), of whom 'a_other'"):
    check_unseen([other], everything, FIRST)
  check_unseen([D], everything, FIRST)


def test_what_a_checkpoint_says_comes_back_from_json():
  meta = {"provenance": json.loads(json.dumps(FIRST.to_json()))}
  assert provenance_of(meta) == FIRST
  child = Provenance(FIRST.own[:1], FIRST.seen)
  assert provenance_of({"provenance": child.to_json()}) == child


def test_checkpoints_of_version_0_1_know_names_only():
  old = provenance_of({"split": {"train": ["a"], "validation": ["c"], "test": ["d"]}})
  assert [(r.name, r.part) for r in old.own] == [
    ("a", "train"), ("c", "validation"), ("d", "test"),
  ]  # fmt: skip
  assert old.has_seen(dataclasses.replace(F, name="a"))
  assert not old.has_seen(D)
  assert old.part([F, D], "test") == [D]
  # They go on with the same images; auxiliary ones were not noted.
  check_same_data(old, run_on(train=[A], validation=[C], test=[D], auxiliary=[E]))
  with pytest.raises(InputError, match=r"1 image\(s\) new, first 'b'"):
    check_same_data(old, run_on(train=[A, B], validation=[C], test=[D]))


def test_the_samples_of_a_part_are_found_by_content():
  renamed = dataclasses.replace(D, name="renamed")
  assert FIRST.part([A, renamed, B], "test") == [renamed]
  with pytest.raises(InputError, match=r"train part has 1 images .* lacks, first 'b'"):
    FIRST.part([A, D], "train")


CHANGES = {
  "nothing": (FIRST, None),
  "order": (Provenance(FIRST.own[::-1]), None),
  "new": (run_on(train=[A, B, F], validation=[C], test=[D], auxiliary=[E]),
          r"1 image\(s\) new, first 'f'"),
  "gone": (run_on(train=[A], validation=[C], test=[D]),
           r"2 image\(s\) gone, first 'b'"),
  "pixels": (run_on(train=[A, image("b", 8)], validation=[C], test=[D], auxiliary=[E]),
             r"1 image\(s\) with other pixels, first 'b'"),
  "points": (run_on(train=[A, dataclasses.replace(B, centers=B.centers[:0])],
                    validation=[C], test=[D], auxiliary=[E]),
             r"1 image\(s\) with other points or resolution, first 'b'"),
  "part": (run_on(train=[A, B], validation=[D], test=[C], auxiliary=[E]),
           r"2 image\(s\) with another part of the split, first '[cd]'"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_goes_on_with_the_data_that_it_began_with(change):
  now, message = CHANGES[change]
  if message is None:
    check_same_data(FIRST, now)
    return
  with pytest.raises(InputError, match=message) as caught:
    check_same_data(FIRST, now)
  assert str(caught.value).startswith("the data have changed since this run began")


def test_records_hold_what_messages_need():
  assert records_of([A], "train") == [
    ImageRecord("a", "a", "train", A.pixels_digest, A.points_digest)
  ]


def test_target_and_auxiliary_files_of_one_name_are_told_apart():
  """Points of the target's a were corrected; the auxiliary a is as it was."""
  other = image("a", 9)
  before = run_on(train=[A, B], validation=[C], test=[D], auxiliary=[other])
  check_same_data(before, before)
  moved = dataclasses.replace(A, centers=A.centers + 1, origin=None)
  now = run_on(train=[moved, B], validation=[C], test=[D], auxiliary=[other])
  with pytest.raises(InputError, match=r"1 image\(s\) with other points .* first 'a'"):
    check_same_data(before, now)


def test_runs_of_version_0_1_go_on_with_a_share_and_with_auxiliary_data():
  """They stored names alone: the whole training part, and nothing of the auxiliary."""
  old = provenance_of({"split": {"train": "ab", "validation": "c", "test": "d"}})
  now = run_on(train=[A], validation=[C], test=[D], auxiliary=[image("c", 9)])
  check_same_data(old, now)
  with pytest.raises(InputError, match=r"1 image\(s\) new, first 'f'"):
    check_same_data(old, run_on(train=[A, F], validation=[C], test=[D]))
  with pytest.raises(InputError, match=r"1 image\(s\) gone, first 'd'"):
    check_same_data(old, run_on(train=[A], validation=[C]))


def test_of_equal_pictures_each_is_taken_once_and_by_its_name_first():
  twin = image("z", 0)  # the picture of a
  for samples in ([A, twin, B], [twin, A, B]):
    assert run_on(test=[twin]).part(samples, "test") == [twin]
    assert run_on(test=[A, twin]).part(samples, "test") == [A, twin]
  renamed = image("y", 0)
  assert run_on(test=[A]).part([renamed], "test") == [renamed]
