"""The door to all data sets: choosing, the prepared copies, synthetic tissue."""

import itertools
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from absl import logging
from folders import add_image, add_index, full_disk

from micronet_jax import datasets
from micronet_jax.datasets import load_samples
from micronet_jax.errors import InputError

# Choosing


@pytest.fixture
def organs(root):
  for name in ("kidney__2", "kidney__1", "breast__1", "liver__1"):
    add_image(root, name)


@pytest.mark.usefixtures("organs")
@pytest.mark.parametrize("choice", ["breast, kidney", ["Kidney", "breast"]])
def test_organs_choose(load, choice):
  names = [sample.name for sample in load(organs=choice)]
  assert names == ["breast__1", "kidney__1", "kidney__2"]


@pytest.mark.usefixtures("organs")
def test_all_organs_and_so_many_images_of_each(load):
  for choice in (None, "", "all", []):
    assert len(load(organs=choice)) == 4
  names = [sample.name for sample in load(images=1)]
  assert names == ["breast__1", "kidney__1", "liver__1"]


@pytest.mark.usefixtures("organs")
def test_unknown_organ_and_name_list_what_there_is(load, tmp_path):
  with pytest.raises(InputError, match=r"'lung'; it has breast, kidney, liver\."):
    load(organs="kidney,lung")
  with pytest.raises(InputError, match=r"'mine'; there are folder, monuseg, .*_he\."):
    load_samples("mine", data_dir=tmp_path)
  with pytest.raises(InputError, match=r"images must be 1 or more, but it is 0\."):
    load(images=0)


# The cache


def prepared(tmp_path):
  return sorted(p for p in (tmp_path / "cache/folder").glob("*/*"))


def test_second_load_reads_the_prepared_copy(root, load, tmp_path, monkeypatch):
  add_image(root, "a")
  before = load()[0]
  monkeypatch.setattr(
    "micronet_jax.datasets.builders.read_entry", lambda _: pytest.fail("read")
  )
  after = load()[0]
  np.testing.assert_array_equal(after.image, before.image)
  np.testing.assert_array_equal(after.centers, before.centers)
  assert len(prepared(tmp_path)) == 1


def change_points(root):
  (root / "points/a.csv").write_text("x,y\n9,9\n")


def change_time_alone(root):
  (root / "points/a.csv").write_text("x,y\n9,9\n")  # as long as before
  os.utime(root / "points/a.csv", ns=(0, 12345))


def change_image(root):
  add_image(root, "a")
  os.utime(root / "images/a.png", ns=(0, 12345))


def change_index(root):
  add_index(root, "a,kidney,,,,,")


def change_name(root):
  (root / "images/a.png").rename(root / "images/b.png")
  (root / "points/a.csv").rename(root / "points/b.csv")


@pytest.mark.parametrize(
  "change", [change_points, change_time_alone, change_image, change_index, change_name]
)
def test_changed_folder_is_never_served_from_the_old_copy(root, load, change, tmp_path):
  def content(sample):
    pixels = sample.image.tobytes(), sample.centers.tobytes()
    return sample.name, sample.organ, sample.patient, sample.mpp, *pixels

  add_image(root, "a")
  before = content(load()[0])
  change(root)
  after = content(load()[0])
  (fresh,) = load_samples("folder", root=root, data_dir=tmp_path / "empty")
  assert after == content(fresh)
  assert after != before


def test_moved_folder_is_read_anew(root, load, tmp_path):
  """Equal names, sizes and times of files say nothing of another place."""
  add_image(root, "a")
  (before,) = load()
  root.rename(tmp_path / "moved")
  (after,) = load_samples(
    "folder", root=tmp_path / "moved", data_dir=tmp_path / "cache"
  )
  np.testing.assert_array_equal(after.centers, before.centers)
  assert len(prepared(tmp_path)) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_aborted_preparation_leaves_nothing(root, load, tmp_path, monkeypatch, error):
  for name in "abc":
    add_image(root, name)
  seen = []

  def read_two(entry):
    seen.append(entry)
    if len(seen) == 3:
      assert list((tmp_path / "cache/folder").glob("*/incomplete*"))
      raise error
    return datasets.entries.read_entry(entry)

  with monkeypatch.context() as patch:
    patch.setattr("micronet_jax.datasets.builders.read_entry", read_two)
    with pytest.raises(error):
      load()
  assert not list((tmp_path / "cache").glob("*"))
  assert len(load()) == 3


def test_second_process_that_finishes_first(root, load, tmp_path, monkeypatch):
  for name in "ab":
    add_image(root, name)
  module = "micronet_jax.datasets.builders.read_entry"
  depth = itertools.count()

  def read_while_another_prepares(entry):
    if next(depth) == 0:
      assert len(load()) == 2
    return datasets.entries.read_entry(entry)

  monkeypatch.setattr(module, read_while_another_prepares)
  assert [sample.name for sample in load()] == ["a", "b"]
  (only,) = prepared(tmp_path)
  assert only.name == "1.4.0"


def test_two_processes_at_once(root, tmp_path):
  for name in "abcdef":
    add_image(root, name, shape=(200, 200))
  code = (
    "import sys; from micronet_jax.datasets import load_samples;"
    "samples = load_samples('folder', root=sys.argv[1], data_dir=sys.argv[2]);"
    "print(*(sample.name for sample in samples))"
  )
  command = [sys.executable, "-c", code, str(root), str(tmp_path / "cache")]
  runs = [
    subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)
  ]
  assert [run.communicate()[0].split() for run in runs] == [list("abcdef")] * 2
  assert [path.name for path in prepared(tmp_path)] == ["1.4.0"]


def test_data_dir_that_cannot_be_written(root, tmp_path):
  add_image(root, "a")
  (tmp_path / "file").touch()
  with pytest.raises(InputError, match=r"cannot be prepared in .*file.*data_dir"):
    load_samples("folder", root=root, data_dir=tmp_path / "file")


@pytest.mark.parametrize("size", [10, 3000])
def test_a_disk_that_is_full_while_data_are_prepared(root, load, tmp_path, size):
  add_image(root, "a", shape=(100, 100))
  message = r"cannot be prepared in .* \(File too large\); data_dir .* space left"
  with full_disk(size), pytest.raises(InputError, match=message):
    load()
  assert not [*(tmp_path / "cache").rglob("*.array_record*")]
  assert len(load()) == 1


def test_what_is_left_out_is_said_while_tfds_is_silenced(root, tmp_path, caplog):
  add_image(root, "a", text="x,y\n1,2\n1,2\n")
  logging.use_absl_handler()  # as programs of absl do, whose root it silences
  try:
    load_samples("folder", root=root, data_dir=tmp_path / "cache")
  finally:
    root_logger = logging.get_absl_logger().parent
    root_logger.removeHandler(logging.get_absl_handler())
  assert "left out: 1 that repeat another" in caplog.text


def test_default_place_is_that_of_tfds(root, tmp_path, monkeypatch):
  add_image(root, "a")
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "cache"))
  load_samples("folder", root=root)
  assert [path.name for path in prepared(tmp_path)] == ["1.4.0"]


def test_nothing_is_printed_and_nobody_is_called(root, load, monkeypatch, capfd):
  add_image(root, "a")
  monkeypatch.setattr(
    socket.socket, "connect", lambda *_: pytest.fail("the network was tried")
  )
  verbosity = logging.get_verbosity()
  load()
  load()
  assert capfd.readouterr() == ("", "")
  assert logging.get_verbosity() == verbosity


def test_import_alone_does_not_import_tfds():
  code = (
    "import sys, micronet_jax.datasets;"
    "print({'tensorflow_datasets', 'scipy.io', 'jax', 'matplotlib'} & set(sys.modules))"
  )
  run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
  assert run.stdout == "set()\n", run.stderr


# Synthetic tissue


def synthetic(tmp_path, **options):
  return load_samples("synthetic_he", data_dir=tmp_path / "cache", **options)


def test_synthetic_is_what_the_generator_makes(tmp_path):
  from micronet_jax.datasets.synthetic_he.generator import generate

  samples = synthetic(tmp_path, organs="breast,kidney", images=2, size=64)
  assert [sample.name for sample in samples] == [
    "breast__synthetic_000",
    "breast__synthetic_001",
    "kidney__synthetic_000",
    "kidney__synthetic_001",
  ]
  for index, sample in zip((0, 1, 0, 1), samples, strict=True):
    image, centers = generate(sample.organ, index, size=64)
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.centers, centers)
    assert sample.name.startswith(f"{sample.organ}__")
    assert (sample.patient, sample.mpp) == (sample.name, 0.25)


def test_synthetic_of_another_size_or_version_is_another(tmp_path, monkeypatch):
  from micronet_jax.datasets.synthetic_he import presets
  from micronet_jax.datasets.synthetic_he import synthetic_he_dataset_builder as module

  assert module.config("breast").name == "breast"
  assert module.config("breast", images=2).name == "breast_2x500"
  assert str(module.Builder.VERSION) == presets.GENERATOR_VERSION
  for size in (64, 72):
    (sample,) = synthetic(tmp_path, organs=["breast"], images=1, size=size)
    assert sample.image.shape == (size, size, 3)
  calls = []

  def generate(*arguments, size):
    calls.append(arguments)
    return np.zeros((size, size, 3), np.uint8), np.zeros((0, 2), np.float32)

  monkeypatch.setattr(module, "generate", generate)
  synthetic(tmp_path, organs=["breast"], images=1, size=64)
  assert not calls
  monkeypatch.setattr(module.Builder, "VERSION", type(module.Builder.VERSION)("9.9.9"))
  synthetic(tmp_path, organs=["breast"], images=1, size=64)
  assert calls == [("breast", 0)]


def test_synthetic_needs_an_organ_it_knows(tmp_path):
  with pytest.raises(InputError, match=r"organs is missing; .*breast.*kidney.*all"):
    synthetic(tmp_path)
  with pytest.raises(InputError, match=r"no organ 'toe'; it has .*breast.*kidney"):
    synthetic(tmp_path, organs="breast,toe")


def test_synthetic_all_is_all_presets(tmp_path, monkeypatch):
  from micronet_jax.datasets.synthetic_he import presets
  from micronet_jax.datasets.synthetic_he import synthetic_he_dataset_builder as module

  def generate(organ, index, *, size):
    return np.zeros((size, size, 3), np.uint8), np.zeros((0, 2), np.float32)

  monkeypatch.setattr(module, "generate", generate)
  samples = synthetic(tmp_path, organs="all", images=1, size=8)
  assert [sample.organ for sample in samples] == sorted(presets.ORGANS)
  assert len(samples) == 23
