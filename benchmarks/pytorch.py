"""The other side of the comparisons: MicroNet in PyTorch, as fast as PyTorch runs it.

Called by `train_step` and `inference`. The network is `torch_twins.micronet`, which the
tests hold against ours with equal weights. What is timed is its best setting:
channels_last, cudnn.benchmark, TF32, autocast where ours computes in bfloat16, and
torch.compile where it works. The loader does in numpy and scipy, in processes of its
own, what our step does on the device.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import torch
from scipy import ndimage, spatial
from torch.utils.data import DataLoader, IterableDataset

from benchmarks.torch_twins.micronet import MicroNetTwin, load
from micronet_jax.config import WarpConfig
from micronet_jax.datasets.sample import Sample
from micronet_jax.imaging.normalisation import normalise

Variants = dict[str, Callable[[], Any]]


def device() -> torch.device:
  """The GPU if PyTorch sees one, else the CPU; both set for speed."""
  torch.backends.cudnn.benchmark = True
  torch.set_float32_matmul_precision("high")
  return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait(result: Any) -> Any:
  """Waits for the GPU, if there is one."""
  if torch.cuda.is_available():
    torch.cuda.synchronize()
  return result


def usable() -> bool:
  """Whether PyTorch sees the kind of device that JAX computes on; if not, says so."""
  able = jax.default_backend() == "cpu" or torch.cuda.is_available()
  if not able:
    print("PyTorch sees no GPU here: ours is timed alone")
  return able


def forget() -> None:
  """Drops compiled programs, whose number PyTorch limits, and memory kept for reuse."""
  torch.compiler.reset()
  if torch.cuda.is_available():
    torch.cuda.empty_cache()


def networks(weights: Any, width: int) -> dict[str, tuple[MicroNetTwin, Any]]:
  """The twin with our weights, plain and compiled, each to be called its own way."""
  found = {}
  for name in ("PyTorch", "PyTorch, compiled"):
    twin = load(MicroNetTwin(width), jax.tree.map(np.asarray, weights))
    twin = twin.to(device(), memory_format=torch.channels_last)
    # Not dynamic: a batch of another size is compiled for itself, as ours is.
    compiled = "compiled" in name
    found[name] = twin, torch.compile(twin, dynamic=False) if compiled else twin
  return found


def autocast(dtype: str) -> contextlib.AbstractContextManager:
  """Lower precision where ours has it."""
  if dtype == "float32":
    return contextlib.nullcontext()
  return torch.autocast(device().type, dtype=torch.bfloat16)


def training(
  weights: Any,
  width: int,
  dtype: str,
  batches: Callable[[], tuple[Any, Any]],
  *,
  steps: int = 1,
) -> Variants:
  """So many steps each: loss of Eq. 2, backward pass, SGD as ours; then waits."""

  def make(twin: MicroNetTwin, network: Any) -> Callable[[], Any]:
    optimizer = torch.optim.SGD(
      twin.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-6
    )

    def take() -> Any:
      for _ in range(steps):
        patches, maps = batches()
        optimizer.zero_grad(set_to_none=True)
        with autocast(dtype):
          loss = _loss(network(patches).float(), maps)
        loss.backward()
        optimizer.step()
      return wait(None)

    return take

  made = networks(weights, width).items()
  return {name: make(twin.train(), network) for name, (twin, network) in made}


def inference(weights: Any, width: int, dtype: str, images: np.ndarray) -> Variants:
  """The maps of normalised images `[B, H, W, 3]`."""
  on_device = to_torch(images)

  def make(network: Any) -> Callable[[], Any]:
    def run() -> Any:
      with torch.inference_mode(), autocast(dtype):
        return wait(network(on_device)).float().cpu().numpy()

    return run

  made = networks(weights, width).items()
  return {name: make((twin.eval(), network)[1]) for name, (twin, network) in made}


def to_torch(images: np.ndarray) -> torch.Tensor:
  """`[B, 3, H, W]` on the device of `[B, H, W, 3]`, channels last in memory."""
  tensor = torch.from_numpy(images).permute(0, 3, 1, 2).to(device())
  return tensor.contiguous(memory_format=torch.channels_last)


def _loss(output: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
  weight = maps + 5.0 * maps.mean((1, 2), keepdim=True)
  return 0.5 * (weight * (output - 5.0 * maps) ** 2).mean()


class Patches(IterableDataset):
  """Endless warped patches and proximity maps, drawn as `augmentation` draws them."""

  def __init__(self, samples: Sequence[Sample], warp: WarpConfig):
    self.images = [normalise(sample.image) for sample in samples]
    self.trees = [spatial.cKDTree(sample.centers) for sample in samples]
    self.warp = warp

  def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    worker = torch.utils.data.get_worker_info()
    random = np.random.default_rng(worker.id if worker else 0)
    while True:
      index = random.integers(len(self.images))
      positions = self.positions(random, self.images[index].shape[:2])
      yield self.read(index, positions)

  def positions(self, random: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Where in the image each pixel of a patch lies, `[2, P, P]`."""
    warp, side = self.warp, self.warp.patch
    grid = np.stack(np.mgrid[:side, :side]) - (side - 1) / 2
    grid = grid.astype(np.float32)
    if random.random() < warp.elastic:
      noise = random.uniform(-1, 1, (2, side, side)).astype(np.float32)
      smooth = [ndimage.gaussian_filter(n, warp.elastic_sigma) for n in noise]
      grid += warp.elastic_alpha * np.stack(smooth)
    angle = np.deg2rad(random.uniform(-warp.rotate, warp.rotate))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if random.random() < warp.mirror:
      turn[:, 1] *= -1
    grid = np.einsum("ij,jhw->ihw", turn.astype(np.float32), grid)
    half, most = side / 2 - warp.shift, np.asarray(shape) - side / 2 + warp.shift
    center = random.uniform(half, np.maximum(half, most))
    return grid + center[:, None, None].astype(np.float32)

  def read(self, index: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The patch `[3, P, P]` and its map `[P, P]` at these positions."""
    channels = [
      ndimage.map_coordinates(channel, positions, order=1, mode="mirror")
      for channel in np.moveaxis(self.images[index], -1, 0)
    ]
    distances, _ = self.trees[index].query(positions.reshape(2, -1).T)
    near = np.exp(3 * (1 - distances / 15)) - 1
    maps = np.where(distances <= 15, near / (np.exp(3) - 1), 0).astype(np.float32)
    return np.stack(channels).astype(np.float32), maps.reshape(positions.shape[1:])


def loader(
  samples: Sequence[Sample], warp: WarpConfig, *, batch: int, workers: int
) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
  """A function that gives the next batch on the device."""
  data = DataLoader(
    Patches(samples, warp),
    batch_size=batch,
    num_workers=workers,
    pin_memory=torch.cuda.is_available(),
    persistent_workers=workers > 0,
    multiprocessing_context="spawn" if workers else None,
  )
  batches = iter(data)

  def next_batch() -> tuple[torch.Tensor, torch.Tensor]:
    patches, maps = next(batches)
    patches = patches.to(device(), non_blocking=True)
    patches = patches.contiguous(memory_format=torch.channels_last)
    return patches, maps.to(device(), non_blocking=True)

  return next_batch
