"""Every picture: nuclei on tissue, precision against recall, training.

Nothing here touches pyplot: each function returns a `Figure` of its own, drawn with
Agg, so that pictures can be made from any thread and without a display. Colours are
Okabe and Ito's, and no two things are told apart by colour alone.
"""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MultipleLocator
from numpy.typing import ArrayLike

from micronet_jax.errors import InputError
from micronet_jax.evaluation import Curve, Match, pool
from micronet_jax.files import replacing
from micronet_jax.readers import open_image, thumbnail

if TYPE_CHECKING:
  import PIL.Image

# Okabe and Ito, "Color universal design" (2008), without the yellow, unseen on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
MARKS = ("o", "s", "^", "D", "v", "P", "X")

PICTURE_SIDE = 2048
"""Longest side of tissue in a figure, in pixels; larger images are shrunk to it."""


@dataclasses.dataclass(frozen=True)
class Mark:
  """How one kind of point is drawn on tissue: shape, colour, and outline colour."""

  label: str
  marker: str
  color: str
  halo: str
  size: float  # of the marker, in points
  width: float  # of its line, in points
  rim: float = 1.6  # what the outline adds to the line, in points


NUCLEUS = Mark("nucleus", "o", "#56B4E9", "black", 9.0, 1.3)
MATCHED = Mark("matched", "o", "#56B4E9", "black", 7.0, 1.3)
MISSED = Mark("missed", "s", "#F0E442", "black", 7.5, 1.7)
FALSE = Mark("false", "x", "#D55E00", "white", 6.5, 2.0)


@dataclasses.dataclass(frozen=True, eq=False)
class History:
  """What one training run logged.

  Attributes:
    steps: `[S]`, iterations at which the loss was logged, rising.
    loss: `[S]`, > 0.
    val_steps: `[V]`, iterations at which the validation split was scored, rising.
    val_f1: `[V]`, in [0, 1].
  """

  steps: Sequence[float] | np.ndarray
  loss: Sequence[float] | np.ndarray
  val_steps: Sequence[float] | np.ndarray = ()
  val_f1: Sequence[float] | np.ndarray = ()


def precision_recall(curves: Mapping[str, Curve], *, title: str = "") -> Figure:
  """Draws precision against recall as ξ varies (paper, Figs. 7 and 9).

  Args:
    curves: by label, as `evaluation.precision_recall_curve` gives them; each one's
      best F1 is marked and its value is in the legend. Thin grey lines are places
      of equal F1.
    title: above the axes.

  Returns:
    The figure, 6 inches wide, 5.9 high and 0.25 more for each line of the legend.
  """
  figure, (axes,) = _figure((6.0, 5.9 + 0.25 * len(curves)), 1)
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
    matches: `evaluation.match(detected, annotated)` per tile.
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
  figure, grid = _figure((4.4 * columns, 4.9 * rows + 0.5), rows, columns)
  for axes in grid:
    axes.set_axis_off()
  within = "" if radius is None else f" within {radius:g} px"
  totals = dict.fromkeys((MATCHED, MISSED, FALSE), 0)
  for axes, image, found, truth, result, title in zip(grid, *lists, strict=False):
    points = _sorted_out(found, truth, result)
    f1 = f"F1 {pool([result])['f1']:.2f}{within}"
    _tile(axes, image, points, f"{title}\n{f1}")
    for mark, at in points.items():
      totals[mark] += len(at)
  handles = [
    _line(mark, [], [], f"{mark.label} ({count})") for mark, count in totals.items()
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
) -> dict[Mark, np.ndarray]:
  """Splits points into the three kinds, `[n, 2]` (y, x) each."""
  found = np.asarray(detected, float).reshape(-1, 2)
  truth = np.asarray(annotated, float).reshape(-1, 2)
  return {
    MATCHED: found[result.pairs[:, 0]],
    MISSED: np.delete(truth, result.pairs[:, 1], axis=0),
    FALSE: np.delete(found, result.pairs[:, 0], axis=0),
  }


def nuclei_on_tissue(
  image: "str | os.PathLike[str] | np.ndarray | PIL.Image.Image",
  centers: np.ndarray,
  *,
  title: str = "",
) -> Figure:
  """Draws a ring around every nucleus of an image, however large.

  Args:
    image: what `readers.open_image` takes; large ones are drawn smaller, the rings
      with them until they are dots.
    centers: `[N, 2]` (y, x) in the image's own pixels; (0, 0) is the centre of the
      top-left pixel.
    title: above the axes; by default how many nuclei there are.

  Returns:
    The figure, its longer side about 8 inches; axes in the image's own pixels.

  Raises:
    InputError: the image cannot be read, or a centre lies beyond it.
  """
  with open_image(image) as reader:
    height, width = reader.levels[0]
    _check_on_image(centers, (height, width), reader.name)
    shrink = min(1.0, PICTURE_SIDE / max(height, width))
    pixels = thumbnail(
      reader,
      height=max(round(height * shrink), 1),
      width=max(round(width * shrink), 1),
    )
  inch = 7.2 / max(height, width)  # of one pixel of the image
  size = (max(width * inch, 2.0) + 0.8, max(height * inch, 1.0) + 0.8)
  figure, (axes,) = _figure(size, 1)
  extent = (-0.5, width - 0.5, height - 0.5, -0.5)
  axes.imshow(pixels, extent=extent, interpolation="antialiased")
  line = _line(_shrunk(NUCLEUS, 72 * inch), centers[:, 1], centers[:, 0], "nucleus")
  line.set_in_layout(False)
  axes.add_line(line)
  axes.set(xlim=extent[:2], ylim=extent[2:], xlabel="x (px)", ylabel="y (px)")
  plural = "nucleus" if len(centers) == 1 else "nuclei"
  axes.set_title(title or f"{len(centers):,} {plural}", fontsize=11)
  return figure


def _check_on_image(centers: np.ndarray, shape: tuple[int, int], name: str) -> None:
  """Makes sure that points were not found in a larger image, by more than a pixel."""
  beyond = ((centers < -1.5) | (centers > np.array(shape) + 0.5)).any(axis=1)
  if beyond.any():
    y, x = centers[np.argmax(beyond)]
    raise InputError(
      f"{name} has {shape[1]} x {shape[0]} pixels, but a nucleus is at"
      f" x={x:g}, y={y:g}; give the image that the nuclei were found in."
    )


def _shrunk(mark: Mark, scale: float) -> Mark:
  """A mark for an image that has `scale` points a pixel: where they are few, a dot."""
  size = float(np.clip(mark.size * scale**0.7, 0.7, 1.3 * mark.size))
  if size < 4:  # a ring would have no hole, and outlines would hide the tissue
    return dataclasses.replace(mark, size=size / 2, width=size / 4, rim=0.0)
  return dataclasses.replace(mark, size=size)


def _tile(
  axes: Axes, image: np.ndarray, points: Mapping[Mark, np.ndarray], title: str
) -> None:
  """Draws one tile, its points (whole at the border), and its title with counts."""
  height, width = image.shape[:2]
  axes.imshow(image, interpolation="nearest")
  axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
  for mark, at in points.items():
    line = _line(mark, at[:, 1], at[:, 0], mark.label)
    axes.add_line(line)
    line.set_clip_on(False)
    line.set_in_layout(False)  # or marks at the border shrink the tile
  counts = ", ".join(f"{len(at)} {mark.label}" for mark, at in points.items())
  axes.set_title(f"{title}: {counts}", fontsize=9)


def _line(mark: Mark, x: ArrayLike, y: ArrayLike, label: str) -> Line2D:
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


def training_curves(histories: Mapping[str, History], *, title: str = "") -> Figure:
  """Draws loss and validation F1 over the iterations of one run or more.

  Args:
    histories: by label, for instance "from scratch" and "fine-tuned". Of a long
      log, the loss is drawn pale as it was and strong as its moving average. A star
      marks each run's best F1, the checkpoint that is kept.
    title: above the axes.

  Returns:
    The figure, 8 x 6 inches: loss above (logarithmic), F1 below.
  """
  figure, (above, below) = _figure((8.0, 6.0), 2, sharex=True)
  above.set_ylabel("training loss")
  styles = itertools.cycle(COLORS)
  lines = itertools.cycle(LINES)
  for (label, run), color, line in zip(histories.items(), styles, lines, strict=False):
    steps, loss, val_steps, f1 = (
      np.asarray(each, float)
      for each in (run.steps, run.loss, run.val_steps, run.val_f1)
    )
    name = label
    if len(f1):
      best = int(np.argmax(f1))
      name += f" (best F1 {f1[best]:.3f} at step {val_steps[best]:,.0f})"
      below.plot(val_steps, f1, line, color=color, marker=".", markersize=4)
      below.plot(
        val_steps[best], f1[best], "*", color=color, markersize=15, mec="white"
      )
    smooth_steps, smooth = _smoothed(steps, loss)
    if len(smooth) < len(loss):
      above.plot(steps, loss, color=color, alpha=0.25, linewidth=0.7)
      above.set_ylabel("training loss (pale: as logged)")
    above.plot(smooth_steps, smooth, line, color=color, linewidth=1.8, label=name)
  above.set(yscale="log", title=title)
  below.set(xlabel="iteration", ylabel="validation F1")
  below.xaxis.set_major_formatter(EngFormatter(sep=""))
  for axes in (above, below):
    axes.grid(color="0.9")
  if histories:
    star = Line2D([], [], linestyle="none", marker="*", markersize=12, color="0.4")
    star.set_label("best on validation: the checkpoint that is kept")
    handles = [*above.get_legend_handles_labels()[0], star]
    figure.legend(handles=handles, loc="outside lower center", frameon=False)
  return figure


def _smoothed(steps: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Averages over a window of 1/50 of a log; a log of under 100 stays as it is."""
  window = len(loss) // 50
  if window < 2:
    return steps, loss
  kernel = np.full(window, 1 / window)
  return np.convolve(steps, kernel, "valid"), np.convolve(loss, kernel, "valid")


def save(figure: Figure, path: str | os.PathLike) -> None:
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


def _figure(
  size: tuple[float, float], rows: int, columns: int = 1, *, sharex: bool = False
) -> tuple[Figure, list[Axes]]:
  """Makes a figure outside pyplot, and its axes in reading order."""
  figure = Figure(figsize=size, layout="constrained")
  FigureCanvasAgg(figure)
  grid = figure.subplots(rows, columns, squeeze=False, sharex=sharex)
  return figure, list(grid.ravel())
