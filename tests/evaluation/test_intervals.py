"""Intervals over patients and seeds, by hand and against other ways to them."""

import numpy as np
import pytest
from scipy import stats

from micronet_jax.errors import InputError
from micronet_jax.evaluation import intervals
from micronet_jax.evaluation.intervals import Estimate, Tally


def tally(tp, fp, fn, *, distance=None, patients=None, organ="breast"):
  columns = [np.asarray(each, float).reshape(-1) for each in (tp, fp, fn)]
  columns.append(columns[0] * 3 if distance is None else np.asarray(distance, float))
  patients = patients or tuple(f"p{i}" for i in range(len(columns[0])))
  return Tally(organ, tuple(patients), np.stack(columns, axis=-1))


def alike(f1, patients=6):
  return tally([f1] * patients, [2 - 2 * f1] * patients, [0] * patients)


def difference(scores):
  return scores[..., 0] - scores[..., 1]


def first(scores):
  return scores[..., 0]


def test_scores_by_hand():
  one = tally([3, 1], [1, 0], [0, 2], distance=[6.0, 4.0])
  assert one.score("precision") == 4 / 5
  assert one.score("recall") == 4 / 6
  assert one.score("f1") == pytest.approx(8 / 11)
  assert one.score("ed") == 2.5
  nothing = tally([0], [0], [0])
  assert [nothing.score(m) for m in ("precision", "recall", "f1")] == [1, 1, 1]
  assert np.isnan(nothing.score("ed"))
  missed = tally([0], [0], [4])
  assert [missed.score(m) for m in ("precision", "recall", "f1")] == [0, 0, 0]


def test_the_interval_of_a_report():
  rng = np.random.default_rng(0)
  right = rng.binomial(100, 0.7, 40)
  counts = np.stack([right, 100 - right, 100 - right, 3 * right], axis=-1)
  patients = [f"p{index // 2}" for index in range(40)]
  low, high = intervals.interval_over_patients(counts, patients)
  assert low < right.mean() / 100 < high
  # The mean of 20 patients of 200 nuclei: +- 1.96 sd of the mean, roughly.
  assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.21 / 4000), rel=0.4)
  assert (low, high) == intervals.interval_over_patients(counts, patients)
  ed_low, ed_high = intervals.interval_over_patients(counts, patients, "ed")
  assert ed_low <= 3 <= ed_high
  # Enlarged distances do not leave what F1 can be.
  perfect = np.array([[9, 0, 0, 0]] * 4 + [[1, 8, 8, 0]])
  assert intervals.interval_over_patients(perfect, list("abcde"))[1] == 1
  with pytest.raises(InputError, match="one entry per image"):
    intervals.interval_over_patients(counts, ["a"])


@pytest.mark.parametrize("patients", ["aaaaaa", "aabbcc", "abcd"])
def test_fewer_than_five_patients_say_nothing(patients):
  counts = np.tile([9.0, 1, 1, 5], (len(patients), 1))
  assert intervals.interval_over_patients(counts, list(patients)) is None
  five = np.tile([9.0, 1, 1, 5], (5, 1))
  assert intervals.interval_over_patients(five, list("abcde")) == (0.9, 0.9)


def test_too_few_patients_cannot_tell():
  few, worse = tally([9, 8, 9], [0] * 3, [0] * 3), tally([1, 2, 1], [9] * 3, [9] * 3)
  for seeds in (1, 3):  # seeds are no patients
    found = intervals.estimate_statistic([[few, worse]] * seeds, difference)
    assert (found.low, found.high) == (None, None)
    assert found.verdict() == "cannot tell"


def test_the_bootstrap_is_paired_and_over_patients():
  rng = np.random.default_rng(0)
  tp = rng.integers(5, 60, 12)
  pairs = tuple(f"p{i // 2}" for i in range(12))  # two images a patient
  one = tally(tp, 5 + 0 * tp, 65 - tp, patients=pairs)
  same = intervals.estimate_statistic([[one, one]], difference)
  assert (same.value, same.low, same.high) == (0, 0, 0)
  assert same.source == "6 test patients"
  found = intervals.estimate_statistic([[one]], first)
  # The same by a loop that draws patients and pools their images.
  draws = []
  for _ in range(4000):
    chosen = rng.choice(6, 6)
    images = np.concatenate([[2 * c, 2 * c + 1] for c in chosen])
    t, f, m, _ = one.counts[images].sum(0)
    draws.append(2 * t / (2 * t + f + m))
  draws = found.value + np.sqrt(6 / 5) * (np.array(draws) - found.value)
  low, high = np.quantile(draws, [0.025, 0.975])
  assert (found.low, found.high) == pytest.approx((low, high), abs=0.012)
  assert found.low < found.value < found.high


def test_the_bootstrap_is_as_wide_as_few_patients_ask_for():
  """Of a mean, the variance over draws is that of the mean, not (n - 1)/n of it."""
  recall = np.array([0.2, 0.5, 0.9])
  one = tally(100 * recall, [0] * 3, 100 - 100 * recall)
  drawn = intervals.draw_scores([one], "recall", seed=0)
  assert drawn.mean() == pytest.approx(recall.mean(), abs=0.01)
  assert drawn.std() == pytest.approx(stats.sem(recall), rel=0.03)


def test_three_seeds_without_differences_between_patients_give_students_interval():
  f1 = np.array([0.5, 0.6, 0.8])
  by_seed = [[alike(value), alike(0.5)] for value in f1]
  found = intervals.estimate_statistic(by_seed, difference)
  t = stats.ttest_1samp(f1 - 0.5, 0.0).confidence_interval(0.95)
  assert found.value == pytest.approx(np.mean(f1) - 0.5)
  assert (found.low, found.high) == pytest.approx((t.low, t.high))
  assert found.source == "3 seeds, 6 test patients"


def test_seeds_and_patients_add_in_squares():
  rng = np.random.default_rng(2)
  tp = rng.integers(5, 60, 12)
  one = tally(tp, 5 + 0 * tp, 65 - tp)
  alone = intervals.estimate_statistic([[one]], first)
  same = intervals.estimate_statistic([[one]] * 3, first)
  assert same[:3] == pytest.approx(alone[:3])  # seeds that agree add nothing
  by_seed = [[tally(tp, extra + 0 * tp, 65 - tp)] for extra in (3, 5, 9)]
  found = intervals.estimate_statistic(by_seed, first)
  scores = [row[0].score("f1") for row in by_seed]
  t = stats.ttest_1samp(scores, 0.0).confidence_interval(0.95)
  patients = intervals.estimate_statistic([by_seed[1], by_seed[1]], first)
  # Patients count much alike for the three; the sum is exact for what they add up to.
  for side, sign in (("low", -1), ("high", 1)):
    seeds = sign * (getattr(t, side) - np.mean(scores))
    both = sign * (getattr(found, side) - found.value)
    one_side = sign * (getattr(patients, side) - patients.value)
    assert both == pytest.approx(np.hypot(seeds, one_side), rel=0.02)


@pytest.mark.parametrize("seeds", [1, 3])
def test_detectors_without_a_pair_have_no_distance_and_no_interval(seeds):
  nothing = tally([0] * 6, [1] * 6, [2] * 6)
  found = intervals.estimate_statistic([[nothing]] * seeds, first, metric="ed")
  assert np.isnan(found.value)
  assert (found.low, found.high) == (None, None)
  assert found.verdict() == "cannot tell"


@pytest.mark.parametrize(
  ("low", "high", "least", "expected"),
  [
    (0.01, 0.2, 0.0, "holds"),
    (-0.01, 0.2, 0.0, "cannot tell"),
    (-0.2, -0.01, 0.0, "does not hold"),
    (0.0, 0.0, 0.0, "cannot tell"),
    (-0.005, 0.1, -0.01, "holds"),
    (-0.05, -0.02, -0.01, "does not hold"),
    (None, None, 0.0, "cannot tell"),
  ],
)
def test_verdicts(low, high, least, expected):
  assert Estimate(0.1, low, high, "").verdict(least) == expected


def test_weights_of_a_difference_by_hand():
  sides = np.array([1, -1, -1, 1, -1, 1])
  groups = np.array(["a", "a", "a", "b", "b", "c"])  # c has no partner
  weights = intervals.weigh_difference(sides, groups)
  np.testing.assert_allclose(weights, [0.5, -0.25, -0.25, 0.5, -0.5, 0])
  assert intervals.weigh_difference(np.ones(3), np.array(["a"] * 3)) is None


def test_the_share_that_won_counts_ties():
  sides = np.array([1, -1, -1, 1, -1])
  groups = np.array(["a", "a", "a", "b", "b"])
  scores = np.array([[0.5, 0.4, 0.5, 0.1, 0.2], [0.5, 0.4, 0.6, 0.3, 0.2]])
  np.testing.assert_allclose(intervals.share_won(scores, sides, groups), [0.5, 0.5])
