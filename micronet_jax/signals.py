"""One way to stop: SIGINT and SIGTERM become an event that work looks at."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def caught_signals() -> Iterator[threading.Event]:
  """An event that SIGINT and SIGTERM set, instead of ending the process at once."""
  stop = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield stop
    return
  caught = (signal.SIGINT, signal.SIGTERM)
  before = [signal.signal(each, lambda *_: stop.set()) for each in caught]
  try:
    yield stop
  finally:
    for each, handler in zip(caught, before, strict=True):
      signal.signal(each, handler)
