"""The exceptions a user is expected to read; raised anywhere, caught by the doors.

Who checks data wants all faults, not the first: within `collecting_faults`, readers
leave out what is wrong where `or_left_out` says that they can, and go on.
"""

import contextlib
import contextvars
import types
from collections.abc import Iterator


class InputError(ValueError):
  """Input that cannot be used: a file, a field of a config, an argument.

  The message is one sentence that says what is wrong, where (file, line, field)
  and what would be right. `launch.py` prints it without a traceback and exits
  with status 1.
  """


def how_to_install(extra: str) -> str:
  """The command that brings an extra, for a sentence; the package is on no index."""
  return f"pip install -e '.[{extra}]' in the checkout of micronet_jax"


def check_type(
  value: object, kind: type | types.UnionType, name: str, wanted: str
) -> None:
  """Makes sure of the type of an argument, at a door where anybody may come in.

  Raises:
    InputError: saying of `name` what it is, and what is wanted.
  """
  if not isinstance(value, kind):
    given = f"of type {type(value).__name__}"
    if isinstance(value, type):
      given = f"the class {value.__name__}, not one of it"
    raise InputError(f"{name} is {given}; it must be {wanted}")


class Stopped(Exception):
  """The work was asked to stop, and saved where it was."""


_faults: contextvars.ContextVar[list[InputError] | None] = contextvars.ContextVar(
  "faults", default=None
)


@contextlib.contextmanager
def collecting_faults() -> Iterator[list[InputError]]:
  """Lists what is wrong instead of raising it, where the rest can still be read.

  Yields:
    The list, which grows within the block.
  """
  faults: list[InputError] = []
  token = _faults.set(faults)
  try:
    yield faults
  finally:
    _faults.reset(token)


@contextlib.contextmanager
def or_left_out() -> Iterator[None]:
  """Around what can be left out if it is wrong; an `InputError` passes otherwise."""
  try:
    yield
  except InputError as error:
    faults = _faults.get()
    if faults is None:
      raise
    faults.append(error)
