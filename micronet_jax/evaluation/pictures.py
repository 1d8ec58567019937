"""Pictures of a report: precision against recall, and what was found on tissue.

Called by `evaluation.report`.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from micronet_jax.errors import InputError
from micronet_jax.evaluation.matching import Match
from micronet_jax.evaluation.metrics import Curve, pool_matches

if TYPE_CHECKING:
  pass
from micronet_jax.figures import (
  COLORS,
  LINES,
  MARKS,
  PointStyle,
  new_figure,
  point_line,
)

MATCHED = PointStyle("matched", "o", "#56B4E9", "black", 7.0, 1.3)


MISSED = PointStyle("missed", "s", "#F0E442", "black", 7.5, 1.7)


FALSE = PointStyle("false", "x", "#D55E00", "white", 6.5, 2.0)


def precision_recall(curves: Mapping[str, Curve], *, title: str = "") -> Figure:
  """Draws precision against recall as ξ varies (paper, Figs. 7 and 9).

  Args:
    curves: by label, as `metrics.precision_recall_curve` gives them; each one's
      best F1 is marked and its value is in the legend. Thin grey lines are places
      of equal F1.
    title: above the axes.

  Returns:
    The figure, 6 inches wide, 5.9 high and 0.25 more for each line of the legend.
  """
  figure, (axes,) = new_figure((6.0, 5.9 + 0.25 * len(curves)), 1)
  seen = [v for c in curves.values() for v in (*c.precision, *c.recall)]
  low = max(np.floor(min(seen, default=0) * 10 - 0.5) / 10, 0.0)
  _equal_f1_lines(axes, low)
  styles = itertools.cycle(zip(COLORS, MARKS, strict=True))
  lines = itertools.cycle(LINES)
  for (label, curve), (color, marker), line in zip(
    curves.items(), styles, lines, strict=False
  ):
    best = int(np.argmax(curve.f1))
    axes.plot(
      curve.recall,
      curve.precision,
      line,
      color=color,
      linewidth=1.8,
      marker=marker,
      markevery=[best],
      markersize=9,
      markeredgecolor="white",
      label=f"{label}: best F1 {curve.f1[best]:.3f} at ξ = {curve.xi[best]:g}",
    )
  axes.set(xlabel="recall", ylabel="precision", title=title)
  axes.set(xlim=(low, 1.01), ylim=(low, 1.01), box_aspect=1)
  for axis in (axes.xaxis, axes.yaxis):
    axis.set_major_locator(MultipleLocator(0.1))
  if curves:
    figure.legend(loc="outside lower center", frameon=False, handlelength=3.5)
  return figure


def _equal_f1_lines(axes: Axes, low: float) -> None:
  """Draws where F1 is 0.1, 0.2, … within axes that start at `low`, labelled."""
  for f1 in np.arange(np.floor(low * 10) + 1, 10) / 10:
    recall = np.linspace(f1 / 2 + 1e-3, 1.01, 200)
    precision = f1 * recall / (2 * recall - f1)
    axes.plot(recall, precision, color="0.8", linewidth=0.8, zorder=0)
    if precision[-1] < low:  # it leaves the axes below
      continue
    axes.annotate(
      f"F1 {f1:.1f}",
      (recall[-1], precision[-1]),
      xytext=(3, 0),
      textcoords="offset points",
      va="center",
      fontsize=8,
      color="0.4",
      annotation_clip=False,
    )


def detection_sheet(
  images: Sequence[np.ndarray],
  detected: Sequence[np.ndarray],
  annotated: Sequence[np.ndarray],
  matches: Sequence[Match],
  titles: Sequence[str],
  *,
  radius: float | None = None,
  columns: int = 3,
) -> Figure:
  """Draws what was found, missed and invented on tiles of tissue.

  Args:
    images: uint8 `[H, W, 3]` per tile, of any sizes; six 500² tiles read well.
    detected: `[N, 2]` (y, x) per tile.
    annotated: `[M, 2]` (y, x) per tile.
    matches: `matching.match(detected, annotated)` per tile.
    titles: the name per tile; F1 and the counts are written below it.
    radius: within which `matches` were made, in pixels, to be written beside F1.
    columns: tiles in a row.

  Returns:
    The figure, 4.4 inches a tile, with a legend that counts over all tiles. A
    matched mark is where the detection is.

  Raises:
    InputError: if the lists differ in length or `columns` < 1.
  """
  lists = (images, detected, annotated, matches, titles)
  if len({len(entries) for entries in lists}) > 1:
    raise InputError(f"expected one entry per tile, got {[len(e) for e in lists]}")
  if columns < 1:
    raise InputError(f"columns: expected an integer >= 1, got {columns}")
  columns = max(min(columns, len(images)), 1)
  rows = max(-(-len(images) // columns), 1)
  figure, grid = new_figure((4.4 * columns, 4.9 * rows + 0.5), rows, columns)
  for axes in grid:
    axes.set_axis_off()
  within = "" if radius is None else f" within {radius:g} px"
  totals = dict.fromkeys((MATCHED, MISSED, FALSE), 0)
  for axes, image, found, truth, result, title in zip(grid, *lists, strict=False):
    points = _sorted_out(found, truth, result)
    f1 = f"F1 {pool_matches([result])['f1']:.2f}{within}"
    _tile(axes, image, points, f"{title}\n{f1}")
    for mark, at in points.items():
      totals[mark] += len(at)
  handles = [
    point_line(mark, [], [], f"{mark.label} ({count})")
    for mark, count in totals.items()
  ]
  figure.legend(
    handles=handles,
    loc="outside lower center",
    ncols=3,
    fontsize=9 if columns == 1 else 12,
    handletextpad=0.2,
    frameon=False,
  )
  return figure


def _sorted_out(
  detected: np.ndarray, annotated: np.ndarray, result: Match
) -> dict[PointStyle, np.ndarray]:
  """Splits points into the three kinds, `[n, 2]` (y, x) each."""
  found = np.asarray(detected, float).reshape(-1, 2)
  truth = np.asarray(annotated, float).reshape(-1, 2)
  return {
    MATCHED: found[result.pairs[:, 0]],
    MISSED: np.delete(truth, result.pairs[:, 1], axis=0),
    FALSE: np.delete(found, result.pairs[:, 0], axis=0),
  }


def _tile(
  axes: Axes, image: np.ndarray, points: Mapping[PointStyle, np.ndarray], title: str
) -> None:
  """Draws one tile, its points (whole at the border), and its title with counts."""
  height, width = image.shape[:2]
  axes.imshow(image, interpolation="nearest")
  axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
  for mark, at in points.items():
    line = point_line(mark, at[:, 1], at[:, 0], mark.label)
    axes.add_line(line)
    line.set_clip_on(False)
    line.set_in_layout(False)  # or marks at the border shrink the tile
  counts = ", ".join(f"{len(at)} {mark.label}" for mark, at in points.items())
  axes.set_title(f"{title}: {counts}", fontsize=9)
