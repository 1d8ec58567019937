"""A user's own folder: images, a file of annotations for each, maybe an index."""

import logging
import pathlib
from typing import Any

from micronet_jax.datasets.annotations import tables
from micronet_jax.datasets.builders import FilesBuilder
from micronet_jax.datasets.entries import UNKNOWN_ORGAN, Entry
from micronet_jax.datasets.folder.columns import SIZE_COLUMNS, check_columns
from micronet_jax.datasets.folder.index import INDEX, mpp_of, read_index
from micronet_jax.datasets.folder.pairing import (
  ANNOTATION_FOLDERS,
  Files,
  check_layout,
  image_folder,
  pair_files,
)
from micronet_jax.errors import InputError, or_left_out
from micronet_jax.files import same_name
from micronet_jax.imaging.opening import is_image, tell_unread

log = logging.getLogger("micronet_jax")


class Builder(FilesBuilder):
  """Images and nucleus centres from a folder of one's own.

  `images/NAME.png` (or jpg, tif, bmp, a slide) and one of `points/NAME.csv`,
  `annotations/NAME.geojson`, `labels/NAME.tif`, `masks/NAME.png` and so on for every
  image; `index.csv` (name and, if known, organ,patient,mpp,width,height) may say what
  they show. Without it the organ is what stands before `__` in the name.

  `regions/NAME.csv` (x,y,width,height) may say which parts of an image are annotated
  completely (`annotations.regions`); slides need it. Images may also lie in the folder
  itself instead of `images/`. There, and wherever regions are, those that are not
  annotated yet are left out.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "root must be a folder that holds images or images/ and, for every image, a file of"
    f" the same name in one of {', '.join(f'{name}/' for name in ANNOTATION_FOLDERS)}"
  )

  @staticmethod
  def find(root: pathlib.Path) -> list[Entry]:
    """Pairs images with annotations.

    Args:
      root: the folder.

    Returns:
      One entry an image.

    Raises:
      InputError: no images, an image without annotation or the reverse, two files
        for one name, files and folders where they would be overlooked, or a fault in
        index.csv.
    """
    check_layout(root)
    if unread := tell_unread(image_folder(root).iterdir()):
      log.warning("%s: %s", image_folder(root), unread)
    if image_folder(root) == root and not any(map(is_image, root.iterdir())):
      raise InputError(
        f"{root} has no folder images, and no image lies directly in it;"
        f" {Builder.MANUAL_DOWNLOAD_INSTRUCTIONS}."
      )
    pairs = pair_files(root)
    index = root / INDEX
    if index.exists():
      with or_left_out():
        return _indexed(index, pairs)
    return [_entry(name, files, organ=_organ(name)) for name, files in pairs.items()]


def _entry(name: str, files: Files, **known: Any) -> Entry:
  annotations = (files.annotation,) if files.annotation else ()
  return Entry(name, files.image, annotations, regions=files.regions, **known)


def _organ(name: str) -> str:
  before, separator, _ = name.partition("__")
  return before.lower() if separator and before else UNKNOWN_ORGAN


def _indexed(index: pathlib.Path, pairs: dict[str, Files]) -> list[Entry]:
  """Entries with what index.csv says; it must name each image once."""
  known = {same_name(files.image.stem): name for name, files in pairs.items()}
  known |= {name: name for name in pairs}
  # What has no annotation was told, or nothing would be read.
  folder = image_folder(index.parent)
  left_out = {same_name(path.stem) for path in folder.iterdir() if is_image(path)}
  lines: dict[str, int] = {}
  entries = []
  table = read_index(index)
  if table.remarks:
    log.warning("%s: %s", index, "; ".join(table.remarks))
  check_columns(index, table)
  whose = {bool(row.get("patient", "")) for _, row in table.rows}
  for line, row in table.rows:
    with or_left_out():
      name = known.get(same_name(row["name"]), "")
      if not name and same_name(row["name"]) in left_out:
        continue
      if not name:
        raise InputError(
          f"{index}, line {line}: field name is '{row['name']}', but {folder} has no"
          " such image (names are written without ending)."
        )
      if name in lines:
        raise InputError(
          f"{index}, line {line}: field name is '{name}', which line {lines[name]} is"
          " already about; every image has one line."
        )
      if len(whose) > 1 and not row.get("patient", ""):
        raise InputError(
          f"{index}, line {line}: field patient is empty, though other lines name a"
          " patient; every line must (images of one might train and test at once), or"
          " the column must go."
        )
      lines[name] = line
      entries.append(
        _entry(
          name,
          pairs[name],
          organ=same_name(row.get("organ", "")).lower() or _organ(name),
          patient=same_name(row.get("patient", "")) or None,
          mpp=mpp_of(index, line, row),
          shape=_shape(index, line, row),
        )
      )
  for name in sorted(pairs.keys() - lines.keys()):
    with or_left_out():
      raise InputError(
        f"{index} has no line for {pairs[name].image}; every image needs one, or the"
        " index must go."
      )
  return entries


def _positive(
  index: pathlib.Path, line: int, row: dict[str, str], field: str
) -> float | None:
  """The field as a number above 0; None if it is empty or there is no such column."""
  text = row.get(field, "")
  if not text:
    return None
  value = tables.number(index, line, field, text)
  if value <= 0:
    raise InputError(
      f"{index}, line {line}: field {field} must be above 0 or empty, but it is"
      f" '{tables.shorten(text)}'."
    )
  return value


def _shape(
  index: pathlib.Path, line: int, row: dict[str, str]
) -> tuple[int, int] | None:
  """(height, width) if the line has both, which must be whole numbers."""
  sizes = [_positive(index, line, row, field) for field in SIZE_COLUMNS]
  for field, size in zip(SIZE_COLUMNS, sizes, strict=True):
    if size is not None and size != int(size):
      raise InputError(
        f"{index}, line {line}: field {field} must be a whole number of pixels, but it"
        f" is '{row[field]}'."
      )
  width, height = sizes
  return None if width is None or height is None else (int(height), int(width))
