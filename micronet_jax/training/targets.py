"""Points to proximity maps: what the network learns (paper, "Methods", Eq. 1).

Called by `training.step`, inside the compiled step, and by `training.pool` before it.
"""

import math
import numbers
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike
from scipy.spatial import cKDTree

from micronet_jax.datasets.sample import as_points
from micronet_jax.errors import InputError

CELL = 4
"""Side in pixels of the cells that nearby centres are listed for."""

FAR_AWAY = -1e6
"""Where there is no centre, in pixels: no map reaches so far."""


def proximity(
  distance: ArrayLike, *, alpha: float = 3.0, radius: float = 15.0
) -> jax.Array:
  """Turns distances to the nearest nucleus centre into proximity (Eq. 1).

  y = (e^{α(1 - D/d)} - 1) / (e^α - 1) where D <= d, and 0 beyond. Works on any
  shape, in and out of `jax.jit`; an infinite distance gives 0.

  Args:
    distance: D, in pixels, >= 0; any shape.
    alpha: α, how steeply the value falls; > 0 (the paper: 3).
    radius: d, in pixels, where the value reaches 0; > 0 (the paper: 15).

  Returns:
    Proximity in [0, 1], float32 (or the distance's own floating type), of the
    shape of `distance`: 1 at a centre, 0 from `radius` on.
  """
  inside = jnp.maximum(1.0 - jnp.asarray(distance) / radius, 0.0)
  return jnp.expm1(alpha * inside) / jnp.expm1(alpha)


def disk(distance: ArrayLike, *, radius: float) -> jax.Array:
  """Marks what is near a nucleus centre: what pixel classifiers learn.

  Args:
    distance: to the nearest centre, in pixels; any shape.
    radius: of the disks, in pixels; > 0.

  Returns:
    float32 of the shape of `distance`: 1 up to `radius`, 0 beyond.
  """
  return (jnp.asarray(distance) <= radius).astype(jnp.float32)


def proximity_map(
  centers: npt.ArrayLike,
  shape: tuple[int, int],
  *,
  alpha: float = 3.0,
  radius: float = 15.0,
) -> np.ndarray:
  """Draws the proximity map of an image's nucleus centres, on the host (Eq. 1).

  Distances are exact: Euclidean, in double precision, to the nearest centre at its
  sub-pixel position.

  Args:
    centers: `[N, 2]` (y, x) in pixels, N >= 0, or a table with columns named x and y;
      they may lie outside the image.
    shape: (H, W) of the image, such as `image.shape[:2]`.
    alpha: α of Eq. 1; > 0.
    radius: d of Eq. 1, in pixels; > 0.

  Returns:
    float32 `[H, W]` in [0, 1].

  Raises:
    InputError: `centers` is not `[N, 2]`, is a table of other columns or holds NaN or
      infinity, `shape` is not two whole numbers, or α or d is not above 0.
  """
  if not (alpha > 0 and radius > 0):
    raise InputError(f"alpha is {alpha} and radius {radius}; both must be above 0")
  _check_shape(shape)
  centers = as_points(centers)
  if len(centers) == 0:
    return np.zeros(shape, np.float32)
  # Out of reach means an infinite distance, so proximity 0; the bound excludes itself.
  distance, _ = cKDTree(centers).query(_pixels(shape), distance_upper_bound=radius)
  inside = np.maximum(1.0 - distance / radius, 0.0)
  value = np.expm1(alpha * inside) / np.expm1(alpha)
  return value.reshape(shape).astype(np.float32)


def nearby_centers(
  centers: np.ndarray, shape: tuple[int, int], *, reach: float
) -> np.ndarray:
  """Lists, for each cell of an image, the centres that may be nearest to a place in it.

  From these the accelerator finds the exact distance between any place, wherever a warp
  reads from, and its nearest centre: the least of a few. Cell (r, c) is the places from
  (r, c) · CELL on, CELL long and wide. A centre is left out where it is out of reach of
  the whole cell, or another one is nearer to all of it.

  Args:
    centers: `[N, 2]` (y, x) in pixels, N >= 0.
    shape: (H, W) of the image.
    reach: in pixels, up to which distances matter.

  Returns:
    float32 `[R, C, K, 2]` (y, x), K >= 1; unused entries are `FAR_AWAY`.

  Raises:
    InputError: if `centers` is not `[N, 2]` or holds NaN or infinity.
  """
  centers = as_points(centers)
  rows, columns = (-(-side // CELL) for side in shape)
  span = np.arange(2 * math.ceil(reach / CELL) + 3) - math.ceil(reach / CELL) - 1
  around = np.stack(np.meshgrid(span, span, indexing="ij"), -1).reshape(-1, 2)
  cell = np.floor(centers / CELL).astype(np.int64)[:, None] + around  # [N, S, 2]
  before = centers[:, None] - cell * CELL  # from the cell's first corner
  least = np.hypot(*np.moveaxis(np.maximum(-before, before - CELL).clip(0), -1, 0))
  most = np.hypot(*np.moveaxis(np.maximum(np.abs(before), CELL - before), -1, 0))
  kept = ((cell >= 0) & (cell < (rows, columns))).all(-1) & (least <= reach)
  place = cell[kept] @ (columns, 1)
  bound = np.full(rows * columns, np.inf)
  np.minimum.at(bound, place, most[kept])
  owner = np.nonzero(kept)[0]
  rival = least[kept] <= bound[place]
  place, owner = place[rival], owner[rival]
  order = np.argsort(place, kind="stable")
  place, owner = place[order], owner[order]
  rank = np.arange(len(place)) - np.searchsorted(place, place)
  table = np.full((rows * columns, rank.max(initial=0) + 1, 2), FAR_AWAY, np.float32)
  table[place, rank] = centers[owner]
  return table.reshape(rows, columns, -1, 2)


def _check_shape(shape: tuple[int, int]) -> None:
  """Raises InputError for what is not (H, W), as the three of a colour image."""
  sides = tuple(shape) if isinstance(shape, Iterable) else ()
  whole = all(isinstance(side, numbers.Integral) and side >= 0 for side in sides)
  if len(sides) != 2 or not whole:
    raise InputError(
      f"shape is {shape!r}; it must be (height, width), such as image.shape[:2]"
    )


def _pixels(shape: tuple[int, int]) -> np.ndarray:
  """Lists the pixel centres of an image, `[H W, 2]` (y, x), in raster order."""
  return np.indices(shape).reshape(2, -1).T.astype(np.float64)
