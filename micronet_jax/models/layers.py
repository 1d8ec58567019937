"""The pieces that the networks are made of.

A 2x2 convolution of stride 2 and a k x k transposed convolution of stride k have no
overlap, so both are a dense layer beside a reshape: XLA runs those as matrix products,
an order of magnitude faster than `lhs_dilation`. Called by the networks.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from micronet_jax.models import bounds, operations

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


LAST: dict[str, Any] = {"dtype": jnp.float32}
"""Of every network's last layer: bfloat16 has steps of 0.004 near 1, so that a maximum
and its neighbours would often be one score."""


class Norm(nnx.Module):
  """Batch normalisation with statistics in float32, then an activation.

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
    activation: Callable[[jax.Array], jax.Array] = operations.elu,
    rngs: nnx.Rngs,
  ):
    self.norm = nnx.BatchNorm(
      features,
      momentum=0.9,
      epsilon=1e-5,
      dtype=jnp.float32,
      param_dtype=jnp.float32,
      axis_name=axis_name,
      rngs=rngs,
    )
    self.dtype = dtype
    self.test_norm = test_norm
    self.activation = activation

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """The activation of what is normalised; only training moves the statistics."""
    norm: Any = self.norm
    if not train and self.test_norm == "running":
      return self.activation(norm(x, use_running_average=True).astype(self.dtype))
    y, mean, var = operations.batch_norm(
      x, norm.scale[...], norm.bias[...], norm.epsilon, norm.axis_name
    )
    if train:
      for kept, new in ((norm.mean, mean), (norm.var, var)):
        kept[...] = norm.momentum * kept[...] + (1 - norm.momentum) * new
    return self.activation(y)


def convolve(layer: nnx.Conv, x: jax.Array) -> jax.Array:
  """The layer, of odd kernel and stride 1, by the operations that XLA runs well."""
  x, kernel = x.astype(layer.dtype), layer.kernel[...].astype(layer.dtype)
  if kernel.shape[:2] == (1, 1):
    y = (x.reshape(-1, x.shape[-1]) @ kernel[0, 0]).reshape(*x.shape[:-1], -1)
  else:
    y = operations.conv(bounds.zero_beyond(x), kernel)
  return y if layer.bias is None else y + layer.bias[...].astype(layer.dtype)


class ConvNorm(nnx.Module):
  """k x k convolution without bias, batch normalisation, activation; size kept."""

  def __init__(
    self,
    inputs: int,
    features: int,
    kernel: int,
    *,
    kernel_init: nnx.Initializer = KERNEL_INIT,
    rngs: nnx.Rngs,
    **options,
  ):
    self.conv = nnx.Conv(
      inputs,
      features,
      (kernel, kernel),
      use_bias=False,
      dtype=options["dtype"],
      param_dtype=jnp.float32,
      kernel_init=kernel_init,
      rngs=rngs,
    )
    self.norm = Norm(features, rngs=rngs, **options)

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, H, W, features]`."""
    return self.norm(convolve(self.conv, x), train=train)


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
    return self.norm(_dense(self.dense, space_to_depth(x)), train=train)


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
    b, h, w, _ = x.shape
    y = _dense(self.dense, x).reshape(b, h, w, self.factor**2, -1)
    y = self.norm(y, train=train)  # before the pixels are put in order: one copy
    return depth_to_space(y.reshape(b, h, w, -1), self.factor)


class TransposedConv(nnx.Module):
  """k x k transposed convolution of stride k, with bias and nothing after it."""

  def __init__(
    self, inputs: int, features: int, factor: int, *, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.dense = nnx.Linear(
      inputs,
      factor * factor * features,
      use_bias=False,
      dtype=dtype,
      param_dtype=jnp.float32,
      kernel_init=KERNEL_INIT,
      rngs=rngs,
    )
    self.bias = nnx.Param(jnp.zeros(features, jnp.float32))
    self.factor = factor

  def __call__(self, x: jax.Array) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, factor H, factor W, features]`."""
    y = depth_to_space(_dense(self.dense, x), self.factor)
    return y + self.bias[...].astype(y.dtype)


def _dense(layer: nnx.Linear, x: jax.Array) -> jax.Array:
  """The bias-free layer as one product of matrices, which XLA needs no copies for."""
  y = x.reshape(-1, x.shape[-1]).astype(layer.dtype) @ layer.kernel[...].astype(
    layer.dtype
  )
  return y.reshape(*x.shape[:-1], -1)


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
    return operations.elu(y + x)


class Conv(nnx.Module):
  """k x k convolution with bias, then ReLU; `[B, H, W, C]` kept."""

  def __init__(
    self, inputs: int, features: int, kernel: int, *, dtype: DTypeLike, rngs: nnx.Rngs
  ):
    self.conv = nnx.Conv(
      inputs,
      features,
      (kernel, kernel),
      dtype=dtype,
      param_dtype=jnp.float32,
      kernel_init=KERNEL_INIT,
      rngs=rngs,
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, H, W, features]`."""
    return nnx.relu(convolve(self.conv, x))


class Dropout(nnx.Module):
  """Dropout in training, if there are keys.

  Attributes:
    rate: share of the elements set to zero, in [0, 1).
    place: number of this dropout in its network; each draws of its own.
  """

  def __init__(self, rate: float, *, place: int):
    self.rate = rate
    self.place = place

  def __call__(self, x: jax.Array, *, train: bool, keys: jax.Array | None) -> jax.Array:
    """`[B, …]` kept; keys are `[B]`, one an example, or None for no dropout."""
    if not train or keys is None or not self.rate:
      return x
    keys = jax.vmap(lambda key: jax.random.fold_in(key, self.place))(keys)
    return dropout(x, self.rate, keys)


def run_block(
  model: Any, name: str, *inputs: Any, train: bool, frozen: int, **options: Any
) -> jax.Array:
  """Runs a block of a network; a frozen one as in inference, passing no gradient.

  Args:
    model: the network; `BLOCKS` has the names of its blocks, in order.
    name: of the block.
    inputs: to the block.
    train: whether the network trains.
    frozen: how many of the first blocks are frozen.
    options: further arguments of the block.

  Returns:
    The block's output.
  """
  fixed = name in model.BLOCKS[:frozen]
  output = getattr(model, name)(*inputs, train=train and not fixed, **options)
  return jax.lax.stop_gradient(output) if fixed else output


def check_size(images: jax.Array, least: int) -> None:
  """Makes sure that images `[B, H, W, 3]` survive all halvings.

  Raises:
    ValueError: height or width is smaller than `least`.
  """
  height, width = images.shape[1:3]
  if height < least or width < least:
    raise ValueError(
      f"images must have at least {least} x {least} pixels, got {height} x {width}"
    )


def check_arguments(
  *, width: int, test_norm: str = "running", dropout: float = 0.0
) -> None:
  """Checks what several networks take.

  Raises:
    ValueError: naming the argument, its value and what would be right.
  """
  if width < 1:
    raise ValueError(f"width is {width}; it must be at least 1")
  if test_norm not in ("running", "batch"):
    raise ValueError(f"test_norm is {test_norm!r}; use 'running' or 'batch'")
  if not 0 <= dropout < 1:
    raise ValueError(f"dropout is {dropout}; it must be at least 0 and below 1")
