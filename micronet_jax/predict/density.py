"""How many nuclei there are where: a grid over an image, and its heat map.

Called by `predict.outputs`.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from micronet_jax.errors import InputError
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


@dataclasses.dataclass(frozen=True, eq=False)
class Density:
  """Nuclei counted in equal cells of a grid over an image.

  Attributes:
    shape: (H, W) of the image in pixels.
    mpp: microns per pixel; None if unknown.
    counts: int64 `[R, C]`, nuclei in each cell; the cells divide the image evenly.
  """

  shape: tuple[int, int]
  mpp: float | None
  counts: np.ndarray

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
    """float64 `[R, C]`: nuclei per mm², or per 10⁴ pixels if `mpp` is unknown."""
    unit = 1e4 if self.mpp is None else (1000 / self.mpp) ** 2
    return self.counts * (unit / math.prod(self.cell))


def density_grid(shape: tuple[int, int], *, mpp: float | None = None) -> Density:
  """Makes an empty grid over an image.

  Its cells are as near to squares of 50 microns (200 pixels if `mpp` is unknown) as
  divides the image evenly. Where more than 100 would be in a row or column, it is 100,
  200, 400 microns and so on; where fewer than 5, a fifth of the longer side.

  Args:
    shape: (H, W) of the image in pixels, > 0.
    mpp: microns per pixel; None if unknown.

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
  return Density(shape, mpp, np.zeros((rows, columns), np.int64))


def density_map(
  density: Density, *, thumbnail: np.ndarray | None = None, title: str = ""
) -> "Figure":
  """Draws density as a heat map, and the tissue beside or above it.

  Cells without nuclei are white, where the scale of the colours starts. Axes are in
  mm, or in pixels if the resolution is unknown.

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
  values = np.ma.masked_equal(density.values, 0)
  top = float(density.values.max()) or 1.0
  tall, wide = np.array(density.cell) * (density.mpp or 1.0)
  unit = "px" if density.mpp is None else "µm"
  axes.set_title(f"cells of {wide:.3g} × {tall:.3g} {unit}", fontsize=9)
  return _show(axes, values, density, cmap=COLORS, vmin=0, vmax=top)


def _show(
  axes: "Axes", pixels: np.ndarray, density: Density, **options: Any
) -> "AxesImage":
  """Draws an array over the whole image, with axes in mm or pixels."""
  height, width = np.array(density.shape) * ((density.mpp or 1000) / 1000)
  options = {"interpolation": "nearest", **options}
  return axes.imshow(pixels, extent=(0, width, height, 0), aspect="equal", **options)
