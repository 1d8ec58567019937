"""What the figures of several studies are drawn with: the paper's axes and panels.

Called by the figures' modules.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from micronet_jax.figures import COLORS, LINES, MARKS, new_figure
from micronet_jax.studies.claims import rows_of_panel
from micronet_jax.studies.results import Row

Looks = Mapping[str, Mapping[str, Any]]
"""What each series is drawn with."""


class Point(NamedTuple):
  """F1 at one place of an axis: mean and standard deviation over seeds (0 for one)."""

  x: float
  mean: float
  sd: float


def new_grid(
  rows: int, columns: int, *, width: float = 4.2, height: float = 3.3, legend: int = 0
) -> tuple[Figure, Any]:
  """A figure and its axes, an array `[rows, columns]`.

  Args:
    rows: of panels.
    columns: of panels.
    width: of a panel, inches.
    height: of a panel, inches.
    legend: lines of a legend below, which make the figure so much higher.
  """
  size = (max(width * columns, 5.0), height * rows + 0.25 * legend)
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
  """A grid of panels with one legend: F1 over x, or precision over recall.

  Args:
    rows: of the study.
    names: the panels; "" leaves a place empty. What follows ": " is no title.
    looks: of the series.
    xlabels: of each row of panels; () for precision and recall.
    level: series that are drawn across panels whose other series have more than one
      place.
    columns: of the legend, at most.
    height: of a panel, inches.
  """
  figure, axes = new_grid(len(names), len(names[0]), width=4.0, height=height, legend=2)
  for row, column in np.ndindex(axes.shape):
    panel, name = axes[row, column], names[row][column]
    here = rows_of_panel(rows, name)
    if not xlabels:
      draw_curves(panel, here, looks)
    else:
      draw_lines(panel, points_by_series(here), looks, level=level)
      panel.set(xlabel=xlabels[row], ylabel="F1 score" if column == 0 else "")
    if row == 0 or not xlabels:
      panel.set_title(name.partition(": ")[0], fontsize=10)
  if not xlabels:
    _share_limits(axes.ravel())
  add_legend(figure, axes.ravel(), columns=columns)
  return figure


def points_by_series(rows: Iterable[Row]) -> dict[str, list[Point]]:
  """F1 by series, by rising x; what diverged is left out."""
  found: dict[str, dict[float, list[float]]] = {}
  for row in rows:
    if not row.diverged:
      found.setdefault(row.series, {}).setdefault(row.x, []).append(row.score())
  return {
    name: [
      Point(x, float(np.mean(f1)), float(np.std(f1, ddof=len(f1) > 1)))
      for x, f1 in sorted(by_x.items())
    ]
    for name, by_x in found.items()
  }


def choose_looks(names: Iterable[str], *, ordered: bool = False) -> dict[str, Any]:
  """A colour, line and mark for each series; no two are told apart by colour alone.

  Args:
    names: of the series.
    ordered: they are values of a parameter, whose order the colours show.
  """
  series = list(dict.fromkeys(names))
  colors: Iterable[str] = itertools.cycle(COLORS)
  if ordered:
    shades = colormaps["viridis"](np.linspace(0.0, 0.9, len(series)))
    colors = [to_hex(shade) for shade in shades]
  cycles = colors, itertools.cycle(LINES), itertools.cycle(MARKS)
  return {
    name: {"color": color, "linestyle": line, "marker": mark}
    for name, color, line, mark in zip(series, *cycles, strict=False)
  }


def draw_lines(
  axes: Axes,
  points: Mapping[str, Sequence[Point]],
  looks: Looks,
  *,
  level: Sequence[str] = (),
) -> None:
  """Draws F1 over x; a series in `level` that is one value, across the panel.

  Of several seeds the mean, with the standard deviation as a bar or a band.
  """
  for name, values in points.items():
    look = dict(looks[name])
    x, y, sds = zip(*values, strict=True)
    if name in level and len(values) == 1:
      axes.axhline(
        y[0], linewidth=1.6, label=name, **{**look, "marker": "", "linestyle": "--"}
      )
      if sds[0]:
        band = {"color": look["color"], "alpha": 0.1, "lw": 0}
        axes.axhspan(y[0] - sds[0], y[0] + sds[0], **band)
    else:
      axes.plot(x, y, linewidth=1.5, markersize=5, label=name, **look)
      if any(sds):
        bar = {"ecolor": look["color"], "elinewidth": 0.8, "capsize": 2.5}
        axes.errorbar(x, y, yerr=sds, fmt="none", alpha=0.7, **bar)
  axes.grid(color="0.9")


def draw_curves(axes: Axes, rows: Iterable[Row], looks: Looks) -> None:
  """Precision against recall, a line a series; of several seeds the first."""
  first: dict[str, Row] = {}
  for row in rows:
    if not row.diverged:
      first.setdefault(row.series, row)
  for name, row in first.items():
    look = {**looks[name], "markevery": 4, "markersize": 4, "linewidth": 1.4}
    curve = row.outcome.curve
    axes.plot(curve["recall"], curve["precision"], label=name, **look)
  axes.set(xlabel="recall", ylabel="precision")
  axes.grid(color="0.9")


def draw_image(axes: Axes, image: np.ndarray, centers: np.ndarray, title: str) -> None:
  """An image with a green dot on each of the centres `[N, 2]` (y, x)."""
  axes.imshow(image)
  axes.plot(centers[:, 1], centers[:, 0], ".", color="#00E000", markersize=3.5)
  axes.set_title(title, fontsize=10)


def add_legend(figure: Figure, axes: Iterable[Axes], *, columns: int) -> None:
  """One legend for all panels, each entry once, in as many columns as have room."""
  handles: dict[str, Any] = {}
  for each in axes:
    for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
      handles.setdefault(label, handle)
  entry = 0.95 + 0.085 * max(map(len, handles), default=0)  # inches
  columns = max(1, min(columns, int(figure.get_figwidth() / entry)))
  place: dict[str, Any] = {
    "loc": "outside lower center",
    "ncols": columns,
    "frameon": False,
  }
  figure.legend(list(handles.values()), list(handles), handlelength=3.0, **place)


def _share_limits(panels: Iterable[Axes]) -> None:
  """One range of recall and one of precision for all panels, up to 1."""
  drawn = [panel for panel in panels if panel.lines]
  left = min((panel.get_xlim()[0] for panel in drawn), default=0.0)
  bottom = min((panel.get_ylim()[0] for panel in drawn), default=0.0)
  for panel in drawn:
    panel.set(xlim=(max(left, -0.02), 1.02), ylim=(max(bottom, -0.02), 1.02))
