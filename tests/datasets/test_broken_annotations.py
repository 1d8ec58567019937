"""Annotation files with bytes changed or cut: read, or refused in one sentence."""

import pytest
from annotations import assert_refused, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.whole_files import made_annotations
from micronet_jax.datasets.annotations import read_centers
from micronet_jax.errors import InputError

FEW = settings(
  max_examples=100,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FILES = made_annotations()


def read(path):
  return read_centers(path, mpp=0.25, name="a")


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_read(tmp_path, name):
  assert len(read(write(tmp_path / name, FILES[name]))) > 0


@pytest.mark.parametrize("name", FILES)
@FEW
@given(data=st.data())
def test_a_broken_file_is_read_or_refused(tmp_path, name, data):
  content = bytearray(FILES[name])
  for _ in range(data.draw(st.integers(1, 5))):
    at = data.draw(st.integers(0, len(content) - 1))
    part = data.draw(
      st.one_of(st.binary(max_size=3), st.sampled_from([b"9" * 400, b"-"]))
    )
    content[at : at + data.draw(st.integers(0, 3))] = part
  cut = data.draw(st.integers(0, len(content)))
  path = write(tmp_path / name, bytes(content[: cut or None]))
  try:
    assert read(path).shape[1] == 2
  except InputError:
    assert_refused(path, mpp=0.25, name="a")


def test_entities_that_grow_without_end(tmp_path):
  lines = '<!ENTITY a0 "aaaaaaaaaa">' + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)
  )
  text = f"<!DOCTYPE Annotations [{lines}]><Annotations>&a9;</Annotations>"
  assert_refused(write(tmp_path / "a.xml", text), "cannot be read as XML")
