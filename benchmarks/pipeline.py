"""What feeding the network costs: augmentation in the step, the host between calls.

  python -m benchmarks.pipeline
  python -m benchmarks.pipeline --widths= --calls=1,64 --loop_width=32 --loop_patch=200

Batches are made inside the compiled step, so no data is waited for there. First table:
the step beside drawing its patches and maps alone. Second: what a call takes in
`training.loop`, which looks at its numbers and writes the log, beside the same calls
back to back. The loop's time is what its own log says, from its first line to its last,
without compiling, validation and saving. The second command is for a GPU; on a CPU such
calls take seconds each, and the smaller defaults show the same milliseconds.
"""

import argparse
import contextlib
import functools
import io
import pathlib
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import report, timing, workload
from micronet_jax.config import Config
from micronet_jax.datasets.sample import Sample
from micronet_jax.settings import changed
from micronet_jax.stored import read_log
from micronet_jax.training import loop
from micronet_jax.training import step as steps
from micronet_jax.training.augmentation import draw_patches
from micronet_jax.training.data import Data, arrange_data
from micronet_jax.training.run import follow_checkpoint, prepare_training


def main(argv: Sequence[str] | None = None) -> None:
  parser = report.arguments(__doc__, repeats=5)
  parser.add_argument("--widths", default="8,16,32", help="first table")
  parser.add_argument("--patch", type=int, default=200)
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--dtype", default="float32")
  parser.add_argument("--calls", default="1,4", help="steps a call: second table")
  parser.add_argument("--loop_width", type=int, default=4)
  parser.add_argument("--loop_patch", type=int, default=64)
  parser.add_argument("--loop_steps", type=int, default=200, help="a run")
  options = parser.parse_args(argv)
  if options.quick:
    options.widths, options.patch, options.calls = "2", 32, "1"
    options.loop_width, options.loop_patch, options.loop_steps = 2, 32, 8
    options.repeats = 2
  report.print_machine()
  samples = workload.tissue(size=100 if options.quick else 500)
  widths = [int(width) for width in options.widths.split(",") if width]
  sizes = [int(size) for size in options.calls.split(",") if size]
  tables, times = {"augmentation": [], "waiting": []}, {}
  for width in widths:
    row, seconds = augmentation(options, width, samples)
    tables["augmentation"].append(row)
    times[f"width {width}"] = timing.summarise(seconds)
  for size in sizes:
    row, seconds = waiting(options, size, samples)
    tables["waiting"].append(row)
    times[f"{size} a call"] = timing.summarise(seconds)
  for rows in filter(None, tables.values()):
    report.print_table(rows)
    print()
  rows = [*tables["augmentation"], *tables["waiting"]]
  report.write_json(options.json, rows, times=times)


def augmentation(
  options: argparse.Namespace, width: int, samples: Sequence[Sample]
) -> tuple[dict[str, Any], dict[str, list[float]]]:
  """The step, and drawing alone, in turn."""
  config = workload.configure(
    width=width,
    patch=options.patch,
    batch=options.batch,
    dtype=options.dtype,
    **(workload.QUICK if options.quick else {}),
  )
  work = workload.prepare(config, samples)
  index = jnp.arange(options.batch) % len(samples)
  keys = jax.random.split(jax.random.key(0), options.batch)
  label, _ = steps.make_objective(work.recipe, work.numbers.lam)
  recipe = work.recipe
  draw = jax.jit(
    functools.partial(
      draw_patches, warp=recipe.warp, label=label, appearance=recipe.appearance
    )
  )
  times = timing.interleave(
    {
      "step": workload.Chain(work),
      "drawing": lambda: draw(work.images, index, keys),
    },
    repeats=options.repeats,
  )
  step, alone = (statistics.median(seconds) for seconds in times.values())
  row = {
    "width": width,
    "batch": options.batch,
    "patch": options.patch,
    "s a step": timing.spread(times["step"]),
    "drawing alone, ms": timing.spread(times["drawing"], unit=1e-3),
    "drawing alone of the step": f"{alone / step:.1%}",
  }
  return row, times


def waiting(
  options: argparse.Namespace, size: int, samples: Sequence[Sample]
) -> tuple[dict[str, Any], dict[str, list[float]]]:
  """Runs of the loop and of the same calls back to back, in turn."""
  config = workload.configure(
    width=options.loop_width,
    patch=options.loop_patch,
    batch=options.batch,
    **(workload.QUICK if options.quick else {}),
  )
  count = options.loop_steps
  every = {"eval_every": count, "log_every": min(config.log_every, count // 2)}
  config = changed(config, {"steps_per_call": size, "num_steps": count, **every})
  config = follow_checkpoint(config, None)
  data = arrange_data(config, samples, [], name="synthetic")
  unroll = steps.steps_per_call(size, pauses=[])[1]
  chain = workload.Chain(workload.prepare(config, data.train), size=size, unroll=unroll)
  times: dict[str, list[float]] = {"loop": [], "back to back": []}
  for repeat in range(options.repeats + 1):  # the first warms up
    inside = run_loop(config, data) * size
    began = time.perf_counter()
    for _ in range(count // size):
      state, _ = chain()
    jax.block_until_ready(state)
    straight = (time.perf_counter() - began) / (count // size)
    if repeat:
      times["loop"].append(inside)
      times["back to back"].append(straight)
  inside, straight = (statistics.median(seconds) for seconds in times.values())
  row = {
    "steps a call": size,
    "width": options.loop_width,
    "patch": options.loop_patch,
    "ms a call, in the loop": timing.spread(times["loop"], unit=1e-3),
    "back to back": timing.spread(times["back to back"], unit=1e-3),
    "more in the loop, ms": f"{(inside - straight) * 1e3:+.2f}",
    "more in the loop": f"{inside / straight - 1:+.1%}",
  }
  return row, times


def run_loop(config: Config, data: Data) -> float:
  """Trains from the first step to the last; the seconds of a step, by its own log."""
  with (
    tempfile.TemporaryDirectory() as folder,
    contextlib.redirect_stdout(io.StringIO()),
  ):
    loop.fit(
      config,
      data,
      pathlib.Path(folder),
      prepare_training(config),
      label="",
      stop=threading.Event(),
    )
    log = read_log(pathlib.Path(folder) / "log.jsonl")
  lines = [line for line in log if "steps_per_second" in line]
  # A line has the mean rate since the run began, validation not counted.
  (first, began), (last, ended) = (
    (line["step"], line["step"] / line["steps_per_second"])
    for line in (lines[0], lines[-1])
  )
  return (ended - began) / (last - first)


if __name__ == "__main__":
  main()
