"""Reads files with bytes changed, cut or doubled: each is read, or refused at once.

  python -m benchmarks.bad_files --files=10000 --json=bad_files.json
  python -m benchmarks.bad_files --seeds ../shared/cases ../shared/data/odd-images

The n-th file is a function of n and the seeds: whole files of every kind that the
package reads, made here or lying in `--seeds`. Processes with limits read them. A fault
is an error that is no `InputError`, a sentence that is not one line or names no file,
more than 10 seconds of a processor, more than 1 GB of memory, or the end of the
process. `--keep` gets the files that did it.
"""

import argparse
import collections
import gzip
import json
import multiprocessing
import os
import pathlib
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import report, whole_files
from micronet_jax import stored
from micronet_jax.datasets.annotations import ANNOTATION_ENDINGS, read_centers
from micronet_jax.datasets.annotations import annotation_ending as ending_of
from micronet_jax.errors import InputError
from micronet_jax.imaging.opening import open_image
from micronet_jax.stored import read_log

IMPORTED = ["micronet_jax.datasets.annotations", "micronet_jax.training.progress"]
"""What all processes have imported when they begin."""


SECONDS = 10
"""Of a processor that one file may take."""


MEMORY = 2**30
"""Bytes that reading may take beyond what the process has before."""


HANGS = 120.0
"""Seconds without an end after which a process is taken to hang."""


LARGEST_SEED = 300_000
"""Bytes; larger files of `--seeds` are left out."""


BATCH = 500
"""Files that one process reads, one after the other."""


SIDE = 2048
"""Of what is read of an image."""


def main(argv: Sequence[str] | None = None) -> int:
  """Runs it; 1 if there was a fault."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--files", type=int, default=10_000)
  parser.add_argument("--first", type=int, default=0, help="number of the first file")
  parser.add_argument("--seeds", type=pathlib.Path, nargs="*", default=[])
  parser.add_argument("--processes", type=int, default=os.cpu_count())
  parser.add_argument("--minutes", type=float, default=1e6, help="no batch after")
  parser.add_argument("--keep", type=pathlib.Path, help="folder for faulty files")
  parser.add_argument("--json", default="", help="file for the numbers")
  options = parser.parse_args(argv)
  seeds = {**whole_files.made_files(), **found_seeds(options.seeds)}
  numbers = range(options.first, options.first + options.files)
  until = time.monotonic() + 60 * options.minutes
  outcomes = read_all(numbers, seeds, options.processes, until)
  for number, (outcome, _) in outcomes.items():
    if outcome not in ("read", "refused"):
      name, content = bad_file(number, seeds)
      print(f"file {number}, of {name}: {outcome}", file=sys.stderr)
      if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        (options.keep / f"{number}-{pathlib.Path(name).name}").write_bytes(content)
  rows = report.print_table(make_rows(outcomes, seeds))
  report.write_json(options.json, rows)
  return int(any(row["faults"] for row in rows))


def make_rows(
  outcomes: Mapping[int, tuple[str, float]], seeds: Mapping[str, bytes]
) -> Iterator[dict[str, Any]]:
  """A row for each kind of file, and one for all."""
  kinds: dict[str, list[tuple[str, float]]] = collections.defaultdict(list)
  names = list(seeds)
  for number, outcome in outcomes.items():
    kinds[ending_of(pathlib.Path(names[number % len(names)]))].append(outcome)
  for kind, found in [*sorted(kinds.items()), ("all", [*outcomes.values()])]:
    counts = collections.Counter(outcome for outcome, _ in found)
    read, refused = counts["read"], counts["refused"]
    yield {
      "kind": kind,
      "files": len(found),
      "read": read,
      "refused": refused,
      "faults": len(found) - read - refused,
      "slowest, s": f"{max((seconds for _, seconds in found), default=0):.1f}",
    }


def found_seeds(folders: Sequence[pathlib.Path]) -> dict[str, bytes]:
  """The small files of folders; what is in a folder named annotations, or ends so, is
  read as annotations, everything else as an image."""
  seeds = {}
  for folder in folders:
    for path in sorted(folder.rglob("*")):
      if path.is_file() and 0 < path.stat().st_size <= LARGEST_SEED:
        name = str(path.relative_to(folder))
        table = ending_of(path) in ANNOTATION_ENDINGS
        image = ending_of(path) in (".png", ".tif", ".tiff", ".zip")
        marked = "annotations" in path.parts or path.name.startswith("labels")
        place = "marks" if marked or (table and not image) else "images"
        seeds[f"{place}/{folder.name}/{name}"] = path.read_bytes()
  return seeds


# What is done to them.


def bad_file(number: int, seeds: Mapping[str, bytes]) -> tuple[str, bytes]:
  """The n-th file: the name of its seed, and its bytes."""
  names = list(seeds)
  name = names[number % len(names)]
  random = np.random.default_rng([number, 17])
  content = seeds[name]
  if name.endswith(".gz") and random.random() < 0.7:
    return name, gzip.compress(spoil(gzip.decompress(content), random), mtime=0)
  return name, spoil(content, random)


def spoil(content: bytes, random: np.random.Generator) -> bytes:
  """Changes one place, or a few."""
  for _ in range(min(int(random.geometric(0.5)), 6)):
    content = _CHANGES[int(random.integers(len(_CHANGES)))](content, random)
  return content


def _place(content: bytes, random: np.random.Generator) -> int:
  """Half of them near the beginning, where most formats say what follows."""
  most = len(content) if random.random() < 0.5 else min(len(content), 256)
  return int(random.integers(0, most + 1))


def _flip(content: bytes, random: np.random.Generator) -> bytes:
  at = _place(content, random)
  flipped = bytes(
    byte ^ (1 << int(random.integers(8))) for byte in content[at : at + 1]
  )
  return content[:at] + flipped + content[at + 1 :]


def _overwrite(content: bytes, random: np.random.Generator) -> bytes:
  at = _place(content, random)
  values = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
  size = int(random.choice([1, 2, 4, 8]))
  value = values[int(random.integers(len(values)))] % 256**size
  order = "little" if random.random() < 0.5 else "big"
  return content[:at] + value.to_bytes(size, order) + content[at + size :]


def _cut(content: bytes, random: np.random.Generator) -> bytes:
  return content[: _place(content, random)]


def _remove(content: bytes, random: np.random.Generator) -> bytes:
  at = _place(content, random)
  return content[:at] + content[at + int(random.integers(1, 40)) :]


def _double(content: bytes, random: np.random.Generator) -> bytes:
  at, size = _place(content, random), int(random.integers(1, 200))
  return content[: at + size] + content[at:]


def _insert(content: bytes, random: np.random.Generator) -> bytes:
  at = _place(content, random)
  return content[:at] + random.bytes(int(random.integers(1, 9))) + content[at:]


def _renumber(content: bytes, random: np.random.Generator) -> bytes:
  """Makes one of the numbers in a text another one."""
  places = [match.span() for match in re.finditer(rb"\d+(?:\.\d+)?", content)][:5000]
  if not places:
    return _flip(content, random)
  start, end = places[int(random.integers(len(places)))]
  numbers = (b"9" * 400, b"-1", b"nan", b"1e999", b"0", b"", b"99999999999", b"1,5")
  return content[:start] + numbers[int(random.integers(len(numbers)))] + content[end:]


_CHANGES = (_flip, _overwrite, _cut, _remove, _double, _insert, _renumber)


# How they are read.


Reading = Callable[[pathlib.Path, str], None]


def read_file(path: pathlib.Path, name: str) -> None:
  """Reads a file as its seed is read.

  Raises:
    InputError: it cannot be read.
  """
  if name.startswith("stored/"):
    stored.read_stored(path, getattr(stored, pathlib.Path(name).stem))
  elif name.endswith(".jsonl"):
    read_log(path)
  elif name.startswith("images/"):
    with open_image(path) as reader:
      height, width = reader.levels[0]
      reader.read(0, 0, 0, min(height, SIDE), min(width, SIDE))
  else:
    read_centers(path, mpp=0.25, name=pathlib.Path(name).stem)


def read_all(
  numbers: Sequence[int],
  seeds: Mapping[str, bytes],
  processes: int,
  until: float = float("inf"),
  read: Reading = read_file,
) -> dict[int, tuple[str, float]]:
  """Reads bad files in processes with limits; by number what came of each.

  Args:
    numbers: of the files.
    seeds: by name.
    processes: at once.
    until: `time.monotonic()` after which no further batch is begun.
    read: a file as its seed, by path and name, is read.

  Returns:
    "read", "refused" or the fault; and seconds of a processor.
  """
  context = multiprocessing.get_context("forkserver")
  context.set_forkserver_preload(IMPORTED)
  waiting = [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)][::-1]
  outcomes: dict[int, tuple[str, float]] = {}
  running: list[_Batch] = []
  with tempfile.TemporaryDirectory() as root:
    while running or (waiting and time.monotonic() < until):
      while waiting and len(running) < processes and time.monotonic() < until:
        batch = waiting.pop()
        running.append(_Batch(context, batch, seeds, pathlib.Path(root), read))
      for batch in [each for each in running if each.has_ended()]:
        running.remove(batch)
        found = batch.outcomes()
        outcomes |= found
        left = [number for number in batch.numbers if number not in found]
        if left:
          waiting.append(left)
      time.sleep(0.05)
  return dict(sorted(outcomes.items()))


class _Batch:
  """A process that reads files, and notes what came of each before the next."""

  def __init__(
    self,
    context: Any,
    numbers: Sequence[int],
    seeds: Mapping[str, bytes],
    root: pathlib.Path,
    read: Reading,
  ):
    self.numbers = numbers
    self._folder = root / str(numbers[0])
    self._folder.mkdir(exist_ok=True)
    self._notes = self._folder / "notes"
    self._notes.write_text("")
    self._process = context.Process(
      target=read_batch, args=(numbers, dict(seeds), self._folder, read)
    )
    self._process.start()

  def has_ended(self) -> bool:
    """Whether the process has; one that hangs is killed."""
    if self._process.is_alive():
      if time.time() - self._notes.stat().st_mtime < HANGS:
        return False
      self._process.kill()
    self._process.join()
    return True

  def outcomes(self) -> dict[int, tuple[str, float]]:
    """What is known; a file that ended the process is a fault."""
    found: dict[int, tuple[str, float]] = {}
    last = None
    for line in self._notes.read_text().splitlines():
      entry = json.loads(line)
      last = entry["number"]
      if "outcome" in entry:
        found[last] = entry["outcome"], entry["seconds"]
    status = self._process.exitcode
    if last is None:
      raise SystemExit(f"a process ended with {status} before its first file")
    if last not in found:
      ends = {-signal.SIGXCPU: f"more than {SECONDS} s", -signal.SIGKILL: "it hangs"}
      found[last] = ends.get(status, f"the process ended with {status}"), SECONDS
    return found


def read_batch(
  numbers: Sequence[int],
  seeds: Mapping[str, bytes],
  folder: pathlib.Path,
  read: Reading,
) -> None:
  """What a process does."""
  warnings.simplefilter("ignore")
  sys.stderr = (folder / "said").open("w")
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
  limit = pages * resource.getpagesize() + MEMORY
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
  with (folder / "notes").open("a", buffering=1) as notes:
    for number in numbers:
      name, content = bad_file(number, seeds)
      path = folder / f"file{ending_of(pathlib.Path(name))}"
      path.write_bytes(content)
      began = time.process_time()
      allowed = int(began) + SECONDS + 1
      resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))
      notes.write(json.dumps({"number": number}) + "\n")
      outcome = _outcome(read, path, name)
      seconds = time.process_time() - began
      entry = {"number": number, "outcome": outcome, "seconds": seconds}
      notes.write(json.dumps(entry) + "\n")


def _outcome(read: Reading, path: pathlib.Path, name: str) -> str:
  try:
    read(path, name)
  except InputError as error:
    text = str(error)
    if "\n" in text or str(path) not in text or len(text) > 1000:
      return f"no sentence: {text[:200]!r}"
    return "refused"
  except Exception as error:
    return f"{type(error).__name__}: {str(error)[:200]}"
  return "read"


if __name__ == "__main__":
  raise SystemExit(main())
