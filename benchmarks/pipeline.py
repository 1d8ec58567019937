"""What feeding the network costs: augmentation in the step, the host between calls.

  python -m benchmarks.pipeline
  python -m benchmarks.pipeline --widths= --calls=1,64 --loop_width=32 --loop_patch=200

Batches are made inside the compiled step, so no data is waited for there. First table:
the step beside the same step with its patches given, and beside drawing alone. Second:
how long the device has nothing to do while `training.loop` looks at the last call's
numbers and writes its log. It is measured in that loop, from when the numbers of a call
are there until the next call, and beside it as the loop's time above that of the same
calls back to back. The second command is for a GPU; on a CPU such calls take seconds
each, and the smaller defaults show the same milliseconds of the host.
"""

import argparse
import functools
import pathlib
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from benchmarks import report, timing, workload
from micronet_jax.datasets.splits import Split
from micronet_jax.training import loop
from micronet_jax.training import loop as loop_module
from micronet_jax.training import step as steps
from micronet_jax.training.augmentation import draw_patches
from micronet_jax.training.data import Data
from micronet_jax.training.loop import check_finite
from micronet_jax.training.progress import Progress
from micronet_jax.training.run import TrainingRun


def main(argv: Sequence[str] | None = None) -> None:
  parser = report.arguments(__doc__, repeats=5)
  parser.add_argument("--widths", default="8,16,32", help="first table")
  parser.add_argument("--patch", type=int, default=200)
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--dtype", default="float32")
  parser.add_argument("--calls", default="1,4", help="steps a call: second table")
  parser.add_argument("--loop_width", type=int, default=4)
  parser.add_argument("--loop_patch", type=int, default=64)
  parser.add_argument("--loop_steps", type=int, default=100, help="a run")
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
  options: argparse.Namespace, width: int, samples: Sequence[Any]
) -> tuple[dict[str, Any], dict[str, list[float]]]:
  """The step, the step with patches given, and drawing alone, in turn."""
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
  label, _ = steps.make_objective(work.recipe)
  draw = jax.jit(functools.partial(draw_patches, warp=work.recipe.warp, label=label))
  given = work._replace(images=jax.block_until_ready(draw(work.images, index, keys)))
  # The repository's own step, but what it takes for its images are the patches.
  with (
    mock.patch.object(steps, "draw_patches", lambda patches, *_, **__: patches),
    mock.patch.object(steps, "compile_steps", steps.compile_steps.__wrapped__),
  ):
    without = workload.Chain(given)
  times = timing.interleave(
    {
      "step": workload.Chain(work),
      "patches given": without,
      "drawing": lambda: draw(work.images, index, keys),
    },
    repeats=options.repeats,
  )
  step, rest, alone = (statistics.median(seconds) for seconds in times.values())
  row = {
    "width": width,
    "batch": options.batch,
    "patch": options.patch,
    "s a step": timing.spread(times["step"]),
    "with patches given": timing.spread(times["patches given"]),
    "drawing alone, ms": timing.spread(times["drawing"], unit=1e-3),
    "share of the step, by difference": f"{1 - rest / step:.1%}",
    "drawing alone of the step": f"{alone / step:.1%}",
  }
  return row, times


def waiting(
  options: argparse.Namespace, size: int, samples: Sequence[Any]
) -> tuple[dict[str, Any], dict[str, list[float]]]:
  """Runs of the loop and of the same calls back to back, in turn."""
  config = workload.configure(
    width=options.loop_width,
    patch=options.loop_patch,
    batch=options.batch,
    **(workload.QUICK if options.quick else {}),
  )
  config.update(steps_per_call=size, num_steps=options.loop_steps, eval_every=10**9)
  work = workload.prepare(config, samples)
  unroll = steps.steps_per_call(size, pauses=[])[1]
  chain = workload.Chain(work, size=size, unroll=unroll)
  count = options.loop_steps // size
  times: dict[str, list[float]] = {"loop": [], "back to back": [], "gaps": []}
  for repeat in range(options.repeats + 1):  # the first warms up
    gaps, whole = run_loop(config, work, chain, samples)
    began = time.perf_counter()
    for _ in range(count):
      state, _ = chain()
    jax.block_until_ready(state)
    if repeat:
      times["back to back"].append((time.perf_counter() - began) / count)
      times["loop"].append(whole / count)
      times["gaps"].append(sum(gaps) / (count - 1))
  loop, straight, gap = (statistics.median(seconds) for seconds in times.values())
  row = {
    "steps a call": size,
    "width": options.loop_width,
    "patch": options.loop_patch,
    "ms a call, in the loop": timing.spread(times["loop"], unit=1e-3),
    "back to back": timing.spread(times["back to back"], unit=1e-3),
    "more in the loop": f"{loop / straight - 1:+.1%}",
    "host between calls, ms": timing.spread(times["gaps"], unit=1e-3),
    "idle": f"{gap / loop:.2%}",
  }
  return row, times


def run_loop(
  config: Any, work: workload.Workload, chain: workload.Chain, samples: Sequence[Any]
) -> tuple[list[float], float]:
  """Runs `training.loop` to its end, without its validation.

  Returns:
    For each call but the first, the seconds from when the numbers of the call before
    were there, 0 if it was made earlier; and the seconds of all calls.
  """
  called, ready = [], []
  check = check_finite

  def take(*arguments: Any) -> Any:
    called.append(time.perf_counter())
    return chain.compiled(*arguments)

  def noted_check(run: Any, step: int, metrics: Any, names: Sequence[str]) -> None:
    jax.block_until_ready(metrics)
    ready.append(time.perf_counter())
    check(run, step, metrics, names)

  def finish(run: TrainingRun, state: Any, progress: Any) -> Any:
    run.record.finished = True
    return state

  names = tuple(sample.name for sample in samples)
  data = Data("synthetic", Split(names, (), ()), list(samples), [], [], [])
  pool = work.images, work.pools, names
  run = TrainingRun(config=config, data=data, recipe=work.recipe, saved=None)
  with (
    tempfile.TemporaryDirectory() as folder,
    mock.patch.object(loop_module, "compile_shared", return_value=take),
    mock.patch.object(loop_module, "pool_images", return_value=pool),
    mock.patch.object(loop_module, "check_finite", noted_check),
    mock.patch.object(loop_module, "validate", finish),
    mock.patch.object(Progress, "_show"),
    Progress(
      pathlib.Path(folder), label="", start=0, num_steps=config.num_steps
    ) as progress,
  ):
    loop.take_steps(run, work.place()[0], progress, threading.Event(), first=False)
  gaps = [max(0.0, b - a) for a, b in zip(ready[:-1], called[1:], strict=True)]
  return gaps, ready[-1] - called[0]


if __name__ == "__main__":
  main()
