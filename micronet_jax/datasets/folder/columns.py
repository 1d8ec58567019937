"""The columns of index.csv: which are read, and which seem to mean one that is.

Called by the builder of folders, its `index` and `annotate.folder`.
"""

import difflib
import logging
import pathlib
import re

from micronet_jax.datasets.annotations import tables
from micronet_jax.errors import InputError, or_left_out

SIZE_COLUMNS = ("width", "height")

_READ = ("name", "organ", "patient", "mpp", *SIZE_COLUMNS)
_KNOWN = (*_READ, "nuclei")  # a count for people, which the points tell as well

_MEANING = {
  "patient": "whose images a split keeps together",
  "mpp": "microns a pixel",
  "organ": "the tissue shown",
}

# What a column may be called for one of these, once words that say nothing are gone.
_EMPTY = re.compile(
  r"(ids?|no|nr|num|numbers?|names?|codes?|keys?|uu?id|barcode|submitter|bcr)"
)
_GLUED = re.compile(r"(?<=\w{3})(_?(id|no|nr|number|name|code)s?|s)$")
_WHOSE = (
  *("patient", "pat", "pid", "mrn", "subject", "subj", "case", "donor", "person"),
  *("individual", "participant", "animal", "mouse", "slide", "specimen", "biopsy"),
)
_PIXEL = re.compile(
  r"mpp.*|(openslide|aperio)mpp.*"
  r"|.*(um|microns?|micromet(er|re)s?)per(px|pixel)s?|umpx|umpixel"
  r"|(pixel|px)(size|width|spacing|resolution).*|resolution.*|res|spacing"
)
_ALIKE = 0.8  # of difflib, for what was mistyped: pateint


def check_columns(index: pathlib.Path, table: tables.Table) -> None:
  """Refuses columns that seem to mean one that is read; names others that are not.

  Raises:
    InputError: a column that is read stands twice; or it is missing or empty, and
      another that is not seems to mean it.
  """
  filled = _filled(table)
  doubtful: list[str] = []
  for column in _READ:
    with or_left_out():
      if table.header.count(column) > 1:
        raise InputError(
          f"{index}, line 1: the header names the column {column}"
          f" {table.header.count(column)} times; one is needed."
        )
  for column in _MEANING:
    doubtful += check_column(index, table, column)
  unread = [name for name in filled if name not in (*_KNOWN, *doubtful)]
  if unread:
    logging.getLogger("micronet_jax").warning(
      "%s: columns that are not read: %s",
      *(
        index,
        ", ".join(tables.shorten(name) or "one without name" for name in unread),
      ),
    )


def check_column(index: pathlib.Path, table: tables.Table, column: str) -> list[str]:
  """Refuses columns that seem to mean one of patient, mpp and organ.

  Returns:
    Their names, where faults are collected.

  Raises:
    InputError: that one is missing or empty, and another seems to mean it.
  """
  filled = _filled(table)
  alike = [name for name in filled if name not in _KNOWN and _means(column, name)]
  if column in filled or not alike:
    return []
  with or_left_out():
    raise InputError(
      f"{index}, line 1: the column {alike[0]} seems to say {column}"
      f" ({_MEANING[column]}), but is not read under this name; it must be named"
      f" {column}, or go if it says something else."
    )
  return alike


def _filled(table: tables.Table) -> list[str]:
  """The columns that say something."""
  return [name for name in table.header if any(row[name] for _, row in table.rows)]


def _means(column: str, name: str) -> bool:
  """Whether a column called `name` seems to say what `column` does."""
  words = [word for word in re.split(r"[^a-z0-9]+", name.replace("µ", "u")) if word]
  if column == "mpp":
    return bool(_PIXEL.fullmatch("".join(words)))
  said = "".join(word for word in words if not _EMPTY.fullmatch(word))
  known = _WHOSE if column == "patient" else ("organ", "tissue")
  forms = {said, _GLUED.sub("", said)}
  return bool(forms & set(known)) or any(
    abs(len(form) - len(column)) < 2
    and difflib.SequenceMatcher(None, form, column).ratio() >= _ALIKE
    for form in forms
  )
