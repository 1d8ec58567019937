"""Samples at the working resolution."""

import numpy as np
import pytest
from cohorts import sample
from tissue import blob, centroid

from micronet_jax.datasets.sample import to_working_resolution


@pytest.mark.parametrize(
  ("mpp", "side"), [(None, 32), (0.25, 32), (0.2499, 32), (0.5, 64), (0.125, 16)]
)
def test_working_resolution(mpp, side):
  image = blob((32, 32), (11.5, 19.5), 4)
  one = sample("a", image=image, centers=[[11.5, 19.5]], mpp=mpp)
  working = to_working_resolution(one)
  assert working.image.shape == (side, side, 3)
  if side == 32:
    assert working is one
    return
  assert working.mpp == 0.25
  assert (working.name, working.organ, working.patient) == ("a", "a", "a")
  np.testing.assert_allclose(working.centers[0], centroid(working.image), atol=0.1)


def test_another_working_resolution_and_no_centres():
  one = sample("a", image=blob((32, 32), (16, 16), 4), mpp=0.25)
  working = to_working_resolution(one, mpp=0.5)
  assert working.image.shape == (16, 16, 3)
  assert working.centers.shape == (0, 2)
