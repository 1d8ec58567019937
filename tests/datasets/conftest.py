"""A folder data set of a test's own."""

import pytest

from micronet_jax.datasets import load_samples


@pytest.fixture
def root(tmp_path):
  return tmp_path / "mine"


@pytest.fixture
def load(root, tmp_path):
  def load_folder(**options):
    return load_samples("folder", root=root, data_dir=tmp_path / "cache", **options)

  return load_folder
