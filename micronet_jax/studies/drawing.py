"""What the figures of several studies are drawn with; the paper's axes and panels."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from micronet_jax.figures import COLORS, LINES, MARKS, new_figure
from micronet_jax.studies.results import Row

Looks = dict[str, dict[str, Any]]
"""What each series is drawn with."""


def new_grid(
  rows: int, columns: int, *, width: float = 4.2, height: float = 3.3, legend: int = 0
) -> tuple[Figure, np.ndarray]:
  """A figure and its axes, `[rows, columns]`.

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


class Point(NamedTuple):
  """F1 at one place of an axis: mean and standard deviation over seeds (0 for one)."""

  x: float
  mean: float
  sd: float


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


def choose_looks(names: Iterable[str]) -> Looks:
  """A colour, line and mark for each series; no two are told apart by colour alone."""
  cycles = itertools.cycle(COLORS), itertools.cycle(LINES), itertools.cycle(MARKS)
  return {
    name: {"color": color, "linestyle": line, "marker": mark}
    for name, color, line, mark in zip(dict.fromkeys(names), *cycles, strict=False)
  }


def choose_ordered_looks(names: Iterable[str]) -> Looks:
  """The same for values of a parameter, whose order the colours show."""
  looks = choose_looks(names)
  shades = colormaps["viridis"](np.linspace(0.0, 0.9, len(looks)))
  return {
    name: {**look, "color": to_hex(shade)}
    for (name, look), shade in zip(looks.items(), shades, strict=True)
  }


def draw_lines(
  axes: Axes,
  points: Mapping[str, Sequence[Point]],
  looks: Looks,
  *,
  level: Sequence[str] = (),
) -> None:
  """Draws F1 over x; a series in `level` is one value, drawn across the panel.

  Of several seeds the mean, with the standard deviation as a bar or a band.
  """
  for name, values in points.items():
    if name in level:
      look = {**looks[name], "marker": "", "linestyle": "--"}
      _, mean, sd = values[0]
      axes.axhline(mean, linewidth=1.6, label=name, **look)
      if sd:
        axes.axhspan(mean - sd, mean + sd, color=look["color"], alpha=0.1, lw=0)
    else:
      x, y, sds = zip(*values, strict=True)
      axes.plot(x, y, linewidth=1.5, markersize=5, label=name, **looks[name])
      if any(sds):
        bar = {"ecolor": looks[name]["color"], "elinewidth": 0.8, "capsize": 2.5}
        axes.errorbar(x, y, yerr=sds, fmt="none", alpha=0.7, **bar)
  axes.grid(color="0.9")


def draw_curves(axes: Axes, rows: Iterable[Row], looks: Looks) -> None:
  """Precision against recall, a line a series; of several seeds the first."""
  first: dict[str, Row] = {}
  for row in rows:
    if not row.diverged:
      first.setdefault(row.series, row)
  for row in first.values():
    look = {**looks[row.series], "markevery": 4, "markersize": 4}
    curve = row.outcome.curve
    axes.plot(
      curve["recall"], curve["precision"], linewidth=1.4, label=row.series, **look
    )
  axes.set(xlabel="recall", ylabel="precision")
  axes.grid(color="0.9")


def draw_points(axes: Axes, centers: np.ndarray, size: float) -> None:
  """Green dots `[N, 2]` (y, x) on an image, as in the paper."""
  axes.plot(centers[:, 1], centers[:, 0], ".", color="#00E000", markersize=size)


def add_legend(figure: Figure, axes: Iterable[Axes], *, columns: int) -> None:
  """One legend for all panels, each entry once, in as many columns as have room."""
  handles: dict[str, Any] = {}
  for each in axes:
    for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
      handles.setdefault(label, handle)
  entry = 0.95 + 0.085 * max(map(len, handles), default=0)  # inches
  columns = max(1, min(columns, int(figure.get_figwidth() / entry)))
  figure.legend(
    list(handles.values()),
    list(handles),
    loc="outside lower center",
    ncols=columns,
    frameon=False,
    handlelength=3.0,
  )


def share_limits(panels: Iterable[Axes]) -> None:
  """One range of recall and one of precision for all panels, up to 1."""
  drawn = [panel for panel in panels if panel.lines]
  left = min((panel.get_xlim()[0] for panel in drawn), default=0.0)
  bottom = min((panel.get_ylim()[0] for panel in drawn), default=0.0)
  for panel in drawn:
    panel.set(xlim=(max(left, -0.02), 1.02), ylim=(max(bottom, -0.02), 1.02))
