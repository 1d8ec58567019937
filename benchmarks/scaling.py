"""What the data-parallel step costs beside one device: host devices and processes.

  python -m benchmarks.scaling --devices=1,2,4,8 --processes=2

The same step on the same batch of 8: on 1, 2, 4 and 8 devices that one CPU pretends to
have, and on two processes that talk over `jax.distributed` (gloo), one device each. All
of them share the same cores, so nothing can become faster: the table shows overhead.
Each variant lives in processes of its own and waits for its turn.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from benchmarks import report, timing, workload

FLAG = "--xla_force_host_platform_device_count"
FIELDS = ("width", "patch", "batch")  # what a process of its own is told


class Site(Protocol):
  """Where one variant runs; a call takes a step, `close` returns all losses."""

  def __call__(self) -> None: ...

  def close(self) -> list[float]: ...


def main(
  argv: Sequence[str] | None = None,
  *,
  start: Callable[[argparse.Namespace, int, int], Site] | None = None,
) -> None:
  """Runs the benchmark; `start(options, devices, processes)` opens a site."""
  parser = report.arguments(__doc__, repeats=7)
  parser.add_argument("--devices", default="1,2,4,8", help="that one process sees")
  parser.add_argument("--processes", default="2", help="of one device each; 0: none")
  parser.add_argument("--width", type=int, default=16)
  parser.add_argument("--patch", type=int, default=128)
  parser.add_argument("--batch", type=int, default=8)
  parser.add_argument("--site", default="", help=argparse.SUPPRESS)
  options = parser.parse_args(argv)
  if options.quick:
    options.width, options.patch, options.repeats, options.devices = 2, 32, 2, "1,2"
  if options.site:
    serve(options, json.loads(options.site))
    return
  report.print_machine()
  shapes = [(int(devices), 1) for devices in options.devices.split(",")]
  shapes += [(int(p), int(p)) for p in options.processes.split(",") if int(p)]
  sites = {name(*shape): (start or Remote)(options, *shape) for shape in shapes}
  times = timing.interleave(sites, repeats=options.repeats)
  losses = {label: site.close() for label, site in sites.items()}
  rows = make_rows(options, times, losses)
  report.print_table(rows)
  print(
    f"\nAll variants share {os.cpu_count()} cores: this is the overhead of spreading "
    "a step, no measure of speed-up."
  )
  report.write_json(options.json, rows, times=timing.summarise(times), losses=losses)


def name(devices: int, processes: int) -> str:
  if processes > 1:
    return f"{processes} processes of 1 device"
  return f"{devices} device{'s' if devices > 1 else ''}"


def make_rows(
  options: argparse.Namespace,
  times: Mapping[str, Sequence[float]],
  losses: Mapping[str, Sequence[float]],
) -> list[dict[str, Any]]:
  """Each variant against the first."""
  first = next(iter(times))
  alone = statistics.median(times[first])
  return [
    {
      "spread over": label,
      "patches each": options.batch // int(label.split()[0]),
      "seconds a step": timing.spread(seconds),
      f"against {first}": f"{statistics.median(seconds) / alone - 1:+.1%}",
      "first loss differs by": f"{abs(losses[label][0] / losses[first][0] - 1):.0e}",
    }
    for label, seconds in times.items()
  ]


class Local:
  """A site in this process, on its first devices."""

  def __init__(self, options: argparse.Namespace, devices: int, processes: int = 1):
    """Compiles the step."""
    size = 100 if options.quick else 500
    config = workload.configure(
      width=options.width,
      patch=options.patch,
      batch=options.batch,
      devices=devices,
      **(workload.QUICK if options.quick else {}),
    )
    self._chain = workload.Chain(workload.prepare(config, workload.tissue(size=size)))
    self._losses: list[float] = []

  def __call__(self) -> None:
    """Takes a step and waits for it."""
    _, metrics = jax.block_until_ready(self._chain())
    self._losses.append(float(np.asarray(metrics.loss)[0]))

  def close(self) -> list[float]:
    """The losses of all steps."""
    return self._losses


class Remote:
  """A site in one or more processes of its own, which step together."""

  def __init__(self, options: argparse.Namespace, devices: int, processes: int = 1):
    """Starts the processes and waits until they have compiled."""
    with socket.socket() as free:
      free.bind(("localhost", 0))
      address = f"localhost:{free.getsockname()[1]}"
    environment = dict(os.environ)
    environment["XLA_FLAGS"] = " ".join(
      [environment.get("XLA_FLAGS", ""), f"{FLAG}={devices // processes}"]
    )
    environment["JAX_PLATFORMS"] = "cpu"
    self._workers = []
    for index in range(processes):
      site = json.dumps([devices, processes, index, address])
      command = [sys.executable, "-m", "benchmarks.scaling", f"--site={site}"]
      command += [f"--{field}={getattr(options, field)}" for field in FIELDS]
      command += ["--quick"] if options.quick else []
      self._workers.append(
        subprocess.Popen(
          command,
          env=environment,
          stdin=subprocess.PIPE,
          stdout=subprocess.PIPE,
          text=True,
        )
      )
    self._answers("ready")

  def __call__(self) -> None:
    """All processes take a step."""
    self._tell("step")
    self._answers("done")

  def close(self) -> list[float]:
    """Ends the processes; the losses of all steps."""
    self._tell("stop")
    losses = self._answers("losses")
    for worker in self._workers:
      worker.wait()
    return json.loads(losses)

  def _tell(self, word: str) -> None:
    for worker in self._workers:
      worker.stdin.write(word + "\n")
      worker.stdin.flush()

  def _answers(self, word: str) -> str:
    """Waits until every process has said a word; what the last one said with it."""
    for worker in self._workers:
      for line in worker.stdout:
        if line.startswith(word):  # gloo prints lines of its own
          break
      else:
        raise SystemExit(f"a process of the benchmark ended with {worker.wait()}")
    return line.removeprefix(word)


def serve(options: argparse.Namespace, site: Sequence[Any]) -> None:
  """The other end of a `Remote`: takes steps as it is told on standard input."""
  devices, processes, index, address = site
  if processes > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, processes, index)
  here = Local(options, devices, processes)
  print("ready", flush=True)
  for line in sys.stdin:
    if line.strip() == "stop":
      break
    here()
    print("done", flush=True)
  print("losses" + json.dumps(here.close()), flush=True)


if __name__ == "__main__":
  main()
