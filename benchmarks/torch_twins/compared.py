"""The networks that MicroNet is compared with once more, in plain PyTorch.

The tests compare the JAX networks with these. Written from what the class docstrings
say, sharing no code with `micronet_jax`: convolutions, normalisation, pooling and
enlargement are PyTorch's own. Modules have the names of the JAX networks, so `load` and
`tree` find each array's partner by its path. There is no dropout; the tests run the JAX
networks without keys, which is the same.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def conv(inputs: int, outputs: int, size: int, *, bias: bool = True) -> nn.Conv2d:
  """A convolution that keeps height and width."""
  return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias)


class Pointwise(nn.Conv2d):
  """A 1x1 convolution; in JAX a dense layer, with a kernel of two axes."""

  def __init__(self, inputs: int):
    super().__init__(inputs, 1, 1)


def double(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
  """Twice the size, bilinear, then zeros below and to the right up to a size."""
  x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
  return grow(x, size)


def grow(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
  """Zeros below and to the right, up to the height and width of a size."""
  return functional.pad(x, (0, size[3] - x.shape[3], 0, size[2] - x.shape[2]))


# --- FRCN -------------------------------------------------------------------------


class Unit(nn.Module):
  """Batch normalisation, ELU, convolution."""

  def __init__(self, inputs: int, outputs: int, size: int, *, bias: bool = False):
    super().__init__()
    self.norm = nn.BatchNorm2d(inputs)
    self.conv = conv(inputs, outputs, size, bias=bias)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """`[B, C, H, W]` -> `[B, C', H, W]`."""
    return self.conv(functional.elu(self.norm(x)))


class Residual(nn.Module):
  """x + 0.3 · two 3x3 units."""

  def __init__(self, channels: int):
    super().__init__()
    self.first = Unit(channels, channels, 3)
    self.second = Unit(channels, channels, 3)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """`[B, C, H, W]` kept."""
    return x + 0.3 * self.second(self.first(x))


class Stage(nn.Module):
  """A change of channels and residual blocks."""

  def __init__(
    self, inputs: int, outputs: int, *, early: bool = False, enter: bool = True
  ):
    super().__init__()
    if enter:
      self.enter = Unit(inputs, outputs, 1)
    if early:
      self.early = Residual(outputs)
    self.body = Residual(outputs)


class FRCNTwin(nn.Module):
  """`[B, 3, H, W]` -> `[B, H, W]`."""

  def __init__(self, width: int):
    super().__init__()
    w = width
    self.down1 = Stage(3, w)
    self.down2 = Stage(w, 2 * w, early=True)
    self.down3 = Stage(2 * w, 4 * w)
    self.down4 = Stage(4 * w, 8 * w)
    self.down5 = Stage(8 * w, 8 * w, enter=False)
    self.up4 = Stage(8 * w, 8 * w)
    self.up3 = Stage(8 * w, 4 * w)
    self.up2 = Stage(4 * w, 2 * w)
    self.up1 = Stage(2 * w, w)
    self.output = Unit(w, 1, 1, bias=True)

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    """Without dropout."""
    pool = functional.max_pool2d
    x = self.down1.body(self.down1.enter(images))
    full = self.down2.early(self.down2.enter(x))
    half = self.down3.enter(self.down2.body(pool(full, 2)))
    quarter = self.down4.enter(self.down3.body(pool(half, 2)))
    eighth = self.down4.body(pool(quarter, 2))
    x = self.down5.body(pool(eighth, 2))
    before = {"up4": eighth, "up3": quarter, "up2": half, "up1": full}
    for name, like in before.items():
      up = getattr(self, name)
      x = up.body(up.enter(double(x, like.shape)))
    return functional.relu(self.output(x))[:, 0]


# --- FCRN -------------------------------------------------------------------------


class ConvNorm(nn.Module):
  """Convolution without bias, batch normalisation, ReLU."""

  def __init__(self, inputs: int, outputs: int, size: int):
    super().__init__()
    self.conv = conv(inputs, outputs, size, bias=False)
    self.norm = nn.BatchNorm2d(outputs)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """`[B, C, H, W]` -> `[B, C', H, W]`."""
    return functional.relu(self.norm(self.conv(x)))


class FCRNATwin(nn.Module):
  """`[B, 3, H, W]` -> `[B, H, W]`."""

  def __init__(self, width: int):
    super().__init__()
    w = width
    self.conv1 = ConvNorm(3, w, 3)
    self.conv2 = ConvNorm(w, 2 * w, 3)
    self.conv3 = ConvNorm(2 * w, 4 * w, 3)
    self.conv4 = ConvNorm(4 * w, 16 * w, 3)
    self.conv5 = ConvNorm(16 * w, 4 * w, 3)
    self.conv6 = ConvNorm(4 * w, 2 * w, 3)
    self.output = conv(2 * w, 1, 3)

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    """Three poolings, three ups."""
    full = self.conv1(images)
    half = self.conv2(functional.max_pool2d(full, 2))
    quarter = self.conv3(functional.max_pool2d(half, 2))
    x = self.conv4(functional.max_pool2d(quarter, 2))
    x = self.conv5(double(x, quarter.shape))
    x = self.conv6(double(x, half.shape))
    return self.output(double(x, full.shape))[:, 0]


class FCRNBTwin(nn.Module):
  """`[B, 3, H, W]` -> `[B, H, W]`."""

  def __init__(self, width: int):
    super().__init__()
    w = width
    self.conv1 = ConvNorm(3, w, 3)
    self.conv2 = ConvNorm(w, 2 * w, 3)
    self.conv3 = ConvNorm(2 * w, 4 * w, 3)
    self.conv4 = ConvNorm(4 * w, 8 * w, 3)
    self.conv5 = ConvNorm(8 * w, 8 * w, 5)
    self.conv6 = ConvNorm(8 * w, 8 * w, 5)
    self.output = conv(8 * w, 1, 5)

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    """Two poolings, two ups."""
    full = self.conv2(self.conv1(images))
    half = self.conv4(self.conv3(functional.max_pool2d(full, 2)))
    x = self.conv5(functional.max_pool2d(half, 2))
    x = self.conv6(double(x, half.shape))
    return self.output(double(x, full.shape))[:, 0]


# --- U-Net and FCN-8s -------------------------------------------------------------


class Conv(nn.Module):
  """Convolution and ReLU."""

  def __init__(self, inputs: int, outputs: int, size: int):
    super().__init__()
    self.conv = conv(inputs, outputs, size)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """`[B, C, H, W]` -> `[B, C', H, W]`."""
    return functional.relu(self.conv(x))


class Pair(nn.Module):
  """Two 3x3 convolutions."""

  def __init__(self, inputs: int, outputs: int):
    super().__init__()
    self.first = Conv(inputs, outputs, 3)
    self.second = Conv(outputs, outputs, 3)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """`[B, C, H, W]` -> `[B, C', H, W]`."""
    return self.second(self.first(x))


class Up(nn.Module):
  """2x2 transposed convolution, the skip, two convolutions."""

  def __init__(self, inputs: int):
    super().__init__()
    self.conv = nn.ConvTranspose2d(inputs, inputs // 2, 2, stride=2)
    self.body = Pair(inputs, inputs // 2)

  def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    """To the skip's size and channels."""
    return self.body(torch.cat([skip, grow(self.conv(x), skip.shape)], 1))


class UNetTwin(nn.Module):
  """`[B, 3, H, W]` -> `[B, H, W]`."""

  def __init__(self, width: int):
    super().__init__()
    w = width
    self.down1, self.down2 = Pair(3, w), Pair(w, 2 * w)
    self.down3, self.down4 = Pair(2 * w, 4 * w), Pair(4 * w, 8 * w)
    self.down5 = Pair(8 * w, 16 * w)
    self.up4, self.up3 = Up(16 * w), Up(8 * w)
    self.up2, self.up1 = Up(4 * w), Up(2 * w)
    self.output = Pointwise(w)

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    """Without dropout."""
    one = self.down1(images)
    two = self.down2(functional.max_pool2d(one, 2))
    three = self.down3(functional.max_pool2d(two, 2))
    four = self.down4(functional.max_pool2d(three, 2))
    x = self.down5(functional.max_pool2d(four, 2))
    x = self.up2(self.up3(self.up4(x, four), three), two)
    return self.output(self.up1(x, one))[:, 0]


class Convs(nn.Module):
  """Convolutions with ReLU, one after the other."""

  def __init__(self, inputs: int, outputs: int, count: int, size: int = 3):
    super().__init__()
    self.convs = nn.ModuleDict(
      {
        f"conv{i + 1}": Conv(outputs if i else inputs, outputs, size)
        for i in range(count)
      }
    )

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """`[B, C, H, W]` -> `[B, C', H, W]`."""
    for each in self.convs.values():
      x = each(x)
    return x


class FCNTwin(nn.Module):
  """`[B, 3, H, W]` -> `[B, H, W]`."""

  def __init__(self, width: int):
    super().__init__()
    w = width
    self.conv1, self.conv2 = Convs(3, w, 2), Convs(w, 2 * w, 2)
    self.conv3, self.conv4 = Convs(2 * w, 4 * w, 3), Convs(4 * w, 8 * w, 3)
    self.conv5 = Convs(8 * w, 8 * w, 3)
    self.fc6, self.fc7 = Convs(8 * w, 64 * w, 1, 7), Convs(64 * w, 64 * w, 1, 1)
    channels = {"fc7": 64 * w, "conv4": 8 * w, "conv3": 4 * w}
    self.output = nn.ModuleDict({name: Pointwise(c) for name, c in channels.items()})

  def forward(self, images: torch.Tensor) -> torch.Tensor:
    """Without dropout."""

    def pool(x: torch.Tensor) -> torch.Tensor:
      return functional.max_pool2d(x, 2, ceil_mode=True)

    def enlarge(x: torch.Tensor, factor: int, like: torch.Tensor) -> torch.Tensor:
      x = functional.interpolate(
        x, scale_factor=factor, mode="bilinear", align_corners=False
      )
      return x[:, :, : like.shape[2], : like.shape[3]]

    eighth = pool(self.conv3(pool(self.conv2(pool(self.conv1(images))))))
    sixteenth = pool(self.conv4(eighth))
    x = self.output["fc7"](self.fc7(self.fc6(pool(self.conv5(sixteenth)))))
    for name, stage in (("conv4", sixteenth), ("conv3", eighth)):
      x = enlarge(x, 2, stage) + self.output[name](stage)
    return enlarge(x, 8, images)[:, 0]


TWINS: Mapping[str, type[nn.Module]] = {
  "frcn": FRCNTwin,
  "fcrna": FCRNATwin,
  "fcrnb": FCRNBTwin,
  "unet": UNetTwin,
  "fcn": FCNTwin,
}


# --- the same weights -------------------------------------------------------------


def load(twin: nn.Module, arrays: Mapping[str, np.ndarray]) -> nn.Module:
  """Fills the twin with the weights of the JAX network.

  Args:
    twin: of the same width.
    arrays: path ("params/conv1/conv/kernel") -> array.

  Raises:
    ValueError: the two do not have the same arrays.
  """
  partners = dict(_partners(twin))
  if arrays.keys() != partners.keys():
    raise ValueError(f"only one has {sorted(arrays.keys() ^ partners.keys())}")
  with torch.no_grad():
    for path, (tensor, convert, _) in partners.items():
      array = torch.tensor(convert(arrays[path]))
      if array.shape != tensor.shape:
        raise ValueError(f"{path} is {arrays[path].shape} for {tuple(tensor.shape)}")
      tensor.copy_(array)
  return twin


def tree(twin: nn.Module, *, gradients: bool = False) -> dict[str, np.ndarray]:
  """The twin's arrays, or their gradients, by the JAX network's paths and layouts."""
  partners = dict(_partners(twin))
  return {
    path: restore((tensor.grad if gradients else tensor).detach().numpy())
    for path, (tensor, _, restore) in partners.items()
    if not gradients or path.startswith("params/")
  }


def norms(twin: nn.Module) -> Iterator[tuple[str, nn.BatchNorm2d]]:
  """Each batch normalisation with the path of its statistics."""
  for name, module in twin.named_modules():
    if isinstance(module, nn.BatchNorm2d):
      yield f"batch_stats/{name.replace('.', '/')}/norm", module


def _partners(twin: nn.Module) -> Iterator[tuple[str, tuple[Any, Callable, Callable]]]:
  """Path in JAX; the twin's tensor, its conversion from JAX and back."""
  same: tuple[Callable, Callable] = (lambda a: a, lambda a: a)
  for name, module in twin.named_modules():
    path = f"params/{name.replace('.', '/')}"
    if isinstance(module, nn.ConvTranspose2d):
      yield f"{path}/dense/kernel", (module.weight, *_stamp(module))
      yield f"{path}/bias", (module.bias, *same)
    elif isinstance(module, nn.Conv2d):
      yield f"{path}/kernel", (module.weight, *_kernel(module))
      if module.bias is not None:
        yield f"{path}/bias", (module.bias, *same)
    elif isinstance(module, nn.BatchNorm2d):
      yield f"{path}/norm/scale", (module.weight, *same)
      yield f"{path}/norm/bias", (module.bias, *same)
  for path, module in norms(twin):
    yield f"{path}/mean", (module.running_mean, *same)
    yield f"{path}/var", (module.running_var, *same)


def _kernel(module: nn.Conv2d) -> tuple[Callable, Callable]:
  """From [k, k, I, O], or [I, O], to [O, I, k, k] and back."""
  if isinstance(module, Pointwise):
    return lambda a: a.T[:, :, None, None], lambda a: a[:, :, 0, 0].T
  return lambda a: a.transpose(3, 2, 0, 1), lambda a: a.transpose(2, 3, 1, 0)


def _stamp(module: nn.ConvTranspose2d) -> tuple[Callable, Callable]:
  """From [I, kkO] to [I, O, k, k] and back."""
  i, o, k = module.in_channels, module.out_channels, module.kernel_size[0]
  return (
    lambda a: a.reshape(i, k, k, o).transpose(0, 3, 1, 2),
    lambda a: a.transpose(0, 2, 3, 1).reshape(i, k * k * o),
  )
