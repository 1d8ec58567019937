"""Reads CSV files whose faults must be named by line and field.

Called by `points` and by the builder of folders.
"""

import dataclasses
import math
import pathlib
import re
from collections.abc import Sequence

from micronet_jax.datasets.annotations.texts import DELIMITERS, read_text, split_rows
from micronet_jax.errors import InputError, or_left_out
from micronet_jax.files import same_name

_SHOWN = 40  # characters of a bad value that a message repeats
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_MAYBE_THOUSANDS = re.compile(r"[+-]?\d{1,3},\d{3}")

Rows = list[tuple[int, dict[str, str]]]


@dataclasses.dataclass
class Table:
  """A table with a header.

  Attributes:
    columns: those that were asked for, of the first set that is there.
    header: all, in lower case.
    rows: (line number, {column: text}) for every line that is not blank; every
      column of the header is there, `""` where a line is too short.
    delimiter: what stands between fields.
    remarks: what was assumed or converted, each part of a sentence.
  """

  columns: tuple[str, ...]
  header: list[str]
  rows: Rows
  delimiter: str
  remarks: list[str]


def read_table(
  path: pathlib.Path, *columns: Sequence[str], numbers: Sequence[str] = ()
) -> Table:
  """Reads a table with a header: CSV, or with semicolons or tabs.

  The header's case, order and surrounding blanks do not matter. What stands between
  fields is what makes the header name the columns. A comma within a number is a decimal
  comma, and becomes a point, where the file leaves no doubt.

  Args:
    path: a text file (`texts.read_text`); either line ending.
    columns: sets of columns, in lower case; the header must name all of one set, each
      once.
    numbers: further columns of numbers, if they are there.

  Returns:
    The table.

  Raises:
    InputError: the file cannot be read, a column is missing or stands twice, a line
      has more fields than the header, or commas in numbers may mean two things.
  """
  text, remark = read_text(path)
  faults: list[InputError] = []
  for delimiter in DELIMITERS:
    try:
      rows = split_rows(path, text, delimiter)
    except InputError as error:
      faults.append(error)
      continue
    header = [_folded(field) for field in rows[0][1]] if rows else []
    for names in columns:
      if all(header.count(name) == 1 for name in names):
        fields = _fields(path, header, rows[1:])
        table = Table(tuple(names), header, fields, delimiter, [])
        table.remarks += [remark] if remark else []
        _mend_commas(path, table, [*names, *numbers])
        return table
    faults.append(_no_header(path, header, columns))
  raise faults[0]


def _folded(name: str) -> str:
  """A column's name as they are compared: µ has two code points."""
  return same_name(name.strip().lower()).replace("\u03bc", "µ")


def _no_header(
  path: pathlib.Path, header: Sequence[str], columns: Sequence[Sequence[str]]
) -> InputError:
  needed = ",".join(columns[0])
  for names in columns[1:]:
    needed += f" or {','.join(names)}"
  missing = next(name for name in columns[0] if header.count(name) != 1)
  return InputError(
    f"{path}, line 1: the header must name the column {missing} once, but it is"
    f" '{shorten(','.join(header))}'; the columns needed are {needed}."
  )


def _fields(
  path: pathlib.Path, header: list[str], rows: Sequence[tuple[int, list[str]]]
) -> Rows:
  """Rows by column; what stands beyond the header must be blank."""
  fields = []
  for line, row in rows:
    with or_left_out():
      if any(row[len(header) :]):
        raise InputError(
          f"{path}, line {line}: there are {len(row)} fields, but the header"
          f" '{shorten(','.join(header))}' names {len(header)}; every field needs a"
          " column, and numbers with a decimal comma need semicolons between them."
        )
      padded = [*row, *[""] * len(header)]
      fields.append((line, dict(zip(header, padded, strict=False))))
  return fields


def _mend_commas(path: pathlib.Path, table: Table, names: Sequence[str]) -> None:
  """Makes decimal commas points, in the columns of numbers."""
  there = [name for name in names if name in table.header]
  cells = [(line, row, name) for line, row in table.rows for name in there]
  commas = [cell for cell in cells if _DECIMAL_COMMA.fullmatch(cell[1][cell[2]])]
  if not commas:
    return
  line, row, name = commas[0]
  texts = [row[name] for _, row, name in cells if row[name]]
  thousands = all(_MAYBE_THOUSANDS.fullmatch(row[name]) for _, row, name in commas)
  if any("." in text for text in texts) or (thousands and len(commas) < len(texts)):
    raise InputError(
      f"{path}, line {line}: field {name} is '{shorten(row[name])}', whose comma may"
      " stand for decimals or thousands; write decimals with a point, and thousands"
      " without any sign."
    )
  for _, row, name in commas:
    row[name] = row[name].replace(",", ".")
  table.remarks.append(f"{len(commas)} numbers have a decimal comma")


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
