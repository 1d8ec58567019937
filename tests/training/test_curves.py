"""Curves of training: what is drawn of a log."""

import numpy as np
import pytest
from drawings import assert_nothing_overlaps_or_leaves, legend_texts

from micronet_jax.training.curves import History, training_curves


def history(steps=400):
  at = np.arange(steps)
  return History(at, 1 / (1 + at), at[::40], np.sin(at[::40] / 120))


def test_training_curves():
  runs = {"from scratch": history(), "fine-tuned": history(60)}
  figure = training_curves(runs, title="kidney")
  above, below = figure.axes
  assert above.get_yscale() == "log"
  assert above.get_ylabel() == "training loss (pale: as logged)"
  stars = [line for line in below.get_lines() if line.get_marker() == "*"]
  for star, run in zip(stars, runs.values(), strict=True):
    best = np.argmax(run.val_f1)
    assert star.get_xdata() == run.val_steps[best]
    assert star.get_ydata() == run.val_f1[best]
  # sin(s / 120) at 0, 40, 80, …: sin(200 / 120), nearest to π / 2, or sin(40 / 120).
  assert legend_texts(figure) == [
    "from scratch (best F1 0.995 at step 200)",
    "fine-tuned (best F1 0.327 at step 40)",
    "best on validation: the checkpoint that is kept",
  ]
  assert_nothing_overlaps_or_leaves(figure)


def test_training_curve_smooths_long_logs_only():
  loss = np.full(1000, 2.0)
  loss[::2] = 4
  figure = training_curves({"long": History(np.arange(1000), loss)})
  pale, strong = figure.axes[0].get_lines()
  np.testing.assert_array_equal(pale.get_ydata(), loss)
  np.testing.assert_allclose(strong.get_ydata(), 3)
  assert strong.get_xdata()[0] == pytest.approx(9.5)  # the middle of the first 20
  short = training_curves({"short": History([1, 2, 3], [3, 2, 1])})
  (line,) = short.axes[0].get_lines()
  np.testing.assert_array_equal(line.get_ydata(), [3, 2, 1])


def test_curves_of_runs_that_logged_nothing():
  assert training_curves({}).legends == []
  figure = training_curves({"nothing": History([], [])})
  assert legend_texts(figure) == ["nothing"]  # and no star, which marks a score
  assert figure.axes[1].get_ylabel() == "validation F1 (none)"
  assert not any(len(line.get_xdata()) for axes in figure.axes for line in axes.lines)
  figure.draw_without_rendering()
