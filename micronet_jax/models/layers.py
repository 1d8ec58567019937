"""The pieces that the networks are made of.

A 2x2 convolution of stride 2 and a k x k transposed convolution of stride k have
no overlap, so both are a dense layer beside a reshape (design.md §2): XLA runs
those as matrix products, an order of magnitude faster than `lhs_dilation`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

KERNEL_INIT = nnx.initializers.he_normal()


def space_to_depth(x: jax.Array) -> jax.Array:
  """Moves 2x2 neighbourhoods into channels, as a 2x2 stride-2 convolution reads them.

  Args:
    x: `[B, H, W, C]`; the last row or column of an odd size is dropped (floor).

  Returns:
    `[B, H // 2, W // 2, 4 C]`, channels ordered (row, column, channel).
  """
  b, h, w, c = x.shape
  h, w = h // 2, w // 2
  x = x[:, : 2 * h, : 2 * w].reshape(b, h, 2, w, 2, c)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h, w, 4 * c)


def depth_to_space(x: jax.Array, factor: int) -> jax.Array:
  """Undoes `space_to_depth` for any factor.

  Args:
    x: `[B, H, W, factor² C]`, channels ordered (row, column, channel).
    factor: by how much height and width grow.

  Returns:
    `[B, factor H, factor W, C]`.
  """
  b, h, w, c = x.shape
  c //= factor * factor
  x = x.reshape(b, h, w, factor, factor, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(b, h * factor, w * factor, c)


def pad_to(x: jax.Array, height: int, width: int) -> jax.Array:
  """Pads `[B, H, W, C]` with zeros below and to the right, up to height and width."""
  return jnp.pad(x, ((0, 0), (0, height - x.shape[1]), (0, width - x.shape[2]), (0, 0)))


class Norm(nnx.Module):
  """Batch normalisation with statistics in float32, then ELU.

  Training uses the statistics of the whole batch (over the devices of `axis_name`
  too) and moves the running ones; inference uses the running ones, so that a tile's
  result does not depend on its neighbours, or, with `test_norm="batch"`, those of
  the batch, as the authors' code does.
  """

  def __init__(
    self,
    features: int,
    *,
    dtype: DTypeLike,
    test_norm: str,
    axis_name: str | None,
    rngs: nnx.Rngs,
  ):
    self.norm = nnx.BatchNorm(
      features,
      momentum=0.9,
      epsilon=1e-5,
      dtype=dtype,
      param_dtype=jnp.float32,
      axis_name=axis_name,
      rngs=rngs,
    )
    self.test_norm = test_norm

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """ELU of the normalised `[B, H, W, C]`; only training moves the statistics."""
    running = not train and self.test_norm == "running"
    kept = self.norm.mean[...], self.norm.var[...]
    y = self.norm(x, use_running_average=running)
    if not (train or running):
      self.norm.mean[...], self.norm.var[...] = kept
    return nnx.elu(y)


class ConvNorm(nnx.Module):
  """k x k convolution without bias, batch normalisation, ELU; `[B, H, W, C]` kept."""

  def __init__(
    self, inputs: int, features: int, kernel: int, *, rngs: nnx.Rngs, **options
  ):
    self.conv = nnx.Conv(
      inputs,
      features,
      (kernel, kernel),
      use_bias=False,
      dtype=options["dtype"],
      param_dtype=jnp.float32,
      kernel_init=KERNEL_INIT,
      rngs=rngs,
    )
    self.norm = Norm(features, rngs=rngs, **options)

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, H, W, features]`."""
    return self.norm(self.conv(x), train=train)


class DownNorm(nnx.Module):
  """2x2 convolution of stride 2 (floor), batch normalisation, ELU."""

  def __init__(self, inputs: int, features: int, *, rngs: nnx.Rngs, **options):
    self.dense = nnx.Linear(
      4 * inputs,
      features,
      use_bias=False,
      dtype=options["dtype"],
      param_dtype=jnp.float32,
      kernel_init=KERNEL_INIT,
      rngs=rngs,
    )
    self.norm = Norm(features, rngs=rngs, **options)

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, H // 2, W // 2, features]`."""
    return self.norm(self.dense(space_to_depth(x)), train=train)


class UpNorm(nnx.Module):
  """k x k transposed convolution of stride k, batch normalisation, ELU."""

  def __init__(
    self, inputs: int, features: int, factor: int, *, rngs: nnx.Rngs, **options
  ):
    self.dense = nnx.Linear(
      inputs,
      factor * factor * features,
      use_bias=False,
      dtype=options["dtype"],
      param_dtype=jnp.float32,
      kernel_init=KERNEL_INIT,
      rngs=rngs,
    )
    self.norm = Norm(features, rngs=rngs, **options)
    self.factor = factor

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, factor H, factor W, features]`."""
    return self.norm(depth_to_space(self.dense(x), self.factor), train=train)


def dropout(x: jax.Array, rate: float, keys: jax.Array) -> jax.Array:
  """Element-wise dropout with a key for each example of the batch.

  A key an example, not a key a batch: what is dropped does not depend on how the
  batch is spread over devices.

  Args:
    x: `[B, …]`.
    rate: share of the elements set to zero, in [0, 1).
    keys: `[B]` typed random keys.

  Returns:
    `[B, …]`, the kept elements divided by 1 - rate.
  """
  keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, x.shape[1:]))(keys)
  return jnp.where(keep, x / (1.0 - rate), jnp.zeros_like(x))


class Residual(nnx.Module):
  """y = ELU(ops(x) + x), an op being 3x3 convolution, batch normalisation, ELU.

  Dropout, where asked for, comes after the ops (section "Implementation details").
  """

  def __init__(
    self, features: int, ops: int, *, rate: float = 0.0, rngs: nnx.Rngs, **options
  ):
    self.ops = nnx.Dict(
      {
        f"op{i + 1}": ConvNorm(features, features, 3, rngs=rngs, **options)
        for i in range(ops)
      }
    )
    self.rate = rate

  def __call__(
    self, x: jax.Array, *, train: bool, drop: Callable | None = None
  ) -> jax.Array:
    """`[B, H, W, features]` kept; `drop(y, rate)` is the dropout, if any."""
    y = x
    for op in self.ops.values():
      y = op(y, train=train)
    if train and self.rate and drop is not None:
      y = drop(y, self.rate)
    return nnx.elu(y + x)
