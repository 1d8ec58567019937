"""Folders to annotate."""

import numpy as np
import pytest
from serving import save_image


@pytest.fixture
def folder(tmp_path):
  """Two images, one beside the other."""
  rng = np.random.default_rng(0)
  for name in ("a", "b"):
    save_image(
      tmp_path / "mine" / f"{name}.png", rng.integers(0, 256, (80, 120, 3), np.uint8)
    )
  return tmp_path / "mine"
