"""A user's own folder: images, a file of annotations for each, maybe an index."""

import pathlib

from micronet_jax.datasets.annotations import ANNOTATION_ENDINGS, tables
from micronet_jax.datasets.builders import FilesBuilder
from micronet_jax.datasets.entries import UNKNOWN_ORGAN, Entry
from micronet_jax.errors import InputError
from micronet_jax.imaging.decoding import IMAGE_ENDINGS

_ANNOTATION_FOLDERS = ("points", "annotations", "labels", "masks")
_INDEX_COLUMNS = ("name", "organ", "patient", "mpp")
_SIZE_COLUMNS = ("width", "height")


class Builder(FilesBuilder):
  """Images and nucleus centres from a folder of one's own.

  `images/NAME.png` (or jpg, tif, bmp) and one of `points/NAME.csv`,
  `annotations/NAME.geojson`, `labels/NAME.tif`, `masks/NAME.png` and so on for every
  image; `index.csv` (name,organ,patient,mpp and, if known, width,height) may say
  what they show. Without it the organ is what stands before `__` in the name.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "root must be a folder that holds images/ and, for every image, a file of the same"
    f" name in one of {', '.join(f'{name}/' for name in _ANNOTATION_FOLDERS)}"
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
        for one name, or a fault in index.csv.
    """
    folder = root / "images"
    if not folder.is_dir():
      raise InputError(
        f"{root} has no folder images; {Builder.MANUAL_DOWNLOAD_INSTRUCTIONS}."
      )
    images = _by_name([folder], IMAGE_ENDINGS)
    if not images:
      raise InputError(
        f"{folder} holds no images; their endings must be {', '.join(IMAGE_ENDINGS)}."
      )
    annotations = _by_name(
      [root / name for name in _ANNOTATION_FOLDERS], ANNOTATION_ENDINGS
    )
    _check_paired(root, images, annotations)
    index = root / "index.csv"
    if index.exists():
      return _indexed(index, images, annotations)
    return [
      Entry(name, images[name], (annotations[name],), organ=_organ(name))
      for name in images
    ]


def _by_name(
  folders: list[pathlib.Path], endings: tuple[str, ...]
) -> dict[str, pathlib.Path]:
  """Visible files with these endings by their name without it."""
  found: dict[str, pathlib.Path] = {}
  for folder in folders:
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
      if path.name.startswith(".") or path.suffix.lower() not in endings:
        continue
      if path.stem in found:
        raise InputError(
          f"{found[path.stem]} and {path} belong to the same image {path.stem}; one of"
          " them must go."
        )
      found[path.stem] = path
  return found


def _check_paired(
  root: pathlib.Path,
  images: dict[str, pathlib.Path],
  annotations: dict[str, pathlib.Path],
) -> None:
  for name in sorted(images.keys() - annotations.keys()):
    raise InputError(
      f"{images[name]} has no annotation file; {root / 'points' / name}.csv (or another"
      " format) is needed, which may hold the header x,y alone."
    )
  for name in sorted(annotations.keys() - images.keys()):
    raise InputError(
      f"{annotations[name]} belongs to no image; {root / 'images'} must hold one named"
      f" {name} with one of the endings {', '.join(IMAGE_ENDINGS)}."
    )


def _organ(name: str) -> str:
  before, separator, _ = name.partition("__")
  return before.lower() if separator and before else UNKNOWN_ORGAN


def _indexed(
  index: pathlib.Path,
  images: dict[str, pathlib.Path],
  annotations: dict[str, pathlib.Path],
) -> list[Entry]:
  """Entries with what index.csv says; it must name each image once."""
  lines: dict[str, int] = {}
  entries = []
  for line, row in tables.read_table(index, _INDEX_COLUMNS):
    name = row["name"]
    if name not in images:
      raise InputError(
        f"{index}, line {line}: field name is '{name}', but {index.parent / 'images'}"
        " has no such image (names are written without ending)."
      )
    if name in lines:
      raise InputError(
        f"{index}, line {line}: field name is '{name}', which line {lines[name]} is"
        " already about; every image has one line."
      )
    lines[name] = line
    entries.append(
      Entry(
        name,
        images[name],
        (annotations[name],),
        organ=row["organ"].lower() or _organ(name),
        patient=row["patient"] or None,
        mpp=_positive(index, line, row, "mpp"),
        shape=_shape(index, line, row),
      )
    )
  for name in sorted(images.keys() - lines.keys()):
    raise InputError(
      f"{index} has no line for {images[name]}; every image needs one, or the index"
      " must go."
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
  sizes = [_positive(index, line, row, field) for field in _SIZE_COLUMNS]
  for field, size in zip(_SIZE_COLUMNS, sizes, strict=True):
    if size is not None and size != int(size):
      raise InputError(
        f"{index}, line {line}: field {field} must be a whole number of pixels, but it"
        f" is '{row[field]}'."
      )
  width, height = sizes
  return None if width is None or height is None else (int(height), int(width))
