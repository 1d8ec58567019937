"""Equation 1 by hand, by brute force, and its map on the host; disks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from micronet_jax.errors import InputError
from micronet_jax.training.targets import (
  CELL,
  FAR_AWAY,
  disk,
  nearby_centers,
  proximity,
  proximity_map,
)

SHAPE = (23, 31)


def distances(centers, shape=SHAPE):
  """Distance of each pixel to each centre, [N, H, W]."""
  grid = np.stack(np.indices(shape), -1).astype(float)
  return np.linalg.norm(grid - np.asarray(centers, float)[:, None, None], axis=-1)


def equation_1(distance, alpha=3.0, radius=15.0):
  """As the paper prints it."""
  inside = (np.exp(alpha * (1 - distance / radius)) - 1) / (np.exp(alpha) - 1)
  return np.where(distance <= radius, inside, 0)


def test_by_hand():
  values = proximity(jnp.array([0.0, 7.5, 15.0, 15.1, jnp.inf]))
  # e^1.5 = 4.4816891, e^3 = 20.0855369: 3.4816891 / 19.0855369 = 0.1824255
  np.testing.assert_allclose(values, [1, 0.1824255, 0, 0, 0], atol=1e-6)


@pytest.mark.parametrize(("alpha", "radius"), [(3, 15), (1, 4), (5.5, 9.5), (80, 15)])
def test_equals_the_printed_formula(alpha, radius):
  distance = np.linspace(0, 2 * radius, 200)
  expected = equation_1(distance, alpha, radius)
  for function in (proximity, jax.jit(proximity)):
    actual = function(distance, alpha=alpha, radius=radius)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_falls_with_distance_and_keeps_the_type():
  values = proximity(np.linspace(0, 15, 50, dtype=np.float32))
  assert values.dtype == jnp.float32
  assert (np.diff(values) < 0).all()


points = hnp.arrays(
  np.float32,
  st.tuples(st.integers(1, 12), st.just(2)),
  elements=st.floats(-20, 50, width=32),
)


@settings(max_examples=60, deadline=None)
@given(centers=points, alpha=st.floats(0.1, 6), radius=st.floats(0.5, 30))
def test_map_equals_brute_force(centers, alpha, radius):
  actual = proximity_map(centers, SHAPE, alpha=alpha, radius=radius)
  assert actual.dtype == np.float32
  assert actual.shape == SHAPE
  assert actual.min() >= 0
  assert actual.max() <= 1
  nearest = distances(centers).min(0)
  np.testing.assert_allclose(actual, equation_1(nearest, alpha, radius), atol=2e-6)


def least_distance(table, place):
  """From a place to the nearest centre that its cell's row of the table has."""
  row, column = np.floor(np.asarray(place) / CELL).astype(int)
  return np.hypot(*(table[row, column] - place).astype(float).T).min()


@settings(max_examples=60, deadline=None)
@given(centers=points, reach=st.floats(0.5, 40), seed=st.integers(0, 2**32 - 1))
def test_nearby_centers_hold_the_nearest_one_of_every_place(centers, reach, seed):
  table = nearby_centers(centers, SHAPE, reach=reach)
  assert table.dtype == np.float32
  assert table.shape[:2] == (-(-SHAPE[0] // CELL), -(-SHAPE[1] // CELL))
  rng = np.random.default_rng(seed)
  inside = rng.uniform(0, np.array(SHAPE) - 1, (40, 2))
  for place in [*inside, (0, 0), (22, 30), (CELL, CELL), (CELL - 1e-3, 2 * CELL)]:
    nearest = np.hypot(*(centers - place).astype(float).T).min()
    found = least_distance(table, place)
    if nearest <= reach:
      assert found == pytest.approx(nearest, abs=1e-4)
    else:
      assert found >= nearest - 1e-4


def test_nearby_centers_by_hand():
  # One cell with a centre in it and another behind it, seen from the next cell.
  inside, behind, far = (3.0, 3.0), (3.0, -2.0), (300.0, 3.0)
  table = nearby_centers(np.array([inside, behind, far]), (CELL, 4 * CELL), reach=CELL)
  listed = [
    {tuple(each) for each in cell.tolist() if each[0] > FAR_AWAY} for cell in table[0]
  ]
  # Places on the left edge of cell 0 are nearer to the one behind; none of cell 1 is.
  assert listed == [{inside, behind}, {inside}, set(), set()]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), radius=st.sampled_from([0.5, 4.0, 8.0]))
def test_disks_equal_brute_force(seed, radius):
  centers = np.random.default_rng(seed).integers(-3, 34, (5, 2))
  nearest = distances(centers).min(0)
  actual = np.asarray(disk(nearest, radius=radius))
  assert actual.dtype == np.float32
  expected = np.zeros(SHAPE)
  for y, x in np.ndindex(SHAPE):
    squares = [(y - a) ** 2 + (x - b) ** 2 for a, b in centers]
    expected[y, x] = min(squares) <= radius**2  # whole numbers: the rim is inside
  np.testing.assert_array_equal(actual, expected)


def test_no_centers():
  for none in (np.zeros((0, 2)), []):
    assert not proximity_map(none, SHAPE).any()
    table = nearby_centers(none, SHAPE, reach=15)
    assert table.shape[2:] == (1, 2)
    assert (table == FAR_AWAY).all()


def test_value_is_one_at_a_centre_and_row_comes_first():
  values = proximity_map(np.array([[2, 30]]), SHAPE)
  assert values[2, 30] == 1
  assert values.argmax() == 2 * SHAPE[1] + 30


@pytest.mark.parametrize("bad", [[[0, np.nan]], [[0, np.inf]], [[1, 2, 3]], [1, 2]])
@pytest.mark.parametrize(
  "function", [proximity_map, functools.partial(nearby_centers, reach=15.0)]
)
def test_bad_centers(function, bad):
  with pytest.raises(InputError, match="centers"):
    function(bad, SHAPE)


@pytest.mark.parametrize("wrong", [{"alpha": 0}, {"radius": -1.0}])
def test_constants_of_eq_1_that_mean_nothing(wrong):
  with pytest.raises(InputError, match="above 0"):
    proximity_map(np.zeros((1, 2)), (3, 3), **wrong)


def test_a_table_is_drawn_by_the_names_of_its_columns():
  table = pandas.DataFrame({"x": [3.0], "y": [20.0]})
  drawn = proximity_map(table, (32, 8))
  assert np.unravel_index(drawn.argmax(), drawn.shape) == (20, 3)


@pytest.mark.parametrize("shape", [(4, 4, 3), 4, (4,), (4.0, 4.0), "44", None, (-1, 4)])
def test_a_shape_is_two_sides(shape):
  for centers in ([], [[1, 1]]):
    with pytest.raises(InputError, match=r"^shape is .* image.shape\[:2\]$"):
      proximity_map(centers, shape)
  assert proximity_map([[1, 1]], np.array([4, 6])).shape == (4, 6)
