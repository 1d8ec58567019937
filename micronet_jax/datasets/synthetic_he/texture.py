"""Smooth noise and fibres: the textures that the synthetic tissue is made of.

Everything here is elementwise numpy or scipy.ndimage, no BLAS, so that two machines
agree as far as numpy itself does.
"""

import numpy as np
from scipy import ndimage

# The mean of the squared cubic B-spline weights over one period: the variance that
# white noise keeps along one axis.
_KEPT_VARIANCE = 0.4794


def _taps(cells: int, size: int) -> tuple[np.ndarray, np.ndarray]:
  """First index `[size]` and four B-spline weights `[4, size]` of each output."""
  position = np.arange(size, dtype=np.float64) * ((cells - 3) / size)
  first = np.floor(position).astype(np.intp)
  f = position - first
  weights = np.stack(
    [
      (1 - f) ** 3,
      3 * f**3 - 6 * f**2 + 4,
      -3 * f**3 + 3 * f**2 + 3 * f + 1,
      f**3,
    ]
  )
  return first, (weights / 6).astype(np.float32)


def upsample(grid: np.ndarray, size: int) -> np.ndarray:
  """Spreads a coarse grid over a square image with uniform cubic B-splines.

  Args:
    grid: float32 `[m, m]`, m >= 4; its outer cells lie outside the image.
    size: side of the result, px.

  Returns:
    float32 `[size, size]`, twice continuously differentiable.
  """
  first, weights = _taps(grid.shape[0], size)
  rows = np.zeros((size, grid.shape[1]), np.float32)
  for k in range(4):
    rows += weights[k][:, None] * grid[first + k]
  columns = np.ascontiguousarray(rows.T)
  out = np.zeros((size, size), np.float32)
  for k in range(4):
    out += weights[k][:, None] * columns[first + k]
  return out.T


def noise(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
  """Smooth Gaussian noise of mean 0 and variance about 1.

  Args:
    rng: source of randomness.
    size: side of the result, px.
    scale: size of the features, px (> 0); 1 or less gives white noise.

  Returns:
    float32 `[size, size]`.
  """
  if scale <= 1:
    return rng.standard_normal((size, size), dtype=np.float32)
  cells = int(np.ceil(size / scale)) + 4
  grid = rng.standard_normal((cells, cells), dtype=np.float32)
  return upsample(grid, size) / np.float32(_KEPT_VARIANCE)


def smoothstep(margin: np.ndarray, width: float) -> np.ndarray:
  """A soft edge: 0 below -width/2, 1 above width/2, ½ at 0.

  Args:
    margin: signed distance to the edge, px, positive inside.
    width: width of the transition, px.

  Returns:
    float32, the shape of `margin`.
  """
  t = np.clip(margin * np.float32(1 / width) + np.float32(0.5), 0, 1)
  return t * t * (3 - 2 * t)


def double(field: np.ndarray) -> np.ndarray:
  """Bilinear enlargement by two; pixel i lies between pixels 2i and 2i + 1.

  Args:
    field: float32 `[h, h]`.

  Returns:
    float32 `[2h, 2h]`.
  """
  for _ in range(2):
    padded = np.concatenate([field[:1], field, field[-1:]])
    out = np.empty((2 * field.shape[0], field.shape[1]), np.float32)
    out[0::2] = 0.75 * field + 0.25 * padded[:-2]
    out[1::2] = 0.75 * field + 0.25 * padded[2:]
    field = np.ascontiguousarray(out.T)
  return field


def fibres(
  rng: np.random.Generator,
  across: np.ndarray,
  along: np.ndarray,
  *,
  width: float,
  length: float,
) -> np.ndarray:
  """Streaks that follow the lines of constant `across`.

  White noise on a torus is read at (across / width, along / length), so the streaks
  bend with the two coordinate fields, as collagen does.

  Args:
    rng: source of randomness.
    across: float32 `[s, s]`, px, coordinate perpendicular to the fibres.
    along: float32 `[s, s]`, px, coordinate along them.
    width: thickness of a fibre, px.
    length: length over which a fibre keeps its darkness, px.

  Returns:
    float32 `[s, s]`, mean about 0, standard deviation about 0.7.
  """
  torus = rng.standard_normal((256, 256), dtype=np.float32)
  where = np.stack([across / width, along / length]).astype(np.float32)
  return ndimage.map_coordinates(torus, where, order=1, mode="grid-wrap")


def chromatin_atlas(rng: np.random.Generator, grain: float) -> np.ndarray:
  """A patch of unit-variance mottling from which nuclei cut their chromatin.

  Args:
    rng: source of randomness.
    grain: size (Gaussian σ) of a chromatin clump, px.

  Returns:
    float32 `[256, 256]`, mean 0, standard deviation 1, periodic.
  """
  white = rng.standard_normal((256, 256), dtype=np.float32)
  atlas = ndimage.gaussian_filter(white, grain, mode="wrap", truncate=3.0)
  return (atlas - atlas.mean()) / atlas.std()
