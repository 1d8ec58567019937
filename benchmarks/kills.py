"""Kills, stops and starves training and detection at any moment: nothing may be lost.

  python -m benchmarks.kills --train=100 --detect=30 --json=kills.json

A process works until it is disturbed, and the same work is begun again, until a process
ends by itself; then what it left must be what an undisturbed one left: of a training
all arrays, the record, the log and the report, of a detection every byte of the tables
and pictures, and nothing else. What happens, in an order drawn at random, is SIGKILL;
SIGTERM, which must end in one sentence and status 130; and a disk that is full from a
moment on: one sentence, status 1. A run that was disturbed may be disturbed again.

A moment is the n-th operation on a file of the work's folder, drawn evenly over those
of the undisturbed process, and a time drawn evenly up to the next: so moments lie over
the whole run, and in every write. Every second one is within a write of a checkpoint,
of a detection in a write of results.

The network is tiny (jobs.py), and all processes share their compiled programs, or
nearly all of their time would go into compiling.
"""

import argparse
import collections
import itertools
import json
import multiprocessing
import os
import pathlib
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import jobs, report
from benchmarks.compiling import QUICKLY
from micronet_jax.signals import INTERRUPTED

IMPORTED = [
  *("launch", "micronet_jax.training.job", "micronet_jax.predict.job"),
  *("benchmarks.jobs", "micronet_jax.figures", "micronet_jax.evaluation.pictures"),
  *("micronet_jax.training.curves", "micronet_jax.predict.overlays"),
]
"""What all processes have imported when they begin."""


KILLED, STOPPED, FULL = "killed", "stopped", "disk full"
STATUS = {KILLED: -signal.SIGKILL, STOPPED: INTERRUPTED, FULL: 1}
SENTENCE = {KILLED: "", STOPPED: "stopped", FULL: "error: "}

ROOM = 10
"""Bytes that a file may have on a full disk."""


HANGS = 900.0
"""Seconds after which a process is taken to hang."""


class Moment(NamedTuple):
  """What happens to a process, so many seconds after its n-th operation on a file."""

  how: str
  operation: int
  after: float


class Operation(NamedTuple):
  """What a process did to a file of its folder, and when."""

  path: str
  seconds: float


def main(argv: Sequence[str] | None = None) -> int:
  """Runs all; 1 if something was lost."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--train", type=int, default=100, help="kills of training")
  parser.add_argument("--detect", type=int, default=30, help="kills of detection")
  parser.add_argument("--stop", type=int, default=20, help="SIGTERMs of each")
  parser.add_argument("--full", type=int, default=20, help="full disks of each")
  parser.add_argument("--minutes", type=float, default=1e6, help="no new run after")
  parser.add_argument("--quick", action="store_true", help="few steps: does it hold?")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", default="", help="file for the numbers")
  options = parser.parse_args(argv)
  os.environ.setdefault("XLA_FLAGS", QUICKLY)
  with tempfile.TemporaryDirectory() as root:
    rows = report.print_table(_measure(options, pathlib.Path(root)))
  report.write_json(options.json, rows)
  return int(any(row["faults"] for row in rows))


def _measure(
  options: argparse.Namespace, root: pathlib.Path
) -> Iterator[dict[str, Any]]:
  """A row for each kind of work."""
  until = time.monotonic() + 60 * options.minutes
  random = np.random.default_rng(options.seed)
  jobs.prepare(root / "data", quick=options.quick)
  for work, kills in ((jobs.TRAINING, options.train), (jobs.DETECTION, options.detect)):
    hows = [KILLED] * kills + [STOPPED] * options.stop + [FULL] * options.full
    disturbed = Disturbed(work, root, random, until)
    yield disturbed.run(random.permutation(hows).tolist())


class Disturbed:
  """Work that is disturbed and begun again until it ends, and compared."""

  def __init__(
    self, work: jobs.Work, root: pathlib.Path, random: np.random.Generator, until: float
  ):
    """Does the work once undisturbed.

    Args:
      work: what is done.
      root: gets a folder for the work, and holds `data`.
      random: draws the moments.
      until: `time.monotonic()` after which no further run is begun.
    """
    self.work, self.random, self.until = work, random, until
    self.folder, self.data = root / work.do.__name__, root / "data"
    self.folder.mkdir()
    self.whole = self.folder / "whole"
    status, said = self.start(self.whole, None)
    if status:
      raise SystemExit(f"{work.do.__name__} ended with {status} undisturbed: {said}")
    lines = (self.folder / "operations").read_text().splitlines()
    self.operations = [Operation(*json.loads(line)) for line in lines]

  def run(self, hows: Sequence[str]) -> dict[str, Any]:
    """Disturbs in these ways; gives the row of the table."""
    coming = collections.deque(hows)
    happened: list[tuple[str, str]] = []
    runs, faults = 0, []
    while coming and time.monotonic() < self.until:
      fault = self._one_run(self.folder / f"run {runs}", coming, happened)
      runs += 1
      if fault:
        faults.append(f"run {runs - 1}: {fault}")
        print(faults[-1], file=sys.stderr, flush=True)
    times = collections.Counter(how for how, _ in happened)
    where = collections.Counter(part for _, part in happened)
    return {
      "work": self.work.do.__name__,
      **{how: times[how] for how in STATUS},
      "where": ", ".join(f"{part} {count}" for part, count in where.most_common()),
      "runs": runs,
      "faults": len(faults),
    }

  def _one_run(
    self,
    place: pathlib.Path,
    coming: collections.deque[str],
    happened: list[tuple[str, str]],
  ) -> str:
    """Disturbs a run until it ends; says what is wrong then, or ""."""
    while True:
      moment = None
      if coming and time.monotonic() < self.until:
        moment = self._draw(coming[0], self.work.often if len(happened) % 2 else "")
      status, said = self.start(place, moment)
      if status == 0:
        return self.work.compare(place, self.whole)
      if moment is None:
        return f"undisturbed, status {status}: {said[-2000:]}"
      how = coming.popleft()
      if status != STATUS[how] or SENTENCE[how] not in said or "Traceback" in said:
        return f"{moment}, status {status}: {said[-2000:]}"
      struck = json.loads((self.folder / "struck").read_text())
      happened.append((how, self.work.part(struck)))

  def _draw(self, how: str, part: str) -> Moment:
    """A moment; of a part if one is given."""
    places = [
      number
      for number, operation in enumerate(self.operations)
      if part in ("", self.work.part(operation.path))
    ]
    number = int(self.random.choice(places))
    following = self.operations[min(number + 1, len(self.operations) - 1)]
    gap = following.seconds - self.operations[number].seconds
    # Most operations follow each other at once, and are hit themselves.
    return Moment(how, number, float(self.random.uniform(0, gap)) if gap > 2e-3 else 0)

  def start(self, place: pathlib.Path, moment: Moment | None) -> tuple[int, str]:
    """One process: its exit status, negative for a signal, and all that it said."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=work_watched, args=(self, place, moment, writer))
    process.start()
    writer.close()
    alarm = threading.Timer(HANGS, process.kill)
    alarm.start()
    said = b""
    while part := os.read(reader.fileno(), 65536):
      said += part
    process.join()
    alarm.cancel()
    reader.close()
    return process.exitcode or 0, said.decode(errors="replace")


OPERATIONS = {
  *("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"),
  "shutil.rmtree",
}


def work_watched(
  disturbed: Disturbed, place: pathlib.Path, moment: Moment | None, pipe: Any
) -> None:
  """What a process does: the work, counting its operations on files.

  Args:
    disturbed: what is done.
    place: its folder.
    moment: when it is disturbed; None for never, and to note all operations.
    pipe: gets all that it says.
  """
  for stream in (1, 2):
    os.dup2(pipe.fileno(), stream)
  pipe.close()
  sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
  sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
  share_programs(disturbed.folder.parent / "programs")
  began, numbers, struck = time.monotonic(), itertools.count(), threading.Event()
  notes = (disturbed.folder / ("struck" if moment else "operations")).open("wb", 0)

  def strike_later() -> None:
    struck.wait()
    if moment:
      time.sleep(moment.after)
      strike(moment.how)

  def watch(event: str, arguments: tuple[Any, ...]) -> None:
    path = arguments[0] if event in OPERATIONS else None
    if not isinstance(path, str | pathlib.Path) or not str(path).startswith(str(place)):
      return
    if event == "open" and not _writes(arguments):
      return
    name = os.path.relpath(path, place)
    number = next(numbers)  # one for each, whatever threads come together
    if moment is None:
      line = json.dumps([name, time.monotonic() - began]) + "\n"
      notes.write(line.encode())  # at once: threads would mix what a buffer holds
    elif number == moment.operation:
      notes.write(json.dumps(name).encode())
      if moment.after:
        struck.set()
      else:
        strike(moment.how)

  place.mkdir(parents=True, exist_ok=True)
  threading.Thread(target=strike_later, daemon=True).start()
  sys.addaudithook(watch)
  try:
    disturbed.work.do(place, disturbed.data)
  finally:
    if moment is None:
      notes.close()


def share_programs(folder: pathlib.Path) -> None:
  """Keeps every compiled program of this process for the others."""
  os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)  # the package leaves it then
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _writes(arguments: tuple[Any, ...]) -> bool:
  """Whether a file is opened to be written, by mode or flags."""
  _, mode, flags = arguments
  changes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
  return bool(flags & changes) if mode is None else mode not in ("r", "rb")


def strike(how: str) -> None:
  """Does to this process what is said."""
  if how == KILLED:
    os.kill(os.getpid(), signal.SIGKILL)
  elif how == STOPPED:
    os.kill(os.getpid(), signal.SIGTERM)
  else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))


if __name__ == "__main__":
  raise SystemExit(main())
