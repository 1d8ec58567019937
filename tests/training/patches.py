"""Patches as the compiled step draws them, for tests: compiled once for many warps."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from micronet_jax.config import AppearanceConfig, WarpConfig
from micronet_jax.datasets.sample import Sample
from micronet_jax.training import augmentation
from micronet_jax.training.pool import to_device
from micronet_jax.training.targets import FAR_AWAY, proximity

STILL = WarpConfig(patch=16, rotate=0.0, mirror=0.0, shift=0.0, elastic=0.0)
RADIUS = 6.0
TURNED = WarpConfig(patch=16, elastic=1.0)
OFF = AppearanceConfig()
# Compiling takes most of the time here: numbers of a warp are arguments, and the
# few that must be constants have few values.
CONSTANTS = ("patch", "elastic", "zoom")
compiled = functools.partial(jax.jit, static_argnames=(*CONSTANTS, "appearance"))


def parts_of(warp):
  numbers = dataclasses.asdict(warp)
  constants = {name: numbers.pop(name) for name in CONSTANTS}
  return numbers, constants


@compiled
def _positions(keys, size, numbers, **constants):
  warp = WarpConfig(**numbers, **constants)
  return jax.vmap(lambda key: augmentation.source_positions(key, size, warp))(keys)


def positions_of(keys, *, size, warp):
  """Source positions of many patches, [B, P, P, 2]."""
  numbers, constants = parts_of(warp)
  size = jnp.asarray(size, jnp.int32)
  return np.asarray(_positions(keys, size, numbers, **constants))


@compiled
def _draw(images, index, keys, numbers, radius, appearance, **constants):
  warp = WarpConfig(**numbers, **constants)
  label = functools.partial(proximity, radius=radius)
  return augmentation.draw_patches(
    images, index, keys, warp=warp, label=label, appearance=appearance
  )


def draw(images, index, keys, *, warp, radius=15.0, appearance=OFF):
  """Patches and maps of these images and keys; batches of 8, compiled once."""
  numbers, constants = parts_of(warp)
  room = -len(index) % 8
  padded = jnp.concatenate([jnp.asarray(index, jnp.int32), jnp.zeros(room, jnp.int32)])
  data = jax.random.key_data(keys)
  data = jnp.concatenate([data, jnp.zeros((room, *data.shape[1:]), data.dtype)])
  keys = jax.random.wrap_key_data(data)
  batches = [
    _draw(
      *(images, padded[i : i + 8], keys[i : i + 8], numbers, radius, appearance),
      **constants,
    )
    for i in range(0, len(padded), 8)
  ]
  patches, maps = (
    np.concatenate(parts)[: len(index)] for parts in zip(*batches, strict=True)
  )
  return patches, maps


@compiled
def _fields(keys, numbers, **constants):
  warp = WarpConfig(**numbers, **constants)
  return jax.vmap(lambda key: augmentation.elastic_field(key, warp))(keys)


def keys_of(count, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def sample(shape, centers=(), *, seed=0, image=None, name="a"):
  if image is None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
  else:
    pixels = image
  centers = np.asarray(centers, np.float32).reshape(-1, 2)
  return Sample(name, "organ", name, None, pixels, centers)


def scattered(shape, count, *, apart=0.0, seed=0):
  """Random points at least so far apart."""
  rng, points = np.random.default_rng(seed), []
  for _ in range(10_000):
    point = rng.uniform(0, np.array(shape) - 1).astype(np.float32)
    if all(np.linalg.norm(point - other) >= apart for other in points):
      points.append(point)
    if len(points) == count:
      return np.array(points)
  raise AssertionError("no room for the points")


def pool_of(*samples):
  """These images on the device, in as much room as any two of 64 x 64 take."""
  filler = sample((64, 64), scattered((64, 64), 40), seed=99, name="filler")
  assert len(samples) <= 2
  pool = to_device([*samples, filler], mpp=0.25, reach=15.0)
  cells, most, _ = pool.nearby.shape
  room = [(0, 3 * 256 - cells), (0, 24 - most), (0, 0)]
  first, sizes, mean, std, palette = (array[jnp.array([0, 1])] for array in pool[2:])
  return pool._replace(
    pixels=jnp.pad(pool.pixels, [(0, 3 - len(pool.pixels)), (0, 0), (0, 0)]),
    nearby=jnp.pad(pool.nearby, room, constant_values=FAR_AWAY),
    first=first,
    sizes=sizes,
    mean=mean,
    std=std,
    palette=palette,
  )


def raw(images):
  """The pool without normalisation: patches hold grey levels."""
  return images._replace(
    mean=jnp.zeros_like(images.mean), std=jnp.ones_like(images.std)
  )


def mirrored_index(size, margin):
  """Row numbers of an image that numpy extends by so many on each side."""
  mode = "reflect" if size > 1 else "edge"
  return np.pad(np.arange(size), margin, mode=mode)


def affine(positions):
  """Least-squares fit of patch -> image; matrix [2, 2], origin [2], residual."""
  side = positions.shape[0]
  grid = np.indices((side, side)).reshape(2, -1).T
  design = np.column_stack([grid, np.ones(len(grid))])
  target = np.asarray(positions, np.float64).reshape(-1, 2)
  solution, *_ = np.linalg.lstsq(design, target, rcond=None)
  residual = np.abs(design @ solution - target).max()
  return solution[:2].T, solution[2], residual
