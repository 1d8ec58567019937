"""Folders to annotate, and a real browser."""

import shutil

import numpy as np
import pytest
from serving import save_image

ARGUMENTS = [
  *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
  *("--no-first-run", "--disable-background-networking"),
  *("--disable-component-update", "--disable-sync"),
]


@pytest.fixture
def folder(tmp_path):
  """Two images, one beside the other."""
  rng = np.random.default_rng(0)
  for name in ("a", "b"):
    save_image(
      tmp_path / "mine" / f"{name}.png", rng.integers(0, 256, (80, 120, 3), np.uint8)
    )
  return tmp_path / "mine"


@pytest.fixture(scope="session")
def browser():
  names = ("chromium", "chromium-browser", "google-chrome")
  found = next(filter(None, map(shutil.which, names)), None)
  if found is None:
    pytest.skip("no Chromium here: apt-get install chromium")
  api = pytest.importorskip("playwright.sync_api")
  with api.sync_playwright() as playwright:
    launched = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
    yield launched
    launched.close()
