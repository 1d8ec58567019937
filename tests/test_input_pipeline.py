"""Splits, resolution, the pool on the device, and what a config loads."""

import collections
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tissue import blob, centroid, write_folder
from tissue import config as make_config

from micronet_jax.datasets import provenance, sources
from micronet_jax.datasets.sample import Sample, to_working_resolution
from micronet_jax.datasets.splits import (
  Split,
  check_no_leakage,
  split_by_patient,
  take_fraction,
)
from micronet_jax.errors import InputError
from micronet_jax.imaging import normalisation
from micronet_jax.training.data import load_data
from micronet_jax.training.pool import choose_images, to_device

PARTS = ("train", "validation", "test")
BLANK = np.zeros((4, 4, 3), np.uint8)


def sample(name, *, organ="a", patient=None, image=BLANK, centers=(), mpp=None):
  centers = np.asarray(centers, np.float32).reshape(-1, 2)
  return Sample(name, organ, patient or name, mpp, image, centers)


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


# Splits.

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
  options = {"test_fraction": test, "validation_fraction": validation, "seed": seed}
  split = split_by_patient(samples, **options)

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
  assert split_by_patient(again, **options) == split


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
  split = split_by_patient(samples, test_fraction=test, seed=seed)
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
  splits = {split_by_patient(samples, seed=seed) for seed in range(10)}
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
    split = split_by_patient(samples, seed=seed)
    assert all(len(parts) == 1 for parts in parts_of_patients(split, samples).values())
    assert split_by_patient(samples[::-1], seed=seed) == split


@pytest.mark.parametrize(
  ("count", "test"), [(0, 0.5), (1, 0.5), (2, 0.5), (1, 0), (0, 0)]
)
def test_too_few_patients(count, test):
  samples = cohort([("a", 5)] * count)
  with pytest.raises(InputError, match=f"^{count} patient") as caught:
    split_by_patient(samples, test_fraction=test)
  assert ("no test part" in str(caught.value)) == (test == 0)
  assert "index.csv" in str(caught.value)


def test_just_enough_patients():
  two = split_by_patient(cohort([("a", 4)] * 2), test_fraction=0)
  assert [len(getattr(two, part)) for part in PARTS] == [4, 4, 0]
  three = split_by_patient(cohort([("a", 4)] * 3))
  assert [len(getattr(three, part)) for part in PARTS] == [4, 4, 4]


def test_samples_of_a_part_come_in_the_splits_order():
  samples = [sample(name) for name in "cab"]
  split = Split(("b", "c"), ("a",), ())
  assert [one.name for one in split.of(samples, "train")] == ["b", "c"]
  assert split.of(samples, "validation") == [samples[1]]
  assert split.of(samples, "test") == []


def test_a_stored_split_whose_images_are_gone():
  with pytest.raises(InputError, match=r"validation split .* 2 images .* 'gone1'"):
    Split((), ("a", "gone1", "gone2"), ()).of([sample("a")], "validation")


# Leakage.


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


def test_a_test_image_that_was_trained_on_is_named():
  provenance.check_unseen(["a", "b"], ["c"])
  provenance.check_unseen([], ["c"])
  with pytest.raises(InputError, match=r"trained on 2 of the 3 images .* 'b'"):
    provenance.check_unseen(["d", "c", "b"], ["b", "c", "e"])


# A share of the images.


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


# Resolution.


@pytest.mark.parametrize(
  ("mpp", "side"), [(None, 32), (0.25, 32), (0.2499, 32), (0.5, 64), (0.125, 16)]
)
def test_working_resolution(mpp, side):
  image = blob((32, 32), (11.5, 19.5), 4)
  one = sample("a", image=image, centers=[[11.5, 19.5]], mpp=mpp)
  working = to_working_resolution(one)
  assert working.image.shape == (side, side, 3)
  if side == 32:
    assert working is one
    return
  assert working.mpp == 0.25
  assert (working.name, working.organ, working.patient) == ("a", "a", "a")
  np.testing.assert_allclose(working.centers[0], centroid(working.image), atol=0.1)


def test_another_working_resolution_and_no_centres():
  one = sample("a", image=blob((32, 32), (16, 16), 4), mpp=0.25)
  working = to_working_resolution(one, mpp=0.5)
  assert working.image.shape == (16, 16, 3)
  assert working.centers.shape == (0, 2)


# Statistics and the pool.


def test_statistics_equal_numpys():
  image = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
  image[..., 1] //= 4
  mean, std = normalisation.channel_statistics(image)
  assert mean.dtype == std.dtype == np.float32
  for channel in range(3):
    values = image[..., channel].astype(np.float64)
    assert mean[channel] == pytest.approx(np.mean(values), rel=1e-6)
    assert std[channel] == pytest.approx(np.sqrt(np.var(values)), rel=1e-6)
  normal = normalisation.normalise(image)
  assert normal.dtype == np.float32
  np.testing.assert_allclose(normal.mean((0, 1)), 0, atol=1e-4)
  np.testing.assert_allclose(normal.std((0, 1)), 1, atol=1e-4)


def test_a_flat_image_stays_finite():
  flat = np.full((5, 6, 3), (0, 100, 255), np.uint8)
  _, std = normalisation.channel_statistics(flat)
  assert (std == 1).all()
  assert not normalisation.normalise(flat).any()


def test_pool():
  rng = np.random.default_rng(0)
  shapes = ((10, 7), (6, 12), (3, 3))
  counts = (3, 0, 1)
  samples = [
    sample(
      f"s{i}",
      image=rng.integers(1, 256, (*shape, 3), np.uint8),
      centers=rng.uniform(0, 1, (count, 2)) * (np.array(shape) - 1),
    )
    for i, (shape, count) in enumerate(zip(shapes, counts, strict=True))
  ]
  pool = to_device(samples)
  assert pool.pixels.shape == (3, 10, 12, 3)
  assert pool.pixels.dtype == jnp.uint8
  assert pool.nearest.shape == (3, 10, 12)
  assert pool.nearest.dtype == pool.sizes.dtype == jnp.int32
  assert pool.centers.shape == (3, 3, 2)
  np.testing.assert_array_equal(pool.sizes, shapes)
  for i, one in enumerate(samples):
    height, width = shapes[i]
    np.testing.assert_array_equal(pool.pixels[i, :height, :width], one.image)
    assert np.count_nonzero(pool.pixels[i]) == one.image.size
    np.testing.assert_array_equal(pool.centers[i, : counts[i]], one.centers)
    assert (pool.centers[i, counts[i] :] < -1e5).all()
    mean, std = normalisation.channel_statistics(one.image)
    np.testing.assert_array_equal(pool.mean[i], mean)
    np.testing.assert_array_equal(pool.std[i], std)
    if counts[i]:
      grid = np.stack(np.indices(shapes[i]), -1)[:, :, None]
      distance = np.linalg.norm(grid - one.centers, axis=-1)
      np.testing.assert_array_equal(
        pool.nearest[i, :height, :width], distance.argmin(-1)
      )
  assert not np.asarray(pool.nearest[1]).any()


def test_a_pool_of_one_image_without_centres():
  pool = to_device([sample("a")])
  assert pool.centers.shape == (1, 1, 2)
  assert (pool.centers < -1e5).all()


choose = jax.jit(jax.vmap(choose_images, in_axes=(0, 0, None)))


@pytest.mark.parametrize("pools", [[(0, 5)], [(0, 3), (3, 4)], [(0, 1), (1, 1)]])
def test_pools_take_turns_and_stay_in_their_range(pools):
  count = 1200
  keys = jax.random.split(jax.random.key(0), count)
  chosen = np.asarray(choose(keys, jnp.arange(count), jnp.array(pools, jnp.int32)))
  for turn, (first, size) in enumerate(pools):
    own = np.bincount(chosen[turn :: len(pools)], minlength=10)
    expected = count / len(pools) / size
    assert own.sum() == own[first : first + size].sum() == count / len(pools)
    # All, and about equally often: within 5 standard deviations.
    assert (np.abs(own[first : first + size] - expected) < 5 * expected**0.5).all()


# What a config loads.


def tissue(name, *, organ, patient, seed):
  pixels = np.random.default_rng(seed).integers(0, 256, (16, 20, 3), np.uint8)
  return sample(name, organ=organ, patient=patient, image=pixels, centers=[[3, 4]])


@pytest.fixture
def root(tmp_path):
  """8 prostate patients with 2 images each, 6 breast patients with 1."""
  samples = [
    tissue(f"pro{i}{j}", organ="prostate", patient=f"P{i}", seed=10 * i + j)
    for i in range(8)
    for j in range(2)
  ]
  samples += [
    tissue(f"bre{i}", organ="breast", patient=f"B{i}", seed=100 + i) for i in range(6)
  ]
  write_folder(tmp_path / "mine", samples)
  return tmp_path / "mine"


@pytest.fixture
def config(root, tmp_path):
  def of(**changes):
    return make_config(
      target__name="folder",
      target__root=str(root),
      target__organs="prostate",
      data_dir=str(tmp_path / "prepared"),
      **changes,
    )

  return of


def with_breast(root):
  return {
    "auxiliary__name": "folder",
    "auxiliary__root": str(root),
    "auxiliary__organs": "breast",
  }


def patients_of(samples):
  return {one.patient for one in samples}


def names_of(samples):
  return [one.name for one in samples]


def test_load_data(config, root, capsys):
  data = load_data(config())
  assert data.name == "folder/mine/prostate"
  assert "loading folder/mine/prostate" in capsys.readouterr().out
  # 8 patients: 4 test; of 4, 0.8 rounded validate; two images each.
  assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 8)
  assert data.auxiliary == []
  everyone = data.train + data.validation + data.test
  assert {one.organ for one in everyone} == {"prostate"}
  assert len({one.name for one in everyone}) == 16
  assert names_of(data.test) == list(data.split.test)
  for part in (data.train, data.validation, data.test):
    others = [one for one in everyone if one not in part]
    assert not patients_of(others) & patients_of(part)
  one = data.train[0]
  with PIL.Image.open(root / "images" / f"{one.name}.png") as file:
    np.testing.assert_array_equal(one.image, np.asarray(file))
  np.testing.assert_allclose(one.centers, [[3, 4]])

  other = load_data(config(split__seed=1))
  assert other.split != data.split


def test_samples_of_known_resolution_are_resampled(tmp_path):
  samples = [
    dataclasses.replace(tissue(f"a{i}", organ="a", patient=f"{i}", seed=i), mpp=0.5)
    for i in range(3)
  ]
  write_folder(tmp_path / "mine", samples)
  config = make_config(
    target__name="folder", target__root=str(tmp_path / "mine"), data_dir=str(tmp_path)
  )
  data = load_data(config)
  for one in data.train + data.validation + data.test:
    assert one.mpp == 0.25
    assert one.image.shape == (32, 40, 3)
    np.testing.assert_allclose(one.centers, [[6.5, 8.5]])


def test_a_share_of_the_target(config):
  whole = load_data(config())
  half = load_data(config(target_fraction=0.5))
  assert len(half.train) == 3
  assert set(names_of(half.train)) < set(names_of(whole.train))
  # What it is compared on is the same.
  assert names_of(half.validation) == names_of(whole.validation)
  assert names_of(half.test) == names_of(whole.test)
  assert half.split == whole.split


def test_without_a_test_part(config):
  data = load_data(config(split__test_fraction=0.0))
  assert data.test == []
  # 1.6 of 8 patients, rounded, validate.
  assert (len(data.train), len(data.validation)) == (12, 4)


def test_auxiliary_data(config, root):
  data = load_data(config(**with_breast(root)))
  # 6 patients: 3 test, 1 validates, 2 train; only those are used.
  assert len(data.auxiliary) == 2
  assert {one.organ for one in data.auxiliary} == {"breast"}
  assert {one.organ for one in data.train + data.test} == {"prostate"}
  assert data.name == "folder/mine/prostate"
  half = load_data(config(**with_breast(root), auxiliary_percentage=50.0))
  assert len(half.auxiliary) == 1
  assert set(names_of(half.auxiliary)) < set(names_of(data.auxiliary))
  assert names_of(half.train) == names_of(data.train)


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/images/.."])
def test_auxiliary_patients_that_the_target_is_tested_on(config, root, spelling):
  """Prostate and breast of the same patients, but each organ with its own split."""
  index = (root / "index.csv").read_text()
  for i in range(6):
    index = index.replace(f",B{i},", f",P{i},")
  (root / "index.csv").write_text(index)
  refused, only_validated = set(), False
  for seed in range(12):
    split = {"split__seed": seed, "split__validation_fraction": 0.5}
    target = load_data(config(**split))
    breast = with_breast(root)
    other = make_config(
      **{name.replace("auxiliary", "target"): value for name, value in breast.items()},
      data_dir=str(root.parent / "prepared"),
      **split,
    )
    auxiliary = patients_of(load_data(other).train)
    shared = auxiliary & patients_of(target.validation + target.test)
    breast["auxiliary__root"] = spelling.format(root)
    both = config(**breast, **split)
    only_validated |= bool(shared) and not shared & patients_of(target.test)
    if shared:
      expected = f"patient '{min(shared)}'.*config.auxiliary.organs"
      with pytest.raises(InputError, match=expected):
        load_data(both)
    else:
      assert len(load_data(both).auxiliary) == 1
    refused.add(bool(shared))
  assert refused == {True, False}
  assert only_validated


def test_auxiliary_data_that_holds_the_target(config, root):
  """A folder beside itself has the same split, so nothing that is tested on."""
  itself = {**with_breast(root), "auxiliary__organs": "prostate"}
  data = load_data(config(**itself))
  assert names_of(data.auxiliary) == names_of(data.train)


def test_images_that_a_checkpoint_has_seen(config):
  data = load_data(config())
  seen = [*data.split.train, *data.split.validation]
  load_data(config(), trained_on=seen)
  with pytest.raises(InputError, match=data.split.test[3]):
    load_data(config(), trained_on=[*seen, data.split.test[3]])
  with pytest.raises(InputError, match="trained on"):
    load_data(
      config(split__test_fraction=0.0),
      trained_on=[one.name for one in data.train + data.validation + data.test],
    )


def test_too_few_patients_in_a_folder(tmp_path):
  write_folder(
    tmp_path / "mine",
    [tissue(f"a{i}", organ="a", patient="one", seed=i) for i in range(4)],
  )
  config = make_config(
    target__name="folder", target__root=str(tmp_path / "mine"), data_dir=str(tmp_path)
  )
  with pytest.raises(InputError, match=r"^1 patient\(s\)"):
    load_data(config)


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    ({}, "synthetic_he/prostate"),
    ({"target__organs": "kidney"}, "synthetic_he/kidney"),
    ({"target__name": "folder", "target__root": "/x/mine/"}, "folder/mine"),
    ({"target__name": "monuseg", "target__organs": "a,b"}, "monuseg/a,b"),
  ],
)
def test_names_for_reports(changes, expected):
  assert sources.source_name(make_config(**changes).target) == expected


def test_synthetic_data_asks_for_one_organ_and_so_many_images(monkeypatch):
  asked = {}

  def load_samples(name, **options):
    asked.update(name=name, **options)
    return [sample("a", mpp=0.25)]

  monkeypatch.setattr(sources, "load_samples", load_samples)
  sources.load_source(make_config(target__synthetic_images=7))
  assert asked == {
    "name": "synthetic_he",
    "root": None,
    "organs": sources.DEFAULT_ORGAN,
    "data_dir": None,
    "images": 7,
  }
