"""One process at a time in a folder, on this machine or on several that share a drive.

Called by whoever writes a folder for long: `training.job`, the studies and
`predict.journal`.
"""

import contextlib
import json
import os
import pathlib
import platform
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO

from micronet_jax.errors import InputError, Stopped
from micronet_jax.files import cannot_write, is_running

LOOK_EVERY = 1.0
"""Seconds between looks at a folder that another process works in."""


BEAT_EVERY = 10.0
"""Seconds between signs of life of who works in a folder."""


DEAD_AFTER = 60.0
"""Seconds without a sign of life after which a lock counts for nothing."""


class Busy(InputError):
  """Another process works in the folder."""


@contextlib.contextmanager
def locked(
  folder: pathlib.Path,
  *,
  wait: threading.Event | None = None,
  told: Callable[[str], None] = print,
) -> Iterator[None]:
  """Keeps a second process out of a folder; the lock ends with the process.

  The operating system holds the lock, so that a process that was killed leaves none
  behind. Drives that several machines share may not pass such locks on: for them the
  file says who works there, and its time is renewed every `BEAT_EVERY` seconds; what
  another machine left counts for `DEAD_AFTER`. Two machines that begin within the same
  moment, on such a drive, do not see each other.

  Args:
    folder: made if it is not there; gets a file `lock`, which is empty when nobody
      works there.
    wait: wait for one's turn, until this is set; None to refuse instead.
    told: gets one line if the wait begins.

  Raises:
    Busy: another process works there.
    InputError: the folder cannot be written.
    Stopped: `wait` was set before it was this process's turn.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.absolute() / "lock"
    opened = path.open("a+b", buffering=0)
  except OSError as error:
    raise cannot_write(folder, error, "nothing is lost") from error
  with opened as file:
    waiting = False
    while (holder := _take(file, folder)) is not None:
      if wait is None:
        raise Busy(
          f"another process works in {folder}{holder}; wait for it, or use another "
          "folder"
        )
      if not waiting:
        told(f"waiting for another process that works in {folder}{holder}")
      waiting = True
      if wait.wait(LOOK_EVERY):
        raise Stopped("stopped; run the same command again to go on")
    with _beating(file):
      yield


def process_in(folder: pathlib.Path) -> int:
  """The process of this machine that works in a folder which is locked.

  Raises:
    InputError: it is of another machine, or the lock does not say.
  """
  try:
    machine, name, process = _signed((folder / "lock").read_bytes())
  except OSError:
    machine, name, process = "", "", 0
  if machine != _machine():
    where = f"process {process} of {name}" if name else "another machine"
    raise InputError(f"{where} works in {folder}; it can be stopped only there")
  return process


def _signed(content: bytes) -> tuple[str, str, int]:
  """Machine, its name and process of a lock; empty if it is no signature of ours."""
  try:
    signature = json.loads(content[:1000])
    machine, name = str(signature["machine"]), str(signature["name"])
    return machine, name, int(signature["process"])
  except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
    return "", "", 0


def _take(file: BinaryIO, folder: pathlib.Path) -> str | None:
  """Takes the lock; else says who has it, as far as is known."""
  locks = _lock(file)
  if locks is False:
    return ""
  found = _other_holder(file, folder, locks=bool(locks))
  if found is None:
    with contextlib.suppress(OSError):  # a full disk: this machine's lock holds
      file.truncate(0)
      file.write(json.dumps(_signature()).encode())
  elif locks:
    _unlock(file)
  return found


def _lock(file: BinaryIO) -> bool | None:
  """Whether this process has got the operating system's lock; None without such."""
  try:
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except (ImportError, OSError):
    return None
  return True


def _unlock(file: BinaryIO) -> None:
  import fcntl

  fcntl.flock(file, fcntl.LOCK_UN)


def _other_holder(file: BinaryIO, folder: pathlib.Path, *, locks: bool) -> str | None:
  """Who holds a folder by what its lock file says; None if nobody that lives."""
  file.seek(0)
  try:
    machine, name, process = _signed(file.read(1000))
  except OSError:
    return None
  if not machine:
    return None  # nobody, or no signature of ours
  # The operating system would have refused its lock if that process lived.
  if machine == _machine() and (locks or not is_running(process)):
    return None
  silent = _now(folder) - os.fstat(file.fileno()).st_mtime
  if silent > DEAD_AFTER:
    return None
  return (
    f" (process {process} of {name}, seen {max(silent, 0):.0f} s ago; if it is dead, "
    f"its lock ends {DEAD_AFTER:.0f} s after that)"
  )


def _now(folder: pathlib.Path) -> float:
  """The time by the clock of who keeps the folder, which wrote the lock's time too."""
  try:
    with tempfile.TemporaryFile(dir=folder) as file:
      file.write(b"\0")
      file.flush()
      return os.fstat(file.fileno()).st_mtime
  except OSError:  # a full disk
    return time.time()


def _signature() -> dict[str, str | int]:
  return {"machine": _machine(), "name": platform.node(), "process": os.getpid()}


def _machine() -> str:
  """Tells machines apart, each start of one too, whatever they are called."""
  try:
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
  except OSError:  # no Linux
    return f"{uuid.getnode():x}"


@contextlib.contextmanager
def _beating(file: BinaryIO) -> Iterator[None]:
  """Renews the time of a lock file within, and empties it at the end."""
  ended = threading.Event()

  def beat() -> None:
    while not ended.wait(BEAT_EVERY):
      with contextlib.suppress(OSError):
        os.utime(file.name)

  thread = threading.Thread(target=beat, name=f"lock {file.name}", daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()
    with contextlib.suppress(OSError):
      file.truncate(0)
