"""Matching against all permutations and a dense solver."""

import itertools

import numpy as np
import pandas
import pyarrow
import pytest
import tissue
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from micronet_jax.detection.points import Detections
from micronet_jax.errors import InputError
from micronet_jax.evaluation import matching

NONE = np.zeros((0, 2), np.float32)


def by_permutations(detected, annotated, radius):
  """Most pairs, then least total distance, by trying every injection."""
  if len(detected) > len(annotated):
    detected, annotated = annotated, detected
  best = (0, 0.0)
  for order in itertools.permutations(range(len(annotated)), len(detected)):
    distances = np.array(
      [np.hypot(*(detected[i] - annotated[j])) for i, j in enumerate(order)]
    )
    near = distances[distances <= radius]
    best = min(best, (-len(near), near.sum()))
  return -best[0], best[1]


def by_dense_solver(detected, annotated, radius):
  distances = np.linalg.norm(detected[:, None] - annotated[None], axis=2)
  alone = (min(distances.shape) + 1) * radius + 1
  rows, columns = linear_sum_assignment(np.where(distances <= radius, distances, alone))
  chosen = distances[rows, columns]
  near = chosen[chosen <= radius]
  return len(near), near.sum()


def check_valid(result, detected, annotated, radius):
  """What any assignment must satisfy, whichever is best."""
  assert result.pairs.shape == (result.tp, 2)
  assert result.tp + result.fp == len(detected)
  assert result.tp + result.fn == len(annotated)
  assert len(set(result.pairs[:, 0])) == len(set(result.pairs[:, 1])) == result.tp
  assert (np.diff(result.pairs[:, 0]) > 0).all()
  offsets = detected[result.pairs[:, 0]] - annotated[result.pairs[:, 1]]
  np.testing.assert_allclose(result.distances, np.hypot(*offsets.T))
  assert (result.distances <= radius).all()


lattice = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=5)


@settings(max_examples=300, deadline=None)
@given(lattice, lattice, st.sampled_from([0, 1, 2.5, 5, 100]))
def test_match_equals_permutations(detected, annotated, radius):
  detected = np.array(detected, float).reshape(-1, 2)
  annotated = np.array(annotated, float).reshape(-1, 2)
  result = matching.match(detected, annotated, radius=radius)
  check_valid(result, detected, annotated, radius)
  pairs, total = by_permutations(detected, annotated, radius)
  assert result.tp == pairs
  assert result.distances.sum() == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("size", [60, 200, 500])
@pytest.mark.parametrize(("n", "m"), [(150, 150), (260, 150), (90, 200)])
@pytest.mark.parametrize("group", [1, 40, 500])
def test_match_equals_dense_solver(size, n, m, group, monkeypatch):
  monkeypatch.setattr(matching, "GROUP", group)
  rng = np.random.default_rng(size + n)
  annotated = rng.uniform(0, size, (m, 2))
  detected = rng.uniform(0, size, (n, 2))
  detected[: n // 3] = annotated[: n // 3] + rng.normal(0, 3, (n // 3, 2))
  detected[-5:] = detected[:5]  # the same point twice
  result = matching.match(detected, annotated, radius=16)
  check_valid(result, detected, annotated, 16)
  pairs, total = by_dense_solver(detected, annotated, 16)
  assert result.tp == pairs
  assert result.distances.sum() == pytest.approx(total, rel=1e-12)


def test_more_pairs_come_before_less_distance():
  annotated = np.array([[0.0, 0.0], [0.0, 10.0]])
  detected = np.array([[0.0, 10.0], [0.0, 25.0]])
  # Greedy would take the pair at distance 0 and leave the other detection alone.
  result = matching.match(detected[[0, 0]] + [[0, -1], [0, -9]], annotated, radius=9)
  assert result.tp == 2
  result = matching.match(detected, annotated, radius=16)
  np.testing.assert_array_equal(result.pairs, [[0, 0], [1, 1]])
  assert result.distances.sum() == 25


def test_radius_is_inclusive():
  far = [[0.0, 16.0]]
  assert matching.match([[0, 0]], far, radius=16).tp == 1
  assert matching.match([[0, 0]], far, radius=15.999).tp == 0


@pytest.mark.parametrize(("n", "m"), [(0, 0), (3, 0), (0, 2)])
def test_match_of_nothing(n, m):
  result = matching.match(np.zeros((n, 2)), np.zeros((m, 2)))
  assert (result.tp, result.fp, result.fn) == (0, n, m)
  assert result.pairs.shape == (0, 2)
  assert matching.match([], np.zeros((m, 2))).fn == m


@pytest.fixture
def pieces(monkeypatch):
  """Of each piece that is solved by itself, how many pairs within the radius it has."""
  sizes, solve = [], matching._solve

  def count(row, *others):
    sizes.append(len(row))
    return solve(row, *others)

  monkeypatch.setattr(matching, "_solve", count)
  return sizes


def test_pairs_out_of_reach_cost_nothing(pieces):
  rng = np.random.default_rng(0)
  annotated = rng.uniform(0, 1500, (3000, 2))
  detected = annotated + rng.normal(0, 4, annotated.shape)
  assert matching.match(detected, annotated).tp > 2950
  assert sum(pieces) < 10 * 3000  # of 3000²


def test_many_points_are_matched_in_small_pieces(pieces):
  truth = np.stack(np.divmod(np.arange(90_000), 300), 1) * 26.0
  detected = truth + np.random.default_rng(0).normal(0, 3, truth.shape)
  assert matching.match(detected, truth).tp == 90_000
  # 0.3 s where nothing else runs; 10 s in one piece.
  assert max(pieces) < 2 * matching.GROUP < 90_000 / 10


@pytest.mark.parametrize(
  "bad",
  [
    *([[0, np.nan]], [[np.inf, 0]], [[1, 2, 3]], [1, 2]),
    *("a.csv", None, {"centers": []}, [[1, 2], [3]], (np.ones((3, 2)), np.ones(3))),
  ],
)
def test_bad_points(bad):
  with pytest.raises(InputError, match="detected"):
    matching.match(bad, NONE)
  with pytest.raises(InputError, match="annotated"):
    matching.match(NONE, bad)


def named_fields(columns):
  table = np.zeros(2, [(name, float) for name in columns])
  for name, values in columns.items():
    table[name] = values
  return table


class OnlyNames:
  """What answers by names, and no more: Polars' frame, for instance."""

  def __init__(self, columns):
    self.columns = list(columns)
    self._values = columns

  def __getitem__(self, name):
    return self._values[name]


TABLES = [pandas.DataFrame, pyarrow.table, named_fields, OnlyNames]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("order", ["xy", "yx", ("score", "x", "y")])
def test_a_table_is_read_by_names(table, order):
  """Of (y, x) = (50, 10) and (7, 90), which lie far from (10, 50) and (90, 7)."""
  columns = {"x": [10.0, 90.0], "y": [50.0, 7.0], "score": [0.5, 0.4]}
  given = table({name: columns[name] for name in order})
  truth = [[50, 10], [7, 90]]
  assert matching.match(given, truth, radius=0).tp == 2
  assert matching.match(truth, given, radius=0).tp == 2


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("names", ["ab", "x", ("X", "Y"), ("y", "score")])
def test_a_table_of_other_columns_is_no_points(table, names):
  given = table({name: [1.0, 2.0] for name in names})
  with pytest.raises(InputError, match=f"x and y, got {', '.join(names)}$"):
    matching.match(given, NONE)


def test_a_table_of_no_numbers_is_no_points():
  for values, reason in (["a", "b"], "none"), ([1.0, np.nan], "NaN"):
    given = pandas.DataFrame({"x": values, "y": [1.0, 2.0]})
    with pytest.raises(InputError, match=reason):
      matching.match(given, NONE)
  assert matching.match(pandas.DataFrame({"x": [], "y": []}), NONE).tp == 0


@pytest.mark.parametrize("radius", [-1, np.nan, np.inf, "2", None, [16], 1j])
def test_bad_radius(radius):
  with pytest.raises(InputError, match="radius"):
    matching.match(NONE, NONE, radius=radius)


def test_what_was_detected_is_matched_with_a_sample_as_their_centres_are():
  sample = tissue.dots("m", nuclei=4)
  near = sample.centers[[2, 0]] + 1
  found = Detections(near, np.ones(2, np.float32))
  result = matching.match(found, sample, radius=2)
  assert result.pairs.tolist() == [[0, 2], [1, 0]]
  np.testing.assert_allclose(result.distances, np.sqrt(2), rtol=1e-5)
  assert matching.match(near, sample.centers, radius=np.float32(2)).tp == 2
