"""Grids of panels, as in the paper's figures: F1 over x, or precision and recall.

Called by the figures' modules.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from micronet_jax.figures import add_legend, new_figure
from micronet_jax.studies.claims import group_panels
from micronet_jax.studies.results import Row

Looks = Mapping[str, Mapping[str, Any]]
"""What each series is drawn with, as `figures.choose_looks` gives it."""


def new_grid(
  rows: int, columns: int, *, width: float = 4.0, height: float = 3.3, legend: int = 0
) -> tuple[Figure, Any]:
  """A figure and its axes, an array `[rows, columns]`.

  Args:
    rows: of panels.
    columns: of panels.
    width: of a panel, inches.
    height: of a panel, inches.
    legend: lines of a legend below, which make the figure so much higher.
  """
  size = max(width * columns, 5.0), height * rows + 0.25 * legend
  figure, axes = new_figure(size, rows, columns)
  return figure, np.array(axes, object).reshape(rows, columns)


def draw_panels(
  rows: Sequence[Row],
  names: Sequence[Sequence[str]],
  looks: Looks,
  *,
  xlabels: Sequence[str] = (),
  level: Sequence[str] = (),
  columns: int = 4,
  height: float = 3.3,
) -> Figure:
  """A grid of panels with one legend.

  Args:
    rows: of the study.
    names: the panels; "" leaves a place empty. What follows ": " is no title.
    looks: of the series.
    xlabels: of F1 in each row of panels; () for precision and recall.
    level: series that are drawn across the panel where they have one place only.
    columns: of the legend, at most.
    height: of a panel, inches.
  """
  panels = group_panels(rows)
  figure, axes = new_grid(len(names), len(names[0]), height=height, legend=2)
  for row, column in np.ndindex(axes.shape):
    panel, name = axes[row, column], names[row][column]
    here = panels.get(name, [])
    if xlabels:
      _draw_lines(panel, here, looks, level)
      panel.set(xlabel=xlabels[row], ylabel="F1 score" if column == 0 else "")
    else:
      _draw_curves(panel, here, looks)
    if row == 0 or not xlabels:
      panel.set_title(name.partition(": ")[0], fontsize=10)
    panel.grid(color="0.9")
  if not xlabels:
    _share_limits([panel for panel in axes.ravel() if panel.lines])
  add_legend(figure, axes.ravel(), columns=columns)
  return figure


def summarise_series(
  rows: Iterable[Row],
) -> dict[str, list[tuple[float, float, float]]]:
  """x, mean F1 and its standard deviation over seeds, by series and rising x."""
  found: dict[str, dict[float, list[float]]] = {}
  for row in rows:
    if not row.diverged:
      found.setdefault(row.series, {}).setdefault(row.x, []).append(row.score())
  return {
    name: [
      (x, float(np.mean(f1)), float(np.std(f1, ddof=len(f1) > 1)))
      for x, f1 in sorted(by_x.items())
    ]
    for name, by_x in found.items()
  }


def _draw_lines(
  axes: Axes, rows: Iterable[Row], looks: Looks, level: Sequence[str]
) -> None:
  """F1 over x: of several seeds the mean, and the deviation as a bar or a band."""
  for name, values in summarise_series(rows).items():
    look, (x, y, sds) = dict(looks[name]), zip(*values, strict=True)
    if name in level and len(values) == 1:
      across = {**look, "marker": "", "linestyle": "--", "linewidth": 1.6}
      axes.axhline(y[0], label=name, **across)
      if sds[0]:
        band: dict[str, Any] = {"color": look["color"], "alpha": 0.1, "lw": 0}
        axes.axhspan(y[0] - sds[0], y[0] + sds[0], **band)
    else:
      axes.plot(x, y, linewidth=1.5, markersize=5, label=name, **look)
      if any(sds):
        bar: dict[str, Any] = {"ecolor": look["color"], "elinewidth": 0.8}
        axes.errorbar(x, y, yerr=sds, fmt="none", capsize=2.5, alpha=0.7, **bar)


def _draw_curves(axes: Axes, rows: Sequence[Row], looks: Looks) -> None:
  """Precision against recall, a line a series; of several seeds the first."""
  first = {row.series: row for row in rows[::-1] if not row.diverged}
  for name in [name for name in looks if name in first]:
    look = {**looks[name], "markevery": 4, "markersize": 4, "linewidth": 1.4}
    curve = first[name].outcome.curve
    axes.plot(curve["recall"], curve["precision"], label=name, **look)
  axes.set(xlabel="recall", ylabel="precision")


def _share_limits(panels: Sequence[Axes]) -> None:
  """One range of recall and one of precision for all panels, up to 1."""
  left = min((panel.get_xlim()[0] for panel in panels), default=0.0)
  bottom = min((panel.get_ylim()[0] for panel in panels), default=0.0)
  for panel in panels:
    panel.set(xlim=(max(left, -0.02), 1.02), ylim=(max(bottom, -0.02), 1.02))
