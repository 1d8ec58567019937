"""What a command prints: closed pipes, encodings that lack letters, notes.

Called by the doors, `cli` and `launch.py`, before anything else, and by `commands`.
"""

import codecs
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, TextIO

READABLE = {
  **{"ξ": "xi", "γ": "gamma", "λ": "lambda", "α": "alpha", "µ": "u", "μ": "u"},
  **{"²": "2", "³": "3", "×": "x", "±": "+-", "–": "-", "—": "-", "…": "..."},
  **{"→": "->", "≥": ">=", "≤": "<=", "½": "1/2", "·": "*"},
}
"""What is printed for letters that an encoding lacks; of others, their numbers."""


def prepare_streams() -> None:
  """Makes standard output such that printing can stop no work half-way.

  Letters that its encoding lacks are spelled out. Where nobody reads any more (a pipe
  to `head`), the process gets SIGTERM, so that what is done is kept, and says no more.
  A stream that the process began without is one to nowhere: else the next file to be
  opened would take its number, and get what libraries print.
  """
  for number, name in enumerate(("stdin", "stdout", "stderr")):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
      if getattr(sys, name) is None:
        setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
  codecs.register_error("readable", _spell)
  for name in ("stdout", "stderr"):
    stream: Any = getattr(sys, name)
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="readable")
  if not isinstance(sys.stdout, _Output):
    sys.stdout = _Output(sys.stdout)


def is_closed() -> bool:
  """Whether nobody reads standard output any more."""
  return isinstance(sys.stdout, _Output) and sys.stdout.closed_pipe


@contextlib.contextmanager
def notes() -> Iterator[None]:
  """Prints what the package logs as notes, once, whoever else logs what."""
  logger = logging.getLogger("micronet_jax")
  if logger.handlers:  # within another such block
    yield
    return
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("note: %(message)s"))
  before = logger.level, logger.propagate
  logger.addHandler(handler)
  logger.setLevel(logging.WARNING)
  logger.propagate = False
  logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax tells all that it writes
  logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # odd tags: ours are said
  try:
    yield
  finally:
    logger.removeHandler(handler)
    logger.level, logger.propagate = before


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
  """Lists what the package logs as notes instead of printing it.

  Yields:
    The list, which grows within the block.
  """
  logger, listener = logging.getLogger("micronet_jax"), _Listener()
  before = logger.handlers[:], logger.level, logger.propagate
  logger.handlers[:] = [listener]
  logger.setLevel(logging.WARNING)
  logger.propagate = False
  try:
    yield listener.texts
  finally:
    logger.handlers[:], logger.level, logger.propagate = before


def silence_closed_loops() -> None:
  """Drops what threads of TensorStore print after a save has failed.

  Each write that ends later finds the event loop of its save closed, and would print a
  traceback of its own around the one sentence that says what failed.
  """
  before = sys.unraisablehook

  def report_unless_closed(fault: Any) -> None:
    closed = str(fault.exc_value) == "Event loop is closed"
    if not (closed and isinstance(fault.exc_value, RuntimeError)):
      before(fault)

  if getattr(before, "__name__", "") != report_unless_closed.__name__:
    sys.unraisablehook = report_unless_closed


class _Listener(logging.Handler):
  def __init__(self) -> None:
    super().__init__()
    self.texts: list[str] = []

  def emit(self, record: logging.LogRecord) -> None:
    self.texts.append(record.getMessage())


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
  if not isinstance(error, UnicodeEncodeError):
    raise error
  letters = error.object[error.start : error.end]
  text = "".join(
    READABLE.get(letter) or letter.encode("ascii", "backslashreplace").decode()
    for letter in letters
  )
  return text, error.end


class _Output:
  """Standard output that ends the process in order when its pipe is closed."""

  def __init__(self, stream: TextIO):
    self._stream = stream
    self.closed_pipe = False

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    """As a stream; nothing where nobody reads."""
    try:
      return self._stream.write(text)
    except BrokenPipeError:
      self._end()
      return len(text)

  def flush(self) -> None:
    """As a stream."""
    try:
      self._stream.flush()
    except BrokenPipeError:
      self._end()

  def _end(self) -> None:
    if not self.closed_pipe:
      self.closed_pipe = True
      # What is still held back must go somewhere.
      os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
      os.kill(os.getpid(), signal.SIGTERM)
