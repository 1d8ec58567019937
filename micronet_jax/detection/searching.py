"""Runs a network over the tiles of a scan: read ahead, batch, search on the device.

Tiles are read and resampled by threads while the devices work on the batch before, and
the points of one batch are fetched while the next is under way. Normalisation, network
and search for maxima are one compiled program; only points leave the device. Called by
`detection.detector`.
"""

import collections
import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from micronet_jax import models
from micronet_jax.detection.peaks import Peaks, local_maxima
from micronet_jax.detection.scan import Scan
from micronet_jax.detection.smoothing import smooth_maps
from micronet_jax.detection.tiling import Tile
from micronet_jax.devices import AXIS, compiler_options, make_mesh, make_room_for
from micronet_jax.errors import InputError
from micronet_jax.models import bounds
from micronet_jax.models.graphs import merge_model

READERS = 4
"""Threads that read and resample tiles."""


READ_AHEAD = 2
"""Batches read while one is on the device."""


class Program(NamedTuple):
  """What is compiled for a search, besides the shape of the tiles; hashable.

  Attributes:
    graph: `nnx.GraphDef` of the network.
    min_distances: radii that maxima are searched with.
    devices: how many share a batch.
    smoothing: sd of the Gaussian that maps are smoothed by, in pixels; 0 for none.
    stride: of the network, if tiles lie in larger arrays; 0 if they fill them.
  """

  graph: Any
  min_distances: tuple[int, ...]
  devices: int
  smoothing: float = 0.0
  stride: int = 0


class Found(NamedTuple):
  """What one tile of a scan held.

  Attributes:
    tile: of the scan.
    centers: float64 `[N, 2]` (y, x) in the image's own pixels.
    scores: float32 `[N]`, falling.
    decisive: float32 `[M]`, the scores in its core, before tissue and regions, that
      the unit of ξ follows from (`detection.units`).
  """

  tile: Tile
  centers: np.ndarray
  scores: np.ndarray
  decisive: np.ndarray


@functools.cache
def compile_predict(graph: Any) -> Callable[[Any, jax.Array], jax.Array]:
  """A jitted function (weights, images `[B, H, W, 3]`) -> maps `[B, H, W]`."""

  def predict(weights: Any, images: jax.Array) -> jax.Array:
    return merge_model(graph, weights)(images)

  return jax.jit(predict, compiler_options=compiler_options())


@functools.cache
def compile_search(program: Program) -> Callable[..., tuple[Peaks, ...]]:
  """The jitted search of one batch of tiles, spread over devices.

  Returns:
    A function of (weights; tiles uint8 `[B, h, w, 3]`; mean and std `[3]`; limits
    int32 `[B, 2]`, the height and width of each tile that are of the image;
    scale of a proximity map; least score) -> the maxima for each min_distance,
    each leaf with a leading axis B.
  """

  def search(weights, tiles, mean, std, limits, scale, least):
    y, x = jnp.arange(tiles.shape[1])[:, None], jnp.arange(tiles.shape[2])
    inside = (y < limits[:, 0, None, None]) & (x < limits[:, 1, None, None])
    images = (tiles.astype(jnp.float32) - mean) / std
    images = jnp.where(inside[..., None], images, 0)
    network: Any = merge_model(program.graph, weights)
    ends: Any = contextlib.nullcontext()
    if program.stride:
      padded = -(-limits // program.stride) * program.stride
      ends = bounds.image_ends(padded, images.shape[1:3])
    with ends:
      maps = models.score_map(network, network(images), scale)
    if program.smoothing:
      maps = smooth_maps(maps, inside, sd=program.smoothing)
    maps = jnp.where(inside & (maps >= least), maps, 0)
    return tuple(
      jax.vmap(functools.partial(local_maxima, min_distance=distance))(maps)
      for distance in program.min_distances
    )

  all, each = PartitionSpec(), PartitionSpec(AXIS)
  mapped = jax.shard_map(
    search,
    mesh=make_mesh(program.devices),
    in_specs=(all, each, all, all, each, all, all),
    out_specs=each,
    check_vma=False,
  )
  return jax.jit(mapped, compiler_options=compiler_options())


def share_out(tiles: int, *, devices: int | None, batch: int | None) -> tuple[int, int]:
  """How many devices share batches of how many tiles.

  So that images of many sizes share few programs, devices are one or all, and a batch
  is as large as asked for, or the first power of two that holds all tiles.

  Args:
    tiles: to search, at least one.
    devices: to use; None for all.
    batch: tiles on the devices at once; None for one a device.
  """
  devices = (devices or jax.local_device_count()) if tiles > 1 else 1
  batch = min(batch or devices, 1 << (tiles - 1).bit_length())
  return devices, -(-batch // devices) * devices


def search_tiles(
  program: Program,
  weights: Any,
  scan: Scan,
  tiles: Sequence[Tile],
  *,
  batch: int,
  scale: float,
  least: float,
) -> Iterator[tuple[Tile, list[tuple[np.ndarray, np.ndarray]]]]:
  """Searches tiles of a scan.

  Args:
    program: what to compile.
    weights: of the network, on `program.devices` devices.
    scan: where the tiles are from.
    tiles: to be searched, in this order.
    batch: tiles in one call, a multiple of `program.devices`.
    scale: what a proximity map is divided by.
    least: scores below are left out.

  Yields:
    Each tile with, for each min_distance, all maxima of its map, those of its margins
    included: centres float64 `[N, 2]` (y, x) from the tile's first pixel on, and
    scores float32 `[N]`, falling.

  Raises:
    InputError: a tile cannot be read, or the device's memory does not suffice.
  """
  make_room_for((program, batch, scan.room))
  compiled = compile_search(program)
  split = NamedSharding(make_mesh(program.devices), PartitionSpec(AXIS))

  def start(group: list[tuple[Tile, np.ndarray]]) -> tuple[Peaks, ...]:
    # The last batch is filled up with its last tile.
    filled = [*group, *itertools.repeat(group[-1], batch - len(group))]
    on_device = jax.device_put(_in_room(scan, filled), split)
    statistics = scan.mean, scan.std
    scalars = np.float32(scale), np.float32(least)
    return compiled(weights, on_device[0], *statistics, on_device[1], *scalars)

  pool = ThreadPoolExecutor(READERS, thread_name_prefix="read")
  try:
    reads = _read_ahead(pool, scan, tiles, READ_AHEAD * batch)
    running: tuple[list[Tile], tuple[Peaks, ...]] | None = None
    while group := list(itertools.islice(reads, batch)):
      started = [tile for tile, _ in group], start(group)
      if running:
        yield from _fetch(*running)
      running = started
    if running:
      yield from _fetch(*running)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise _too_large(batch, *scan.room) from error
  finally:
    pool.shutdown(cancel_futures=True)


def _in_room(
  scan: Scan, group: Sequence[tuple[Tile, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
  """Tiles in arrays of the scan's room, and how much of each is of the image."""
  tall, wide = scan.sides
  pixels = np.zeros((len(group), *scan.room, 3), np.uint8)
  for i, (_, read) in enumerate(group):
    pixels[i, :tall, :wide] = read
  height, width = scan.canvas.shape
  limits = [(min(height - t.y, tall), min(width - t.x, wide)) for t, _ in group]
  return pixels, np.asarray(limits, np.int32)


def _too_large(batch: int, height: int, width: int) -> InputError:
  return InputError(
    f"the device's memory does not hold {batch} tile(s) of {height} x {width} pixels;"
    " take smaller ones with tile= or --tile"
  )


def _read_ahead(
  pool: ThreadPoolExecutor, scan: Scan, tiles: Iterable[Tile], ahead: int
) -> Iterator[tuple[Tile, np.ndarray]]:
  """Tiles with their pixels, in order, so many of them read in advance."""
  queue: collections.deque[tuple[Tile, Future[np.ndarray]]] = collections.deque()
  for tile in tiles:
    queue.append((tile, pool.submit(scan.canvas.read, tile.y, tile.x, *scan.sides)))
    if len(queue) > ahead:
      first, pixels = queue.popleft()
      yield first, pixels.result()
  for tile, pixels in queue:
    yield tile, pixels.result()


def _fetch(
  tiles: Sequence[Tile], found: tuple[Peaks, ...]
) -> Iterator[tuple[Tile, list[tuple[np.ndarray, np.ndarray]]]]:
  fetched = jax.device_get(found)
  for i, tile in enumerate(tiles):
    points = []
    for peaks in fetched:
      count = int(peaks.count[i])
      centers = peaks.centers[i, :count].astype(np.float64)
      points.append((centers, peaks.scores[i, :count]))
    yield tile, points
