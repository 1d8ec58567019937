"""One style for every figure: colours, marks, how one is made and saved.

Nothing here touches pyplot: each figure is its own, drawn with Agg, so that pictures
can be made from any thread and without a display. Colours are Okabe and Ito's, and no
two things are told apart by colour alone. Called by whoever draws.
"""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from micronet_jax.errors import InputError
from micronet_jax.files import replacing

NUCLEUS_COLOR = (86, 180, 233)
"""RGB of a nucleus in QuPath and on pictures: Okabe and Ito's sky blue."""


# Okabe and Ito, "Color universal design" (2008), without the yellow, unseen on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


LINES = ("-", "--", "-.", ":")


MARKS = ("o", "s", "^", "D", "v", "P", "X")


@dataclasses.dataclass(frozen=True)
class PointStyle:
  """How one kind of point is drawn on tissue: shape, colour, and outline colour."""

  label: str
  marker: str
  color: str
  halo: str
  size: float  # of the marker, in points
  width: float  # of its line, in points
  rim: float = 1.6  # what the outline adds to the line, in points


NUCLEUS = PointStyle("nucleus", "o", "#56B4E9", "black", 9.0, 1.3)


def point_line(mark: PointStyle, x: ArrayLike, y: ArrayLike, label: str) -> Line2D:
  """Makes unconnected marks with a halo, for the axes and for the legend alike."""
  halo = patheffects.withStroke(linewidth=mark.width + mark.rim, foreground=mark.halo)
  return Line2D(
    x,
    y,
    linestyle="none",
    marker=mark.marker,
    markersize=mark.size,
    markerfacecolor="none",
    markeredgecolor=mark.color,
    markeredgewidth=mark.width,
    path_effects=[halo],
    label=label,
  )


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
  """Writes a figure, whole or not at all: beside its place, then renamed.

  Args:
    figure: what a function of this module returned.
    path: ends in .png (150 dots an inch) or .pdf; its folder is made if missing.

  Raises:
    InputError: if `path` ends in anything else or cannot be written.
  """
  path = pathlib.Path(path)
  metadata = {".png": {"Software": None}, ".pdf": {"CreationDate": None}}
  if path.suffix.lower() not in metadata:
    raise InputError(f"{path}: a picture's name must end in .png or .pdf")
  with replacing(path) as beside:
    # Without dates and versions the same figure gives the same bytes.
    figure.savefig(beside, dpi=150, metadata=metadata[path.suffix.lower()])


ACROSS = 4
"""Panels beside each other, on a page that people read."""


def new_figure(
  size: tuple[float, float], rows: int, columns: int = 1, *, sharex: bool = False
) -> tuple[Figure, list[Axes]]:
  """Makes a figure outside pyplot, and its axes in reading order."""
  figure = Figure(figsize=size, layout="constrained")
  FigureCanvasAgg(figure)
  grid = figure.subplots(rows, columns, squeeze=False, sharex=sharex)
  return figure, list(grid.ravel())


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


def add_legend(figure: Figure, axes: Iterable[Axes], *, columns: int) -> None:
  """One legend below all panels, each entry once, in as many columns as have room."""
  handles: dict[str, Any] = {}
  for each in axes:
    for handle, label in zip(*each.get_legend_handles_labels(), strict=True):
      handles.setdefault(label, handle)
  entry = 0.95 + 0.085 * max(map(len, handles), default=0)  # inches
  columns = max(1, min(columns, int(figure.get_figwidth() / entry)))
  place: dict[str, Any] = {"loc": "outside lower center", "ncols": columns}
  entries = list(handles.values()), list(handles)
  figure.legend(*entries, handlelength=3.0, frameon=False, **place)


def add_caption(figure: Figure, text: str) -> None:
  """A line above all panels that must not be read without it, below earlier ones."""
  lines = [each for each in (figure.get_suptitle(), text) if each]
  figure.suptitle("\n".join(lines), fontsize=9, color="0.3")


def new_grid(
  rows: int, columns: int, *, width: float = 4.0, height: float = 3.3, legend: int = 0
) -> tuple[Figure, Any]:
  """Makes a figure of panels of one size, and its axes, an array `[rows, columns]`.

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


def draw_lines(
  axes: Axes,
  series: Mapping[str, Sequence[tuple[float, float, float]]],
  looks: Mapping[str, Mapping[str, Any]],
  *,
  level: Sequence[str] = (),
) -> None:
  """Draws means over x, with their deviations as a bar or a band.

  Args:
    axes: to draw on.
    series: (x, mean, deviation) by rising x; a deviation of 0 is not drawn.
    looks: of the series, see `choose_looks`.
    level: series that are drawn across the panel where they have one place only.
  """
  for name, values in series.items():
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
  axes.grid(color="0.9")


def draw_curves(
  axes: Axes,
  curves: Mapping[str, Mapping[str, Sequence[float]]],
  looks: Mapping[str, Mapping[str, Any]],
) -> None:
  """Draws "precision" against "recall", a line a series."""
  for name in [name for name in looks if name in curves]:
    look = {**looks[name], "markevery": 4, "markersize": 4, "linewidth": 1.4}
    axes.plot(curves[name]["recall"], curves[name]["precision"], label=name, **look)
  axes.set(xlabel="recall", ylabel="precision")
  axes.grid(color="0.9")


def share_limits(panels: Iterable[Axes]) -> None:
  """Gives panels of fractions with lines in them one range of x and of y, up to 1."""
  drawn = [panel for panel in panels if panel.lines]
  left = min((panel.get_xlim()[0] for panel in drawn), default=0.0)
  bottom = min((panel.get_ylim()[0] for panel in drawn), default=0.0)
  for panel in drawn:
    panel.set(xlim=(max(left, -0.02), 1.02), ylim=(max(bottom, -0.02), 1.02))


def draw_panels(
  panels: Mapping[str, Mapping[str, Any]],
  names: Sequence[Sequence[str]],
  looks: Mapping[str, Mapping[str, Any]],
  *,
  xlabels: Sequence[str] = (),
  level: Sequence[str] = (),
  height: float = 3.3,
) -> Figure:
  """Draws a grid of panels of F1 over x, or of precision over recall, with one legend.

  Args:
    panels: by name and series, what `draw_lines` or `draw_curves` takes.
    names: of the panels; "" leaves a place empty. What follows ": " is no title. What
      is beyond `ACROSS` columns is drawn below.
    looks: of the series.
    xlabels: of F1, for each row of panels; () for precision and recall.
    level: as `draw_lines` takes it.
    height: of a panel, inches.
  """
  kinds = len(names)
  names = _folded(names)
  figure, axes = new_grid(len(names), len(names[0]), height=height, legend=2)
  for row, column in np.ndindex(axes.shape):
    panel, name = axes[row, column], names[row][column]
    if not name:
      panel.set_axis_off()
    elif xlabels:
      draw_lines(panel, panels.get(name, {}), looks, level=level)
      label = xlabels[row % kinds]
      panel.set(xlabel=label, ylabel="F1 score" if column == 0 else "")
      panel.locator_params(axis="x", nbins=6)  # or numbers run into each other
    else:
      draw_curves(panel, panels.get(name, {}), looks)
    if row % kinds == 0 or not xlabels:
      panel.set_title(name.partition(": ")[0], fontsize=10)
  if not xlabels:
    share_limits(axes.ravel())
  add_legend(figure, axes.ravel(), columns=5)
  return figure


def _folded(names: Sequence[Sequence[str]]) -> list[list[str]]:
  """Rows of at most `ACROSS` names: what is beyond follows below, row by row."""
  if len(names[0]) <= ACROSS:
    return [list(row) for row in names]
  starts = range(0, len(names[0]), ACROSS)
  parts = [list(row[start : start + ACROSS]) for start in starts for row in names]
  return [part + [""] * (ACROSS - len(part)) for part in parts]


def draw_table(
  cells: Mapping[str, Sequence[str]], heads: Sequence[str], *, title: str
) -> Figure:
  """Draws a table: a line for each name, below the heads."""
  figure, (axes,) = new_figure((9.0, 0.36 * len(cells) + 0.8), 1)
  axes.set_axis_off()
  axes.set_title(title, fontsize=11)
  place: dict[str, Any] = {"bbox": (0.09, 0.0, 0.91, 1.0)}
  drawn = axes.table(
    cellText=[list(line) for line in cells.values()],
    rowLabels=list(cells),
    colLabels=list(heads),
    cellLoc="center",
    **place,
  )
  drawn.auto_set_font_size(False)
  drawn.set_fontsize(10)
  return figure


def show_points(
  axes: Axes, image: ArrayLike, points: ArrayLike = (), *, title: str
) -> None:
  """Shows an image with a green dot on each of the points `[N, 2]` (y, x)."""
  y, x = np.reshape(points, (-1, 2)).T
  axes.imshow(np.asarray(image))
  axes.plot(x, y, ".", color="#00E000", markersize=3.5)
  axes.set_title(title, fontsize=10)
