"""Training over several processes: the numbers of one, and what a kill leaves.

  python -m benchmarks.processes --processes=4 --devices=2 --json=processes.json

Real processes of launch.py on this machine, each with so many virtual devices, joined
through JAX_NUM_PROCESSES and its like. One process with as many devices trains the
same. Then one of the processes gets SIGTERM, one SIGKILL, and the first one SIGKILL,
and the same command is run again: all must have ended within a minute, in one sentence
each and not with status 0, and end the second time where the undisturbed run ended.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import jobs
from benchmarks.compiling import QUICKLY
from micronet_jax.checkpoints import flatten, load_weights
from micronet_jax.files import read_json, write_json
from micronet_jax.training.progress import read_log

ROOT = pathlib.Path(__file__).resolve().parents[1]
STEPS = {"num_steps": 24, "eval_every": 8, "log_every": 1}
NETWORK = {"model.width": 2, "warp.patch": 32, "min_distances": "(5,)"}
COMPARED = ("loss", "weights", "report")
ALIKE = 1e-5
HANGS = 900  # seconds


class Ended(NamedTuple):
  """How the processes of one run ended: statuses, what each printed, and seconds."""

  statuses: list[int]
  outputs: list[str]
  errors: list[str]
  seconds: float


class Run:
  """Processes that train together.

  Attributes:
    place: the folder of the run.
    processes: in their order.
  """

  def __init__(
    self,
    place: pathlib.Path,
    data: pathlib.Path,
    *,
    count: int,
    devices: int,
    steps: dict[str, Any] = STEPS,
  ):
    """Starts them, each with so many devices."""
    self.place = place
    fields = {"target.name": "folder", "target.root": data, **NETWORK, **steps}
    fields |= {"batch_size": 2 * count * devices, "num_devices": count * devices}
    command = [sys.executable, str(ROOT / "launch.py"), f"--workdir={place}"]
    command += [f"--config={ROOT}/configs/train.py"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    flags = f"--xla_force_host_platform_device_count={devices} {QUICKLY}"
    shared = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    shared["TFDS_DATA_DIR"] = str(data / "prepared")
    address = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}"}
    self.processes = []
    for index in range(count):
      own = {"JAX_NUM_PROCESSES": str(count), "JAX_PROCESS_ID": str(index)}
      self.processes.append(
        subprocess.Popen(
          command,
          env={**os.environ, **shared, **address, **own},
          stdout=subprocess.PIPE,
          stderr=subprocess.PIPE,
          text=True,
        )
      )

  def wait_for_step(self, step: int) -> None:
    """Returns when the log has come to a step, or a process has ended."""
    log = self.place / "log.jsonl"
    while all(each.poll() is None for each in self.processes):
      if any(record["step"] >= step for record in read_log(log)):
        return
      time.sleep(0.05)

  def end(self) -> Ended:
    """Waits for all."""
    began = time.monotonic()
    said = []
    for each in self.processes:
      try:
        said.append(each.communicate(timeout=HANGS))
      except subprocess.TimeoutExpired:
        each.kill()
        said.append(each.communicate())
    statuses = [each.returncode for each in self.processes]
    seconds = time.monotonic() - began
    return Ended(statuses, [out for out, _ in said], [err for _, err in said], seconds)


def free_port() -> int:
  with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    return one.getsockname()[1]


def differences(place: pathlib.Path, whole: pathlib.Path) -> dict[str, float]:
  """The largest differences between two runs: losses, weights, scores of the report."""
  logs = [read_log(each / "log.jsonl") for each in (place, whole)]
  steps = [[(r["step"], sorted(r.keys() - {"seconds"})) for r in log] for log in logs]
  if steps[0] != steps[1]:
    return {"loss": np.inf}
  losses = [[r["loss"] for r in log if "loss" in r] for log in logs]
  weights = [flatten(load_weights(str(each))[0]) for each in (place, whole)]
  reports = [read_json(each / "report.json") or {} for each in (place, whole)]
  scores = [
    np.array([list(s.values()) for s in report["radius_px"].values()], float)
    for report in reports
  ]
  arrays = [np.max(np.abs(weights[0][name] - weights[1][name])) for name in weights[1]]
  return {
    "loss": float(np.max(np.abs(np.subtract(*losses)))),
    "weights": float(max(arrays)),
    "report": float(np.max(np.abs(np.subtract(*map(np.nan_to_num, scores))))),
  }


def disturb(run: Run, number: int, how: signal.Signals, *, step: int) -> Ended:
  """Sends a signal to one of the processes after a step, and waits for all."""
  run.wait_for_step(step)
  run.processes[number].send_signal(how)
  return run.end()


def faults_of(ended: Ended, how: signal.Signals, number: int) -> list[str]:
  """What is wrong with how the processes ended."""
  faults = []
  others = [s for i, s in enumerate(ended.statuses) if i != number]
  said = [s for i, s in enumerate(ended.errors) if i != number]
  if how == signal.SIGTERM:
    if set(ended.statuses) != {130}:
      faults.append(f"statuses {ended.statuses}")
    if sum("stopped at step" in text for text in ended.errors) != 1:
      faults.append(f"said {ended.errors}")
  else:
    sentence = rf"error: process {number} has ended[^\n]*\n"
    if 0 in others or ended.seconds > 60:
      faults.append(f"statuses {ended.statuses} after {ended.seconds:.0f} s")
    faults += [f"said {text}" for text in said if not re.fullmatch(sentence, text)]
  return faults


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs all, prints a row each; the status is 1 if one has a fault."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--processes", type=int, default=4)
  parser.add_argument("--devices", type=int, default=2, help="of each process")
  parser.add_argument("--json", type=pathlib.Path)
  told = parser.parse_args(arguments)
  root = pathlib.Path(tempfile.mkdtemp())
  rows = []
  try:
    data = root / "data"
    data.mkdir()
    jobs.prepare(data, quick=False)
    together = {"count": told.processes, "devices": told.devices}
    alone = {"count": 1, "devices": told.processes * told.devices}
    whole, several = root / "one", root / "several"
    for place, how_many in ((whole, alone), (several, together)):
      ended = Run(place, data, **how_many).end()
      if any(ended.statuses):
        raise SystemExit(f"{place.name} ended with {ended}")
    rows.append({"what": "undisturbed", **differences(several, whole), "faults": []})
    print(json.dumps(rows[-1]), flush=True)
    for what, number, how in (
      ("SIGTERM at the last", told.processes - 1, signal.SIGTERM),
      ("SIGKILL of the last", told.processes - 1, signal.SIGKILL),
      ("SIGKILL of the first", 0, signal.SIGKILL),
    ):
      place = root / what
      ended = disturb(Run(place, data, **together), number, how, step=11)
      faults = faults_of(ended, how, number)
      again = Run(place, data, **together).end()
      if any(again.statuses):
        faults.append(f"the second time {again}")
      found = {} if faults else differences(place, several)
      row = {"what": what, "statuses": ended.statuses, **found, "faults": faults}
      rows.append({**row, "seconds": round(ended.seconds, 1)})
      print(json.dumps(rows[-1]), flush=True)
  finally:
    shutil.rmtree(root, ignore_errors=True)
  if told.json:
    write_json(told.json, {**together, "rows": rows})
  far = [row.get(each, 0) > ALIKE for row in rows for each in COMPARED]
  return int(any(far) or any(row["faults"] for row in rows))


if __name__ == "__main__":
  raise SystemExit(main())
