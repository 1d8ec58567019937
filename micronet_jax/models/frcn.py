"""FRCN, the fully residual convolutional network of the paper's own group.

Xie, Xing, Shi, Kong, Su and Yang, "Efficient and robust cell detection: a structured
regression approach", Medical Image Analysis 44, 2018. What is not said there is as in
the group's later public code (frcn.py of the repository exhh/ada_ki67).
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from micronet_jax.models import layers, resizing

DOWN = {
  "down1": (1, ("enter", "body")),
  "down2": (2, ("enter", "early", "pool", "body")),
  "down3": (4, ("enter", "pool", "body")),
  "down4": (8, ("enter", "pool", "body")),
  "down5": (8, ("pool", "body")),
}
"""Channels as a multiple of the width, and steps: "enter" is BN-ELU-1x1, "early" and
"body" are residual blocks."""

UP = {"up4": 8, "up3": 4, "up2": 2, "up1": 1}
"""Channels as a multiple of the width."""

RESIDUAL_SCALE = 0.3


class Unit(nnx.Module):
  """Batch normalisation, ELU, k x k convolution; `[B, H, W, C]` kept."""

  def __init__(
    self,
    inputs: int,
    features: int,
    kernel: int,
    *,
    use_bias: bool = False,
    rngs: nnx.Rngs,
    **options,
  ):
    self.norm = layers.Norm(inputs, rngs=rngs, **options)
    self.conv = nnx.Conv(
      inputs,
      features,
      (kernel, kernel),
      use_bias=use_bias,
      dtype=options["dtype"],
      param_dtype=jnp.float32,
      kernel_init=layers.KERNEL_INIT,
      rngs=rngs,
    )

  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, H, W, features]`."""
    return layers.convolve(self.conv, self.norm(x, train=train))


class ScaledResidual(nnx.Module):
  """y = x + 0.3·f(x), f being two 3x3 units with dropout between them."""

  def __init__(self, features: int, *, rate: float, place: int, **options):
    self.first = Unit(features, features, 3, **options)
    self.dropout = layers.Dropout(rate, place=place)
    self.second = Unit(features, features, 3, **options)

  def __call__(self, x: jax.Array, *, train: bool, keys: jax.Array | None) -> jax.Array:
    """`[B, H, W, features]` kept."""
    y = self.dropout(self.first(x, train=train), train=train, keys=keys)
    return x + RESIDUAL_SCALE * self.second(y, train=train)


class Down(nnx.Module):
  """A block of the downsampling path: its steps, one after the other."""

  def __init__(
    self,
    inputs: int,
    features: int,
    steps: Sequence[str],
    *,
    rate: float,
    places: Iterator[int],
    **options,
  ):
    self.steps = tuple(steps)
    for step in steps:
      if step == "enter":
        self.enter = Unit(inputs, features, 1, **options)
      elif step != "pool":
        body = ScaledResidual(features, rate=rate, place=next(places), **options)
        setattr(self, step, body)

  def __call__(self, x: jax.Array, *, train: bool, keys: jax.Array | None) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, H', W', features]`, halved (floor) if pooled."""
    for step in self.steps:
      if step == "pool":
        x = resizing.max_pool(x)
      elif step == "enter":
        x = self.enter(x, train=train)
      else:
        x = getattr(self, step)(x, train=train, keys=keys)
    return x


class ResidualUp(nnx.Module):
  """A block of the upsampling path: bilinear x2, BN-ELU-1x1, residual block."""

  def __init__(
    self, inputs: int, features: int, *, rate: float, places: Iterator[int], **options
  ):
    self.enter = Unit(inputs, features, 1, **options)
    self.body = ScaledResidual(features, rate=rate, place=next(places), **options)

  def __call__(
    self,
    x: jax.Array,
    size: Sequence[int],
    *,
    train: bool,
    keys: jax.Array | None,
  ) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, *size, features]`."""
    x = layers.pad_to(resizing.enlarge(x, 2), *size)
    return self.body(self.enter(x, train=train), train=train, keys=keys)


class FRCN(nnx.Module):
  """Regresses a proximity map from an image: `[B, H, W, 3]` -> `[B, H, W]`.

  Residual blocks x + 0.3·f(x) in pre-activation order, max pooling on the way down,
  bilinear ups, no concatenation. Every change of channels is BN-ELU-1x1, the first of
  them of the image itself, and the last passes a ReLU, as proximity does not fall
  below 0. Pooling drops the last row or column of an odd size, and the enlarged map is
  padded with zeros below and to the right to the size before that pooling.

  Only the last convolution has a bias: a batch normalisation takes that of any other
  away again. 4,545,543 parameters at width 32; the tests add them up by hand.
  """

  BLOCKS: ClassVar[tuple[str, ...]] = (*DOWN, *UP, "output")
  TARGET: ClassVar[str] = "proximity"
  STRIDE: ClassVar[int] = 16
  REACH: ClassVar[int] = 124

  def __init__(
    self,
    *,
    width: int = 32,
    dropout: float = 0.33,
    dtype: DTypeLike = jnp.float32,
    test_norm: str = "running",
    axis_name: str | None = None,
    rngs: nnx.Rngs,
  ):
    """Builds the network from the fields of `config.ModelConfig`.

    Dropout, by default at the authors' rate, is within each residual block.

    Raises:
      ValueError: an argument that it does not take.
    """
    layers.check_arguments(width=width, test_norm=test_norm, dropout=dropout)
    options: dict[str, Any] = {
      "dtype": jnp.dtype(dtype),
      "test_norm": test_norm,
      "axis_name": axis_name,
      "rngs": rngs,
    }
    residual: dict[str, Any] = {"rate": dropout, "places": itertools.count()}
    inputs = 3
    for name, (multiple, steps) in DOWN.items():
      features = multiple * width
      setattr(self, name, Down(inputs, features, steps, **residual, **options))
      inputs = features
    for name, multiple in UP.items():
      features = multiple * width
      setattr(self, name, ResidualUp(inputs, features, **residual, **options))
      inputs = features
    self.output = Unit(inputs, 1, 1, use_bias=True, **options | layers.LAST)

  def __call__(
    self,
    images: jax.Array,
    *,
    train: bool = False,
    keys: jax.Array | None = None,
    frozen: int = 0,
  ) -> jax.Array:
    """Predicts proximity maps; see `Model`."""
    layers.check_size(images, self.STRIDE)
    call: dict[str, Any] = {"train": train, "keys": keys, "frozen": frozen}
    x, sizes = images, []
    for name, (_, steps) in DOWN.items():
      if "pool" in steps:
        sizes.append(x.shape[1:3])
      x = layers.run_block(self, name, x, **call)
    for name in UP:
      x = layers.run_block(self, name, x, sizes.pop(), **call)
    return nnx.relu(self.output(x, train=train))[..., 0]
