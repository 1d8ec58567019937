"""What is scored is what `detect` finds, and every number is of the same points."""

import dataclasses

import networks
import numpy as np
import pytest
import tissue

from micronet_jax.config import Config, DataConfig
from micronet_jax.datasets.sources import load_source
from micronet_jax.detection import scan
from micronet_jax.detection.detector import Detector
from micronet_jax.detection.peaks import ScoredPoints, select_peaks
from micronet_jax.evaluation import matching, metrics, thresholds
from micronet_jax.evaluation.scoring import score_detector
from micronet_jax.settings import changed

SIDE = 160


@pytest.fixture(scope="module")
def detector():
  meta = {**networks.META, "xi": 0.3}
  return Detector(networks.random_weights(), meta)


@pytest.fixture(scope="module")
def samples():
  """Tissue on the left, glass on the right."""
  made = [tissue.dots(name, size=SIDE, nuclei=9) for name in ("one", "two")]
  glass = np.full((SIDE, SIDE, 3), 245, np.uint8)
  return [
    dataclasses.replace(each, image=np.concatenate([each.image, glass], 1))
    for each in made
  ]


@pytest.mark.parametrize("largest", [scan.SLIDE_PIXELS, SIDE * SIDE])
@pytest.mark.parametrize("more", [{}, {"mpp": 0.5, "threshold_rule": "absolute"}])
def test_what_is_scored_is_what_detect_finds(
  monkeypatch, detector, samples, largest, more
):
  """Also beyond 1 mm², where ξ is absolute and glass is not looked at."""
  monkeypatch.setattr(scan, "SLIDE_PIXELS", largest)
  detector = Detector(detector.weights, {**detector.meta, **more, "xi": 0.1})
  scored = score_detector(detector, samples)
  for sample, found in zip(samples, scored.detected, strict=True):
    expected = detector.detect(sample.image, mpp=0.25).centers
    assert len(expected)
    np.testing.assert_array_equal(found, expected)


def test_the_two_rules_give_different_points(monkeypatch, detector, samples):
  """Else the test above would prove nothing."""
  small = score_detector(detector, samples[:1]).detected[0]
  monkeypatch.setattr(scan, "SLIDE_PIXELS", SIDE * SIDE)
  large = score_detector(detector, samples[:1]).detected[0]
  assert {*map(tuple, small)} != {*map(tuple, large)}


def test_scores_are_those_of_the_points(detector, samples):
  scored = score_detector(detector, samples)
  annotated = [sample.centers for sample in samples]
  assert scored.radius_px == metrics.evaluate_points(scored.detected, annotated)
  for radius, matches in scored.matches.items():
    expected = matching.match_images(scored.detected, annotated, radius=float(radius))
    assert [(m.tp, m.fp, m.fn) for m in matches] == [
      (m.tp, m.fp, m.fn) for m in expected
    ]
  at_xi = scored.curve.xi == 0.3
  assert scored.curve.f1[at_xi] == pytest.approx(scored.radius_px["16"]["f1"])


def test_scores_are_in_reference_pixels_whatever_the_resolution(detector, samples):
  """The same tissue, called 0.5: all lengths double, and so what 16 pixels reach."""
  half = Detector(detector.weights, {**detector.meta, "mpp": 0.5})
  coarse = [dataclasses.replace(each, mpp=0.5) for each in samples]
  scored = score_detector(half, coarse)
  annotated = [2 * each.centers + 0.5 for each in samples]
  detected = [2 * each + 0.5 for each in scored.detected]
  assert scored.radius_px == metrics.evaluate_points(detected, annotated)


def test_a_threshold_means_a_share_or_a_score():
  """By hand: of the highest score, 2, or of a clear centre's, 1."""
  centers = np.arange(8, dtype=np.float32).reshape(4, 2)
  values = np.array([2.0, 1.1, 0.9, 0.4], np.float32)
  assert len(ScoredPoints(centers, values).over(0.5)) == 2
  assert len(ScoredPoints(centers, values, 1.0).over(0.5)) == 3
  np.testing.assert_array_equal(
    ScoredPoints(centers, values).over(0.5),
    select_peaks(centers, values, xi=0.5)[0],
  )


def test_images_of_unknown_resolution_are_counted_once_where_they_are_loaded(
  tmp_path, detector, caplog, monkeypatch
):
  """And neither scoring nor the choice of ξ speaks of options that they lack."""
  monkeypatch.setattr(scan, "_told", set())
  known = [tissue.dots(f"p{i}") for i in range(3)]
  unknown = [dataclasses.replace(tissue.dots(name), mpp=None) for name in ("u1", "u0")]
  for name, made in (("some", [*known, *unknown]), ("all", known)):
    tissue.write_folder(tmp_path / name, made)
  root = str(tmp_path / "some")
  samples = load_source(DataConfig("folder", root), data_dir=str(tmp_path / "kept"))
  assert caplog.messages == [
    f"2 of 5 images of {root} (first u0) do not say their microns per pixel: taken as"
    " 0.25; the column mpp of index.csv says otherwise"
  ]
  config = changed(Config(), {"min_distances": (5,)})
  thresholds.choose_threshold(config, detector, samples)
  scored = score_detector(detector, samples)
  taken = [dataclasses.replace(each, mpp=0.25) for each in samples]
  assert score_detector(detector, taken).radius_px == scored.radius_px
  root = str(tmp_path / "all")
  load_source(DataConfig("folder", root), data_dir=str(tmp_path / "kept"))
  assert len(caplog.messages) == 1
