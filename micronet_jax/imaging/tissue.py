"""Where the tissue is on a slide, so that empty glass costs no time.

The rule: average the slide over cells of 8 microns (32 pixels at 0.25).
White is the slide's brightest level (99.9th percentile of each channel over the
cells, taken as at least 220). A cell is tissue where its darkest channel has an
optical density of at least 0.04 against white; missing areas, which scanners fill with
black, are not. Four cells (32 microns) around tissue are searched too, but are no area
of it. Staining makes a cell that holds a nucleus many times denser than that, so what
is not searched is glass and fat, not nuclei.

A slide without white, such as fluorescence on black, is taken as tissue everywhere.
Called by `detection.scan`.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.ndimage

from micronet_jax.lengths import REFERENCE_MPP, in_network_pixels

CELL = 32
"""Side of a cell, in pixels at 0.25 microns: 8 microns."""


MARGIN = 4


RIM_UM = MARGIN * CELL * REFERENCE_MPP
"""How far around tissue is searched, in microns."""


MIN_DENSITY = 0.04


MIN_WHITE = 220


MAX_BLACK = 10


@dataclasses.dataclass(frozen=True)
class Tissue:
  """Which cells of a slide are tissue, and which are searched.

  Attributes:
    found: bool `[R, C]`, tissue by the rule; the cells divide the slide evenly.
    cells: bool `[R, C]`, what is searched: the same with the margin.
    shape: (H, W) of the slide at working resolution.
  """

  found: np.ndarray
  cells: np.ndarray
  shape: tuple[int, int]

  def contains(self, centers: np.ndarray) -> np.ndarray:
    """Which of `[N, 2]` centres (y, x) at working resolution lie where is searched."""
    size = np.asarray(self.cells.shape)
    index = np.floor((centers + 0.5) * (size / self.shape)).astype(np.int64)
    row, column = np.clip(index, 0, size - 1).T
    return self.cells[row, column]

  def touches(self, box: Sequence[int]) -> bool:
    """Whether anything of (y0, x0, y1, x1) at working resolution is searched."""
    size = np.asarray(self.cells.shape)
    per_pixel = size / self.shape
    low = np.floor(np.asarray(box[:2]) * per_pixel).astype(int)
    high = np.ceil(np.asarray(box[2:]) * per_pixel).astype(int)
    return bool(self.cells[low[0] : high[0], low[1] : high[1]].any())

  def area(self, shape: Sequence[int], regions: Sequence[Sequence[int]] = ()) -> float:
    """How much of the slide is tissue, without the margin.

    Args:
      shape: (H, W) of the slide in the pixels that are asked for.
      regions: (y0, x0, y1, x1) in these pixels and on the slide; none for all of it.
        What lies in several counts once.

    Returns:
      Pixels.
    """
    edges = [
      np.linspace(0, length, count + 1)
      for length, count in zip(shape, self.found.shape, strict=True)
    ]
    # A finer grid, whose cells lie within one of tissue and in or beyond each region.
    fine = [
      np.unique([*cells, *(box[i] for box in regions for i in (axis, axis + 2))])
      for axis, cells in enumerate(edges)
    ]
    y, x = (
      np.searchsorted(cells, cuts[:-1], side="right") - 1
      for cells, cuts in zip(edges, fine, strict=True)
    )
    counted = self.found[np.ix_(y, x)]
    if regions:
      within = np.zeros_like(counted)
      for box in regions:
        top, bottom = np.searchsorted(fine[0], (box[0], box[2]))
        left, right = np.searchsorted(fine[1], (box[1], box[3]))
        within[top:bottom, left:right] = True
      counted &= within
    return float(np.einsum("i,ij,j", np.diff(fine[0]), counted, np.diff(fine[1])))


def cell_grid(shape: Sequence[int], working_mpp: float) -> tuple[int, int]:
  """Rows and columns of cells for a slide of (H, W) at working resolution."""
  side = in_network_pixels(CELL, working_mpp)
  return math.ceil(shape[0] / side), math.ceil(shape[1] / side)


def find_tissue(cells: np.ndarray) -> np.ndarray:
  """Applies the rule, without the margin.

  Args:
    cells: uint8 `[R, C, 3]`, the slide averaged over cells.

  Returns:
    bool `[R, C]`.
  """
  white = np.percentile(cells.reshape(-1, 3), 99.9, axis=0)
  if white.max() < MIN_WHITE / 2:
    return np.ones(cells.shape[:2], bool)
  white = np.maximum(white, MIN_WHITE)
  density = np.log10((white + 1) / (cells.astype(np.float64) + 1)).max(2)
  return (density >= MIN_DENSITY) & (cells.max(2) > MAX_BLACK)


def grow_tissue(cells: np.ndarray) -> np.ndarray:
  """Adds the margin to bool `[R, C]`: four cells, 32 microns, all around."""
  return scipy.ndimage.binary_dilation(cells, np.ones((3, 3), bool), MARGIN)
