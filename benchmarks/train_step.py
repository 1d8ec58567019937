"""Patches a second of the whole training step, beside the same network in PyTorch.

  python -m benchmarks.train_step --widths=32 --batches=4
  python -m benchmarks.train_step --batches=4,16,64 --dtypes=float32,bfloat16

The second command is for a GPU. Ours draws its patches inside the step; PyTorch gets
its batch from memory ("data given") and, in its better setting, from a loader that
warps in processes of its own. Last, the operations that XLA counts in our program, the
rate that makes, and its share of what a product of large matrices reaches on the same
device in the same minute. With --steps=16 nobody waits for the device but after every
16th step, as training doesn't. Without PyTorch ours is timed alone. `benchmarks.gpu`
calls `compare`.
"""

import argparse
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report, timing, workload

try:
  from benchmarks import pytorch
except ModuleNotFoundError as missing:
  if missing.name != "torch":
    raise
  pytorch = None  # type: ignore[assignment]

Variants = dict[str, Callable[[], Any]]


def main(argv: Sequence[str] | None = None) -> None:
  gpu = jax.default_backend() != "cpu"
  parser = report.arguments(__doc__, repeats=20 if gpu else 5)
  parser.add_argument("--widths", default="8,16,32")
  parser.add_argument("--batches", default="4,16,64" if gpu else "4")
  parser.add_argument("--dtypes", default="float32,bfloat16" if gpu else "float32")
  parser.add_argument("--patch", type=int, default=200)
  parser.add_argument(
    "--workers", type=int, default=os.cpu_count(), help="of the loader; -1: without"
  )
  parser.add_argument(
    "--steps", type=int, default=1, help="until the device is awaited"
  )
  parser.add_argument("--budget_s", type=float, default=None, help="a row, at most")
  options = parser.parse_args(argv)
  if options.quick:
    options.widths, options.batches, options.patch = "2", "2", 32
    options.workers, options.repeats = 0, 2
  report.print_machine()
  samples = workload.tissue(size=100 if options.quick else 500)
  times = {}

  def compare_all() -> Iterator[dict[str, Any]]:
    for dtype in options.dtypes.split(","):
      for width in map(int, options.widths.split(",")):
        for batch in map(int, options.batches.split(",")):
          row, seconds = compare(options, samples, width, batch, dtype)
          times[f"width {width}, batch {batch}, {dtype}"] = timing.summarise(seconds)
          yield row

  rows = report.print_table(compare_all())
  report.write_json(options.json, rows, times=times)


def compare(
  options: argparse.Namespace,
  samples: Sequence[Any],
  width: int,
  batch: int,
  dtype: str,
) -> tuple[dict[str, Any], dict[str, list[float]]]:
  """Ours and PyTorch's settings in turn."""
  config = workload.configure(
    width=width, patch=options.patch, batch=batch, dtype=dtype
  )
  work = workload.prepare(config, samples)
  cpu = jax.default_backend() == "cpu"
  variants: Variants = {"ours": workload.Chain(work, size=options.steps, unroll=cpu)}
  if pytorch and pytorch.usable():
    variants |= beside(options, work, samples, width, dtype)
  times = timing.interleave(
    variants, repeats=options.repeats, budget_s=options.budget_s
  )
  times = {name: [s / options.steps for s in taken] for name, taken in times.items()}
  flops = workload.count_operations(work)
  rate = flops / statistics.median(times["ours"])
  row = {"width": width, "batch": batch, "dtype": dtype}
  row |= {f"{name}, s": timing.spread(seconds) for name, seconds in times.items()}
  row["patches/s, ours"] = timing.digits(batch / statistics.median(times["ours"]))
  for name in list(times)[1:]:
    row[f"times {name}"] = timing.digits(ratio(times[name], times["ours"]))
  row["Gflop a step"] = timing.digits(flops / 1e9)
  row["Gflop/s"] = timing.digits(rate / 1e9)
  row["of matmul"] = f"{rate / ceiling(dtype):.0%}"
  return row, times


def beside(
  options: argparse.Namespace,
  work: workload.Workload,
  samples: Sequence[Any],
  width: int,
  dtype: str,
) -> Variants:
  """PyTorch, its batch in memory; and its last setting with a loader beside it."""
  pytorch.forget()
  warp, batch = work.recipe.warp, work.recipe.batch
  given = pytorch.loader(samples, warp, batch=batch, workers=0)()
  theirs = pytorch.training(
    work.weights, width, dtype, lambda: given, steps=options.steps
  )
  theirs = works(theirs)
  if options.workers >= 0:
    loading = pytorch.loader(samples, warp, batch=batch, workers=options.workers)
    best = list(theirs)[-1]
    fed = pytorch.training(work.weights, width, dtype, loading, steps=options.steps)
    theirs[f"{best}, loader"] = fed[best]
  return theirs


def works(variants: Variants) -> Variants:
  """Those that run: torch.compile needs a compiler, which not every machine has."""
  able = {}
  for name, call in variants.items():
    try:
      jax.block_until_ready(call())
    except Exception as error:
      if "compiled" not in name:
        raise
      print(f"{name} does not work here: {str(error).splitlines()[0]}")
    else:
      able[name] = call
  return able


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
  """How many times as fast ours is: the median over the rounds."""
  return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def ceiling(dtype: str) -> float:
  """Operations a second of a product of large matrices."""
  random = np.random.default_rng(0)
  side = 2048 if jax.default_backend() == "cpu" else 8192
  a, b = (jnp.asarray(random.random((side, side)), dtype) for _ in range(2))
  multiply = jax.jit(jnp.matmul)
  times = timing.interleave({"matmul": lambda: multiply(a, b)}, repeats=10)
  return 2 * side**3 / min(times["matmul"])


if __name__ == "__main__":
  main()
