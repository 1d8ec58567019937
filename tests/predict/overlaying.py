"""Plain tissue and points in chunks, for tests of pictures of whole images."""

import numpy as np
from hypothesis import settings

MANY = settings(max_examples=40, deadline=None)
PINK = (228, 150, 190)


def tissue(height, width, color=PINK):
  return np.full((height, width, 3), color, np.uint8)


def chunks_of(centers, size=3):
  centers = np.asarray(centers, np.float64).reshape(-1, 2)
  for start in range(0, len(centers), size):
    part = centers[start : start + size]
    yield part, np.ones(len(part))
