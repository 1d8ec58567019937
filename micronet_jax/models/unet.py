"""U-Net, a pixel classifier: is a nucleus centre near?

Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image
segmentation", MICCAI 2015.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from micronet_jax.models import layers, resizing

DOWN = {"down1": 1, "down2": 2, "down3": 4, "down4": 8, "down5": 16}
"""Channels as a multiple of the width; all but the first are pooled."""

UP = {
  "up4": ("down4", 8),
  "up3": ("down3", 4),
  "up2": ("down2", 2),
  "up1": ("down1", 1),
}
"""Whose output each is concatenated with, and channels as a multiple of the width."""

DROPPED = ("down4", "down5")


class ConvPair(nnx.Module):
  """Two 3x3 convolutions with ReLU, then dropout where there is any."""

  def __init__(
    self, inputs: int, features: int, *, rate: float = 0.0, place: int = 0, **options
  ):
    self.first = layers.Conv(inputs, features, 3, **options)
    self.second = layers.Conv(features, features, 3, **options)
    self.dropout = layers.Dropout(rate, place=place)

  def __call__(
    self, x: jax.Array, *, train: bool, keys: jax.Array | None = None
  ) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, H, W, features]`."""
    return self.dropout(self.second(self.first(x)), train=train, keys=keys)


class JoiningUp(nnx.Module):
  """2x2 transposed convolution of stride 2, joined with the skip, two convolutions."""

  def __init__(self, inputs: int, features: int, **options):
    self.conv = layers.TransposedConv(inputs, features, 2, **options)
    self.body = ConvPair(2 * features, features, **options)

  def __call__(self, x: jax.Array, skip: jax.Array, *, train: bool) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, *, *, features]`, of the skip's size."""
    x = layers.pad_to(self.conv(x), *skip.shape[1:3])
    return self.body(jnp.concatenate([skip, x], -1), train=train)


class UNet(nnx.Module):
  """Classifies pixels: `[B, H, W, 3]` -> log odds `[B, H, W]`.

  As published, without batch normalisation, except that convolutions are padded, so
  that nothing is cropped, and that one logit stands for two classes. Pooling drops the
  last row or column of an odd size, and the enlarged map is padded with zeros below
  and to the right to the size of the skip.

  31,031,745 parameters at width 64, which is the published size; the tests add them up
  by hand.
  """

  BLOCKS: ClassVar[tuple[str, ...]] = (*DOWN, *UP, "output")
  TARGET: ClassVar[str] = "disks"
  STRIDE: ClassVar[int] = 16
  REACH: ClassVar[int] = 107

  def __init__(
    self,
    *,
    width: int = 64,
    dropout: float = 0.5,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    rngs: nnx.Rngs,
  ):
    """Builds the network from the fields of `config.ModelConfig`.

    Dropout is at the end of the downsampling path.

    Raises:
      ValueError: an argument that it does not take.
    """
    layers.check_arguments(width=width, dropout=dropout)
    options: dict[str, Any] = {"dtype": jnp.dtype(dtype), "rngs": rngs}
    inputs = 3
    for place, (name, multiple) in enumerate(DOWN.items()):
      rate = dropout if name in DROPPED else 0.0
      body = ConvPair(inputs, multiple * width, rate=rate, place=place, **options)
      setattr(self, name, body)
      inputs = multiple * width
    for name, (_, multiple) in UP.items():
      setattr(self, name, JoiningUp(inputs, multiple * width, **options))
      inputs = multiple * width
    self.output = nnx.Linear(inputs, 1, **options | layers.LAST)

  def __call__(
    self,
    images: jax.Array,
    *,
    train: bool = False,
    keys: jax.Array | None = None,
    frozen: int = 0,
  ) -> jax.Array:
    """Predicts log odds; see `Model`."""
    layers.check_size(images, self.STRIDE)
    call: dict[str, Any] = {"train": train, "frozen": frozen}
    stages: dict[str, jax.Array] = {}
    x = images
    for name in DOWN:
      x = resizing.max_pool(x) if stages else x
      x = stages[name] = layers.run_block(self, name, x, keys=keys, **call)
    for name, (skip, _) in UP.items():
      x = layers.run_block(self, name, x, stages[skip], **call)
    return self.output(x)[..., 0]
