"""MATLAB files: what scipy writes is read, and no broken one takes the process down."""

import zlib

import numpy as np
import pytest
import scipy.io
from annotations import MANY, POINTS, assert_centers, assert_refused, write
from hypothesis import given, settings
from hypothesis import strategies as st

from micronet_jax.datasets.annotations import read_centers
from micronet_jax.errors import InputError

FORMS = [{"format": "5"}, {"format": "5", "do_compression": True}, {"format": "4"}]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "i2", "u2", "i4", "u1", ">f8"])
def test_every_form_and_type(tmp_path, form, dtype):
  rows = np.array([[3, 4], [200, 7], [9, 100]], dtype)
  arrays = {"before": np.eye(3), "detection": rows, "text": "abc", "other": 1j}
  if form["format"] == "5":
    arrays["cells"] = np.array([1, "a"], object)
    arrays["fields"] = {"a": 1}
  scipy.io.savemat(tmp_path / "a.mat", arrays, **form)
  assert_centers(tmp_path / "a.mat", [(3, 2), (6, 199), (99, 8)])


@MANY
@given(POINTS, st.sampled_from(FORMS))
def test_round_trip(tmp_path, points, form):
  rows = np.array([(x + 1, y + 1) for y, x in points]).reshape(-1, 2)
  scipy.io.savemat(tmp_path / "a.mat", {"detection": rows}, **form)
  assert_centers(tmp_path / "a.mat", points)


@pytest.mark.parametrize("value", [1j, "ab", {"a": 1}, np.array([1, "a"], object)])
def test_arrays_that_are_no_real_numbers(tmp_path, value):
  scipy.io.savemat(tmp_path / "a.mat", {"detection": value})
  assert_refused(tmp_path / "a.mat", "detection")


def whole(tmp_path, form):
  rows = np.random.default_rng(0).uniform(1, 500, (20, 2))
  path = tmp_path / "whole.mat"
  scipy.io.savemat(path, {"other": "text", "detection": rows}, **form)
  return path.read_bytes()


@settings(MANY, max_examples=300)
@given(st.data())
def test_broken_files_are_read_or_refused(tmp_path, data):
  content = bytearray(whole(tmp_path, data.draw(st.sampled_from(FORMS))))
  for _ in range(data.draw(st.integers(1, 4))):
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
  cut = data.draw(st.integers(0, len(content)))
  path = write(tmp_path / "a.mat", bytes(content[: cut or None]))
  try:
    assert read_centers(path).shape[1] == 2
  except InputError:
    assert_refused(path)


def test_sizes_beyond_the_file(tmp_path):
  content = bytearray(whole(tmp_path, FORMS[0]))
  at = content.index(np.array([20, 2], "<i4").tobytes())
  content[at : at + 8] = np.array([2**31 - 1, 2**31 - 1], "<i4").tobytes()
  assert_refused(write(tmp_path / "a.mat", bytes(content)), "cut short, or damaged")


def test_array_that_grows_without_end(tmp_path, monkeypatch):
  from micronet_jax.datasets.annotations import matlab

  monkeypatch.setattr(matlab, "_LARGEST", 1000)
  header = whole(tmp_path, FORMS[0])[:128]
  data = zlib.compress(bytes(100_000))
  tag = np.array([15, len(data)], "<u4").tobytes()
  assert_refused(write(tmp_path / "a.mat", header + tag + data), "too large")
