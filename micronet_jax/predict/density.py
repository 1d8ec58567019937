"""How many nuclei there are where: a grid over an image, and its heat map.

Called by `predict.outputs`.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from micronet_jax.errors import InputError
from micronet_jax.imaging.canvas import Box
from micronet_jax.predict.tables import Chunks

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure
  from matplotlib.image import AxesImage
from micronet_jax.predict.overlays import check_finite_centers, check_pixels

CELL_UM = 50.0


CELL_PX = 200.0


MIN_CELLS = 5


MAX_CELLS = 100
"""A density grid's cells have this side unless there are fewer or more than this
along the image's longer side."""


_WIDE = 1.3  # width / height from which the two pictures stand one above the other


COLORS = "BuPu"
"""Of matplotlib's scales; it begins at white."""


NOT_SEARCHED = "#8f8f8f"


@dataclasses.dataclass(frozen=True, eq=False)
class Density:
  """Nuclei counted in equal cells of a grid over an image.

  Attributes:
    shape: (H, W) of the image in pixels.
    mpp: microns per pixel; None if unknown.
    counts: int64 `[R, C]`, nuclei in each cell; the cells divide the image evenly.
    areas: float64 `[R, C]`, pixels of each cell that were searched.
  """

  shape: tuple[int, int]
  mpp: float | None
  counts: np.ndarray
  areas: np.ndarray

  def counted(self, chunks: Chunks) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Counts nuclei while chunks pass through unchanged, to whatever takes them.

    Args:
      chunks: in the image's own pixels; a centre beyond the image counts in the cell
        that is nearest.

    Yields:
      The chunks.

    Raises:
      InputError: a centre is not finite.
    """
    grid = np.array(self.counts.shape)
    for centers, scores in chunks:
      check_finite_centers(centers)
      places = (np.asarray(centers, np.float64) + 0.5) * (grid / self.shape)
      rows, columns = np.clip(np.floor(places), 0, grid - 1).astype(np.int64).T
      places = rows * grid[1] + columns
      self.counts[...] += np.bincount(places, minlength=grid.prod()).reshape(grid)
      yield centers, scores

  @property
  def cell(self) -> tuple[float, float]:
    """(height, width) of a cell in pixels."""
    (height, width), (rows, columns) = self.shape, self.counts.shape
    return height / rows, width / columns

  @property
  def values(self) -> np.ndarray:
    """float64 `[R, C]`: nuclei per mm², or per 10⁴ pixels if `mpp` is unknown.

    Over what was searched of each cell. NaN where less than half of it was, or one
    nucleus in a strip of a few pixels would be the densest place of all; if half was
    searched of none, NaN where nothing was.
    """
    unit = 1e4 if self.mpp is None else (1000 / self.mpp) ** 2
    told = self.areas >= math.prod(self.cell) / 2
    told = told if told.any() else self.areas > 0
    areas = np.where(told, self.areas, np.nan)
    return self.counts * (unit / areas)

  @property
  def top(self) -> float:
    """Where the scale of colours ends: the highest value; 0 if there is none."""
    return float(np.nanmax(self.values, initial=0))


def density_grid(
  shape: tuple[int, int], *, mpp: float | None = None, regions: Sequence[Box] = ()
) -> Density:
  """Makes an empty grid over an image.

  Its cells are as near to squares of 50 microns (200 pixels if `mpp` is unknown) as
  divides the image evenly. Where more than 100 would be in a row or column, it is 100,
  200, 400 microns and so on; where fewer than 5, a fifth of the longer side.

  Args:
    shape: (H, W) of the image in pixels, > 0.
    mpp: microns per pixel; None if unknown.
    regions: what is searched of the image, in its pixels; none for all of it.

  Returns:
    The grid; `counted` fills it.

  Raises:
    InputError: `shape` or `mpp` is not above 0.
  """
  if min(shape) <= 0 or (mpp is not None and not mpp > 0):
    raise InputError(f"shape and mpp must be above 0, but they are {shape} and {mpp}.")
  side = min(CELL_PX if mpp is None else CELL_UM / mpp, max(shape) / MIN_CELLS)
  side = max(side, 1.0)
  while max(shape) / side > MAX_CELLS:
    side *= 2
  rows, columns = (max(round(length / side), 1) for length in shape)
  areas = _searched(shape, (rows, columns), regions or [Box(0, 0, *shape)])
  return Density(shape, mpp, np.zeros((rows, columns), np.int64), areas)


def _searched(
  shape: tuple[int, int], grid: tuple[int, int], regions: Sequence[Box]
) -> np.ndarray:
  """Pixels of each cell within the regions, overlaps counted once; float64 `[R, C]`."""
  boxes = np.array(regions, np.float64)
  ys, xs = (np.unique(boxes[:, [axis, axis + 2]]) for axis in (0, 1))
  covered = np.zeros((len(ys) - 1, len(xs) - 1))
  for y0, x0, y1, x1 in boxes:
    rows, columns = (ys[:-1] >= y0) & (ys[1:] <= y1), (xs[:-1] >= x0) & (xs[1:] <= x1)
    covered[np.ix_(rows, columns)] = 1
  down, across = (
    _overlaps(np.arange(count + 1) * (length / count), edges)
    for length, count, edges in zip(shape, grid, (ys, xs), strict=True)
  )
  return down @ covered @ across.T


def _overlaps(cells: np.ndarray, edges: np.ndarray) -> np.ndarray:
  """How long each of C cells and each of E intervals lie together; `[C, E]`."""
  begin = np.maximum(cells[:-1, None], edges[None, :-1])
  end = np.minimum(cells[1:, None], edges[None, 1:])
  return np.maximum(end - begin, 0.0)


def density_map(
  density: Density, *, thumbnail: np.ndarray | None = None, title: str = ""
) -> "Figure":
  """Draws density as a heat map, and the tissue beside or above it.

  Cells without nuclei are white, where the scale of the colours starts, and grey where
  nothing, or less than half of a cell, was searched. Axes are in mm, or in pixels if
  the resolution is unknown.

  Args:
    density: what `Density.counted` has filled.
    thumbnail: uint8 `[h, w, 3]` of the whole image.
    title: above the pictures.

  Returns:
    The figure; `figures.save_figure` writes it.

  Raises:
    InputError: `thumbnail` is no such array.
  """
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  if thumbnail is not None:
    check_pixels(thumbnail)
  height, width = density.shape
  panels = 1 if thumbnail is None else 2
  grid = (panels, 1) if width > height * _WIDE else (1, panels)
  figure = Figure(figsize=_figure_size(height / width, grid), layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.subplots(*grid, squeeze=False, sharex=True, sharey=True).ravel()
  if thumbnail is not None:
    _show(axes[0], thumbnail, density, interpolation="antialiased")
  heat = _heat(axes[-1], density)
  bar = figure.colorbar(heat, ax=axes.tolist(), pad=0.02, shrink=0.8)
  bar.set_label("nuclei / 10⁴ px" if density.mpp is None else "nuclei / mm²")
  bar.ax.yaxis.set_major_formatter("{x:,.6g}")
  unit = "px" if density.mpp is None else "mm"
  for each in figure.axes[:panels]:
    each.set_xlabel(f"x ({unit})")
    each.set_ylabel(f"y ({unit})")
    each.label_outer()
  total = f"{density.counts.sum():,} nuclei"
  figure.suptitle(f"{title}: {total}" if title else total, fontsize=11)
  return figure


def _figure_size(aspect: float, grid: tuple[int, int]) -> tuple[float, float]:
  """(width, height) in inches for panels of height / width `aspect`."""
  rows, columns = grid
  wide = 9.0 if rows == 2 else 5.5
  tall = wide * aspect
  shrink = min(1.0, 8.0 / (rows * tall))
  return max(columns * wide * shrink, 3.5) + 1.6, max(rows * tall * shrink, 1.0) + 1.0


def _heat(axes: "Axes", density: Density) -> "AxesImage":
  """Draws the cells."""
  from matplotlib.colors import ListedColormap

  values = density.values
  tall, wide = np.array(density.cell) * (density.mpp or 1.0)
  unit = "px" if density.mpp is None else "µm"
  title = f"cells of {wide:.3g} × {tall:.3g} {unit}"
  shown = np.ma.masked_where(~(values > 0), values)
  top = density.top or 1.0
  heat = _show(axes, shown, density, cmap=COLORS, vmin=0, vmax=top)
  if np.isnan(values).any():
    bare = np.ma.masked_where(~np.isnan(values), np.zeros_like(values))
    _show(axes, bare, density, cmap=ListedColormap([NOT_SEARCHED]))
    title += "; grey: not searched, or less than half"
  axes.set_title(title, fontsize=9)
  return heat


def _show(
  axes: "Axes", pixels: np.ndarray, density: Density, **options: Any
) -> "AxesImage":
  """Draws an array over the whole image, with axes in mm or pixels."""
  height, width = np.array(density.shape) * ((density.mpp or 1000) / 1000)
  options = {"interpolation": "nearest", **options}
  return axes.imshow(pixels, extent=(0, width, height, 0), aspect="equal", **options)
