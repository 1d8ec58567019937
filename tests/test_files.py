"""A file is replaced whole or stays as it was."""

import errno
import json
import os
import pathlib
import stat

import numpy as np
import pytest

from micronet_jax import files
from micronet_jax.errors import InputError


def refused(path):
  with pytest.raises(InputError) as caught, files.replacing(path) as beside:
    beside.write_text("new")
  message = str(caught.value)
  assert message.startswith(f"{path} cannot be written (")
  assert "\n" not in message
  return message


def test_places_where_nothing_can_be_written(tmp_path):
  (tmp_path / "file").write_text("mine")
  (tmp_path / "folder").mkdir()
  (tmp_path / "folder" / "in").write_text("mine")
  assert "is a file where a folder" in refused(tmp_path / "file" / "a.csv")
  assert "directory" in refused(tmp_path / "folder").lower()
  assert "name too long" in refused(tmp_path / ("a" * 300 + ".csv"))
  assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder", "in"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(tmp_path):
  tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
  try:
    assert "Permission denied" in refused(tmp_path / "a.csv")
  finally:
    tmp_path.chmod(stat.S_IRWXU)


@pytest.mark.parametrize(
  "name", ["a.csv", "a" * 251 + ".csv", "ü" * 125 + ".csv", "a." + "b" * 253, "a"]
)
def test_any_name_that_the_file_system_takes(tmp_path, name):
  path = tmp_path / "new" / "folders" / name
  with files.replacing(path) as beside:
    if len(path.suffix) < 10:  # which says what is written
      assert beside.suffix == path.suffix
    assert beside.name.startswith(".")
    assert not path.exists()
    beside.write_text("new")
  assert path.read_text() == "new"
  assert [p.name for p in path.parent.iterdir()] == [name]


def test_the_disk_has_a_file_before_its_name_and_then_the_name(tmp_path, monkeypatch):
  done = []
  fsync, replace = os.fsync, pathlib.Path.replace

  def flush(opened):
    done.append(pathlib.Path(os.readlink(f"/proc/self/fd/{opened}")))
    fsync(opened)

  def rename(path, other):
    done.append("renamed")
    return replace(path, other)

  monkeypatch.setattr(os, "fsync", flush)
  monkeypatch.setattr(pathlib.Path, "replace", rename)
  with files.replacing(tmp_path / "a.csv") as beside:
    beside.write_text("new")
  assert done == [beside, "renamed", tmp_path]


def test_a_disk_that_is_full_only_when_it_is_asked(tmp_path, monkeypatch):
  def full(opened):
    raise OSError(errno.ENOSPC, "No space left on device")

  (tmp_path / "a.csv").write_text("mine")
  monkeypatch.setattr(os, "fsync", full)
  assert "No space left" in refused(tmp_path / "a.csv")
  assert (tmp_path / "a.csv").read_text() == "mine"


def test_errors_of_other_files_are_not_taken_for_this_ones(tmp_path):
  missing = tmp_path / "slide.svs"
  with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "a.csv"):
    missing.read_bytes()
  with pytest.raises(OSError, match="no number"), files.replacing(tmp_path / "a.csv"):
    raise OSError("no number")  # as libraries raise it, not the operating system
  assert not [*tmp_path.iterdir()]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
  path = tmp_path / "a.txt"
  with files.replacing(path) as one, files.replacing(path) as other:
    one.write_text("one")
    other.write_text("other")
  assert path.read_text() == "one"  # the block that ended last
  assert [*tmp_path.iterdir()] == [path]


def test_json_is_json(tmp_path):
  values = {"a": float("nan"), "b": [np.inf, 1.5, ("ξ", None)], "c": {"d": -np.inf}}
  files.write_json(tmp_path / "a.json", values)

  def never(name):
    raise AssertionError(f"{name} is not JSON")

  text = (tmp_path / "a.json").read_text(encoding="utf-8")
  expected = {"a": None, "b": [None, 1.5, ["ξ", None]], "c": {"d": None}}
  assert json.loads(text, parse_constant=never) == expected


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_no_name_is_refused(path):
  with pytest.raises(InputError, match="no name for a file"), files.replacing(path):
    pass
