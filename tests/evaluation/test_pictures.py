"""Detections on tissue and precision against recall: what is in the pictures."""

import numpy as np
import pytest
from drawings import assert_nothing_overlaps_or_leaves, legend_texts

from micronet_jax.errors import InputError
from micronet_jax.evaluation import matching, metrics, pictures

TILES = 4


@pytest.fixture(scope="module")
def tiles():
  """Random tiles with known numbers of matched, missed and false points."""
  rng = np.random.default_rng(0)
  images, detected, annotated, matches, titles = [], [], [], [], []
  for index in range(TILES):
    lattice = np.stack(np.meshgrid(*[np.arange(8, 100, 20.0)] * 2), -1).reshape(-1, 2)
    images.append(rng.integers(120, 255, (100, 110, 3), np.uint8))
    annotated.append(lattice[: 20 - index])
    detected.append(lattice[3 + index :] + 1)
    matches.append(matching.match(detected[-1], annotated[-1], radius=6))
    titles.append(f"kidney__{index}")
  return images, detected, annotated, matches, titles


def curve(best):
  f1 = np.array([0.5, best, 0.4])
  xi = np.array([0, 0.25, 0.5])
  return metrics.Curve(xi, np.array([0.4, 0.8, 0.9]), f1[::-1], f1, np.ones(3))


def marks(axes, mark):
  (line,) = [line for line in axes.get_lines() if line.get_label() == mark.label]
  return line


def test_sheet_draws_every_point_where_it_is(tiles):
  _, detected, annotated, matches, titles = tiles
  figure = pictures.detection_sheet(*tiles, radius=6)
  totals = np.zeros(3, int)
  each = zip(figure.axes, detected, annotated, matches, titles, strict=False)
  for axes, found, truth, result, title in each:
    matched, missed, false = (
      marks(axes, mark) for mark in (pictures.MATCHED, pictures.MISSED, pictures.FALSE)
    )
    counts = [len(line.get_xdata()) for line in (matched, missed, false)]
    assert counts == [result.tp, result.fn, result.fp]
    assert min(counts) > 0
    totals += counts
    drawn = np.stack([matched.get_ydata(), matched.get_xdata()], 1)
    np.testing.assert_array_equal(drawn, found[result.pairs[:, 0]])
    kept = [i for i in range(len(truth)) if i not in result.pairs[:, 1]]
    drawn = np.stack([missed.get_ydata(), missed.get_xdata()], 1)
    np.testing.assert_array_equal(drawn, truth[kept])
    kept = [i for i in range(len(found)) if i not in result.pairs[:, 0]]
    drawn = np.stack([false.get_ydata(), false.get_xdata()], 1)
    np.testing.assert_array_equal(drawn, found[kept])
    heading = axes.get_title()
    f1 = metrics.pool_matches([result])["f1"]
    assert heading.startswith(f"{title}\nF1 {f1:.2f} within 6 px: {counts[0]} matched")
  assert legend_texts(figure) == [
    f"{name} ({total})"
    for name, total in zip(("matched", "missed", "false"), totals, strict=True)
  ]


def test_marks_differ_in_shape_and_colour(tiles):
  axes = pictures.detection_sheet(*tiles).axes[0]
  lines = [
    marks(axes, mark) for mark in (pictures.MATCHED, pictures.MISSED, pictures.FALSE)
  ]
  assert len({line.get_marker() for line in lines}) == 3
  assert len({line.get_markeredgecolor() for line in lines}) == 3
  assert all(line.get_path_effects() for line in lines)  # the halo


@pytest.mark.parametrize(("count", "columns"), [(1, 3), (2, 3), (4, 3), (4, 2), (3, 1)])
def test_sheet_layout(tiles, count, columns):
  figure = pictures.detection_sheet(*(each[:count] for each in tiles), columns=columns)
  assert sum(bool(axes.images) for axes in figure.axes) == count
  assert_nothing_overlaps_or_leaves(figure)


def test_sheet_of_tiles_without_points(tiles):
  none = np.zeros((0, 2))
  result = matching.match(none, none)
  figure = pictures.detection_sheet([tiles[0][0]], [none], [[]], [result], ["empty"])
  assert legend_texts(figure) == ["matched (0)", "missed (0)", "false (0)"]


def test_sheet_arguments(tiles):
  with pytest.raises(InputError, match="one entry per tile"):
    pictures.detection_sheet(tiles[0], *(each[:1] for each in tiles[1:]))
  with pytest.raises(InputError, match="columns"):
    pictures.detection_sheet(*tiles, columns=0)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_precision_recall(count):
  curves = {f"γ = {index}": curve(0.6 + 0.01 * index) for index in range(count)}
  figure = pictures.precision_recall(curves, title="kidney")
  axes = figure.axes[0]
  lines = [
    line for line in axes.get_lines() if line.get_label() in legend_texts(figure)
  ]
  assert len(lines) == count
  for line, (label, data) in zip(lines, curves.items(), strict=True):
    np.testing.assert_array_equal(line.get_xdata(), data.recall)
    np.testing.assert_array_equal(line.get_ydata(), data.precision)
    assert line.get_markevery() == [1]
    assert line.get_label() == f"{label}: best F1 {data.f1[1]:.3f} at ξ = 0.25"
    assert axes.get_xlim()[0] <= data.recall.min()
    assert axes.get_ylim()[0] <= data.precision.min()
  if count:
    labels = [text.get_text() for text in axes.texts]
    assert labels[-1] == "F1 0.9"
    assert min(text.xy[1] for text in axes.texts) >= axes.get_ylim()[0]
  styles = {(line.get_color(), line.get_linestyle()) for line in lines}
  assert len(styles) == count
  assert_nothing_overlaps_or_leaves(figure)


def test_precision_recall_of_nothing():
  (axes,) = pictures.precision_recall({}).axes
  # Precision against recall where F1 is f: 1/p = 2/f - 1/r.
  for line, f1 in zip(axes.get_lines(), np.arange(1, 10) / 10, strict=True):
    np.testing.assert_allclose(
      1 / line.get_ydata() + 1 / line.get_xdata(), 2 / f1, rtol=1e-6
    )
  # Without annotations nothing is missed and nothing invented.
  nothing = metrics.precision_recall_curve([], [])
  figure = pictures.precision_recall({"nothing": nothing})
  assert legend_texts(figure) == [f"nothing: best F1 1.000 at ξ = {nothing.xi[0]:g}"]
  figure.draw_without_rendering()


def test_a_sheet_of_no_tiles():
  figure = pictures.detection_sheet([], [], [], [], [])
  assert legend_texts(figure) == ["matched (0)", "missed (0)", "false (0)"]
  assert not any(axes.images or axes.lines for axes in figure.axes)
  figure.draw_without_rendering()
