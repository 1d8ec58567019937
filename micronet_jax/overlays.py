"""Pictures of what was found on a whole image: marks on tissue, and density.

Both take the nuclei in chunks and keep only arrays of the picture's size. Marks lie
in a map of the places that have one, from which all of them are drawn at once, so that
ten million take no longer than ten.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from micronet_jax.errors import InputError
from micronet_jax.exports import NUCLEUS_COLOR, Chunks
from micronet_jax.files import replacing

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure
  from matplotlib.image import AxesImage

RING = 5.0
"""Radius of a ring's line where the thumbnail has the image's full resolution, px."""

_LEAST_RING = 2.3  # below, a ring has no hole and becomes a dot
_LINE = 1.6  # width of a ring's line
_HALO = 1.2  # width of the dark rim around it; on small thumbnails less
_INNER_HALO = 0.3  # and within it, where the nucleus is to be seen
_HALO_STRENGTH = 0.8
_DOT = 1.0  # radius of a dot that stands for a ring
_LARGEST = 4.0  # thumbnail pixels per image pixel, to which rings grow
_FINE = 0.15  # thumbnail pixels per image pixel, below which a nucleus is one pixel

CELL_UM = 50.0
CELL_PX = 200.0
MIN_CELLS = 5
MAX_CELLS = 100
"""A density grid's cells have this side unless there are fewer or more than this
along the image's longer side."""

_WIDE = 1.3  # width / height from which the two pictures stand one above the other
_COLORS = "BuPu"  # begins at white


def overlay(
  thumbnail: np.ndarray, chunks: Chunks, *, shape: tuple[int, int]
) -> np.ndarray:
  """Draws a mark on every nucleus.

  At full resolution a mark is a ring around the centre that leaves it visible; on
  smaller thumbnails the ring is smaller, then a dot, and below 15 % a single pixel.
  Marks are sky blue with a dark rim, legible on H&E and to the colour-blind.

  Args:
    thumbnail: uint8 `[h, w, 3]`, the whole image at any resolution.
    chunks: the nuclei in the image's own pixels; those beyond it are left out.
    shape: (H, W) of the image.

  Returns:
    uint8 `[h, w, 3]`, a copy.

  Raises:
    InputError: `thumbnail` is no such array, or a centre is not finite.
  """
  _check_pixels(thumbnail)
  scale = np.array(thumbnail.shape[:2]) / shape
  marked = np.zeros(thumbnail.shape[:2], np.uint8)
  for centers, _ in chunks:
    _check_finite(centers)
    places = np.floor((np.asarray(centers, np.float64) + 0.5) * scale)
    inside = ((places >= 0) & (places < marked.shape)).all(axis=1)
    marked[tuple(places[inside].astype(np.int64).T)] = 1
  picture = thumbnail.copy()
  for stamp, color in _stamps(math.sqrt(scale.prod())):
    strength = _spread(marked, stamp)
    for channel, value in enumerate(color):  # one by one, for the memory
      behind = picture[:, :, channel].astype(np.float32)
      picture[:, :, channel] = np.rint(behind + strength * (value - behind))
  return picture


def _stamps(scale: float) -> list[tuple[np.ndarray, tuple[int, int, int]]]:
  """The layers of a mark, lowest first: how strong, `[n, n]` in [0, 1], and RGB."""
  if scale < _FINE:
    return [(np.ones((1, 1), np.float32), NUCLEUS_COLOR)]
  ring = RING * min(scale, _LARGEST)
  halo = _HALO * min(scale, 1.0) ** 0.5
  size = math.ceil(ring + _LINE + halo)
  across = np.arange(-size, size + 1)
  distance = np.hypot(across, across[:, None])
  if ring < _LEAST_RING:
    beyond, inner = distance - _DOT, 0.0
  else:
    beyond, inner = np.abs(distance - ring) - _LINE / 2, _INNER_HALO
  rim = np.where(distance < ring, inner, halo)
  line, dark = (np.clip(0.5 + width - beyond, 0, 1) for width in (0.0, rim))
  return [(dark * _HALO_STRENGTH, (0, 0, 0)), (line, NUCLEUS_COLOR)]


def _spread(marked: np.ndarray, stamp: np.ndarray) -> np.ndarray:
  """Puts a stamp on every marked pixel; where stamps overlap the strongest counts."""
  margin = len(stamp) // 2
  spread = np.zeros(np.array(marked.shape) + 2 * margin, np.float32)
  flat, width = spread.ravel(), spread.shape[1]
  rows, columns = np.nonzero(marked)
  corners = rows * width + columns
  for (row, column), strength in np.ndenumerate(stamp):
    if strength:
      # No index occurs twice here, so nothing is lost in writing.
      places = corners + (row * width + column)
      flat[places] = np.maximum(flat[places], strength)
  height, width = marked.shape
  return spread[margin : margin + height, margin : margin + width]


def _check_pixels(pixels: np.ndarray) -> None:
  if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
    raise InputError(
      f"a picture must be uint8 [height, width, 3], but it is {pixels.dtype}"
      f" {list(pixels.shape)}."
    )


def _check_finite(centers: np.ndarray) -> None:
  if centers.ndim != 2 or centers.shape[1] != 2 or not np.isfinite(centers).all():
    raise InputError(
      f"centres must be [N, 2] of finite numbers, but shape {centers.shape} was given"
      f" with {np.count_nonzero(~np.isfinite(centers))} that are not finite."
    )


def write_image(path: str | os.PathLike[str], pixels: np.ndarray) -> None:
  """Writes a picture as PNG, whole or not at all.

  Args:
    path: ends in .png; its folder is made if missing.
    pixels: uint8 `[h, w, 3]`, RGB.

  Raises:
    InputError: another ending or array, or `path` cannot be written.
  """
  import PIL.Image

  path = pathlib.Path(path)
  if path.suffix.lower() != ".png":
    raise InputError(f"{path}: a picture's name must end in .png.")
  _check_pixels(pixels)
  with replacing(path) as beside:
    PIL.Image.fromarray(pixels).save(beside, format="PNG")


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
      _check_finite(centers)
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


def density(shape: tuple[int, int], *, mpp: float | None = None) -> Density:
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
    The figure; `plots.save` writes it.

  Raises:
    InputError: `thumbnail` is no such array.
  """
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  if thumbnail is not None:
    _check_pixels(thumbnail)
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
  return _show(axes, values, density, cmap=_COLORS, vmin=0, vmax=top)


def _show(
  axes: "Axes", pixels: np.ndarray, density: Density, **options: Any
) -> "AxesImage":
  """Draws an array over the whole image, with axes in mm or pixels."""
  height, width = np.array(density.shape) * ((density.mpp or 1000) / 1000)
  options = {"interpolation": "nearest", **options}
  return axes.imshow(pixels, extent=(0, width, height, 0), aspect="equal", **options)
