"""Spoiled files: the fuzzer sees every kind of fault, and finds none, in short."""

import os

import numpy as np
import pytest

from benchmarks import bad_files, whole_files
from micronet_jax.datasets.annotations import read_centers
from micronet_jax.errors import InputError
from micronet_jax.imaging.opening import open_image

FILES = 400
"""Eight of each kind; benchmarks/bad_files.py reads more (docs/reliability.md)."""


def test_spoiled_files_are_read_or_refused(capsys):
  assert bad_files.main([f"--files={FILES}", "--processes=1"]) == 0, capsys.readouterr()
  total = capsys.readouterr().out.splitlines()[-1]
  assert total.startswith(f"| all | {FILES} | ")


def test_whole_files_can_be_read(tmp_path):
  for name, content in whole_files.made_files().items():
    path = tmp_path / f"file{bad_files.ending_of(bad_files.pathlib.Path(name))}"
    path.write_bytes(content)
    bad_files.read_file(path, name)


def test_a_number_is_always_the_same_file():
  seeds = whole_files.made_annotations()
  made = [bad_files.bad_file(number, seeds) for number in range(200)]
  assert made == [bad_files.bad_file(number, seeds) for number in range(200)]
  assert len(set(made)) > 190
  assert {name for name, _ in made} == seeds.keys()


def misbehave(path, name):
  """As a library might, by the file's first byte."""
  kind = path.read_bytes()[:1]
  if kind == b"a":
    os.abort()
  if kind == b"b":
    np.ones(2 * bad_files.MEMORY, np.uint8)
  if kind == b"c":
    raise KeyError("?")
  if kind == b"d":
    raise InputError("this names no file")
  raise InputError(f"{path} is bad")


def test_faults_are_seen_and_the_rest_is_read():
  seeds = {f"images/{letter}.png": letter.encode() * 300 for letter in "abcde"}
  found = bad_files.read_all(range(50), seeds, 1, read=misbehave)
  assert found.keys() == set(range(50))
  outcomes = [{found[n][0] for n in range(first, 50, 5)} for first in range(5)]
  assert any("ended with -6" in outcome for outcome in outcomes[0])
  assert any(outcome.startswith("MemoryError") for outcome in outcomes[1])
  assert "KeyError: '?'" in outcomes[2]
  assert any(outcome.startswith("no sentence") for outcome in outcomes[3])
  assert "refused" in outcomes[4]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
@pytest.mark.parametrize(
  "name",
  [
    *("a.png", "a.tif", "a.csv", "a.geojson", "a.json", "a.geojson.gz", "a.xml"),
    *("a.zip", "a.mat"),
  ],
)
def test_nobody_waits_for_a_pipe(tmp_path, name):
  path = tmp_path / name
  os.mkfifo(path)
  with pytest.raises(InputError, match="is a pipe or a device"):
    read_centers(path)
  if path.suffix in (".png", ".tif"):
    with pytest.raises(InputError, match="is a pipe or a device"):
      open_image(path)
