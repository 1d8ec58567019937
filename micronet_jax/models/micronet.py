"""MicroNet, the paper's network (Fig. 2; sections "Network architecture")."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from micronet_jax.models import layers

CONTEXT_FACTORS = {
  **{"down1": 2, "down2": 4, "down3": 8, "down4": 16},
  **{"up4": 8, "up3": 4, "up2": 2},
}
"""The stages that may feed the context aggregation, and how much each is enlarged."""

DOWN = {"down1": (2, 1), "down2": (4, 2), "down3": (8, 2), "down4": (8, 2)}
"""Blocks 2 to 5: channels as a multiple of the width, and ops."""

UP = {
  "up4": ("down3", 2),
  "up3": ("down2", 2),
  "up2": ("down1", 1),
  "up1": ("input", 1),
}
"""Blocks 6 to 9: whose output each is concatenated with, and ops."""

DROPPED = ("down3", "down4")
MIN_SIZE = 16


class MicroNet(nnx.Module):
  """Regresses a proximity map from an image: `[B, H, W, 3]` -> `[B, H, W]`.

  Four residual stages down, four up with concatenated skips, and the outputs of
  the `context` stages enlarged to full size and read by the last block (Fig. 2).
  Parameters and running statistics are float32 whatever the `dtype`.

  Blocks are numbered 1 to 10 (`BLOCKS`); the context layers belong to none of
  them, so freezing never touches them. 12,336,705 parameters at width 32 and
  3,086,625 at width 16; the tests add them up by hand.
  """

  BLOCKS: ClassVar[tuple[str, ...]] = ("input", *DOWN, *UP, "output")
  TARGET: ClassVar[str] = "proximity"
  STRIDE: ClassVar[int] = 16
  REACH: ClassVar[int] = 103

  def __init__(
    self,
    *,
    width: int = 32,
    context: Sequence[str] = ("up4", "up3"),
    dropout: float = 0.5,
    dtype: DTypeLike = jnp.float32,
    test_norm: str = "running",
    remat: bool = False,
    axis_name: str | None = None,
    rngs: nnx.Rngs,
  ):
    """Builds the network.

    Args:
      width: channels of the first block; all others scale with it.
      context: names of `CONTEXT_FACTORS` that feed the aggregation (default: the
        authors' later public code; the paper's text speaks of downsampled outputs).
      dropout: rate after the ops of blocks 4 and 5, in [0, 1).
      dtype: of the computation, float32 or bfloat16.
      test_norm: "running" or "batch": the statistics that inference normalises by.
      remat: keep only what leaves the blocks for the backward pass, which computes
        their insides again: less memory, more time, the same gradients.
      axis_name: mapped axis over which training statistics are averaged.
      rngs: the stream `params`.

    Raises:
      ValueError: an argument that is none of the above.
    """
    _check(width, context, dropout, test_norm)
    options: dict[str, Any] = {
      "dtype": jnp.dtype(dtype),
      "test_norm": test_norm,
      "axis_name": axis_name,
      "rngs": rngs,
    }
    w, previous = width, "input"
    outputs = {"input": w}  # channels that leave each stage
    self.context_stages, self.remat = tuple(context), remat
    self.input = layers.ConvNorm(3, w, 3, **options)
    for name, (multiple, ops) in DOWN.items():
      down = layers.DownNorm(outputs[previous], multiple * w, **options)
      rate = dropout if name in DROPPED else 0.0
      body = layers.Residual(multiple * w, ops, rate=rate, **options)
      setattr(self, name, nnx.Dict(conv=down, body=body))
      previous, outputs[name] = name, multiple * w
    for name, (skip, ops) in UP.items():
      up = layers.UpNorm(outputs[previous], outputs[skip], 2, **options)
      body = layers.Residual(2 * outputs[skip], ops, **options)
      setattr(self, name, nnx.Dict(conv=up, body=body))
      previous, outputs[name] = name, 2 * outputs[skip]
    contexts = {
      name: layers.UpNorm(outputs[name], 2 * w, CONTEXT_FACTORS[name], **options)
      for name in self.context_stages
    }
    self.context = nnx.Dict(contexts)
    self.output = nnx.Dict(
      conv=layers.ConvNorm(2 * w * (1 + len(contexts)), w, 5, **options),
      head=nnx.Linear(w, 1, rngs=rngs, **layers.LAST),
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
    height, width = images.shape[1:3]
    if height < MIN_SIZE or width < MIN_SIZE:  # one by one: export has symbols here
      raise ValueError(
        f"images must have at least {MIN_SIZE} x {MIN_SIZE} pixels, "
        f"got {height} x {width}"
      )
    fixed = self.BLOCKS[:frozen]
    training = {name: train and name not in fixed for name in self.BLOCKS}
    stages: dict[str, jax.Array] = {}

    def leave(name: str, x: jax.Array) -> jax.Array:
      stages[name] = jax.lax.stop_gradient(x) if name in fixed else x
      return stages[name]

    def run(block: Callable, *arguments: Any) -> jax.Array:
      return (nnx.remat(block) if self.remat else block)(*arguments)

    first = functools.partial(_first, training["input"])
    x = leave("input", run(first, self.input, images))
    for i, name in enumerate(DOWN):
      drop = None if keys is None else _dropper(keys, i)
      down = functools.partial(_down, training[name], drop)
      x = leave(name, run(down, getattr(self, name), x))
    for name, (skip, _) in UP.items():
      up = functools.partial(_up, training[name])
      x = leave(name, run(up, getattr(self, name), x, stages[skip]))
    last = functools.partial(_last, train, self.context_stages)
    contexts = [stages[name] for name in self.context_stages]
    return run(last, self.output, self.context, x, contexts)


# The blocks' insides, which `remat` computes twice; what comes first is constant.


def _first(train: bool, block: layers.ConvNorm, x: jax.Array) -> jax.Array:
  return block(x, train=train)


def _down(train: bool, drop: Callable | None, block: Any, x: jax.Array) -> jax.Array:
  return block.body(block.conv(x, train=train), train=train, drop=drop)


def _up(train: bool, block: Any, x: jax.Array, skip: jax.Array) -> jax.Array:
  up = layers.pad_to(block.conv(x, train=train), *skip.shape[1:3])
  return block.body(jnp.concatenate([up, skip], -1), train=train)


def _last(
  train: bool,
  names: Sequence[str],
  block: Any,
  context: Any,
  x: jax.Array,
  stages: Sequence[jax.Array],
) -> jax.Array:
  contexts = [
    layers.pad_to(context[name](stage, train=train), *x.shape[1:3])
    for name, stage in zip(names, stages, strict=True)
  ]
  x = block.conv(jnp.concatenate([x, *contexts], -1), train=train)
  return block.head(x)[..., 0]


def _check(width: int, context: Sequence[str], dropout: float, test_norm: str) -> None:
  stages = set(context) <= set(CONTEXT_FACTORS) and len(set(context)) == len(context)
  norm = test_norm in ("running", "batch")
  if not (stages and norm and width >= 1 and 0 <= dropout < 1):
    raise ValueError(
      f"MicroNet takes width >= 1, context from {sorted(CONTEXT_FACTORS)} (each once), "
      "0 <= dropout < 1 and test_norm 'running' or 'batch', "
      f"got {width}, {tuple(context)}, {dropout}, {test_norm!r}"
    )


def _dropper(keys: jax.Array, stage: int):
  keys = jax.vmap(lambda key: jax.random.fold_in(key, stage))(keys)
  return lambda x, rate: layers.dropout(x, rate, keys)
