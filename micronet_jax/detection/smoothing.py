"""Maps smoothed by a Gaussian, so that one nucleus has one maximum.

Called by `detection.searching`, inside the compiled search.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np


def kernel_radius(sd: float) -> int:
  """How far beyond a pixel a Gaussian of this sd looks: three sd, in whole pixels."""
  return math.ceil(3 * sd)


def smooth_maps(maps: jax.Array, inside: jax.Array, *, sd: float) -> jax.Array:
  """Smooths maps; what lies off the image has no weight.

  Args:
    maps: float32 `[B, H, W]`.
    inside: bool `[B, H, W]`, the pixels of the image.
    sd: of the Gaussian, in pixels, > 0; it is cut off after three.

  Returns:
    float32 `[B, H, W]`: the weighted mean of the pixels around each; 0 off the image.
  """
  reach = kernel_radius(sd)
  kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd) ** 2).astype(np.float32)
  weights = inside.astype(maps.dtype)
  total = _convolve(weights, kernel)
  return jnp.where(inside, _convolve(maps * weights, kernel) / total, 0)


def _convolve(maps: jax.Array, kernel: np.ndarray) -> jax.Array:
  """Rows and columns in turn, with zeros around: shifts added up fuse into one loop."""
  reach = len(kernel) // 2
  for axis in (1, 2):
    pad = [(0, 0)] * 3
    pad[axis] = (reach, reach)
    padded, length = jnp.pad(maps, pad), maps.shape[axis]
    maps = sum(
      (
        weight * jax.lax.slice_in_dim(padded, i, i + length, axis=axis)
        for i, weight in enumerate(kernel)
      ),
      start=jnp.zeros_like(maps),
    )
  return maps
