"""Fine-tuning as a process of its own: begun, watched, stopped and resumed.

It is the command `micronet finetune` that a shell would run, and outlives this server:
what it does is read from the files of its run. Called by `annotate.server`.
"""

import contextlib
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import threading
from typing import Any

from micronet_jax.annotate.folder import KEPT, RUNS, Folder
from micronet_jax.errors import InputError
from micronet_jax.files import read_json, write_json
from micronet_jax.locks import locked
from micronet_jax.signals import INTERRUPTED

PICTURES = ("training.png", "detections.png", "precision_recall.png")
"""What a run draws, that the page shows."""


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
      arguments = [str(self._folder.root), "-o", self._run(f"finetune-{number}")]
      arguments += ["--weights", weights] if weights != "base" else []
      arguments += ["--set", f"num_steps={steps}", "--set", "compare=base"]
      self._start(f"finetune-{number}", arguments)

  def resume(self) -> None:
    """Goes on with the run that was stopped, or whose server was.

    Raises:
      InputError: there is none, or one is under way.
    """
    with self._lock:
      self._check_idle()
      note = read_json(self._note)
      if not note:
        raise InputError("no run was begun here")
      self._start(str(note["run"]), [str(each) for each in note["arguments"]])

  def stop(self) -> None:
    """Asks the run to save and end; returns at once."""
    note = read_json(self._note) or {}
    if self._is_running(note):
      with contextlib.suppress(ProcessLookupError):
        os.kill(int(note["process"]), signal.SIGTERM)

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
    note = read_json(self._note)
    if not note:
      return {"state": "none"}
    run = str(note["run"])
    folder = self._folder.place(RUNS, run)
    said: dict[str, Any] = {
      "run": run,
      "folder": f"{RUNS}/{run}",
      "command": self._command(note),
    }
    said["records"] = _records(folder / "log.jsonl")
    said["steps"] = (read_json(folder / "config.json") or {}).get("num_steps")
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

  def _command(self, note: dict[str, Any]) -> str:
    return shlex.join(["micronet", "finetune", *map(str, note["arguments"])])

  def _check_idle(self) -> None:
    if self._is_running(read_json(self._note) or {}):
      raise InputError("a run is under way; stop it first")

  def _is_running(self, note: dict[str, Any]) -> bool:
    """Also of a run that another server began, which has locked its folder."""
    if self._process and self._process.pid == note.get("process"):
      return self._process.poll() is None
    if "run" not in note:
      return False
    folder = self._folder.place(RUNS, str(note["run"]))
    if not (folder / "lock").exists():
      return False
    try:
      with locked(folder):
        return False
    except InputError:
      return True

  def _start(self, run: str, arguments: list[str]) -> None:
    log = self._folder.place(KEPT, "finetune.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "micronet_jax.cli", "finetune", *arguments]
    with log.open("wb") as output:
      # A session of its own: the end of this one's terminal is not its end.
      self._process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
      )
    note = {"run": run, "arguments": arguments, "process": self._process.pid}
    write_json(self._note, note)


def _records(path: pathlib.Path) -> list[dict[str, Any]]:
  """The lines of a run's log; one that is not written to its end is left out."""
  try:
    lines = path.read_text("utf-8").splitlines()
  except FileNotFoundError:
    return []
  records = []
  for line in lines:
    with contextlib.suppress(ValueError):
      records.append(json.loads(line))
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
