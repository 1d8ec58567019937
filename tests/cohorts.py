"""Samples of made-up patients, for tests of splits and of what a config loads."""

import numpy as np

from micronet_jax.datasets.sample import Sample

BLANK = np.zeros((4, 4, 3), np.uint8)


def sample(name, *, organ="a", patient=None, image=BLANK, centers=(), mpp=None):
  centers = np.asarray(centers, np.float32).reshape(-1, 2)
  return Sample(name, organ, patient or name, mpp, image, centers)
