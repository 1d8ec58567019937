"""FCRN-B: two poolings, kernels of 5x5 from the middle on."""

from typing import ClassVar

from micronet_jax.models import fcrn


class FCRNB(fcrn.FCRN):
  """32-64-P-128-256-P-256-U-256-U-1 at width 32, the last three with 5x5 kernels.

  3,673,121 parameters at width 32; the tests add them up by hand.
  """

  CONVS: ClassVar[tuple[tuple[str, int, int], ...]] = (
    *(("", 3, 1), ("", 3, 2), ("pool", 3, 4), ("", 3, 8)),
    *(("pool", 5, 8), ("up", 5, 8)),
  )
  OUTPUT_KERNEL: ClassVar[int] = 5
  BLOCKS: ClassVar[tuple[str, ...]] = (
    *("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "output"),
  )
  STRIDE: ClassVar[int] = 4
  REACH: ClassVar[int] = 26
