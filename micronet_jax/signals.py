"""One way to stop: SIGINT and SIGTERM end in `Stopped`, with the work kept.

Called by the doors: `training.job` and the studies, which finish their step and save,
and `commands`, whose journal holds every finished tile and which stops where it is.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from micronet_jax.errors import Stopped
from micronet_jax.processes import is_first, process_count

INTERRUPTED = 130
"""Exit status of a command that a signal ended."""


THREADS_END = 3.0
"""Seconds that threads of libraries have for their end."""


OTHERS_END = 5.0
"""Seconds that other processes have, which end too, before the first one does."""


@contextlib.contextmanager
def caught_signals() -> Iterator[threading.Event]:
  """Gives an event that both signals set, for work that stops by itself."""
  stop = threading.Event()
  with _handled(lambda *_: stop.set()):
    yield stop


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[None]:
  """Ends the work within where it is, at either signal.

  Args:
    message: of the error.

  Raises:
    Stopped: a signal came.
  """
  came = threading.Event()

  def handler(*arguments: Any) -> None:
    came.set()
    # It passes the handlers of errors, which must not take it for a damaged image.
    signal.default_int_handler(*arguments)

  try:
    with _handled(handler):
      yield
  except KeyboardInterrupt:
    raise Stopped(message) from None
  except Exception:
    if not came.is_set():
      raise
    # What is being imported may make an ImportError of it.
    raise Stopped(message) from None


def end_at_once(message: str) -> None:
  """From now on, outside of the others here, both signals end the process.

  While a program begins, libraries may hold a KeyboardInterrupt back, or print it.

  Args:
    message: printed then; the status is 130.
  """

  def end(*_: Any) -> None:
    os.write(2, f"\n{message}\n".encode())
    os._exit(INTERRUPTED)

  if threading.current_thread() is threading.main_thread():
    for each in (signal.SIGINT, signal.SIGTERM):
      signal.signal(each, end)


def leave(status: int) -> NoReturn:
  """Ends the process, whatever threads of libraries still wait for.

  Those of Orbax wait for ever where a checkpoint could not be written.
  """
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError, ValueError):
      stream.flush()
  if process_count() > 1:
    # JAX would end by waiting for all. Without the first, others think it was lost.
    if is_first():
      time.sleep(OTHERS_END)
    os._exit(status)
  until = time.monotonic() + THREADS_END
  for thread in threading.enumerate():
    if not thread.daemon and thread is not threading.current_thread():
      thread.join(max(0, until - time.monotonic()))
      if thread.is_alive():
        os._exit(status)
  raise SystemExit(status)


@contextlib.contextmanager
def _handled(handler: Callable[..., Any]) -> Iterator[None]:
  """Handles both signals, in the main thread; elsewhere none are caught."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  caught = (signal.SIGINT, signal.SIGTERM)
  before = [signal.signal(each, handler) for each in caught]
  try:
    yield
  finally:
    for each, old in zip(caught, before, strict=True):
      signal.signal(each, old)
