"""FCN-8s on the body of VGG16, a pixel classifier: is a nucleus centre near?

Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation",
CVPR 2015; Simonyan and Zisserman, "Very deep convolutional networks for large-scale
image recognition", ICLR 2015 (configuration D).
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from micronet_jax.models import layers, resizing

BODY = {
  "conv1": (1, 2),
  "conv2": (2, 2),
  "conv3": (4, 3),
  "conv4": (8, 3),
  "conv5": (8, 3),
}
"""Channels as a multiple of the width, and 3x3 convolutions; each is then pooled."""

FULLY_CONNECTED = {"fc6": 7, "fc7": 1}
"""Sides of the kernels that VGG16's fully connected layers have become."""

FC_FEATURES = 64
"""Their channels as a multiple of the width: 4096 at width 64."""

SCORED = ("conv4", "conv3")
"""The poolings whose scores are added on the way up."""


class ConvStack(nnx.Module):
  """Convolutions with ReLU, one after the other, then dropout where there is any."""

  def __init__(
    self,
    inputs: int,
    features: int,
    kernel: int,
    count: int,
    *,
    rate: float = 0.0,
    place: int = 0,
    **options,
  ):
    sides = [inputs] + (count - 1) * [features]
    self.convs = nnx.Dict(
      {
        f"conv{i + 1}": layers.Conv(channels, features, kernel, **options)
        for i, channels in enumerate(sides)
      }
    )
    self.dropout = layers.Dropout(rate, place=place)

  def __call__(self, x: jax.Array, *, train: bool, keys: jax.Array | None) -> jax.Array:
    """`[B, H, W, inputs]` -> `[B, H, W, features]`."""
    for conv in self.convs.values():
      x = conv(x)
    return self.dropout(x, train=train, keys=keys)


class FCN(nnx.Module):
  """Classifies pixels: `[B, H, W, 3]` -> log odds `[B, H, W]`.

  As published, with these exceptions. The body begins with random weights, where the
  publication had those of ImageNet, and its skips are therefore not scaled down. The
  7x7 convolution is padded, instead of the image by 100 pixels. One logit stands for
  two classes. Enlargement is bilinear and fixed, as in the authors' later code. Pooling
  makes a neighbourhood of the last row or column of an odd size (ceil), as theirs
  does, and what is enlarged is cropped, below and to the right.

  134,265,411 parameters at width 64, which is the published size; the tests add them
  up by hand.
  """

  BLOCKS: ClassVar[tuple[str, ...]] = (*BODY, *FULLY_CONNECTED, "output")
  TARGET: ClassVar[str] = "disks"
  STRIDE: ClassVar[int] = 32
  REACH: ClassVar[int] = 245

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

    Dropout is after each of the two fully connected layers.

    Raises:
      ValueError: an argument that it does not take.
    """
    layers.check_arguments(width=width, dropout=dropout)
    options: dict[str, Any] = {"dtype": jnp.dtype(dtype), "rngs": rngs}
    inputs, features = 3, {}
    for name, (multiple, count) in BODY.items():
      features[name] = multiple * width
      setattr(self, name, ConvStack(inputs, features[name], 3, count, **options))
      inputs = features[name]
    for place, (name, kernel) in enumerate(FULLY_CONNECTED.items()):
      features[name] = FC_FEATURES * width
      dropped: dict[str, Any] = {"rate": dropout, "place": place}
      body = ConvStack(inputs, features[name], kernel, 1, **dropped, **options)
      setattr(self, name, body)
      inputs = features[name]
    zeros = nnx.initializers.zeros
    scores = {
      name: nnx.Linear(features[name], 1, kernel_init=zeros, **options | layers.LAST)
      for name in ("fc7", *SCORED)
    }
    self.output = nnx.Dict(scores)

  def __call__(
    self,
    images: jax.Array,
    *,
    train: bool = False,
    keys: jax.Array | None = None,
    frozen: int = 0,
  ) -> jax.Array:
    """Predicts log odds; see `Model`."""
    call: dict[str, Any] = {"train": train, "keys": keys, "frozen": frozen}
    x, stages = images, {}
    for name in BODY:
      x = layers.run_block(self, name, x, **call)
      x = stages[name] = resizing.max_pool(x, ceil=True)
    for name in FULLY_CONNECTED:
      x = layers.run_block(self, name, x, **call)
    score = self.output["fc7"](x)
    for name in SCORED:
      skip = self.output[name](stages[name])
      score = _enlarge(score, 2, skip) + skip
    return _enlarge(score, 8, images)[..., 0]


def _enlarge(x: jax.Array, factor: int, like: jax.Array) -> jax.Array:
  """Enlarges bilinearly and crops to another's height and width."""
  return resizing.enlarge(x, factor)[:, : like.shape[1], : like.shape[2]]
