"""A folder data set of a test's own."""

import pytest

from micronet_jax.datasets import load_samples
from micronet_jax.errors import InputError


@pytest.fixture
def root(tmp_path):
  return tmp_path / "mine"


@pytest.fixture
def load(root, tmp_path):
  def load_folder(**options):
    return load_samples("folder", root=root, data_dir=tmp_path / "cache", **options)

  return load_folder


@pytest.fixture
def refused(load, tmp_path):
  """Loads the folder, which must fail with one sentence and leave nothing."""

  def check(*parts, **options):
    with pytest.raises(InputError) as caught:
      load(**options)
    message = str(caught.value)
    for part in parts:
      assert str(part) in message
    assert "\n" not in message
    assert message.endswith(".")
    assert not list((tmp_path / "cache").glob("*"))

  return check
