"""What others may rely on: the names of the package and what importing it costs."""

import subprocess
import sys

import pytest

import micronet_jax as mn


def test_importing_the_package_imports_nothing_heavy():
  code = "import sys, micronet_jax; print([m for m in ('jax', 'orbax', 'matplotlib')"
  code += " if m in sys.modules]); print(micronet_jax.proximity_map.__name__)"
  run = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert run.stdout.split("\n")[:2] == ["[]", "proximity_map"]


def test_everything_public_is_there():
  for name in mn.__all__:
    assert getattr(mn, name) is not None
  with pytest.raises(AttributeError, match="no attribute 'nothing'"):
    _ = mn.nothing
