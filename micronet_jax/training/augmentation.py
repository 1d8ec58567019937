"""Crop, rotation, mirror, zoom, shift and elastic distortion in one warp.

An output pixel knows where in the image it comes from; the image is read there
(bilinear) and the map is computed from the distance between that place and its
nearest centre (Eq. 1, for instance). So the map is never interpolated, and what is
reflected at the border of an image brings its centres along. What is read is coloured
and normalised by `training.appearance`.

Called by `training.step`, inside the compiled step.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from micronet_jax.config import AppearanceConfig, WarpConfig
from micronet_jax.training.appearance import vary_and_normalise
from micronet_jax.training.pool import Images
from micronet_jax.training.targets import CELL

# Of keys beside those that `source_positions` splits, which are fold_in 0 to 4.
ZOOM_KEY, APPEARANCE_KEY = 5, 6


def reflect(position: jax.Array, size: jax.Array) -> jax.Array:
  """Folds positions into [0, size - 1], mirrored at the centres of border pixels."""
  last = jnp.maximum(size - 1, 0).astype(position.dtype)
  period = jnp.maximum(2 * last, 1)
  folded = jnp.mod(position, period)
  return jnp.where(last > 0, jnp.minimum(folded, period - folded), 0.0)


def magnification(key: jax.Array, warp: WarpConfig) -> float | jax.Array:
  """By how much a patch is magnified: its pixels for one pixel of the image."""
  if warp.zoom == 1:
    return 1.0
  share = jax.random.uniform(jax.random.fold_in(key, ZOOM_KEY), minval=-1.0)
  return jnp.exp(share * jnp.log(warp.zoom))


def source_positions(key: jax.Array, size: jax.Array, warp: WarpConfig) -> jax.Array:
  """Draws one patch: where in the image each of its pixels comes from.

  Args:
    key: typed random key.
    size: int32 `[2]`, height and width of the image.
    warp: how.

  Returns:
    float32 `[patch, patch, 2]` (y, x), inside the image.
  """
  place, turn, flip, distort, noise = jax.random.split(key, 5)
  offset = jnp.arange(warp.patch, dtype=jnp.float32) - (warp.patch - 1) / 2
  y, x = jnp.meshgrid(offset, offset, indexing="ij")
  x = jnp.where(jax.random.bernoulli(flip, warp.mirror), -x, x)
  angle = jnp.deg2rad(warp.rotate) * jax.random.uniform(turn, minval=-1.0)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  grid = jnp.stack([cos * y - sin * x, sin * y + cos * x], axis=-1)
  span: float | jax.Array = warp.patch  # of the image
  if warp.zoom > 1:
    factor = magnification(key, warp)
    grid, span = grid / factor, jnp.ceil((warp.patch - 1) / factor) + 1
  # Whole steps (where the shift is whole): without rotation, zoom and distortion,
  # pixels fall on pixels.
  room = jnp.maximum(size - span, 0) + 2 * warp.shift
  corner = jnp.floor(jax.random.uniform(place, (2,)) * (room + 1)) - warp.shift
  grid += corner + (span - 1) / 2
  if warp.elastic > 0:
    apply = jax.random.bernoulli(distort, warp.elastic)
    grid += jnp.where(apply, elastic_field(noise, warp), 0.0)
  return jnp.stack(
    [reflect(grid[..., 0], size[0]), reflect(grid[..., 1], size[1])], axis=-1
  )


def elastic_field(key: jax.Array, warp: WarpConfig) -> jax.Array:
  """Displacements in pixels, `[patch, patch, 2]`: smoothed noise times alpha."""
  noise = jax.random.uniform(key, (2, warp.patch, warp.patch), minval=-1.0)
  offset = jnp.arange(warp.patch, dtype=jnp.float32)
  smooth = jnp.exp(-0.5 * ((offset[:, None] - offset) / warp.elastic_sigma) ** 2)
  smooth /= warp.elastic_sigma * jnp.sqrt(2 * jnp.pi)
  field = jnp.einsum("ij,cjk,lk->ilc", smooth, noise, smooth)
  return warp.elastic_alpha * field


def read_bilinear(images: Images, index: jax.Array, positions: jax.Array) -> jax.Array:
  """Reads one image between its pixels.

  Args:
    images: the pool.
    index: which image.
    positions: `[P, P, 2]` (y, x), inside the image.

  Returns:
    float32 `[P, P, 3]`, grey levels.
  """
  low = jnp.floor(positions).astype(jnp.int32)
  high = jnp.minimum(low + 1, images.sizes[index] - 1)
  fy, fx = jnp.moveaxis(positions - low, -1, 0)[..., None]
  y0, x0, y1, x1 = low[..., 0], low[..., 1], high[..., 0], high[..., 1]

  def read(y: jax.Array, x: jax.Array) -> jax.Array:
    return images.read(index, y, x).astype(jnp.float32)

  top = (1 - fx) * read(y0, x0) + fx * read(y0, x1)
  bottom = (1 - fx) * read(y1, x0) + fx * read(y1, x1)
  return (1 - fy) * top + fy * bottom


def read_distance(images: Images, index: jax.Array, positions: jax.Array) -> jax.Array:
  """Distance in pixels from places of one image to the centre that is nearest.

  Args:
    images: the pool.
    index: which image.
    positions: `[P, P, 2]` (y, x), inside the image.

  Returns:
    float32 `[P, P]`, exact up to the pool's reach; where no centre is so near, more.
  """
  cell = jnp.floor(positions / CELL).astype(jnp.int32)
  near = images.near(index, cell[..., 0], cell[..., 1])  # [P, P, K, 2]
  squared = jnp.sum(jnp.square(positions[..., None, :] - near), axis=-1)
  return jnp.sqrt(jnp.min(squared, axis=-1))


def draw_patches(
  images: Images,
  index: jax.Array,
  keys: jax.Array,
  *,
  warp: WarpConfig,
  label: Callable[[jax.Array], jax.Array],
  appearance: AppearanceConfig,
) -> tuple[jax.Array, jax.Array]:
  """Draws a batch of augmented patches with the maps that a network learns.

  Args:
    images: the pool.
    index: int32 `[B]`, the image of each patch.
    keys: `[B]` typed random keys.
    warp: how patches are drawn.
    label: makes the map from the distance to the nearest centre, in pixels of the
      patch.
    appearance: how their colours vary.

  Returns:
    float32 `[B, P, P, 3]` normalised patches and `[B, P, P]` maps.
  """

  def one(i: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    positions = source_positions(key, images.sizes[i], warp)
    patch = vary_and_normalise(
      jax.random.fold_in(key, APPEARANCE_KEY),
      read_bilinear(images, i, positions),
      images.palette[i],
      images.mean[i],
      images.std[i],
      appearance,
    )
    distance = read_distance(images, i, positions)
    if warp.zoom > 1:
      distance *= magnification(key, warp)
    return patch, label(distance)

  return jax.vmap(one)(index, keys)
