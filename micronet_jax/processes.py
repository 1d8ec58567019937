"""Several processes that train one network together, each with devices of its own.

All do the same steps. What is decided, and what is read from or written to the folder
of the run, is the first one's; the others take its word. Called by `launch.py`, which
joins them, and by `training`, `checkpoints`, `devices` and whoever speaks to users.
Where there is one process, as usual, all of this does nothing, and imports no JAX.
"""

import contextlib
import functools
import itertools
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from micronet_jax.errors import InputError

HEARTBEAT = 30
"""Seconds without a sign of life after which JAX counts a process as lost."""


TOGETHER = 60
"""Seconds that processes which are done wait for each other."""


ASK_EVERY = 0.1
"""Seconds between questions to the first process, which may think for minutes."""


STARTERS = (
  ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),  # by hand
  ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),  # mpirun of Open MPI
  ("PMI_SIZE", "PMI_RANK"),  # mpirun of MPICH and Intel
  ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),  # srun
)
"""Variables by which starters say how many processes there are, and which this is.

An `mpirun` within a Slurm job starts its own by `srun`, so Slurm's come last.
"""

_ENDING = "Terminating process because the JAX distributed service"
_NATIVE = re.compile(b"%b|coordination_service|preemption_sync" % _ENDING.encode())

T = TypeVar("T")

_turns = itertools.count()


def join_others(*, asked: bool = False) -> None:
  """Joins the processes that were started with this one, if the environment says so.

  Must come before JAX looks for devices. From then on the first process alone speaks.

  Args:
    asked: join whatever JAX detects, as on a TPU pod.

  Raises:
    InputError: the environment contradicts itself, or the others cannot be reached.
  """
  place = place_among_processes()
  if place is None and not asked and "," not in _variable("TPU_WORKER_HOSTNAMES"):
    return
  _replace_last_words()
  import jax

  index, count = place or (None, None)
  stops = (signal.SIGINT, signal.SIGTERM)
  # No handler in Python runs while JAX waits for the others, perhaps for minutes.
  before = [signal.signal(each, signal.SIG_DFL) for each in stops]
  try:
    jax.distributed.initialize(
      process_id=index,
      num_processes=count,
      heartbeat_timeout_seconds=HEARTBEAT,
      shutdown_timeout_seconds=TOGETHER,
    )
  except (ValueError, RuntimeError, OSError) as error:
    reason = " ".join(str(error).split())[:200]
    raise InputError(
      f"this process cannot join those that were started with it ({reason}); set "
      "JAX_COORDINATOR_ADDRESS to the host of process 0 and a free port there, as in "
      "node1:29500, the same for all, or JAX_NUM_PROCESSES=1 to train alone"
    ) from error
  finally:
    for each, handler in zip(stops, before, strict=True):
      signal.signal(each, handler)  # JAX takes SIGTERM for itself
  if not is_first():
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    logging.getLogger("micronet_jax").disabled = True


def place_among_processes() -> tuple[int, int] | None:
  """Which process this is, and of how many, by its starter; None if it is alone.

  Raises:
    InputError: the variables are no such numbers.
  """
  for how_many, which in STARTERS:
    if not _variable(how_many):
      continue
    try:
      index, count = int(_variable(which)), int(_variable(how_many))
    except ValueError:
      index, count = -1, 0
    if not 0 <= index < count:
      raise InputError(
        f"{how_many} is {_variable(how_many)!r} and {which} is {_variable(which)!r}; "
        "they must be a number of processes, and that of this one, from 0 on"
      )
    return (index, count) if count > 1 else None
  return None


def _variable(name: str) -> str:
  return os.environ.get(name, "")


def _joined() -> Any:
  """JAX's record of the processes; None where there is one."""
  # Not imported: who only reads a config need not wait for JAX. Its public functions
  # have no store of values that a process may wait for longer than for a transfer.
  state = getattr(sys.modules.get("jax._src.distributed"), "global_state", None)
  return state if state and state.client and state.num_processes > 1 else None


def process_count() -> int:
  """How many processes train together."""
  state = _joined()
  return state.num_processes if state else 1


def process_index() -> int:
  """Which of them this is."""
  state = _joined()
  return state.process_id if state else 0


def is_first() -> bool:
  """Whether this is the process that decides, writes and speaks."""
  return process_index() == 0


def from_first(work: Callable[[], T]) -> T:
  """Lets the first process do something, and tells the others what came of it.

  Args:
    work: returns what JSON knows.

  Raises:
    InputError: in all processes, where `work` raises it.
  """
  state = _joined()
  if state is None:
    return work()
  key = f"micronet_jax/turn/{next(_turns)}"
  if is_first():
    try:
      value = work()
    except InputError as error:
      state.client.key_value_set(key, json.dumps({"error": str(error)}))
      raise
    state.client.key_value_set(key, json.dumps({"value": value}))
    return value
  while True:
    try:
      told = json.loads(state.client.key_value_try_get(key))
    except RuntimeError as error:
      if "NOT_FOUND" not in str(error):
        raise
      time.sleep(ASK_EVERY)
    else:
      if "error" in told:
        raise InputError(told["error"])
      return told["value"]


def after_first(work: Callable[[], T]) -> T:
  """Does the same in every process, in the first before the others.

  These find what it left on disk, where they share it.
  """
  done: list[T] = []
  from_first(lambda: done.append(work()))
  return done[0] if done else work()


def arrays_of_first(tree: T) -> T:
  """The arrays of the first process, in all; those of the others give the shapes."""
  if _joined() is None:
    return tree
  from jax.experimental import multihost_utils

  return multihost_utils.broadcast_one_to_all(tree, is_source=is_first())


def any_process(flag: bool) -> bool:
  """Whether the flag is set in any process; each must ask at the same step."""
  if _joined() is None:
    return flag
  import numpy as np
  from jax.experimental import multihost_utils

  return bool(multihost_utils.process_allgather(np.int32(flag)).any())


def check_alike(mine: str, what: str) -> None:
  """Makes sure that all processes were given the same.

  Args:
    mine: what stands for it, for instance a digest.
    what: it is, for the message.

  Raises:
    InputError: in a process that has something else than the first.
  """
  if from_first(lambda: mine) != mine:
    raise InputError(
      f"process {process_index()} has other {what} than process 0; start all with the "
      "same command, on the same files"
    )


def first_to_say(text: str) -> bool:
  """Whether no other process has said the same, which all would say once each."""
  state = _joined()
  if state is None:
    return True
  try:
    state.client.key_value_set(f"micronet_jax/said/{text}", "")
  except RuntimeError as error:
    return "ALREADY_EXISTS" not in str(error)
  return True


@contextlib.contextmanager
def losses_explained() -> Iterator[None]:
  """Around work with other processes: waits for what JAX says if one is lost.

  First a transfer fails. Then JAX finds out whom it missed, and ends this process.
  """
  try:
    yield
  except (RuntimeError, ValueError) as error:
    own = isinstance(error, ValueError) and "Gloo" not in str(error)
    if own or _joined() is None or "RESOURCE_EXHAUSTED" in str(error):
      raise
    time.sleep(HEARTBEAT + 15)
    raise


def explain_loss(said: str) -> str | None:
  """One sentence for what JAX prints as it ends a process because of another.

  Args:
    said: all of it; pages.

  Returns:
    The sentence; None if it is about something else.
  """
  if _ENDING not in said:
    return None
  missed = re.search(r"heartbeats\):\s+((?:\d+\s+)+)", said)
  missed = missed or re.search(r"Task (\d+) heartbeat timeout", said)
  who = "another process"
  if missed:
    who = "process " + ", ".join(sorted(set(missed[1].split()), key=int))
  elif "leader task" in said:
    who = "process 0"
  return (
    f"error: {who} has ended or cannot be reached, so all of this run end; run the "
    "same command again to go on from the last checkpoint"
  )


def _replace_last_words() -> None:
  """Begins a process that reads what this one prints as errors, and passes it on.

  JAX ends a process that has lost another from within, where no Python comes any more.
  From its first words of that on, what is printed is held back; at the end there is one
  sentence instead, or all of it if it was about something else.

  With process 1 of a container all others end, so there it is the one that reads, and
  the work is done in the one that it began.
  """
  reader, writer = os.pipe()
  reads_itself = os.getpid() == 1
  stops = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
  before = signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # none is lost meanwhile
  begun = os.fork()
  if bool(begun) != reads_itself:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.dup2(writer, 2)
    os.close(reader)
    os.close(writer)
    if reads_itself:
      os.setpgid(0, 0)  # or it would get Ctrl-C twice
    return
  os.close(writer)
  os.dup2(os.open(os.devnull, os.O_RDWR), 1)  # who reads that must see its end
  passing_on = functools.partial(_pass_on, begun) if reads_itself else signal.SIG_IGN
  for each in stops:
    signal.signal(each, passing_on)  # it ends after the other
  signal.pthread_sigmask(signal.SIG_SETMASK, before)
  _read_last_words(reader)
  if not reads_itself:
    os._exit(0)
  for each in stops:
    signal.signal(each, signal.SIG_IGN)
  status = os.waitstatus_to_exitcode(os.waitpid(begun, 0)[1])
  os._exit(status if status >= 0 else 128 - status)  # as shells have it


def _pass_on(process: int, number: int, _: object) -> None:
  with contextlib.suppress(ProcessLookupError):
    os.kill(process, number)


def _read_last_words(reader: int) -> None:
  """Passes on what a process prints until its end, as `_replace_last_words` says."""
  held = b""
  while part := os.read(reader, 1 << 16):
    native = None if held else _NATIVE.search(part)
    begin = part.rfind(b"\n", 0, native.start()) + 1 if native else len(part)
    if not held:
      _say(part[:begin])
      part = part[begin:]
    held += part
  text = held.decode(errors="replace")
  sentence = explain_loss(text)
  _say(f"{sentence}\n".encode() if sentence else held)


def _say(words: bytes) -> None:
  with contextlib.suppress(OSError):  # nobody reads it; the work goes on
    os.write(2, words)
