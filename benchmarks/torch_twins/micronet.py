"""MicroNet once more, in plain PyTorch, written from its description alone.

The tests compare the JAX network with it, and `benchmarks.pytorch` times the two side
by side. It shares no code with `micronet_jax`: convolutions are `nn.Conv2d` and
`nn.ConvTranspose2d`, batch normalisation is `nn.BatchNorm2d`, sizes are numbers
written out below. `load` fills it with the weights of the JAX network, `tree` gives
its arrays (or their gradients) back in the JAX network's names and layouts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

ENLARGED = {
  **{"down1": 2, "down2": 4, "down3": 8, "down4": 16},
  **{"up4": 8, "up3": 4, "up2": 2},
}


class Unit(nn.Module):
  """A convolution of any kind without bias, batch normalisation, ELU."""

  def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d):
    super().__init__()
    self.convolution = convolution
    self.norm = nn.BatchNorm2d(convolution.out_channels, eps=1e-5, momentum=0.1)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """`[B, C, H, W]` -> `[B, C', H', W']`."""
    return functional.elu(self.norm(self.convolution(x)))


def same(inputs: int, outputs: int, size: int) -> Unit:
  """A unit that keeps height and width."""
  return Unit(nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False))


def halve(inputs: int, outputs: int) -> Unit:
  """A unit with a 2x2 convolution of stride 2: floor of half the size."""
  return Unit(nn.Conv2d(inputs, outputs, 2, stride=2, bias=False))


def enlarge(inputs: int, outputs: int, factor: int) -> Unit:
  """A unit with a transposed convolution that enlarges by a factor."""
  return Unit(nn.ConvTranspose2d(inputs, outputs, factor, stride=factor, bias=False))


def grow(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
  """Pads with zeros below and to the right, up to the size of `like`."""
  bottom, right = like.shape[2] - x.shape[2], like.shape[3] - x.shape[3]
  return functional.pad(x, (0, right, 0, bottom))


class Stage(nn.Module):
  """One block, 2 to 9: enter, join the skip if there is one, ops, residual sum."""

  def __init__(self, enter: Unit, channels: int, ops: int, dropout: float = 0.0):
    super().__init__()
    self.enter = enter
    self.ops = nn.Sequential(*(same(channels, channels, 3) for _ in range(ops)))
    self.dropout = nn.Dropout(dropout)

  def forward(self, x: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
    """`[B, C, H, W]` to half the size, or with a skip to the skip's size."""
    x = self.enter(x)
    if skip is not None:
      x = torch.cat([grow(x, skip), skip], 1)
    return functional.elu(self.dropout(self.ops(x)) + x)


class MicroNetTwin(nn.Module):
  """The network: `[B, 3, H, W]` -> `[B, H, W]`.

  Args:
    width: channels of the first block (32 in the paper).
    context: the stages that feed the aggregation.
    dropout: rate after the ops of blocks 4 and 5.
  """

  def __init__(
    self,
    width: int = 32,
    context: Sequence[str] = ("up4", "up3"),
    dropout: float = 0.5,
  ):
    super().__init__()
    w = width
    leaving = {
      **{"down1": 2 * w, "down2": 4 * w, "down3": 8 * w, "down4": 8 * w},
      **{"up4": 16 * w, "up3": 8 * w, "up2": 4 * w},
    }
    self.input = same(3, w, 3)
    self.down1 = Stage(halve(w, 2 * w), 2 * w, 1)
    self.down2 = Stage(halve(2 * w, 4 * w), 4 * w, 2)
    self.down3 = Stage(halve(4 * w, 8 * w), 8 * w, 2, dropout)
    self.down4 = Stage(halve(8 * w, 8 * w), 8 * w, 2, dropout)
    self.up4 = Stage(enlarge(8 * w, 8 * w, 2), 16 * w, 2)
    self.up3 = Stage(enlarge(16 * w, 4 * w, 2), 8 * w, 2)
    self.up2 = Stage(enlarge(8 * w, 2 * w, 2), 4 * w, 1)
    self.up1 = Stage(enlarge(4 * w, w, 2), 2 * w, 1)
    self.context = nn.ModuleDict(
      {name: enlarge(leaving[name], 2 * w, ENLARGED[name]) for name in context}
    )
    self.output = same(2 * w + 2 * w * len(context), w, 5)
    self.head = nn.Conv2d(w, 1, 1)

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    """`[B, 3, H, W]` -> `[B, H, W]`."""
    at = {}
    full = self.input(images)
    at["down1"] = self.down1(full)
    at["down2"] = self.down2(at["down1"])
    at["down3"] = self.down3(at["down2"])
    at["down4"] = self.down4(at["down3"])
    at["up4"] = self.up4(at["down4"], at["down3"])
    at["up3"] = self.up3(at["up4"], at["down2"])
    at["up2"] = self.up2(at["up3"], at["down1"])
    last = self.up1(at["up2"], full)
    contexts = [grow(unit(at[name]), full) for name, unit in self.context.items()]
    return self.head(self.output(torch.cat([last, *contexts], 1)))[:, 0]


def load(twin: MicroNetTwin, weights: Mapping[str, Any]) -> MicroNetTwin:
  """Fills the twin with the weights of the JAX network.

  Args:
    twin: of the same width and context.
    weights: `{"params", "batch_stats"}`, nested dicts of arrays.

  Returns:
    The twin.

  Raises:
    ValueError: the two do not have the same arrays.
  """
  arrays = dict(_flat(weights))
  pairs = _pairs(twin)
  if arrays.keys() != pairs.keys():
    raise ValueError(f"only one has {sorted(arrays.keys() ^ pairs.keys())}")
  with torch.no_grad():
    for path, (tensor, convert, _) in pairs.items():
      array = torch.tensor(convert(np.asarray(arrays[path])))
      if array.shape != tensor.shape:
        raise ValueError(f"{path} is {arrays[path].shape} for {tuple(tensor.shape)}")
      tensor.copy_(array)
  return twin


def tree(twin: MicroNetTwin, *, gradients: bool = False) -> dict[str, np.ndarray]:
  """The twin's arrays under the JAX network's paths, in its layouts.

  Args:
    twin: the twin.
    gradients: give the gradients of the parameters instead.

  Returns:
    Path ("params/down1/conv/dense/kernel") -> array.
  """
  result = {}
  for path, (tensor, _, restore) in _pairs(twin).items():
    value = tensor.grad if gradients else tensor
    if value is not None:
      result[path] = restore(value.detach().cpu().numpy())
  return result


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
  for name, value in tree.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f"{prefix}{name}/")
    else:
      yield prefix + name, value


def _same(array: np.ndarray) -> np.ndarray:
  return array


def _kernel(convolution: nn.Conv2d | nn.ConvTranspose2d) -> tuple[Callable, Callable]:
  """Functions from the JAX layout of a kernel to torch's, and back."""
  i, o = convolution.in_channels, convolution.out_channels
  k = convolution.kernel_size[0]
  if isinstance(convolution, nn.ConvTranspose2d):  # [I, kkO] and [I, O, k, k]
    return (
      lambda a: a.reshape(i, k, k, o).transpose(0, 3, 1, 2),
      lambda a: a.transpose(0, 2, 3, 1).reshape(i, k * k * o),
    )
  if convolution.stride[0] == 2 or k == 1:  # [kkI, O] and [O, I, k, k]
    return (
      lambda a: a.reshape(k, k, i, o).transpose(3, 2, 0, 1),
      lambda a: a.transpose(2, 3, 1, 0).reshape(k * k * i, o),
    )
  return lambda a: a.transpose(3, 2, 0, 1), lambda a: a.transpose(2, 3, 1, 0)


def units(twin: MicroNetTwin) -> Iterator[tuple[str, Unit]]:
  """Each unit with its path in the JAX network."""
  yield "input", twin.input
  for name in ("down1", "down2", "down3", "down4", "up4", "up3", "up2", "up1"):
    stage = getattr(twin, name)
    yield f"{name}/conv", stage.enter
    for i, op in enumerate(stage.ops):
      yield f"{name}/body/ops/op{i + 1}", op
  for name, unit in twin.context.items():
    yield f"context/{name}", unit
  yield "output/conv", twin.output


def _pairs(twin: MicroNetTwin) -> dict[str, tuple[torch.Tensor, Callable, Callable]]:
  """Path in the JAX network -> the twin's tensor, its conversion from JAX and back."""
  pairs: dict[str, tuple[torch.Tensor, Callable, Callable]] = {}
  for path, unit in units(twin):
    convolution, norm = unit.convolution, unit.norm
    same_size = isinstance(convolution, nn.Conv2d) and convolution.stride[0] == 1
    kernel = f"params/{path}/{'conv' if same_size else 'dense'}/kernel"
    pairs[kernel] = (convolution.weight, *_kernel(convolution))
    pairs[f"params/{path}/norm/norm/scale"] = (norm.weight, _same, _same)
    pairs[f"params/{path}/norm/norm/bias"] = (norm.bias, _same, _same)
    pairs[f"batch_stats/{path}/norm/norm/mean"] = (norm.running_mean, _same, _same)
    pairs[f"batch_stats/{path}/norm/norm/var"] = (norm.running_var, _same, _same)
  pairs["params/output/head/kernel"] = (twin.head.weight, *_kernel(twin.head))
  pairs["params/output/head/bias"] = (twin.head.bias, _same, _same)
  return pairs
