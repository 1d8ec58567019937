"""FCRN-A: three poolings, small kernels, a wide middle."""

from typing import ClassVar

from micronet_jax.models import fcrn


class FCRNA(fcrn.FCRN):
  """3x3 convolutions, 32-P-64-P-128-P-512-U-128-U-64-U-1 at width 32.

  1,348,833 parameters at width 32; the tests add them up by hand.
  """

  CONVS: ClassVar[tuple[tuple[str, int, int], ...]] = (
    *(("", 3, 1), ("pool", 3, 2), ("pool", 3, 4)),
    *(("pool", 3, 16), ("up", 3, 4), ("up", 3, 2)),
  )
  OUTPUT_KERNEL: ClassVar[int] = 3
  BLOCKS: ClassVar[tuple[str, ...]] = (
    *("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "output"),
  )
  STRIDE: ClassVar[int] = 8
  REACH: ClassVar[int] = 36
