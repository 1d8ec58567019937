"""Colours of patches beyond the paper: stains and contrast vary, on the device.

Networks read images normalised by their own mean and deviation. What changes a channel
of the whole image linearly is undone by that, so stains vary before, and the
normalisation follows; and some patches are normalised as if they were images. Called by
`training.augmentation`, inside the compiled step.
"""

import jax
import jax.numpy as jnp
import numpy as np

from micronet_jax.config import AppearanceConfig

STAINS = np.array(
  [[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], np.float32
)
"""Optical density of red, green and blue for one unit of haematoxylin, of eosin, and of
what is neither (Ruifrok and Johnston, 2001)."""

OFFSET_SHARE = 0.2
"""Largest offset of a stain's density for strength 1; a clear nucleus has about 1."""


def draw_stain(key: jax.Array, strength: float) -> tuple[jax.Array, jax.Array]:
  """Gains `[3]` and offsets `[3]` of haematoxylin, eosin and the rest."""
  gain, offset = strength * jax.random.uniform(key, (2, 3), minval=-1.0)
  return 1 + gain, OFFSET_SHARE * offset


def restain(values: jax.Array, gains: jax.Array, offsets: jax.Array) -> jax.Array:
  """Changes how much of each stain there is, by the law of Beer and Lambert.

  Args:
    values: `[..., 3]`, grey levels, 0 to 255.
    gains: `[3]`, of haematoxylin, eosin and the rest; 1 leaves them.
    offsets: `[3]`, in units of `STAINS`; 0 leaves them. An offset multiplies whole
      channels, so all that normalisation leaves of it is white that is clipped.

  Returns:
    `[..., 3]`, grey levels, 0 to 255.
  """
  density = -jnp.log(jnp.maximum(values, 1.0) / 255)
  mixing = jnp.asarray(np.linalg.inv(STAINS)) @ (gains[:, None] * STAINS)
  # Products of three by hand: dots lose digits on accelerators.
  changed = sum(density[..., i, None] * mixing[i] for i in range(3))
  return jnp.clip(255 * jnp.exp(-(changed + offsets @ STAINS)), 0, 255)


def vary_and_normalise(
  key: jax.Array,
  values: jax.Array,
  palette: jax.Array,
  mean: jax.Array,
  std: jax.Array,
  appearance: AppearanceConfig,
) -> jax.Array:
  """Varies the colours of one patch, and normalises it as its image would be then.

  Args:
    key: typed random key.
    values: float32 `[P, P, 3]`, grey levels.
    palette: uint8 `[K, 3]`, pixels that stand for the whole image.
    mean: `[3]`, of the whole image as it is.
    std: `[3]`, likewise.
    appearance: how much.

  Returns:
    float32 `[P, P, 3]`, normalised.
  """
  if appearance.stain > 0:
    # A key of its own, so that another kind of change would leave this one alone.
    change = draw_stain(jax.random.fold_in(key, 0), appearance.stain)
    before = palette.astype(jnp.float32)
    after = restain(before, *change)
    values = restain(values, *change)
    # What the palette shows of the change, applied to the image's own statistics.
    mean += after.mean(0) - before.mean(0)
    std = jnp.maximum(std * after.std(0) / jnp.maximum(before.std(0), 1.0), 1.0)
  if appearance.own > 0:
    alone = jax.random.bernoulli(jax.random.fold_in(key, 1), appearance.own)
    mean = jnp.where(alone, values.mean((0, 1)), mean)
    std = jnp.where(alone, jnp.maximum(values.std((0, 1)), 1.0), std)
  return (values - mean) / std
