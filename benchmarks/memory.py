"""Peak memory of training and inference over their sizes; `remat` and `dtype`.

  python -m benchmarks.memory --train=all --search=all --json=memory.json
  python -m benchmarks.memory --train= --search= --time

Each case is compiled and run once in a process of its own. `planned` is what the
compiler says it needs: arguments, results and intermediate arrays. `measured` is, on a
GPU, the allocator's peak; on the CPU, what the process grew by during the call, and the
arguments. --time takes the seconds of a step with and without `remat`, in float32 and
bfloat16, in turn.
"""

import argparse
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import report, timing, workload
from micronet_jax.detection import searching
from micronet_jax.models import graphs

TRAIN = {"width": 32, "batch": 4, "patch": 200, "dtype": "float32", "remat": False}
TRAIN_CHANGES: Sequence[Mapping[str, Any]] = (
  {},
  {"remat": True},
  {"dtype": "bfloat16"},
  {"dtype": "bfloat16", "remat": True},
  {"width": 16},
  {"width": 16, "remat": True},
  {"batch": 1},
  {"batch": 8},
  {"batch": 8, "remat": True},
  {"patch": 128},
  {"patch": 256},
  {"patch": 256, "remat": True},
)
SEARCH = {"width": 32, "batch": 1, "tile": 1024, "dtype": "float32"}
SEARCH_CHANGES: Sequence[Mapping[str, Any]] = (
  {},
  {"dtype": "bfloat16"},
  {"width": 16},
  {"batch": 2},
  {"tile": 512},
  {"tile": 1536},
)
QUICK = {"width": 2, "patch": 32, "tile": 32}
MEGA = 2**20


def main(
  argv: Sequence[str] | None = None,
  *,
  run: Callable[[Mapping[str, Any]], dict[str, float]] | None = None,
) -> None:
  """Runs the benchmark; `run` measures a case, by default in a process of its own."""
  parser = report.arguments(__doc__, repeats=3)
  parser.add_argument("--train", default="all", help="cases, by their place from 0")
  parser.add_argument("--search", default="all", help="the same")
  parser.add_argument("--time", action="store_true", help="also the seconds of a step")
  parser.add_argument("--case", default="", help=argparse.SUPPRESS)
  options = parser.parse_args(argv)
  if options.case:
    print(json.dumps(measure(json.loads(options.case))))
    return
  report.print_machine()
  jobs = (
    ("train", options.train, TRAIN, TRAIN_CHANGES),
    ("search", options.search, SEARCH, SEARCH_CHANGES),
  )

  def measure_all() -> Iterator[dict[str, Any]]:
    for job, wanted, base, changes in jobs:
      cases = [{"job": job, **base, **change} for change in changes]
      places = range(len(cases)) if wanted == "all" else map(int, wanted.split(","))
      for case in [cases[place] for place in places] if wanted else []:
        if options.quick:
          case |= {name: value for name, value in QUICK.items() if name in case}
        yield make_row(case, (run or measure_apart)(case))

  rows = report.print_table(measure_all())
  print()
  times: dict[str, list[float]] = {}
  if options.time:
    times = time_steps(QUICK if options.quick else {}, options.repeats)
    report.print_table(
      [{"step": name, "seconds": timing.spread(each)} for name, each in times.items()]
    )
  report.write_json(options.json, rows, times=timing.summarise(times))


def make_row(case: Mapping[str, Any], found: Mapping[str, float]) -> dict[str, Any]:
  measured = found["measured"]
  return {
    "job": case["job"],
    "width": case["width"],
    "batch": case["batch"],
    "side": case.get("patch") or case["tile"],
    "dtype": case["dtype"],
    "remat": case.get("remat", "-"),
    "arguments MB": round(found["arguments"] / MEGA),
    "intermediate MB": round(found["temporary"] / MEGA),
    "planned MB": round(found["planned"] / MEGA),
    "measured MB": round(measured / MEGA) if measured else "-",
  }


def measure_apart(case: Mapping[str, Any]) -> dict[str, float]:
  """`measure` in a process of its own, whose memory nothing else has used."""
  command = [sys.executable, "-m", "benchmarks.memory", f"--case={json.dumps(case)}"]
  output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
  return json.loads(output.splitlines()[-1])


def measure(case: Mapping[str, Any]) -> dict[str, float]:
  """Bytes of one case: arguments, temporary, planned, measured (0 if not known)."""
  call = {"train": train, "search": search}[case["job"]](case)
  plan = call.compiled.memory_analysis()
  arguments = plan.argument_size_in_bytes
  results = plan.output_size_in_bytes - plan.alias_size_in_bytes
  before = start_watching()
  jax.block_until_ready(call())
  statistics = jax.devices()[0].memory_stats()
  if statistics:
    measured = statistics["peak_bytes_in_use"]
  else:
    measured = arguments + peak() - before if before else 0
  return {
    "arguments": arguments,
    "temporary": plan.temp_size_in_bytes,
    "planned": arguments + plan.temp_size_in_bytes + results,
    "measured": measured,
  }


def train(case: Mapping[str, Any]) -> workload.Chain:
  """A training step."""
  names = ("width", "patch", "batch", "dtype", "remat")
  config = workload.configure(**{name: case[name] for name in names})
  return workload.Chain(workload.prepare(config, workload.tissue(count=2, size=300)))


class Search(NamedTuple):
  """The compiled search of a batch of tiles: network and peaks."""

  compiled: Any
  arguments: tuple[Any, ...]

  def __call__(self) -> Any:
    """The points of all tiles."""
    return self.compiled(*self.arguments)


def search(case: Mapping[str, Any]) -> Search:
  """A search, with weights that mean nothing."""
  options = {"name": "micronet", "width": case["width"], "dtype": case["dtype"]}
  graph, shapes = graphs.abstract_model(options)
  weights = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
  batch, tile = case["batch"], case["tile"]
  tiles = np.zeros((batch, tile, tile, 3), np.uint8)
  limits = np.full((batch, 2), tile, np.int32)
  statistics = np.zeros(3, np.float32), np.ones(3, np.float32)
  scale, least = np.float32(5), np.float32(0)
  arguments = jax.device_put((weights, tiles, *statistics, limits, scale, least))
  program = searching.compile_search(searching.Program(graph, (7,), 1))
  return Search(program.lower(*arguments).compile(), arguments)


def start_watching() -> int:
  """Bytes this process holds, from where `peak` counts anew; 0 where Linux is not."""
  try:
    pathlib.Path("/proc/self/clear_refs").write_text("5")
  except OSError:
    return 0
  return _status("VmRSS")


def peak() -> int:
  """The most bytes this process has held since `start_watching`."""
  return _status("VmHWM")


def _status(name: str) -> int:
  lines = pathlib.Path("/proc/self/status").read_text().splitlines()
  return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def time_steps(changes: Mapping[str, Any], repeats: int) -> dict[str, list[float]]:
  """Seconds of a step, the kinds in turn."""
  chains = {
    f"{dtype}{', remat' if remat else ''}": train(
      {**TRAIN, **changes, "dtype": dtype, "remat": remat}
    )
    for dtype in ("float32", "bfloat16")
    for remat in (False, True)
  }
  return timing.interleave(chains, repeats=repeats)


if __name__ == "__main__":
  main()
