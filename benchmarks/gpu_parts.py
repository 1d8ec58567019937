"""What `benchmarks.gpu` measures, part by part; each part runs in a process of its own.

Called by `benchmarks.gpu`. A part is a generator of cases; a case is what it is called
and a function that measures it. Its rows are written after every case, so whoever is
stopped leaves what was done.
"""

import argparse
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from benchmarks import (
  inference,
  pipeline,
  report,
  steps_per_call,
  timing,
  train_step,
  workload,
)
from benchmarks.gpu_base import describe, train
from benchmarks.slide_memory import BLOCK, write_slide
from micronet_jax import checkpoints
from micronet_jax.config import Config
from micronet_jax.detection.detector import load
from micronet_jax.devices import use_compilation_cache
from micronet_jax.files import read_json, write_json
from micronet_jax.imaging.opening import open_image
from micronet_jax.settings import changed

Row = dict[str, Any]
Case = tuple[Row, Callable[[], Sequence[Row]]]


@dataclasses.dataclass(frozen=True)
class Job:
  """What a part is told.

  Attributes:
    out: folder of the results.
    data: folder of the base's data; "" for synthetic tissue.
    smoke: tiny sizes.
    ends: time.time() at which the part is stopped.
  """

  out: pathlib.Path
  data: str
  smoke: bool
  ends: float

  @property
  def width(self) -> int:
    return 2 if self.smoke else 32

  @property
  def dtypes(self) -> tuple[str, ...]:
    return ("float32",) if self.smoke else ("float32", "bfloat16")

  @property
  def repeats(self) -> int:
    return 2 if self.smoke else 20

  @property
  def budget_s(self) -> float:
    """Of the timed rounds of one case."""
    return 5.0


def run(name: str, job: Job) -> None:
  """Measures one part, and writes `parts/NAME.json` after every case."""
  use_compilation_cache()
  rows: list[Row] = []

  def keep(new: Sequence[Row]) -> None:
    rows.extend(new)
    content = {"machine": report.machine(), "rows": rows}
    write_json(job.out / "parts" / f"{name}.json", content)

  keep([])
  try:
    for label, measure in PARTS[name](job):
      began = time.perf_counter()
      try:
        keep([label | row for row in measure()])
      except Exception as error:  # memory, compilers: the other cases should not suffer
        jax.clear_caches()
        keep([label | {"error": in_one_line(error)}])
      told = ", ".join(f"{key} {value}" for key, value in label.items())
      print(f"  {told or name}: {time.perf_counter() - began:.1f} s", flush=True)
  except Exception as error:
    keep([{"error": in_one_line(error)}])
    raise


def in_one_line(error: Exception) -> str:
  lines = str(error).strip().splitlines() or [""]
  return f"{type(error).__name__}: {lines[0][:300]}".replace("|", "/")


def device(job: Job) -> Iterator[Case]:
  """What a product of large matrices reaches."""

  def measure(dtype: str) -> list[Row]:
    return [{"matmul, Tflop/s": timing.digits(train_step.ceiling(dtype) / 1e12)}]

  for dtype in job.dtypes:
    yield {"dtype": dtype}, functools.partial(measure, dtype)


def step(job: Job) -> Iterator[Case]:
  """The whole training step beside PyTorch; what goals speak of comes first."""
  options = argparse.Namespace(
    quick=job.smoke,
    patch=32 if job.smoke else 200,
    steps=1 if job.smoke else 16,
    workers=-1,  # PyTorch is given its batch
    repeats=job.repeats,
    budget_s=job.budget_s,
  )
  cases = [("float32", 4), ("bfloat16", 64), ("bfloat16", 4)]
  cases += [("float32", 64), ("bfloat16", 16), ("float32", 16)]
  samples = workload.tissue(size=100 if job.smoke else 500)

  def measure(dtype: str, batch: int) -> list[Row]:
    return [train_step.compare(options, samples, job.width, batch, dtype)[0]]

  for dtype, batch in [("float32", 2)] if job.smoke else cases:
    yield {"dtype": dtype, "batch": batch}, functools.partial(measure, dtype, batch)


def feeding(job: Job) -> Iterator[Case]:
  """Steps in a loop on the device against single calls, and what drawing takes."""
  cpu = jax.default_backend() == "cpu"
  sizes = [(1, True), (2, True)] if cpu else [(1, True), (16, False)]
  samples = workload.tissue(size=100 if job.smoke else 500)

  def options(batch: int) -> argparse.Namespace:
    return argparse.Namespace(
      quick=job.smoke,
      width=job.width,
      patch=32 if job.smoke else 200,
      batch=batch,
      dtype=job.dtypes[-1],
      repeats=job.repeats // 2,
    )

  def loops(batch: int) -> list[Row]:
    return steps_per_call.compare(options(batch), samples, sizes)[0]

  def drawing(batch: int) -> list[Row]:
    return [pipeline.augmentation(options(batch), job.width, samples)[0]]

  yield {"of": "calls"}, functools.partial(loops, 2 if job.smoke else 4)
  for batch in (2,) if job.smoke else (4, 64):
    yield {"of": "drawing"}, functools.partial(drawing, batch)


def images(job: Job) -> Iterator[Case]:
  """Maps of one image beside PyTorch's."""
  options = argparse.Namespace(repeats=job.repeats, budget_s=job.budget_s)

  def measure(dtype: str) -> list[Row]:
    side = 64 if job.smoke else 2048
    return [inference.compare(options, job.width, side, dtype)[0]]

  for dtype in reversed(job.dtypes):
    yield {"dtype": dtype}, functools.partial(measure, dtype)


def tiles(job: Job) -> Iterator[Case]:
  """What the device takes for a slide, by side of the tiles and how many a call."""
  pairs = [(1536, 1), (1536, 4), (2048, 2), (1024, 8), (2048, 4), (3072, 1)]
  pairs += [(512, 16), (3072, 2), (4096, 1), (1024, 16)]
  path, detector = slide_file(job), load(str(networks(job)[0.25]))

  def measure(tile: int, batch: int) -> list[Row]:
    with open_image(path) as reader:
      scan = detector.scan(reader, tile=tile)
      first = scan.tiles[0]
      pixels = scan.canvas.read(first.y, first.x, *scan.sides)
    repeats = job.repeats // 2
    took = inference.search_one(detector, scan, pixels, batch=batch, repeats=repeats)
    calls = -(-len(scan.tiles) // batch)
    square_mm = scan.shape[0] * scan.shape[1] / inference.MM2
    return [
      {
        "tiles": len(scan.tiles),
        "s a call": timing.digits(took["search"]),
        "device, s/mm²": timing.digits(took["search"] * calls / square_mm),
      }
    ]

  for tile, batch in [(512, 1), (512, 2)] if job.smoke else pairs:
    yield {"tile": tile, "batch": batch}, functools.partial(measure, tile, batch)


def slide(job: Job) -> Iterator[Case]:
  """The slide from the file to the files, by stages, as `tiles` found it fastest."""
  tile, batch = chosen(job)
  path, found = slide_file(job), networks(job)

  def measure(mpp: float) -> list[Row]:
    options = argparse.Namespace(
      weights=str(found[mpp]),
      tile=tile,
      batch=batch,
      repeats=job.repeats // 2,
      sample=4 if job.smoke else 64,
    )
    return [inference.by_stages(path, options)]

  for mpp in (0.25, 0.5):
    yield {"microns a pixel": mpp}, functools.partial(measure, mpp)


def base(job: Job) -> Iterator[Case]:
  """The base's recipe, in the time that is left."""
  yield from train(out=job.out, data=job.data, smoke=job.smoke, ends=job.ends)


PARTS: dict[str, Callable[[Job], Iterator[Case]]] = {
  "device": device,
  "step": step,
  "feeding": feeding,
  "images": images,
  "tiles": tiles,
  "slide": slide,
  "base": base,
}
"""In the order in which they run; `benchmarks.gpu` says how long each may take."""


def chosen(job: Job) -> tuple[int, int]:
  """Tile and batch that took the device least, of what `tiles` wrote."""
  written = read_json(job.out / "parts" / "tiles.json") or {"rows": []}
  rows = [row for row in written["rows"] if "device, s/mm²" in row]
  if not rows:
    return (512, 1) if job.smoke else (1536, 1)
  best = min(rows, key=lambda row: float(row["device, s/mm²"]))
  return best["tile"], best["batch"]


def slide_file(job: Job) -> pathlib.Path:
  """A slide full of synthetic tissue, written once."""
  path = job.out / "slide.tif"
  if not path.exists():
    side = BLOCK if job.smoke else 30_000
    write_slide(path, side, (side // BLOCK) ** 2)
  return path


def networks(job: Job) -> dict[float, pathlib.Path]:
  """Checkpoints of one network that says it works at 0.25 and at 0.5 microns a pixel.

  Trained for seconds, on synthetic tissue at 0.25: it finds a good part of the nuclei,
  so that there are points to fetch and to write. How many has no effect otherwise.
  """
  folders = {mpp: job.out / "networks" / f"{mpp:g}" for mpp in (0.25, 0.5)}
  missing = [mpp for mpp, folder in folders.items() if not folder.exists()]
  if missing:
    config = workload.configure(
      width=job.width,
      patch=32 if job.smoke else 128,
      batch=4,
      dtype=job.dtypes[-1],
      **(workload.QUICK if job.smoke else {}),
    )
    cosine = {"optimizer.learning_rate": 0.1, "optimizer.schedule": "cosine"}
    count = 2 if job.smoke else 320
    others = {"num_steps": count, "threshold_rule": "absolute"}
    config = changed(config, cosine | others)
    weights = brief(config)
    for mpp in missing:
      meta = describe(config) | {"mpp": mpp}
      checkpoints.export_weights(folders[mpp], weights, meta, dtype="float32")
  return folders


def brief(config: Config) -> Any:
  """The weights after so few steps."""
  size = 2 if jax.default_backend() == "cpu" else 64
  work = workload.prepare(config, workload.tissue(size=128))
  chain = workload.Chain(work, size=size, unroll=size == 2)
  for _ in range(config.num_steps // size):
    state, _ = chain()
  return state.weights
