"""Fixtures of the predict job: a small network, an image, a counted search."""

import numpy as np
import pytest
from networks import META, random_weights
from predictions import write_dots

from micronet_jax.detection import detector as detector_module
from micronet_jax.detection import scan as scan_module
from micronet_jax.detection.detector import Detector
from micronet_jax.predict import job


@pytest.fixture(scope="session")
def network():
  """A small random network whose maps have maxima above and below ξ."""
  return Detector(random_weights(), META)


@pytest.fixture
def detector(network, monkeypatch):
  """What the job loads, whatever weights it is told."""
  monkeypatch.setattr(job, "load", lambda weights: network)
  monkeypatch.setattr(scan_module, "_told", {"mpp"})
  return network


@pytest.fixture
def image(tmp_path):
  return write_dots(tmp_path / "big.png")


@pytest.fixture
def counted(monkeypatch):
  """Takes a lattice for the network's maxima, and notes which tiles are searched."""
  indices = []

  def search(program, weights, scan, tiles, *, batch, scale, least):
    for tile in tiles:
      pixels = scan.canvas.read(tile.y, tile.x, *scan.sides)
      indices.append(tile.index)
      y, x = (
        a.ravel() for a in np.mgrid[8 : scan.sides[0] : 16, 8 : scan.sides[1] : 16]
      )
      scores = (((tile.y + y) * 7 + (tile.x + x) * 3) % 97 / 97).astype(np.float32)
      scores *= pixels[y, x].max(1) > 0
      kept = scores >= least
      yield tile, [(np.column_stack([y, x])[kept].astype(float), scores[kept])]

  monkeypatch.setattr(detector_module, "search_tiles", search)
  return indices
