"""Local maxima against a reference of plain loops, and what ξ may rely on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter
from skimage.feature import peak_local_max

from micronet_jax.detection.peaks import (
  XI_GRID,
  detect_points,
  local_maxima,
  select_peaks,
  trim,
)
from micronet_jax.errors import InputError


def reference(values, reach):
  """The definition, word by word: candidates, then connected by steps of `reach`."""
  height, width = values.shape
  members = []
  for y in range(height):
    for x in range(width):
      top, left = max(y - reach, 0), max(x - reach, 0)
      window = values[top : y + reach + 1, left : x + reach + 1]
      if values[y, x] > 0 and values[y, x] == window[~np.isnan(window)].max():
        members.append((y, x))
  points = []
  while members:
    group, stack = [], [members.pop()]
    while stack:
      y, x = stack.pop()
      group.append((y, x))
      near = [(a, b) for a, b in members if max(abs(a - y), abs(b - x)) <= reach]
      stack += near
      members = [m for m in members if m not in near]
    points.append((*np.mean(group, 0), values[group[0]]))
  return in_order(points)


def in_order(points):
  return sorted(points, key=lambda point: np.round(point, 3).tolist())


def found(values, reach):
  centers, scores = trim(local_maxima(values, min_distance=reach))
  return in_order(zip(*centers.astype(float).T, scores.astype(float), strict=True))


def assert_same(actual, expected):
  assert len(actual) == len(expected)
  np.testing.assert_allclose(
    np.reshape(actual, (-1, 3)), np.reshape(expected, (-1, 3)), atol=1e-5, rtol=0
  )


# One shape a size class: every new shape is compiled anew.
shapes = st.sampled_from([(1, 9), (9, 10), (13, 12)])
small = shapes.flatmap(
  lambda shape: st.integers(0, 4).flatmap(
    lambda top: hnp.arrays(
      np.float32, shape, elements=st.integers(-1, top).map(float), fill=st.nothing()
    )
  )
)


@settings(max_examples=120, deadline=None)
@given(values=small, reach=st.sampled_from([1, 2, 20]))
def test_equals_reference(values, reach):
  assert_same(found(values, reach), reference(values, reach))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), keep=st.floats(0.01, 0.5))
def test_equals_reference_on_scattered_ties(seed, keep):
  rng = np.random.default_rng(seed)
  values = (rng.random((24, 27)) < keep).astype(np.float32)
  for reach in (1, 2, 3):
    assert_same(found(values, reach), reference(values, reach))


def snake(size):
  """A path that folds back and forth: the longest way labels must travel."""
  values = np.zeros((size, size), np.float32)
  values[::4] = 1
  values[2::8, -1] = values[1::8, -1] = values[3::8, -1] = 1
  values[6::8, 0] = values[5::8, 0] = values[7::8, 0] = 1
  return values


def test_long_plateau_is_one_point():
  values = snake(33)
  (point,) = found(values, 1)
  np.testing.assert_allclose(point[:2], np.argwhere(values).mean(0), atol=1e-4)


@pytest.mark.parametrize("values", [np.zeros((9, 7)), -np.ones((9, 7))])
def test_nothing_positive_gives_nothing(values):
  assert found(values.astype(np.float32), 2) == []


def test_all_nan_gives_nothing():
  assert found(np.full((9, 7), np.nan, np.float32), 2) == []


def test_nan_is_as_if_absent():
  values = np.zeros((9, 9), np.float32)
  values[4, 4], values[4, 5], values[0, 0] = 2, np.nan, np.nan
  assert found(values, 3) == [(4, 4, 2)]


@pytest.mark.parametrize("shape", [(500, 500), (31, 64), (700, 3)])
@pytest.mark.parametrize("reach", [1, 5])
def test_constant_map_is_one_point_at_its_centre(shape, reach):
  center = ((shape[0] - 1) / 2, (shape[1] - 1) / 2, 3)
  assert_same(found(np.full(shape, 3, np.float32), reach), [center])


def test_borders_and_corners_count():
  values = np.zeros((20, 20), np.float32)
  values[0, 0], values[19, 10], values[7, 19] = 1, 2, 3
  assert found(values, 4) == [(0, 0, 1), (7, 19, 3), (19, 10, 2)]


def test_result_can_be_full():
  values = np.zeros((10, 13), np.float32)
  values[::3, ::3] = 1
  peaks = local_maxima(values, min_distance=2)
  assert peaks.count == peaks.centers.shape[0] == 4 * 5
  assert np.isfinite(peaks.centers).all()


def smooth(shape, seed=0):
  return gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3).astype("f4")


@pytest.mark.parametrize("reach", [1, 3, 6])
def test_agrees_with_skimage_where_nothing_ties(reach):
  values = smooth((150, 170))
  expected = peak_local_max(
    values, min_distance=reach, threshold_abs=0, exclude_border=False
  )
  centers, scores = detect_points(values, xi=0, min_distance=reach)
  np.testing.assert_array_equal(centers, expected)  # its order is by value too
  np.testing.assert_array_equal(scores, values[tuple(expected.T)])


def test_unused_rows_and_order():
  peaks = local_maxima(smooth((60, 60)), min_distance=3)
  count = int(peaks.count)
  assert 0 < count < len(peaks.scores) == 15 * 15
  assert np.isnan(peaks.centers[count:]).all()
  assert (peaks.scores[count:] == 0).all()
  assert (np.diff(peaks.scores) <= 0).all()
  assert peaks.centers.dtype == peaks.scores.dtype == jnp.float32
  assert peaks.count.dtype == jnp.int32


def test_batch_equals_one_by_one():
  maps = np.stack([smooth((40, 50), 1), snake(50)[:40], np.zeros((40, 50), "f4")])
  many = jax.vmap(lambda m: local_maxima(m, min_distance=3))(maps)
  for index, values in enumerate(maps):
    one = local_maxima(values, min_distance=3)
    each = jax.tree.map(lambda leaf, at=index: leaf[at], many)
    jax.tree.map(np.testing.assert_array_equal, each, one)


@settings(max_examples=30, deadline=None)
@given(
  seed=st.integers(0, 2**32 - 1),
  xi=st.sampled_from(XI_GRID),
  levels=st.sampled_from([0, 3, 10]),
)
def test_threshold_before_equals_threshold_after(seed, xi, levels):
  values = smooth((30, 32), seed)
  if levels:  # steps: plateaus and ties
    values = np.round(values / values.max() * levels).astype(np.float32)
  before = np.where(values >= np.float32(xi) * values.max(), values, 0)
  for reach in (1, 4):
    first = trim(local_maxima(before, min_distance=reach))
    after = detect_points(values, xi=xi, min_distance=reach)
    for a, b in zip(first, after, strict=True):
      np.testing.assert_array_equal(a, b)


def test_select():
  centers = np.arange(8, dtype=np.float32).reshape(4, 2)
  scores = np.array([4, 2, 1, 0.5], np.float32)
  kept, values = select_peaks(centers, scores, xi=0.5)
  np.testing.assert_array_equal(kept, centers[:2])
  np.testing.assert_array_equal(values, [4, 2])
  assert len(select_peaks(centers, scores, absolute=0.6)[0]) == 3
  assert len(select_peaks(centers[:0], scores[:0], xi=0.5)[0]) == 0


def test_grid():
  assert XI_GRID[0] == 0
  assert XI_GRID[-1] == 0.95
  np.testing.assert_allclose(np.diff(XI_GRID), 0.05)


def test_bad_arguments():
  values = np.zeros((4, 4), np.float32)
  with pytest.raises(InputError, match="min_distance"):
    local_maxima(values, min_distance=0)
  with pytest.raises(InputError, match="map"):
    local_maxima(values[None], min_distance=1)
  with pytest.raises(InputError, match="exactly one"):
    detect_points(values, min_distance=1)
  with pytest.raises(InputError, match="exactly one"):
    detect_points(values, min_distance=1, xi=0.1, absolute=1)
  with pytest.raises(InputError, match="xi"):
    detect_points(values, min_distance=1, xi=1.1)
