"""Max pooling and bilinear enlargement, written so that XLA runs them well.

A pooling by `reduce_window` and the gradient that JAX derives from sums of shifted
copies (pads within sums) each take XLA on the CPU about ten times as long; a resize by
matrices three times. Called by the networks.
"""

import functools

import jax
import jax.numpy as jnp

from micronet_jax.models import bounds


def max_pool(x: jax.Array, *, ceil: bool = False) -> jax.Array:
  """The largest value of each 2x2 neighbourhood and channel.

  The first of equal values gets the gradient. The values are compared with each other:
  what JAX derives from a maximum asks which one equals it, and none does where XLA has
  computed the two in different ways, with other roundings.

  Args:
    x: `[B, H, W, C]`.
    ceil: whether the last row or column of an odd size is a neighbourhood of its own
      (ceil) or dropped (floor).

  Returns:
    `[B, H', W', C]`, half the height and width.
  """
  b, h, w, c = x.shape
  if ceil:
    pad = ((0, 0), (0, h % 2), (0, w % 2), (0, 0))
    x = jnp.pad(x, pad, constant_values=-jnp.inf)
    h, w = h + h % 2, w + w % 2
  h, w = h // 2, w // 2
  x = x[:, : 2 * h, : 2 * w].reshape(b, h, 2, w, 2, c)
  x = _larger(x[:, :, 0], x[:, :, 1])
  return _larger(x[:, :, :, 0], x[:, :, :, 1])


def _larger(x: jax.Array, y: jax.Array) -> jax.Array:
  return jnp.where(x >= y, x, y)


def enlarge(x: jax.Array, factor: int) -> jax.Array:
  """Enlarges `[B, H, W, C]` bilinearly by an even factor, edges repeated outwards.

  Output pixel i lies at (i + ½) / factor - ½ of the input, in the middle of which its
  factor² successors stay. Sums of shifted copies, and so is the gradient: what JAX
  derives from them (pads within sums) takes XLA on the CPU many times longer.
  """
  return _both_axes(bounds.repeat_edges(x), factor)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _both_axes(x: jax.Array, factor: int) -> jax.Array:
  for axis in (1, 2):
    x = _enlarge(x, factor, axis)
  return x


def _offsets(factor: int) -> list[float]:
  """Where the successors of a pixel lie, seen from it."""
  return [(i + 0.5) / factor - 0.5 for i in range(factor)]


def _enlarge(x: jax.Array, factor: int, axis: int) -> jax.Array:
  first, last, body, rest = _ends(x, axis)
  before = jnp.concatenate([first, body], axis)
  after = jnp.concatenate([rest, last], axis)
  successors = [
    (1 - abs(offset)) * x + abs(offset) * (before if offset < 0 else after)
    for offset in _offsets(factor)
  ]
  shape = [size * factor if i == axis else size for i, size in enumerate(x.shape)]
  return jnp.stack(successors, axis + 1).reshape(shape)


def _ends(x: jax.Array, axis: int) -> list[jax.Array]:
  """The first and the last along an axis, all but the last, and all but the first."""
  n = x.shape[axis]
  parts = ((0, 1), (n - 1, n), (0, n - 1), (1, n))
  return [jax.lax.slice_in_dim(x, *part, axis=axis) for part in parts]


def _shrink(g: jax.Array, factor: int, axis: int) -> jax.Array:
  """The transpose of `_enlarge`."""
  shape = [*g.shape[:axis], g.shape[axis] // factor, factor, *g.shape[axis + 1 :]]
  each = jnp.moveaxis(g.reshape(shape), axis + 1, 0)
  weights = _offsets(factor)
  own = sum((1 - abs(w)) * part for w, part in zip(weights, each, strict=True))
  left = sum(-w * part for w, part in zip(weights, each, strict=True) if w < 0)
  right = sum(w * part for w, part in zip(weights, each, strict=True) if w > 0)
  left_first, _, _, left_rest = _ends(left, axis)
  _, right_last, right_body, _ = _ends(right, axis)
  return (
    own
    + jnp.concatenate([left_rest, right_last], axis)
    + jnp.concatenate([left_first, right_body], axis)
  )


def _enlarge_backward(factor: int, _: None, g: jax.Array) -> tuple[jax.Array]:
  for axis in (2, 1):
    g = _shrink(g, factor, axis)
  return (g,)


_both_axes.defvjp(lambda x, factor: (_both_axes(x, factor), None), _enlarge_backward)
