"""Detects on a Ray cluster while machines die: the files must be those of one machine.

  python -m benchmarks.node_kills --kills=10 --json=node_kills.json

The machines are processes of this one that Ray takes for such (`ray.cluster_utils`): a
head without CPUs, and three with one task each. One image is so large that it is
searched in parts, others are small. When a drawn number of its tiles has been found,
one of the machines is killed, all its processes at once (SIGKILL), and another is
added. Then the results must be, to the byte, those that `micronet detect` wrote here
without Ray, but for the seconds that they took, and nothing else may be left. --gpus
declares a GPU on every machine, so that tasks ask for one; JAX stays on the CPU.
"""

import argparse
import contextlib
import os
import pathlib
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image

from benchmarks import jobs, report
from micronet_jax.config import PredictConfig
from micronet_jax.datasets.synthetic_he.generator import generate
from micronet_jax.predict import spread
from micronet_jax.predict.job import predict_images

SIDE = 900
"""Of the large image."""


TILE, PART_TILES = 400, 8
SMALL, SMALL_SIDE = 6, 200
MACHINES = 3
NOTICED_QUICKLY = {
  "health_check_initial_delay_ms": 0,
  "health_check_period_ms": 500,
  "health_check_failure_threshold": 4,
}
"""A machine without a sign of life for 2 s is dead; Ray's own default is longer."""


def main(argv: Sequence[str] | None = None) -> int:
  """Runs all; 1 if something differed."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--kills", type=int, default=10, help="machines that die")
  parser.add_argument("--gpus", action="store_true", help="tasks ask for a GPU")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", default="", help="file for the numbers")
  options = parser.parse_args(argv)
  spread.PART_TILES = PART_TILES
  os.environ["JAX_PLATFORMS"] = "cpu"
  os.environ["PYTHONPATH"] = str(pathlib.Path(__file__).resolve().parents[1])
  os.environ["RAY_DEDUP_LOGS"] = "0"
  with tempfile.TemporaryDirectory() as root:
    rows = report.print_table(_measure(options, pathlib.Path(root)))
  report.write_json(options.json, rows)
  return int(any(row["fault"] for row in rows))


def machine(**room: int) -> dict[str, Any]:
  """What Ray is told of a machine, without what a test has no use for.

  Ray waits 15 s for its agents to choose their ports, too short where much else runs:
  they are told theirs.
  """
  agents = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port")
  with contextlib.ExitStack() as stack:
    ports = {}
    for name in (*agents, "dashboard_agent_listen_port"):
      free = stack.enter_context(socket.socket())
      free.bind(("", 0))
      ports[name] = free.getsockname()[1]
  return {"include_log_monitor": False, "no_monitor": True, **ports, **room}


def _measure(
  options: argparse.Namespace, root: pathlib.Path
) -> Iterator[dict[str, Any]]:
  """A row for each kill."""
  import ray
  from ray.cluster_utils import Cluster

  images = _write_images(root / "images")
  began = time.monotonic()
  found = predict_images(images, root / jobs.DETECTED, options=PredictConfig(tile=TILE))
  alone = time.monotonic() - began
  yield {
    "kill": "none, no Ray",
    **{"tiles done then": "", "parts begun": ""},
    "seconds": round(alone, 1),
    "nuclei": sum(each["nuclei"] for each in found),
    "fault": "",
  }
  random = np.random.default_rng(options.seed)
  room = {"num_cpus": 1, "num_gpus": 1} if options.gpus else {"num_cpus": 1}
  head = {**machine(num_cpus=0), "_system_config": NOTICED_QUICKLY}
  cluster = Cluster(initialize_head=True, head_node_args=head)
  machines = [cluster.add_node(**machine(**room)) for _ in range(MACHINES)]
  ray.init(cluster.address, log_to_driver=False)
  given = PredictConfig(tile=TILE, executor="ray", cpus_per_task=1)
  try:
    for number in range(options.kills):
      place, after = root / str(number), int(random.integers(1, 24))
      out = place / jobs.DETECTED
      victim = machines.pop(int(random.integers(MACHINES)))
      killer = Killer(cluster, victim, out, after)
      began = time.monotonic()
      found = predict_images(images, out, options=given)
      seconds = time.monotonic() - began
      killer.join()
      machines.append(cluster.add_node(**machine(**room)))
      yield {
        "kill": number + 1,
        "tiles done then": killer.done,
        "parts begun": killer.begun,
        "seconds": round(seconds, 1),
        "nuclei": sum(each["nuclei"] for each in found),
        "fault": jobs.compare_detection(place, root) or killer.fault,
      }
  finally:
    ray.shutdown()
    cluster.shutdown()


class Killer(threading.Thread):
  """Kills a machine of a cluster once so many tiles of the large image are found."""

  def __init__(self, cluster: Any, victim: Any, out: pathlib.Path, after: int):
    super().__init__()
    self.cluster, self.victim, self.out, self.after = cluster, victim, out, after
    self.done, self.begun, self.fault = 0, 0, "nothing was killed"
    self.start()

  def run(self) -> None:
    """Looks often, and kills once."""
    until = time.monotonic() + 600
    while time.monotonic() < until and not (self.out / "summary.csv").exists():
      parts = list(self.out.glob(".large.parts/*/tiles.jsonl"))
      self.done = sum(path.read_bytes().count(b"\n") for path in parts)
      self.begun = sum(path.stat().st_size > 0 for path in parts)
      if self.done >= self.after:
        self.cluster.remove_node(self.victim, allow_graceful=False)
        self.fault = ""
        return
      time.sleep(0.02)


def _write_images(folder: pathlib.Path) -> list[str]:
  folder.mkdir()
  sides = {"large": SIDE, **dict.fromkeys(map(str, range(SMALL)), SMALL_SIDE)}
  for number, (name, side) in enumerate(sides.items()):
    pixels, _ = generate("breast", number, size=side)
    PIL.Image.fromarray(pixels).save(folder / f"{name}.png", dpi=(50_800, 50_800))
  return [str(folder / f"{name}.png") for name in sides]


if __name__ == "__main__":
  raise SystemExit(main())
