"""Which image the lines of a table are about, where a column names images.

Called by `points` and `regions`.
"""

import pathlib
import re

from micronet_jax.datasets.annotations import tables
from micronet_jax.datasets.annotations.mark import Subject
from micronet_jax.errors import InputError, or_left_out
from micronet_jax.files import same_name
from micronet_jax.imaging.opening import is_image

# Without blanks and signs; QuPath's is `Image`.
_HEADERS = {
  *("image", "imagename", "imagefile", "imagefilename", "imagepath", "imageid"),
  *("imagetitle", "imagelocation", "img", "imgname", "imgid", "filename"),
  *("file", "filepath"),
}

_SIGNS = re.compile(r"[^a-z0-9]")
# Behind the ending QuPath tells which image of the file, ImageJ which region or slice.
_PART = re.compile(r"(.+?\.[A-Za-z]\w{1,5})(?: - |:).+")
_SERIES = re.compile(r" - Series ?#?\d+$")
_ENDING = re.compile(r"(?<=.)\.[A-Za-z]\w{1,5}$")
_LISTED = 3  # names that a message repeats


def lines_of_image(
  path: pathlib.Path, table: tables.Table, subject: Subject
) -> tuple[tables.Rows, int]:
  """Keeps the lines that are about one image.

  A column names images if its header says so, or if file names of images fill it and
  one is this image's. Names are compared without folder and ending, and without what
  programs append to tell the images of one file; case counts.

  Args:
    path: the table, for messages.
    table: what it holds.
    subject: the image; where nobody says which, the table must be about one.

  Returns:
    Its lines, and how many are about others.

  Raises:
    InputError: a line names no image where others do, or the table is about other
      images, or about several that may be this one.
  """
  known = (subject.name, subject.path.stem if subject.path else None)
  wanted = {same_name(name) for name in known if name}
  wanted |= {name.removesuffix(".ome") for name in wanted}
  column = _naming_column(table, wanted)
  if column is None:
    return table.rows, 0
  named = []
  for line, row in table.rows:
    with or_left_out():
      if not row[column]:
        raise InputError(
          f"{path}, line {line}: field {column} is empty, though other lines name an"
          " image there; every line must, or the column must go."
        )
      named.append((line, row))
  there = list(dict.fromkeys(row[column] for _, row in named))
  own = [name for name in there if not wanted or wanted & _names(name)]
  if len(own) == 1:
    kept = [(line, row) for line, row in named if row[column] == own[0]]
    return kept, len(named) - len(kept)
  sought = min(wanted, key=len, default="")
  if own:
    which = f"may be the image {sought}" if sought else "may be meant"
    raise InputError(
      f"{path}: column {column} names {len(own)} images that {which}"
      f" ({_listed(own)}), where one is needed; lines of others must go."
    )
  raise InputError(
    f"{path}: column {column} names {_listed(there)}, but this file is read for the"
    f" image {sought}, which no line names; lines must name it, or, if all are about"
    " it, the column must go."
  )


def _naming_column(table: tables.Table, wanted: set[str]) -> str | None:
  """The column that says which image a line is about, or None."""
  filled = [name for name in table.header if any(row[name] for _, row in table.rows)]
  for name in filled:
    if _SIGNS.sub("", name) in _HEADERS:
      return name
  for name in filled:
    files = all(is_image(_file(row[name])) for _, row in table.rows)  # seldom the case
    if files and any(wanted & _names(row[name]) for _, row in table.rows):
      return name
  return None


def _file(text: str) -> str:
  """A file's name without folder, and without what tells a part of the file."""
  name = same_name(text).replace("\\", "/").rpartition("/")[2]
  part = _PART.fullmatch(name)
  return part[1] if part else name


def _names(text: str) -> set[str]:
  """The names, without ending, that an image may have which a table calls so."""
  whole = same_name(text).replace("\\", "/").rpartition("/")[2]
  found = {whole, _file(text), _SERIES.sub("", whole)}
  return found | {_ENDING.sub("", name) for name in found}


def _listed(names: list[str]) -> str:
  shown = ", ".join(f"'{tables.shorten(name)}'" for name in names[:_LISTED])
  more = len(names) - _LISTED
  return f"{shown} and {more} more" if more > 0 else shown
