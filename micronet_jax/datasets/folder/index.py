"""index.csv: what a folder says of the resolution of its images.

Called by the builder of folders, `annotate.folder` and `predict.finding`.
"""

import functools
import logging
import pathlib
import re

from micronet_jax.datasets.annotations import tables
from micronet_jax.datasets.annotations.texts import read_text
from micronet_jax.datasets.folder.columns import SIZE_COLUMNS, check_column
from micronet_jax.datasets.folder.pairing import plain_name
from micronet_jax.errors import InputError
from micronet_jax.files import same_name
from micronet_jax.imaging.resolution import MPP_RANGE

INDEX = "index.csv"

_OURS = re.compile(r'(?:^|[,;\t])\s*"?name"?\s*(?:[,;\t]|$)', re.IGNORECASE)

log = logging.getLogger("micronet_jax")


def stated_mpp(index: pathlib.Path, image: pathlib.Path) -> float | None:
  """What an index.csv says of an image's microns per pixel; None if it says nothing.

  Raises:
    InputError: the index cannot be read, or is wrong about any image.
  """
  try:
    state = index.stat()
  except FileNotFoundError:
    return None
  name = same_name(image.stem)
  said = _resolutions(index, state.st_size, state.st_mtime_ns)
  return said.get(name, said.get(plain_name(name)))


@functools.lru_cache(maxsize=8)  # each image of a folder asks
def _resolutions(index: pathlib.Path, size: int, changed: int) -> dict[str, float]:
  """By the names of images, what an index says while it has this size and time."""
  if not _OURS.search(read_text(index)[0].lstrip("\ufeff").partition("\n")[0].rstrip()):
    log.warning("%s has no column name and is not read", index)
    return {}
  table = read_index(index)
  check_column(index, table, "mpp")
  said: dict[str, float] = {}
  for line, row in table.rows:
    name, mpp = same_name(row["name"]), mpp_of(index, line, row)
    if mpp is not None and said.setdefault(name, mpp) != mpp:
      raise InputError(
        f"{index}, line {line}: field mpp is {mpp:g}, but another line says"
        f" {said[name]:g} of {name}; every image has one line."
      )
  return said


def read_index(index: pathlib.Path) -> tables.Table:
  """The lines of an index.csv, which need a name.

  Raises:
    InputError: as `tables.read_table`.
  """
  return tables.read_table(index, ("name",), numbers=("mpp", *SIZE_COLUMNS))


def mpp_of(index: pathlib.Path, line: int, row: dict[str, str]) -> float | None:
  """Microns per pixel; None if the field is empty or there is no such column.

  Raises:
    InputError: it is no number, or no microscope has such pixels.
  """
  text = row.get("mpp", "")
  if not text:
    return None
  value = tables.number(index, line, "mpp", text)
  low, high = MPP_RANGE
  if not low <= value <= high:
    raise InputError(
      f"{index}, line {line}: field mpp must be within {low:g} and {high:g} microns, or"
      f" empty, but it is '{tables.shorten(text)}'."
    )
  return value
