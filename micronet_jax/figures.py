"""One style for every figure: colours, marks, how one is made and saved.

Nothing here touches pyplot: each figure is its own, drawn with Agg, so that pictures
can be made from any thread and without a display. Colours are Okabe and Ito's, and no
two things are told apart by colour alone.
"""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
  pass


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
