"""The text of a table, whatever program on whatever system wrote it.

Called by `annotations.tables`.
"""

import codecs
import csv
import io
import pathlib
import re

from micronet_jax.errors import InputError
from micronet_jax.files import check_regular

DELIMITERS = (",", ";", "\t")

_SEPARATOR_LINE = re.compile(r"\s*sep=(.)\s*", re.IGNORECASE)  # as Excel wants it


def read_text(path: pathlib.Path) -> tuple[str, str | None]:
  """Reads UTF-8, UTF-16, or what is neither as Windows-1252.

  Args:
    path: a text file, with or without byte order mark.

  Returns:
    The text, and a remark if its encoding had to be guessed.

  Raises:
    InputError: the file cannot be read, or is no text.
  """
  check_regular(path)
  try:
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
      return content.decode("utf-16"), None
    if b"\0" in content[:2]:
      order = "be" if content[0] == 0 else "le"
      return content.decode(f"utf-16-{order}"), f"read as UTF-16-{order.upper()}"
    if b"\0" in content:
      raise ValueError("it holds bytes of value 0")
    try:
      return content.decode("utf-8-sig"), None
    except UnicodeError:
      return content.decode("cp1252"), "it is not UTF-8, so it is read as Windows-1252"
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or error
    raise InputError(
      f"{path} cannot be read as a CSV file in UTF-8, UTF-16 or Windows-1252"
      f" ({reason})."
    ) from error


def split_rows(
  path: pathlib.Path, text: str, delimiter: str
) -> list[tuple[int, list[str]]]:
  """Splits text into rows that are not blank, each with its line number.

  Raises:
    InputError: quotes do not close, or a field is longer than 131,072 characters.
  """
  lines = list(io.StringIO(text, newline=""))
  skipped = 1 if lines and _SEPARATOR_LINE.fullmatch(lines[0]) else 0
  try:
    reader = csv.reader(lines[skipped:], strict=True, delimiter=delimiter)
    return [
      (reader.line_num + skipped, [field.strip() for field in row])
      for row in reader
      if any(map(str.strip, row))
    ]
  except csv.Error as error:
    raise InputError(f"{path} cannot be read as a CSV file ({error}).") from error
