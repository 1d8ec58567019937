"""Reads CSV files whose faults must be named by line and field.

Called by `points` and by the builder of folders.
"""

import csv
import math
import pathlib
from collections.abc import Sequence

from micronet_jax.errors import InputError

_SHOWN = 40  # characters of a bad value that a message repeats


def read_table(
  path: pathlib.Path, columns: Sequence[str]
) -> list[tuple[int, dict[str, str]]]:
  """Reads a CSV file with a header.

  Args:
    path: a UTF-8 file, with or without byte order mark; either line ending. The
      header's case, order and surrounding blanks do not matter.
    columns: what the header must name, each once, in lower case.

  Returns:
    (line number, {column: text without surrounding blanks}) for every line that is
    not blank; every column of the header is there, `""` where a line is too short.

  Raises:
    InputError: the file cannot be read, or a column is missing or stands twice.
  """
  try:
    with path.open(encoding="utf-8-sig", newline="") as file:
      reader = csv.reader(file, strict=True)
      rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
  except (OSError, UnicodeError, csv.Error) as error:
    reason = getattr(error, "strerror", None) or error
    raise InputError(
      f"{path} cannot be read as a CSV file in UTF-8 ({reason})."
    ) from error
  header = [field.strip().lower() for field in rows[0][1]] if rows else []
  for column in columns:
    if header.count(column) != 1:
      raise InputError(
        f"{path}, line 1: the header must name the column {column} once, but it is"
        f" '{shorten(','.join(header))}'; the columns needed are {','.join(columns)}."
      )
  return [
    (line, dict(zip(header, [*map(str.strip, row), *[""] * len(header)], strict=False)))
    for line, row in rows[1:]
  ]


def number(path: pathlib.Path, line: int, field: str, text: str) -> float:
  """Turns a field into a finite number, or says which field of which line is not."""
  try:
    value = float("nan" if "_" in text else text)
  except ValueError:
    value = math.nan
  if not math.isfinite(value):
    raise InputError(
      f"{path}, line {line}: field {field} must be a finite number, but it is"
      f" '{shorten(text)}'."
    )
  return value


def shorten(text: str) -> str:
  """Returns text as a message can repeat it: one line, not long."""
  line = " ".join(text.split())
  return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"
