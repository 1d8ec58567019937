"""Points to proximity maps: what the network learns (paper, "Methods", Eq. 1)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.spatial import cKDTree

from micronet_jax.evaluation.matching import as_points


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
  centers: np.ndarray,
  shape: tuple[int, int],
  *,
  alpha: float = 3.0,
  radius: float = 15.0,
) -> np.ndarray:
  """Draws the proximity map of an image's nucleus centres, on the host (Eq. 1).

  Distances are exact: Euclidean, in double precision, to the nearest centre at its
  sub-pixel position.

  Args:
    centers: `[N, 2]` (y, x) in pixels, N >= 0; they may lie outside the image.
    shape: (H, W).
    alpha: α of Eq. 1; > 0.
    radius: d of Eq. 1, in pixels; > 0.

  Returns:
    float32 `[H, W]` in [0, 1].

  Raises:
    InputError: if `centers` is not `[N, 2]` or holds NaN or infinity.
  """
  centers = as_points(centers)
  if len(centers) == 0:
    return np.zeros(shape, np.float32)
  # Out of reach means an infinite distance, so proximity 0; the bound excludes itself.
  distance, _ = cKDTree(centers).query(_pixels(shape), distance_upper_bound=radius)
  inside = np.maximum(1.0 - distance / radius, 0.0)
  value = np.expm1(alpha * inside) / np.expm1(alpha)
  return value.reshape(shape).astype(np.float32)


def nearest_center(centers: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
  """Finds which centre is nearest to each pixel.

  The accelerator recomputes exact distances from this index, to the nearest centre
  and to the place where a warp reads from.

  Args:
    centers: `[N, 2]` (y, x) in pixels, N >= 0.
    shape: (H, W).

  Returns:
    int32 `[H, W]`, rows of `centers`; all 0 where N = 0 (the caller stores a dummy
    centre far away). Of equally near centres, any one, always the same.

  Raises:
    InputError: if `centers` is not `[N, 2]` or holds NaN or infinity.
  """
  centers = as_points(centers)
  if len(centers) == 0:
    return np.zeros(shape, np.int32)
  _, index = cKDTree(centers).query(_pixels(shape))
  return index.reshape(shape).astype(np.int32)


def _pixels(shape: tuple[int, int]) -> np.ndarray:
  """Lists the pixel centres of an image, `[H W, 2]` (y, x), in raster order."""
  return np.indices(shape).reshape(2, -1).T.astype(np.float64)
