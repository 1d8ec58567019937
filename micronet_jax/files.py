"""Files that are whole or not there, their names, and content digests.

Called by every room that keeps something on disk.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import pathlib
import platform
import re
import secrets
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from micronet_jax.errors import InputError

_NAME_KEPT = 40  # characters; with what is added, any file system takes the name


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """Gives a place beside `path` to write to, and renames it at the end.

  Whatever goes wrong, `path` keeps what it held and nothing is left beside it; when the
  block is left, the system was asked to have the new content on the disk. Every file
  that is opened there must be closed within the block.

  Args:
    path: the file to write or replace; its folder is made if missing.

  Yields:
    A hidden, unused name in the same folder, with the same ending; it says who writes,
    so that `sweep` knows what a process left that was killed.

  Raises:
    InputError: the operating system refuses to write there: no permission, no space
      left, a file where a folder should be. Errors of other files pass unchanged.
  """
  path = pathlib.Path(path)
  if not path.name:
    raise InputError(f"{str(path)!r} is no name for a file")
  kept = path.stem[:_NAME_KEPT] + path.suffix[:_NAME_KEPT]
  beside = path.with_name(f".{_writer(os.getpid())}-{secrets.token_hex(4)}-{kept}")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    yield beside
    _flush(beside)
    beside.replace(path)
    with contextlib.suppress(OSError):  # the content is there, if perhaps not its name
      _flush(path.parent, os.O_RDONLY)
  except OSError as error:
    if error.errno is None or not _concerns(error, beside):
      raise
    reason = error.strerror
    if isinstance(error, FileExistsError):
      reason = f"{error.filename} is a file where a folder is needed"
    raise InputError(
      f"{path} cannot be written ({reason}); a place is needed where files can be"
      " written and that has space left."
    ) from error
  finally:
    with contextlib.suppress(OSError):
      beside.unlink(missing_ok=True)


def _flush(path: pathlib.Path, how: int = os.O_RDWR) -> None:
  """Returns when the disk has a file, or the names in a folder."""
  opened = os.open(path, how)
  try:
    os.fsync(opened)
  except OSError as error:
    if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
      raise  # some file systems say only now that a disk is full
  finally:
    os.close(opened)


def sweep(folder: pathlib.Path) -> None:
  """Removes what killed processes of this machine left of `replacing`."""
  for path in folder.glob(f".{_node()}-*-*"):
    found = re.match(r"\.\w+-(\d+)-[0-9a-f]{8}-", path.name)
    if found and not is_running(int(found[1])):
      with contextlib.suppress(OSError):
        path.unlink()


def _writer(process: int) -> str:
  return f"{_node()}-{process}"


def _node() -> str:
  return digest(platform.node().encode(), digits=6)


def is_running(process: int) -> bool:
  """Whether this machine has a process of that number."""
  try:
    os.kill(process, 0)
  except ProcessLookupError:
    return False
  except (OSError, OverflowError):
    pass
  return True


def _concerns(error: OSError, beside: pathlib.Path) -> bool:
  """Whether an error names the file or one of its folders, or no file at all."""
  if error.filename is None:
    return True
  named = pathlib.Path(os.fsdecode(error.filename))
  return named in (beside, *beside.parents)


def check_regular(path: str | os.PathLike[str]) -> None:
  """Raises InputError for a pipe or a device, whose reader might wait for ever."""
  try:
    mode = os.stat(path).st_mode
  except (OSError, ValueError):
    return  # whoever opens it says why
  if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
    raise InputError(f"{path} is a pipe or a device, but a file on a disk is needed.")


def write_json(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
  """Writes values as indented JSON, whole or not at all.

  Args:
    path: the file; its folder is made if missing.
    values: of what JSON knows; numbers that are not finite, which it does not know,
      become null.

  Raises:
    InputError: `path` cannot be written.
  """
  text = json.dumps(_finite(values), indent=2, ensure_ascii=False, allow_nan=False)
  with replacing(path) as beside:
    beside.write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {key: _finite(entry) for key, entry in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(entry) for entry in value]
  return None if isinstance(value, float) and not math.isfinite(value) else value


def cannot_write(folder: pathlib.Path, error: BaseException, kept: str) -> InputError:
  """The one sentence on a folder that takes no more files.

  Args:
    folder: where something was written.
    error: what was raised; libraries hide what the operating system said in texts.
    kept: what is there all the same, and how to go on.
  """
  said = re.search(r"OS error \d+: (?:E[A-Z]+ )?([^\]]+)", str(error))
  reason = getattr(error, "strerror", None) or (said and said[1]) or str(error)
  return InputError(
    f"{folder} cannot be written ({' '.join(str(reason).split())[:200]}); files must"
    f" be writable there, and space left; {kept}"
  )


def read_json(path: pathlib.Path) -> dict[str, Any] | None:
  """What a JSON file holds; None if there is no such file.

  Raises:
    InputError: it cannot be read, or is not an object of JSON.
  """
  check_regular(path)
  try:
    values = json.loads(path.read_text(encoding="utf-8"))
  except (FileNotFoundError, NotADirectoryError):
    return None
  except OSError as error:
    raise InputError(f"{path} cannot be read ({error.strerror})") from error
  except RecursionError as error:
    raise InputError(f"{path} is nested too deeply; remove it") from error
  except ValueError as error:  # neither JSON nor text
    raise InputError(f"{path} is not JSON ({error}); remove it") from error
  if not isinstance(values, dict):
    raise InputError(f"{path} holds no JSON object; remove it")
  return values


def same_name(name: str) -> str:
  """A name in the one form of Unicode: é may be one letter, or e and an accent.

  Systems and programs write one or the other, and people see no difference.
  """
  return unicodedata.normalize("NFC", name)


def digest(values: Any, *, digits: int = 12) -> str:
  """Tells contents apart: equal ones have equal digests, whoever asks.

  Args:
    values: bytes; or of what JSON knows, with keys in any order and 1 the same as 1.0.
    digits: how long; at most 64.

  Returns:
    Hexadecimal digits of SHA-256.
  """
  if not isinstance(values, bytes):
    text = json.dumps(_canonical(values), sort_keys=True, separators=(",", ":"))
    values = text.encode()
  return hashlib.sha256(values).hexdigest()[:digits]


def _canonical(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {str(key): _canonical(entry) for key, entry in value.items()}
  if isinstance(value, list | tuple):
    return [_canonical(entry) for entry in value]
  whole = isinstance(value, int) and not isinstance(value, bool)
  return float(value) if whole else value
