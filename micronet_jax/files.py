"""Files that are whole or not there: written beside their place, then renamed."""

import contextlib
import json
import math
import os
import pathlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from micronet_jax.errors import InputError

_NAME_KEPT = 40  # characters; with what is added, any file system takes the name


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """Gives a place beside `path` to write to, and renames it at the end.

  Whatever goes wrong, `path` keeps what it held and nothing is left beside it. Every
  file that is opened there must be closed within the block.

  Args:
    path: the file to write or replace; its folder is made if missing.

  Yields:
    A hidden, unused name in the same folder, with the same ending.

  Raises:
    InputError: the operating system refuses to write there: no permission, no space
      left, a file where a folder should be. Errors of other files pass unchanged.
  """
  path = pathlib.Path(path)
  if not path.name:
    raise InputError(f"{str(path)!r} is no name for a file")
  kept = path.stem[:_NAME_KEPT] + path.suffix[:_NAME_KEPT]
  beside = path.with_name(f".{secrets.token_hex(4)}-{kept}")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    yield beside
    beside.replace(path)
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


def _concerns(error: OSError, beside: pathlib.Path) -> bool:
  """Whether an error names the file or one of its folders, or no file at all."""
  if error.filename is None:
    return True
  named = pathlib.Path(os.fsdecode(error.filename))
  return named in (beside, *beside.parents)


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
