"""Operations that XLA compiles badly on the CPU if they are left to it.

The results are those of the plain operations, to rounding; what is written out here are
gradients and sums (what each gives: benchmarks/RESULTS.md). Where another platform does
better with the plain form, it gets that one: the choice is made when the program is
compiled for it. Called by `models.layers`.
"""

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

FOLD = 8
"""Rows that are added up at once: a sum of slices runs vectorised, a reduction not."""


_plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)


@contextlib.contextmanager
def plain_forms() -> Iterator[None]:
  """While a network is traced for other compilers than XLA: its inference, plainly."""
  token = _plain.set(True)
  try:
    yield
  finally:
    _plain.reset(token)


LARGE = 5
"""Kernels from this size on are applied row by row where outputs are few."""


def column_sums(x: jax.Array) -> jax.Array:
  """Sums `[..., C]` over all axes but the last, in float32; `[C]`."""
  return jax.lax.platform_dependent(
    x, cpu=_folded_sums, default=lambda x: _flat(x).astype(jnp.float32).sum(0)
  )


def _folded_sums(x: jax.Array) -> jax.Array:
  x = _flat(x).astype(jnp.float32)
  while x.shape[0] % FOLD == 0:
    x = x.reshape(FOLD, -1, x.shape[1])
    x = functools.reduce(jnp.add, [x[i] for i in range(FOLD)])
  return x.sum(0)


def _flat(x: jax.Array) -> jax.Array:
  return x.reshape(-1, x.shape[-1])


@jax.custom_vjp
def elu(x: jax.Array) -> jax.Array:
  """ELU: x where positive, else exp(x) - 1; its gradient is taken from the result."""
  return jnp.where(x > 0, x, jnp.exp(jnp.minimum(x, 0)) - 1)


def _elu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  y = elu(x)
  return y, y


def _elu_backward(y: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
  return (jnp.where(y > 0, gradient, gradient * (y + 1)),)


elu.defvjp(_elu_forward, _elu_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def batch_norm(
  x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Normalises by the batch's own statistics, computed in float32.

  Args:
    x: `[..., C]`.
    scale: `[C]`.
    bias: `[C]`.
    epsilon: added to the variance.
    axis_name: mapped axis over which the statistics are averaged.

  Returns:
    The normalised x, in its dtype; mean and (biased) variance `[C]`, through which
    no gradient flows.
  """
  return _batch_norm_forward(x, scale, bias, epsilon, axis_name)[0]


def _batch_norm_forward(x, scale, bias, epsilon, axis_name):
  count = x.size // x.shape[-1]
  wide = x.astype(jnp.float32)
  means = column_sums(wide) / count, column_sums(wide * wide) / count
  mean, square = jax.lax.pmean(means, axis_name) if axis_name else means
  variance = jnp.maximum(0.0, square - mean * mean)
  inverse = jax.lax.rsqrt(variance + epsilon)
  y = (wide - mean) * (inverse * scale) + bias
  return (y.astype(x.dtype), mean, variance), (x, scale, mean, inverse)


def _batch_norm_backward(epsilon, axis_name, residuals, gradients):
  del epsilon
  x, scale, mean, inverse = residuals
  gradient = gradients[0].astype(jnp.float32)
  normal = (x.astype(jnp.float32) - mean) * inverse
  d_bias, d_scale = column_sums(gradient), column_sums(gradient * normal)
  count = x.size // x.shape[-1]
  means = d_bias / count, d_scale / count
  if axis_name:
    means = jax.lax.pmean(means, axis_name)
  dx = (gradient - means[0] - normal * means[1]) * (inverse * scale)
  return dx.astype(x.dtype), d_scale, d_bias


batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def _plain_conv(
  x: jax.Array, kernel: jax.Array, *, dtype: jax.typing.DTypeLike | None = None
) -> jax.Array:
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (1, 1),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    preferred_element_type=dtype,
  )


def _conv_by_rows(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """The same, each row of the kernel by itself, and then the rows added up.

  A k-th of the patches is copied, for products of k times as many columns: worth it
  where the kernel is large and columns are few.
  """
  k, _, inputs, outputs = kernel.shape
  height = x.shape[1]
  rows = kernel.transpose(1, 2, 0, 3).reshape(1, k, inputs, k * outputs)
  padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (0, 0), (0, 0)))
  parts = jnp.split(_plain_conv(padded, rows, dtype=jnp.float32), k, axis=-1)
  shifted = [part[:, row : row + height] for row, part in enumerate(parts)]
  return functools.reduce(jnp.add, shifted).astype(x.dtype)


def _is_narrow(kernel: jax.Array) -> bool:
  return kernel.shape[2] > kernel.shape[3]


@jax.custom_vjp
def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolves `[B, H, W, I]` with `[k, k, I, O]`, k odd, to `[B, H, W, O]`."""
  if kernel.shape[0] < LARGE or not _is_narrow(kernel) or _plain.get():
    return _plain_conv(x, kernel)
  return jax.lax.platform_dependent(x, kernel, cpu=_conv_by_rows, default=_plain_conv)


def _conv_forward(x, kernel):
  return conv(x, kernel), (x, kernel)


def _conv_backward(residuals, gradient):
  x, kernel = residuals
  (dx,) = jax.linear_transpose(lambda x: _plain_conv(x, kernel), x)(gradient)
  plain = functools.partial(_kernel_gradient, kernel=kernel)
  d_kernel = jax.lax.platform_dependent(
    x,
    gradient,
    cpu=functools.partial(_swapped_gradient, kernel=kernel)
    if _is_narrow(kernel)
    else plain,
    default=plain,
  )
  return dx, d_kernel


def _kernel_gradient(x: jax.Array, gradient: jax.Array, *, kernel: Any) -> jax.Array:
  shape = jax.ShapeDtypeStruct(kernel.shape, kernel.dtype)
  return jax.linear_transpose(lambda k: _plain_conv(x, k), shape)(gradient)[0]


def _swapped_gradient(x: jax.Array, gradient: jax.Array, *, kernel: Any) -> jax.Array:
  """The same with the gradient as the image and the input as the kernel.

  Patches of the narrower of the two are what gets copied.
  """
  k = kernel.shape[0] // 2
  found = jax.lax.conv_general_dilated(
    gradient,
    x,
    (1, 1),
    [(k, k), (k, k)],
    dimension_numbers=("CHWN", "IHWO", "NHWC"),
  )
  return found[:, ::-1, ::-1].transpose(1, 2, 3, 0)


conv.defvjp(_conv_forward, _conv_backward)
