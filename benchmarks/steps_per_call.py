"""How long a training step takes, by how many steps one compiled call runs.

  python -m benchmarks.steps_per_call --width=16 --patch=128 --calls=1,4 --loop

Prints a table of seconds a step: median, least and most, the variants interleaved. XLA
on the CPU runs a loop many times slower, so --loop takes minutes. `benchmarks.gpu`
calls `compare`.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from benchmarks import report, timing, workload
from micronet_jax.datasets.sample import Sample


def main(argv: Sequence[str] | None = None) -> None:
  parser = report.arguments(__doc__, repeats=5)
  parser.add_argument("--width", type=int, default=16)
  parser.add_argument("--patch", type=int, default=128)
  parser.add_argument("--batch", type=int, default=4)
  parser.add_argument("--dtype", default="float32")
  parser.add_argument("--calls", default="1,4", help="steps a call, unrolled")
  parser.add_argument("--loop", action="store_true", help="also a loop of 2 steps")
  options = parser.parse_args(argv)
  if options.quick:
    options.width, options.patch, options.calls, options.repeats = 2, 32, "1", 2
  report.print_machine()
  sizes = [(int(size), True) for size in options.calls.split(",")]
  if options.loop:
    sizes.append((2, False))
  rows, times = compare(
    options, workload.tissue(size=100 if options.quick else 500), sizes
  )
  report.print_table(rows)
  report.write_json(options.json, rows, times=timing.summarise(times))


def compare(
  options: argparse.Namespace,
  samples: Sequence[Sample],
  sizes: Sequence[tuple[int, bool]],
) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
  """Calls of so many steps, written out or not, in turn."""
  config = workload.configure(
    width=options.width,
    patch=options.patch,
    batch=options.batch,
    dtype=options.dtype,
    **(workload.QUICK if options.quick else {}),
  )
  work = workload.prepare(config, samples)
  chains = {
    f"{size}" if unroll else f"{size}, looped": workload.Chain(
      work, size=size, unroll=unroll
    )
    for size, unroll in sizes
  }
  times = timing.interleave(chains, repeats=options.repeats)
  rows = [
    {
      "steps a call": name,
      "width": options.width,
      "batch": options.batch,
      "patch": options.patch,
      "seconds a step": timing.spread(taken, unit=int(name.split(",")[0])),
      "compile s": round(chains[name].compile_s),
    }
    for name, taken in times.items()
  ]
  return rows, times


if __name__ == "__main__":
  main()
