"""What a config loads: parts, shares, auxiliary data, and refusals."""

import dataclasses

import numpy as np
import PIL.Image
import pytest
from cohorts import sample
from tissue import config as make_config
from tissue import write_folder

from micronet_jax.datasets import sources
from micronet_jax.datasets.provenance import Provenance, records_of
from micronet_jax.errors import InputError
from micronet_jax.training.data import load_data


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


def test_samples_stay_at_their_own_resolution(tmp_path):
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
    assert one.mpp == 0.5
    assert one.image.shape == (16, 20, 3)
    np.testing.assert_allclose(one.centers, [[3, 4]])


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


def test_where_patients_are_named_to_validate_all_auxiliary_images_train(config, root):
  whole = load_data(config())
  named = whole.test[0].patient
  options = {**with_breast(root), "split__validation_patients": [named]}
  options |= {"split__test_fraction": 0.0}
  options |= {"auxiliary__name": "synthetic_he", "auxiliary__synthetic_images": 2}
  data = load_data(config(**options))
  assert {one.patient for one in data.validation} == {named}
  assert (len(data.auxiliary), data.test) == (2, [])


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
  seen = data.provenance
  again = load_data(config(), seen=seen)
  assert names_of(again.test) == names_of(data.test)
  assert again.inherited == seen
  tested = records_of(data.test[3:4], "train")
  with pytest.raises(InputError, match=f"1 of the 8 images .* '{data.split.test[3]}'"):
    load_data(config(), seen=Provenance(own=(*seen.own, *tested)))
  # Without a test part it is validation that a network must not have seen.
  whole = Provenance(own=(*seen.own, *records_of(data.test, "train")))
  with pytest.raises(InputError, match="trained on"):
    load_data(config(split__test_fraction=0.0), seen=whole)


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
  sources.load_source(make_config(target__synthetic_images=7).target)
  assert asked == {
    "name": "synthetic_he",
    "root": None,
    "organs": sources.DEFAULT_ORGAN,
    "data_dir": None,
    "images": 7,
  }
