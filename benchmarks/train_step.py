"""Patches a second of the whole training step, beside the same network in PyTorch.

  python -m benchmarks.train_step --widths=32 --batches=4
  python -m benchmarks.train_step --batches=4,16,64 --dtypes=float32,bfloat16

The second command is for a GPU. Ours draws its patches inside the step; PyTorch gets
its batch from memory ("data given") and, in its better setting, from a loader that
warps in processes of its own. Last, the operations that XLA counts in our compiled
program, the rate that makes, and its share of what a product of large matrices reaches
on the same device in the same minute.
"""

import argparse
import os
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import pytorch, report, timing, workload


def main(argv: Sequence[str] | None = None) -> None:
  gpu = jax.default_backend() != "cpu"
  parser = report.arguments(__doc__, repeats=20 if gpu else 5)
  parser.add_argument("--widths", default="8,16,32")
  parser.add_argument("--batches", default="4,16,64" if gpu else "4")
  parser.add_argument("--dtypes", default="float32,bfloat16" if gpu else "float32")
  parser.add_argument("--patch", type=int, default=200)
  parser.add_argument(
    "--workers", type=int, default=os.cpu_count(), help="of the loader"
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
  ours = workload.Chain(work)
  warp = work.recipe.warp
  batch_of = pytorch.loader(samples, warp, batch=batch, workers=0)
  given = batch_of()
  variants = {"ours": ours}
  variants |= pytorch.training(work.weights, width, dtype, lambda: given)
  variants = works(variants)
  loading = pytorch.loader(samples, warp, batch=batch, workers=options.workers)
  best = list(variants)[-1]
  fed = pytorch.training(work.weights, width, dtype, loading)
  variants[f"{best}, loader"] = fed[best]
  times = timing.interleave(
    variants, repeats=options.repeats, budget_s=options.budget_s
  )
  flops = ours.compiled.cost_analysis()["flops"]
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


def works(variants: pytorch.Variants) -> pytorch.Variants:
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
