"""What a GPU does with all of this, in ten minutes: one command, one table a part.

  pip install -e '.[cuda12]'   # or '.[cuda13]'; and torch, to have it beside
  python -m benchmarks.gpu --data=DIR

DIR holds the base's data in the layout of the `folder` data set; without it tissue is
synthetic. Measured are, one after the other: the matmul ceiling; the training step
beside PyTorch; calls of several steps, and drawing patches; maps of one image beside
PyTorch; sides of tiles and batches; a slide of 30,000² from the file to the files. The
minutes that are left train the base's recipe at width 32 in bfloat16.

--out gets gpu.json and gpu.md, written anew after every case, and `base`, the trained
network. Each part is a process of its own that is stopped when its share of --minutes
is over (the tables say so), so nothing that hangs can take the time of others. A second
run with --parts measures what was cut: it finds what the first has compiled. --smoke
tells on any machine, in about a minute, whether all of it runs.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import report
from benchmarks.compiling import QUICKLY
from micronet_jax.files import read_json, replacing, write_json
from micronet_jax.stored import read_log

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARES = {
  "device": 0.05,
  "step": 0.32,
  "feeding": 0.07,
  "images": 0.06,
  "tiles": 0.10,
  "slide": 0.15,
  "base": 1.0,
}
"""Of the minutes, at most; `base` takes all that is left. Without it the others share
all of them, in these proportions."""
TITLES = {
  "device": "The ceiling: products of large matrices",
  "step": "The training step beside PyTorch",
  "feeding": "Calls of several steps, and drawing patches",
  "images": "Maps of one image beside PyTorch",
  "tiles": "Tile and batch",
  "slide": "A slide from the file to the files",
  "base": "The base's recipe in the minutes left",
}
BESIDE = ("step", "images")
"""Parts in which JAX leaves memory for PyTorch."""
GRACE_S = 15.0
"""For a part to save, before it is killed."""
LEAST_S = 5.0
"""No part begins with less."""


def main(argv: Sequence[str] | None = None) -> int:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--data", default="", help="folder of the base's data")
  parser.add_argument("--minutes", type=float, default=10.0, help="for all parts")
  parser.add_argument("--out", default="", help="new folder; by default in runs/")
  parser.add_argument("--parts", default=",".join(SHARES), help="which of them")
  parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run?")
  parser.add_argument("--part", default="", help=argparse.SUPPRESS)
  parser.add_argument("--ends", type=float, default=0.0, help=argparse.SUPPRESS)
  options = parser.parse_args(argv)
  if options.part:
    from benchmarks import gpu_parts

    out = pathlib.Path(options.out)
    job = gpu_parts.Job(out, options.data, options.smoke, options.ends)
    gpu_parts.run(options.part, job)
    return 0
  name = time.strftime("runs/gpu-%Y%m%d-%H%M%S")
  out = pathlib.Path(options.out or name).absolute()
  if (out / "gpu.json").exists():
    print(f"error: {out} holds a run; give another --out", file=sys.stderr)
    return 2
  if options.data and not (pathlib.Path(options.data) / "images").is_dir():
    print(f"error: {options.data} has no folder images", file=sys.stderr)
    return 2
  unknown = set(options.parts.split(",")) - set(SHARES)
  if unknown:
    print(f"error: parts are {', '.join(SHARES)}; not {unknown}", file=sys.stderr)
    return 2
  if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # parts are stopped too
  return Run(options, out).measure()


class Run:
  """All parts, one after the other, within the minutes."""

  def __init__(self, options: argparse.Namespace, out: pathlib.Path):
    self.options, self.out = options, out
    self.states: dict[str, str] = {}
    chosen = options.parts.split(",")
    self.shares = {name: SHARES[name] for name in SHARES if name in chosen}
    if "base" not in chosen:
      total = sum(self.shares.values())
      self.shares = {name: share / total for name, share in self.shares.items()}
    self.flags = os.environ.get("XLA_FLAGS", "")
    self.ends = time.time() + options.minutes * 60

  def measure(self) -> int:
    """Runs the parts; the exit status is 1 if one failed by itself."""
    out, total = self.out, self.options.minutes * 60
    (out / "parts").mkdir(parents=True, exist_ok=True)
    self.write()
    try:
      for name, share in self.shares.items():
        limit = min(share * total, self.ends - GRACE_S - time.time())
        print(f"\n## {TITLES[name]} (at most {max(limit, 0):.0f} s)\n", flush=True)
        self.states[name] = self.run(name, limit)
        content = self.write()
        print(f"\n{as_text(name, content['parts'][name])}", flush=True)
        cpu = content["machine"].get("platform") == "cpu"
        if cpu and not self.options.smoke:
          print(
            "error: JAX sees no GPU; pip install -e '.[cuda12]' or '.[cuda13]', or "
            "try --smoke",
            file=sys.stderr,
          )
          return 2
        if cpu and QUICKLY not in self.flags:  # compiling takes nearly all the time
          self.flags += f" {QUICKLY}"
    finally:
      (out / "slide.tif").unlink(missing_ok=True)
      shutil.rmtree(out / "prepared", ignore_errors=True)
    print(f"written to {out / 'gpu.md'} and {out / 'gpu.json'}", flush=True)
    return int(any(state.startswith("failed") for state in self.states.values()))

  def run(self, name: str, limit_s: float) -> str:
    """One part in a process of its own; what became of it."""
    if limit_s < LEAST_S:
      return "left out: no time was left"
    command = [sys.executable, "-m", "benchmarks.gpu", f"--part={name}"]
    command += [f"--out={self.out}", f"--ends={time.time() + limit_s}"]
    if self.options.data:
      command.append(f"--data={pathlib.Path(self.options.data).absolute()}")
    changes = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} if name in BESIDE else {}
    if self.options.smoke:
      command.append("--smoke")
      # Compiling takes PyTorch a minute on a CPU: its "compiled" is eager here.
      changes |= {"TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1"}
      changes["XLA_FLAGS"] = self.flags
    self.states[name] = "running"
    return run_for(command, limit_s, watch=self.write, changes=changes)

  def write(self) -> dict[str, Any]:
    """Collects what the parts have written, and writes gpu.json and gpu.md."""
    parts: dict[str, Any] = {}
    about: Mapping[str, Any] = {}
    for name in self.shares:
      found = read_json(self.out / "parts" / f"{name}.json") or {}
      about = found.get("machine", about)
      rows = [*found.get("rows", []), *(self.validations() if name == "base" else ())]
      parts[name] = {"state": self.states.get(name, "not begun"), "rows": rows}
    content = {
      "machine": about,
      "minutes": self.options.minutes,
      "smoke": self.options.smoke,
      "data": pathlib.Path(self.options.data).name or "synthetic tissue",
      "parts": parts,
    }
    write_json(self.out / "gpu.json", content)
    page = f"# A GPU in {self.options.minutes:g} minutes\n\n{heading(content)}\n"
    for name, part in parts.items():
      page += f"\n## {TITLES[name]}\n\n{as_text(name, part)}"
    with replacing(self.out / "gpu.md") as beside:
      beside.write_text(page, encoding="utf-8")
    return content

  def validations(self) -> list[dict[str, Any]]:
    """What the training has said of itself so far: it may have been cut."""
    return [
      {
        "of": "validation",
        "of step": record["step"],
        "F1, validation": f"{record['val_f1']:.3f}",
        "ξ": record["val_xi"],
        "min_distance": record["val_min_distance"],
      }
      for record in read_log(self.out / "base" / "log.jsonl")
      if "val_f1" in record
    ]


def heading(content: Mapping[str, Any]) -> str:
  """The machine, and what is missing on it."""
  about = content["machine"]
  if not about:
    return "Nothing is known of the machine yet."
  lines = [report.machine_line(about) + f"; data: {content['data']}."]
  if about["platform"] == "cpu":
    lines.append("No GPU here: all numbers are of the CPU.")
  if "torch" not in about:
    lines.append("PyTorch is not installed: ours is timed alone.")
  elif about["platform"] != "cpu" and "+cpu" in about["torch"]:
    lines.append("PyTorch is built for CPUs only: ours is timed alone.")
  if content["smoke"]:
    lines.append("A smoke run of tiny sizes, PyTorch uncompiled: no measure of speed.")
  return "\n".join(lines)


def as_text(name: str, part: Mapping[str, Any]) -> str:
  """A part's table, and what became of the part."""
  table = report.as_markdown(part["rows"]) + "\n" if part["rows"] else ""
  return f"{table}{name}: {part['state']}.\n"


def run_for(
  command: Sequence[str],
  limit_s: float,
  *,
  watch: Callable[[], Any] = lambda: None,
  changes: Mapping[str, str] | None = None,
  grace_s: float = GRACE_S,
) -> str:
  """Runs a command for so long at most, and ends all that it started.

  Args:
    command: of a process, run in the checkout.
    limit_s: seconds after which it is asked to end, and killed a while later.
    watch: called every second.
    changes: of the environment.
    grace_s: the while.

  Returns:
    What became of it.
  """
  began = time.monotonic()
  process = subprocess.Popen(
    command, cwd=ROOT, env=os.environ | dict(changes or {}), start_new_session=True
  )
  try:
    while process.poll() is None and time.monotonic() - began < limit_s:
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=min(1.0, limit_s))
      watch()
    seconds = time.monotonic() - began
    if process.poll() is None:
      return f"cut after {seconds:.0f} s"
    if process.returncode:
      return f"failed after {seconds:.0f} s, with status {process.returncode}"
    return f"done in {seconds:.0f} s"
  finally:
    _end(process, grace_s)


def _end(process: subprocess.Popen, grace_s: float) -> None:
  """Ends a process that leads a session, and what it has started."""
  for sent in (signal.SIGTERM, signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, sent)
    with contextlib.suppress(subprocess.TimeoutExpired):
      process.wait(timeout=grace_s)


if __name__ == "__main__":
  raise SystemExit(main())
