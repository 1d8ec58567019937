"""Fine-tuning as a process of its own: begun, watched, stopped and resumed.

It is the command `micronet finetune` that a shell would run, and outlives this server:
what it does is read from the files of its run. Called by `annotate.server`.
"""

import contextlib
import functools
import math
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from micronet_jax.annotate.folder import KEPT, RUNS, Folder
from micronet_jax.errors import InputError
from micronet_jax.files import read_json, write_json
from micronet_jax.locks import locked, process_in
from micronet_jax.signals import INTERRUPTED
from micronet_jax.stored import COUNT, Number, read_log, read_stored

PICTURES = ("training.png", "detections.png", "precision_recall.png")
"""What a run draws, that the page shows."""


MOST_STEPS = 1_000_000


_NOTE = {"run": str, "weights": str, "steps": Number(1, MOST_STEPS, whole=True),
         "process": COUNT}  # fmt: skip
_ENDING = 60.0  # seconds that a run has to save


class FineTuning:
  """The runs of a folder, of which one may be under way."""

  def __init__(self, folder: Folder):
    self._folder = folder
    self._lock = threading.Lock()
    self._process: subprocess.Popen[bytes] | None = None
    self._note = folder.place(KEPT, "finetune.json")

  def begin(self, weights: str, steps: int) -> None:
    """Begins a run of its own.

    Raises:
      InputError: one is under way.
    """
    with self._lock:
      self._check_idle()
      number = 1
      while self._folder.place(RUNS, f"finetune-{number}").exists():
        number += 1
      run = {"run": f"finetune-{number}", "weights": weights, "steps": steps}
      self._start(run)

  def resume(self) -> None:
    """Goes on with the run that was stopped, or whose server was.

    Raises:
      InputError: there is none, or one is under way.
    """
    with self._lock:
      self._check_idle()
      note = self._noted()
      if not note:
        raise InputError("no run was begun here")
      self._start(note)

  def stop(self) -> None:
    """Asks the run to save and end; returns at once.

    Raises:
      InputError: it is another machine's.
    """
    note = self._noted()
    if not note or not self._is_running(note):
      return
    if self._process and self._process.pid == note["process"]:
      self._process.terminate()
    else:  # the number that was noted may be another process's by now
      process = process_in(self._folder.place(RUNS, note["run"]))
      with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)

  def end(self) -> bool:
    """Stops the run and waits until it has saved; whether there was one."""
    if self._process is None or self._process.poll() is not None:
      return False
    self.stop()
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._process.wait(_ENDING)
    return True

  def status(self) -> dict[str, Any]:
    """The newest run, for the page; `state` is none, running, stopped, failed, done."""
    note = self._noted()
    if not note:
      return {"state": "none"}
    run = note["run"]
    folder = self._folder.place(RUNS, run)
    said: dict[str, Any] = {
      "run": run,
      "folder": f"{RUNS}/{run}",
      "command": shlex.join(["micronet", "finetune", *self._arguments(note)]),
      "records": _records(folder / "log.jsonl"),
      "steps": note["steps"],
    }
    report = read_json(folder / "report.json")
    if self._is_running(note):
      last = _last_line(self._folder.place(KEPT, "finetune.log"))
      return {**said, "state": "running", "line": last}
    if report:
      pictures = [name for name in PICTURES if (folder / name).is_file()]
      return {**said, "state": "done", "report": report, "pictures": pictures}
    ended = self._process.poll() if self._process else INTERRUPTED
    # Below 0: a signal ended it.
    if ended is None or ended <= 0 or ended == INTERRUPTED:
      return {**said, "state": "stopped"}
    line = _last_line(self._folder.place(KEPT, "finetune.log"))
    return {**said, "state": "failed", "line": line.removeprefix("error: ")}

  def weights_of(self, run: str) -> str:
    """A run that has ended, as `load` and the command take it.

    Raises:
      InputError: there is none of this name.
    """
    if run not in self._ended():
      raise InputError("there is no such run, or it has not ended")
    return self._run(run)

  def picture(self, run: str, name: str) -> pathlib.Path | None:
    """The file of a picture of a run that has ended; None if there is none."""
    if run not in self._ended() or name not in PICTURES:
      return None
    path = self._folder.place(RUNS, run, name)
    return path if path.is_file() else None

  def _ended(self) -> list[str]:
    runs = self._folder.place(RUNS)
    names = sorted(path.name for path in runs.iterdir()) if runs.is_dir() else []
    return [name for name in names if (runs / name / "report.json").is_file()]

  def _run(self, name: str) -> str:
    return str(self._folder.place(RUNS, name))

  def _noted(self) -> dict[str, Any] | None:
    """The newest run; None if there was none.

    Raises:
      InputError: the note of it is damaged, or names another folder than a run's.
    """
    note = read_stored(self._note, _NOTE)
    if note and not re.fullmatch(r"finetune-[0-9]+", note["run"]):
      raise InputError(f"{self._note} names no run; remove it")
    return note

  def _arguments(self, note: Mapping[str, Any]) -> list[str]:
    """Of the command; made anew, as the folder may have been moved since."""
    weights = note["weights"]
    return [
      *(str(self._folder.root), "-o", self._run(note["run"])),
      *(["--weights", weights] if weights != "base" else []),
      *("--set", f"num_steps={note['steps']}", "--set", "compare=base"),
    ]

  def _check_idle(self) -> None:
    note = self._noted()
    if note and self._is_running(note):
      raise InputError("a run is under way; stop it first")

  def _is_running(self, note: Mapping[str, Any]) -> bool:
    """Also of a run that another server began, which has locked its folder."""
    if self._process and self._process.pid == note["process"]:
      return self._process.poll() is None
    folder = self._folder.place(RUNS, note["run"])
    if not (folder / "lock").exists():
      return False
    try:
      with locked(folder):
        return False
    except InputError:
      return True

  def _start(self, run: Mapping[str, Any]) -> None:
    log = self._folder.place(KEPT, "finetune.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "micronet_jax.cli", "finetune"]
    command += self._arguments(run)
    with log.open("wb") as output:
      # A session of its own: the end of this one's terminal is not its end.
      self._process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )
    write_json(self._note, {**run, "process": self._process.pid})


def _records(path: pathlib.Path) -> list[dict[str, Any]]:
  """The log of a run; a loss that is no number is null, as JSON has no other word."""
  try:
    at = path.stat()
  except FileNotFoundError:
    return []
  return _read_records(path, at.st_mtime_ns, at.st_size)


@functools.lru_cache(1)  # the page asks every second; what is damaged is said once
def _read_records(path: pathlib.Path, *_: int) -> list[dict[str, Any]]:
  records = read_log(path)
  for record in records:
    if not math.isfinite(record.get("loss") or 0):
      record["loss"] = None
  return records


def _last_line(path: pathlib.Path) -> str:
  """The last thing that a process said."""
  try:
    lines = path.read_bytes()[-4000:].decode(errors="replace").splitlines()
  except FileNotFoundError:
    return ""
  said = [line for line in lines if line.strip()]
  faults = [line for line in said if line.startswith("error: ")]
  return (faults or said or [""])[-1]
