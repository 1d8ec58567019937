"""What FCRN-A and FCRN-B have in common: convolutions between poolings and ups.

Xie, Noble and Zisserman, "Microscopy cell counting and detection with fully
convolutional regression networks", Computer Methods in Biomechanics and Biomedical
Engineering: Imaging & Visualization 6(3), 2018. They counted cells by density maps;
here, as in the paper's comparison, they learn the proximity map.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from micronet_jax.models import layers, resizing

KERNEL_INIT = nnx.initializers.orthogonal()


class FCRN(nnx.Module):
  """Regresses a proximity map from an image: `[B, H, W, 3]` -> `[B, H, W]`.

  Convolution without bias, batch normalisation (which the authors' later code adds)
  and ReLU; ups are bilinear; the last convolution is linear. Pooling drops the last
  row or column of an odd size, and the enlarged map is padded with zeros below and to
  the right to the size before that pooling.

  Attributes:
    CONVS: for each block but the last what precedes its convolution ("pool", "up" or
      nothing), the side of its kernel, and its channels as a multiple of the width.
    OUTPUT_KERNEL: side of the last kernel, which an "up" precedes.
  """

  CONVS: ClassVar[tuple[tuple[str, int, int], ...]]
  OUTPUT_KERNEL: ClassVar[int]
  BLOCKS: ClassVar[tuple[str, ...]]
  TARGET: ClassVar[str] = "proximity"
  STRIDE: ClassVar[int]
  REACH: ClassVar[int]

  def __init__(
    self,
    *,
    width: int = 32,
    dtype: DTypeLike = jnp.float32,
    test_norm: str = "running",
    axis_name: str | None = None,
    rngs: nnx.Rngs,
  ):
    """Builds the network from the fields of `config.ModelConfig`.

    Raises:
      ValueError: an argument that it does not take.
    """
    layers.check_arguments(width=width, test_norm=test_norm)
    options: dict[str, Any] = {
      "dtype": jnp.dtype(dtype),
      "kernel_init": KERNEL_INIT,
      "rngs": rngs,
    }
    norm: dict[str, Any] = {
      "test_norm": test_norm,
      "axis_name": axis_name,
      "activation": nnx.relu,
    }
    inputs = 3
    for name, (_, kernel, multiple) in zip(self.BLOCKS, self.CONVS, strict=False):
      features = multiple * width
      setattr(self, name, layers.ConvNorm(inputs, features, kernel, **options, **norm))
      inputs = features
    self.output = nnx.Conv(
      inputs, 1, (self.OUTPUT_KERNEL,) * 2, **options | layers.LAST
    )

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
    x, sizes = images, []
    for name, (before, _, _) in zip(self.BLOCKS, self.CONVS, strict=False):
      if before == "pool":
        sizes.append(x.shape[1:3])
        x = resizing.max_pool(x)
      elif before == "up":
        x = layers.pad_to(resizing.enlarge(x, 2), *sizes.pop())
      x = layers.run_block(self, name, x, train=train, frozen=frozen)
    x = layers.pad_to(resizing.enlarge(x, 2), *sizes.pop())
    return layers.convolve(self.output, x)[..., 0]
