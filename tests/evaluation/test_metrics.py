"""Scores by hand, their chance level, curves, choices of a threshold."""

import json

import numpy as np
import pytest

from micronet_jax.detection.peaks import ScoredPoints
from micronet_jax.errors import InputError
from micronet_jax.evaluation import metrics, thresholds

NONE = np.zeros((0, 2), np.float32)


def test_scores_by_hand():
  result = metrics.form_scores(6, 2, 4, np.arange(6))
  assert result == {
    "precision": pytest.approx(0.75),
    "recall": pytest.approx(0.6),
    "f1": pytest.approx(2 * 0.75 * 0.6 / 1.35),
    "ed": pytest.approx(2.5),
  }


@pytest.mark.parametrize(
  ("counts", "expected"),
  [((0, 0, 0), 1), ((0, 3, 0), 0), ((0, 0, 3), 0), ((0, 2, 3), 0)],
)
def test_scores_of_nothing(counts, expected):
  result = metrics.form_scores(*counts, np.zeros(0))
  assert result["precision"] == result["recall"] == result["f1"] == expected
  assert result["ed"] is None


def test_evaluate_points_pools_counts():
  annotated = [np.array([[0.0, 0.0]]), np.array([[50.0, 50.0], [90.0, 90.0]]), NONE]
  detected = [np.array([[0.0, 7.0]]), np.array([[50.0, 50.0]]), np.array([[1.0, 1.0]])]
  result = metrics.evaluate_points(detected, annotated)
  assert list(result) == ["16", "12", "8", "6"]
  assert result["16"] == metrics.form_scores(2, 1, 1, np.array([7, 0]))
  assert result["6"] == metrics.form_scores(1, 2, 2, np.array([0]))
  assert json.loads(json.dumps(result)) == result
  assert metrics.evaluate_points([], [], radii=(2.5,))["2.5"]["f1"] == 1


def test_lists_must_have_one_entry_per_image():
  with pytest.raises(InputError, match="one entry per image"):
    metrics.evaluate_points([NONE], [])
  with pytest.raises(InputError, match="one entry per image"):
    metrics.precision_recall_curve([], [NONE])
  with pytest.raises(InputError, match="one entry per image"):
    metrics.chance_level([1], [NONE], [])


def test_chance_level_against_probability():
  # One annotation in the middle, one point thrown: F1 is 1 within the disk, else 0.
  annotated, shape = [np.array([[49.5, 49.5]])], [(100, 100)]
  levels = [
    metrics.chance_level([1], annotated, shape, draws=700, seed=seed)
    for seed in (0, 0, 1, 2)
  ]
  for level in levels:
    for key, value in level.items():
      assert value == pytest.approx(np.pi * float(key) ** 2 / 100**2, abs=0.03)
  assert levels[0] == levels[1]
  assert len({tuple(level.values()) for level in levels}) == 3  # one a seed


def noisy_peaks(seed, images=3, nuclei=40):
  """Annotations, and peaks: true ones with high scores, false ones with lower."""
  rng = np.random.default_rng(seed)
  peaks, annotated = [], []
  for _ in range(images):
    truth = rng.uniform(0, 300, (nuclei, 2))
    centers = np.concatenate([truth + rng.normal(0, 2, truth.shape), truth[::2] + 25])
    values = np.concatenate([rng.uniform(0.4, 1, nuclei), rng.uniform(0, 0.6, 20)])
    annotated.append(truth)
    peaks.append(ScoredPoints(centers, values.astype(np.float32)))
  return peaks, annotated


def test_precision_recall_curve_equals_point_by_point():
  peaks, annotated = noisy_peaks(0)
  curve = metrics.precision_recall_curve(peaks, annotated, radius=10)
  assert (np.diff(curve.recall) <= 0).all()
  for index, xi in enumerate(curve.xi):
    kept = [p.centers[p.scores >= xi * p.scores.max()] for p in peaks]
    expected = metrics.evaluate_points(kept, annotated, radii=(10,))["10"]
    for name, value in expected.items():
      assert getattr(curve, name)[index] == pytest.approx(value)


def test_curve_without_peaks():
  nothing = ScoredPoints(NONE, np.zeros(0, np.float32))
  curve = metrics.precision_recall_curve([nothing], [np.ones((3, 2))])
  assert (curve.f1 == 0).all()
  assert np.isnan(curve.ed).all()


def test_select_threshold_equals_search():
  annotated = noisy_peaks(0)[1]
  peaks = {3: noisy_peaks(0)[0], 5: noisy_peaks(0)[0]}
  peaks[5] = [ScoredPoints(p.centers[:-4], p.scores[:-4]) for p in peaks[5]]
  choice = thresholds.select_threshold(peaks, annotated)
  curves = {
    key: metrics.precision_recall_curve(value, annotated)
    for key, value in peaks.items()
  }
  assert choice.f1 == max(curve.f1.max() for curve in curves.values())
  index = list(curves[choice.min_distance].xi).index(choice.xi)
  assert curves[choice.min_distance].f1[index] == choice.f1
  assert curves[choice.min_distance].ed[index] == pytest.approx(choice.ed)


def test_each_slide_counts_alike_whatever_its_nuclei():
  """One slide of 20 nuclei whose doubles score 0.4, two of 10 that score 0.3."""
  far = np.stack([100.0 * np.arange(20), np.zeros(20)], -1)
  doubled = np.concatenate([far, far + 50])
  many = ScoredPoints(doubled, np.repeat(np.float32([0.9, 0.4]), 20), 1.0)
  few = ScoredPoints(far[:10], np.full(10, 0.3, np.float32), 1.0)
  images, annotated = [many, few, few], [far, far[:10], far[:10]]
  options = {"radius": 5.0, "grid": (0.2, 0.5)}
  # ξ 0.2: all are found, and twenty false; ξ 0.5: half of forty, none false.
  pooled = thresholds.select_threshold({3: images}, annotated, **options)
  alike = thresholds.select_threshold(
    {3: images}, annotated, **options, slides=["a", "b", "c"]
  )
  assert (pooled.xi, pooled.f1) == (0.2, pytest.approx(2 * 40 / (40 + 60)))
  # In shares of a slide's nuclei: 3 found and 1 false of 3.
  assert (alike.xi, alike.f1) == (0.2, pytest.approx(2 * 3 / (3 + 4)))
  # As one slide of 20 nuclei and one of 20: 2 found, 1 false.
  two = thresholds.select_threshold(
    {3: images}, annotated, **options, slides=["a", "b", "b"]
  )
  assert two.f1 == pytest.approx(2 * 2 / (2 + 3))


def test_an_empty_slide_adds_its_false_points_and_no_more():
  """Else one tile of glass would decide: at ξ 0.8, 7 of 10 nuclei are lost."""
  far = np.stack([100.0 * np.arange(100), np.zeros(100)], -1)
  scores = np.linspace(1, 0.3, 100).astype(np.float32)
  images = [
    ScoredPoints(far, scores, 1.0),
    ScoredPoints(far[:1], scores[:1] * 0.8, 1.0),
  ]
  choice = thresholds.select_threshold(
    {3: images}, [far, NONE], radius=5.0, slides=["tissue", "glass"]
  )
  assert choice.xi <= 0.3
  assert choice.f1 == pytest.approx(2 / (2 + 0.1))


@pytest.mark.parametrize("nuclei", [1, 2, 3, 4, 9, 10, 30])
def test_false_points_count_however_few_nuclei_there_are(nuclei):
  """All nuclei score 0.8, four false points 0.3: below ten nuclei shares are small."""
  points = np.stack([100.0 * np.arange(nuclei + 4), np.zeros(nuclei + 4)], -1)
  values = np.repeat(np.float32([0.8, 0.3]), [nuclei, 4])
  options = {"radius": 5.0, "grid": (0.2, 0.4, 0.6), "slides": ["one"]}
  images, truth = [ScoredPoints(points, values, 1.0)], [points[:nuclei]]
  choice = thresholds.select_threshold({3: images}, truth, **options)
  assert (choice.xi, choice.f1) == (0.4, 1.0)
  options["grid"] = (0.2,)
  choice = thresholds.select_threshold({3: images}, truth, **options)
  assert choice.f1 == pytest.approx(2 * nuclei / (2 * nuclei + 4))


def test_ties_are_broken_by_distance_then_window_then_middle():
  annotated = [np.array([[10.0, 10.0], [50.0, 50.0]])]
  values = np.array([1.0, 0.52], np.float32)
  exact, off = annotated[0], annotated[0] + 1
  peaks = {
    distance: [ScoredPoints(centers, values)]
    for distance, centers in ((2, off), (6, exact), (4, exact))
  }
  choice = thresholds.select_threshold(peaks, annotated)
  # Both points are kept for xi = 0, 0.05, ..., 0.5; the middle of those is 0.25.
  assert choice == thresholds.Choice(0.25, 4, 1.0, 0.0)


def test_select_threshold_without_anything_right():
  nothing = [ScoredPoints(NONE, np.zeros(0, np.float32))]
  choice = thresholds.select_threshold({3: nothing}, [np.ones((3, 2))])
  assert (choice.f1, choice.ed, choice.min_distance) == (0, None, 3)
  with pytest.raises(InputError, match="at least one"):
    thresholds.select_threshold({}, [])
