"""Splits by patient, leaks, and shares of the images."""

import collections
import dataclasses
import math

import numpy as np
import pytest
from cohorts import sample
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from micronet_jax.config import SplitConfig
from micronet_jax.datasets.splits import (
  Split,
  check_no_leakage,
  split_by_patient,
  take_fraction,
)
from micronet_jax.errors import InputError

PARTS = ("train", "validation", "test")


def cohort(patients):
  """Samples of patients given as (organ, number of images)."""
  return [
    sample(f"{organ}__p{number}_{image}", organ=organ, patient=f"p{number}")
    for number, (organ, images) in enumerate(patients)
    for image in range(images)
  ]


def parts_of_patients(split, samples):
  """The parts that each patient is in."""
  patient_of = {one.name: one.patient for one in samples}
  found = collections.defaultdict(set)
  for part in PARTS:
    for name in getattr(split, part):
      found[patient_of[name]].add(part)
  return found


# --- Splits --------------------------------------------------------------------------


patients = st.lists(
  st.tuples(st.sampled_from(["breast", "kidney", "liver"]), st.integers(1, 3)),
  min_size=3,
  max_size=30,
)
fractions = st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.5, 0.6, 0.8, 0.95])


@settings(max_examples=150, deadline=None)
@given(
  patients=patients,
  test=st.just(0.0) | fractions,
  validation=fractions,
  seed=st.integers(0, 2**31),
  shuffle=st.randoms(use_true_random=False),
)
@example([("a", 1)] * 3, 0.5, 0.2, 0, None)
@example([("a", 1)] * 3, 0.95, 0.95, 0, None)
@example([("a", 1), ("b", 1), ("c", 1)], 0.8, 0.5, 0, None)
def test_split(patients, test, validation, seed, shuffle):
  samples = cohort(patients)
  options = SplitConfig(test, validation, seed)
  split = split_by_patient(samples, options)

  names = [name for part in PARTS for name in getattr(split, part)]
  assert sorted(names) == sorted(one.name for one in samples)
  for part in PARTS:
    assert list(getattr(split, part)) == sorted(getattr(split, part))
  part_of = parts_of_patients(split, samples)
  assert all(len(parts) == 1 for parts in part_of.values())
  check_no_leakage(split, samples)

  count = collections.Counter(next(iter(parts)) for parts in part_of.values())
  assert count["train"] > 0
  assert count["validation"] > 0
  assert (count["test"] > 0) == (test > 0)
  total = len(patients)
  wanted = min(max(1, math.floor(test * total + 0.5)), total - 2) if test else 0
  assert count["test"] == wanted
  left = total - wanted
  assert count["validation"] == min(
    max(1, math.floor(validation * left + 0.5)), left - 1
  )

  again = list(samples)
  if shuffle:
    shuffle.shuffle(again)
  assert split_by_patient(again, options) == split


def test_patients_that_are_named_validate_instead_of_a_share():
  samples = cohort([("breast", 2), ("liver", 1), ("kidney", 2)])
  named = SplitConfig(test_fraction=0.0, validation_patients=("p1",))
  trains = ("breast__p0_0", "breast__p0_1", "kidney__p2_0", "kidney__p2_1")
  assert split_by_patient(samples, named) == Split(trains, ("liver__p1_0",), ())
  # The test part is a share of all others.
  tested = split_by_patient(samples, dataclasses.replace(named, test_fraction=0.5))
  assert tested.validation == ("liver__p1_0",)
  assert {*tested.train, *tested.test} == {*trains}
  assert len(tested.test) == 2
  for patients, message in (
    (("p1", "p7"), "names 'p7', whom no image is of"),
    (("p0", "p1", "p2"), "names all"),
  ):
    with pytest.raises(InputError, match=message):
      split_by_patient(samples, SplitConfig(validation_patients=patients))


@settings(max_examples=60, deadline=None)
@given(
  sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
  test=st.sampled_from([0.25, 0.5, 0.6]),
  seed=st.integers(0, 1000),
)
def test_fractions_hold_within_each_organ(sizes, test, seed):
  assume(math.floor(test * sum(sizes) + 0.5) in range(1, sum(sizes) - 1))
  organs = [f"organ{i}" for i, size in enumerate(sizes) for _ in range(size)]
  samples = cohort([(organ, 1) for organ in organs])
  split = split_by_patient(samples, SplitConfig(test_fraction=test, seed=seed))
  organ_of = {one.name: one.organ for one in samples}
  tested = collections.Counter(organ_of[name] for name in split.test)
  validated = collections.Counter(organ_of[name] for name in split.validation)
  for i, size in enumerate(sizes):
    assert abs(tested[f"organ{i}"] - test * size) < 1
    left = size - tested[f"organ{i}"]
    # One, even where a fifth of all patients is less than half a one.
    assert validated[f"organ{i}"] == 1 or abs(validated[f"organ{i}"] - 0.2 * left) < 1


def test_the_papers_fractions_by_hand():
  samples = cohort([("breast", 2)] * 20 + [("kidney", 1)] * 10)
  split = split_by_patient(samples)
  # 10 + 5 patients test; of the other 10 + 5, 2 + 1 validate.
  assert [len(getattr(split, part)) for part in PARTS] == [16 + 4, 4 + 1, 20 + 5]


def test_seeds_give_different_splits():
  samples = cohort([("a", 1)] * 20)
  splits = {split_by_patient(samples, SplitConfig(seed=seed)) for seed in range(10)}
  assert len(splits) == 10
  tested = {name for split in splits for name in split.test}
  assert len(tested) == 20


def test_one_organ_is_split_the_same_whatever_stands_beside_it():
  breast = cohort([("breast", 1)] * 20)
  kidney = [sample(f"kidney__q{i}", organ="kidney", patient=f"q{i}") for i in range(10)]
  alone = split_by_patient(breast)
  both = split_by_patient(breast + kidney)
  for part in PARTS:
    assert set(getattr(alone, part)) <= set(getattr(both, part))


def test_a_patient_with_two_organs_stays_in_one_part():
  samples = cohort([("a", 1)] * 6 + [("b", 1)] * 6)
  samples += [sample(f"z{i}", organ="b", patient=f"p{i}") for i in range(6)]
  for seed in range(20):
    split = split_by_patient(samples, SplitConfig(seed=seed))
    assert all(len(parts) == 1 for parts in parts_of_patients(split, samples).values())
    assert split_by_patient(samples[::-1], SplitConfig(seed=seed)) == split


@pytest.mark.parametrize(
  ("count", "test"), [(0, 0.5), (1, 0.5), (2, 0.5), (1, 0), (0, 0)]
)
def test_too_few_patients(count, test):
  samples = cohort([("a", 5)] * count)
  with pytest.raises(InputError, match=f"^{count} patient") as caught:
    split_by_patient(samples, SplitConfig(test_fraction=test))
  assert ("no test part" in str(caught.value)) == (test == 0)
  assert "index.csv" in str(caught.value)


def test_just_enough_patients():
  two = split_by_patient(cohort([("a", 4)] * 2), SplitConfig(test_fraction=0))
  assert [len(getattr(two, part)) for part in PARTS] == [4, 4, 0]
  three = split_by_patient(cohort([("a", 4)] * 3))
  assert [len(getattr(three, part)) for part in PARTS] == [4, 4, 4]


# --- Making do -----------------------------------------------------------------------

MAKE_DO = SplitConfig(make_do=True)


def test_making_do_changes_nothing_where_patients_suffice():
  samples = cohort([("a", 2)] * 3 + [("b", 1)] * 4)
  for test in (0.0, 0.5):
    options = SplitConfig(test_fraction=test)
    made = split_by_patient(samples, dataclasses.replace(options, make_do=True))
    assert made == split_by_patient(samples, options)
    assert made.unit == "patient"


@pytest.mark.parametrize("sizes", [[8], [4, 4], [7, 1]])
def test_images_of_few_patients_are_split(sizes):
  samples = cohort([("a", size) for size in sizes])
  split = split_by_patient(samples, MAKE_DO)
  # Half of 8 test, a fifth of the other 4 validates.
  assert [len(getattr(split, part)) for part in PARTS] == [3, 1, 4]
  assert split.unit == "image"
  assert split_by_patient(samples[::-1], MAKE_DO) == split
  check_no_leakage(split, samples)
  twice = dataclasses.replace(split, test=split.train)
  with pytest.raises(InputError, match="in the train and the test part"):
    check_no_leakage(twice, samples)


@pytest.mark.parametrize(
  ("images", "test", "held_out"),
  [(1, 0.5, 0), (2, 0.5, 0), (3, 0.5, 2), (1, 0.0, 0), (2, 0.0, 1)],
)
def test_of_fewer_images_than_parts_nothing_is_held_out(images, test, held_out):
  samples = cohort([("a", images)])
  split = split_by_patient(samples, SplitConfig(test_fraction=test, make_do=True))
  assert len(split.train) == images - held_out
  assert len(split.validation) + len(split.test) == held_out
  assert bool(split.validation) == bool(held_out)


def test_what_was_seen_trains_again():
  samples = cohort([("a", 2)] * 6)
  seen = {one.name for one in samples if one.patient in ("p0", "p1", "p2")}
  one_of_each = sorted(seen)[::2]
  for seed in range(5):
    options = SplitConfig(make_do=True, seed=seed)
    split = split_by_patient(samples, options, seen=one_of_each)
    assert seen <= set(split.train)
    # Of the three other patients half test, rounded, and one validates.
    assert (len(split.test), len(split.validation), split.unit) == (4, 2, "patient")
    # Two others are enough, as it is not they who must train.
    few = [one for one in samples if one.patient != "p5"]
    split = split_by_patient(few, options, seen=one_of_each)
    assert (set(split.train), split.unit) == (seen, "patient")
    assert len(split.test) == len(split.validation) == 2
    # One is not: of its images, one tests and one validates.
    few = [one for one in few if one.patient != "p4"]
    split = split_by_patient(few, options, seen=sorted(seen))
    assert (set(split.train), split.unit) == (seen, "image")
    assert len(split.test) == len(split.validation) == 1
  split = split_by_patient(samples, MAKE_DO, seen=[one.name for one in samples])
  assert (len(split.train), split.validation, split.test) == (12, (), ())


def test_samples_of_a_part_come_in_the_splits_order():
  samples = [sample(name) for name in "cab"]
  split = Split(("b", "c"), ("a",), ())
  assert [one.name for one in split.of(samples, "train")] == ["b", "c"]
  assert split.of(samples, "validation") == [samples[1]]
  assert split.of(samples, "test") == []


def test_a_stored_split_whose_images_are_gone():
  with pytest.raises(InputError, match=r"validation split .* 2 images .* 'gone1'"):
    Split((), ("a", "gone1", "gone2"), ()).of([sample("a")], "validation")


# --- Leakage -------------------------------------------------------------------------


@pytest.mark.parametrize(
  ("first", "second"),
  [("train", "validation"), ("train", "test"), ("validation", "test")],
)
def test_leakage_is_named(first, second):
  samples = [sample("a1", patient="ann"), sample("a2", patient="ann"), sample("b")]
  empty = Split((), (), ())
  of_patient = dataclasses.replace(empty, **{first: ("a1",), second: ("b", "a2")})
  with pytest.raises(InputError, match=f"'ann' is in the {first} and the {second}"):
    check_no_leakage(of_patient, samples)
  of_image = dataclasses.replace(empty, **{first: ("b", "a1"), second: ("b",)})
  with pytest.raises(InputError, match=f"'b' is in the {first} and the {second}"):
    check_no_leakage(of_image, samples)
  fine = dataclasses.replace(empty, **{first: ("a1", "a2"), second: ("b",)})
  check_no_leakage(fine, samples)


# --- A share of the images -----------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
  count=st.integers(1, 40),
  small=st.floats(0.01, 1),
  large=st.floats(0.01, 1),
  seed=st.integers(0, 2**31),
)
def test_shares_are_nested(count, small, large, seed):
  names = [f"n{i:02d}" for i in range(count)]
  small, large = sorted((small, large))
  few, many = (take_fraction(names, share, seed=seed) for share in (small, large))
  assert set(few) <= set(many) <= set(names)
  for share, taken in ((small, few), (large, many)):
    assert len(taken) == max(1, math.floor(share * count + 0.5))
    assert list(taken) == sorted(set(taken))
  assert take_fraction(names, 1.0, seed=seed) == tuple(names)


def test_shares_are_random():
  names = [f"n{i}" for i in range(20)]
  taken = [take_fraction(names, 0.1, seed=seed) for seed in range(100)]
  assert len(set(taken)) > 50
  assert set().union(*taken) == set(names)


def test_one_picture_in_two_parts_is_named():
  """A copy under another name would be trained on and tested on."""
  pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
  made = [sample(name, image=pixels) for name in ("a", "a_copy")]
  split = Split(train=("a",), validation=(), test=("a_copy",))
  with pytest.raises(InputError) as caught:
    check_no_leakage(split, made)
  for part in ("'a' and 'a_copy'", "same picture", "train", "test", "index.csv"):
    assert part in str(caught.value)
  check_no_leakage(Split(train=("a", "a_copy"), validation=(), test=()), made)
  glass = [sample(name, image=np.full((8, 8, 3), 240, np.uint8)) for name in "bc"]
  check_no_leakage(Split(train=("b",), validation=(), test=("c",)), glass)
