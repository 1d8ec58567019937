"""Which annotation file of a folder belongs to which image, by their names.

Called by the builder of folders.
"""

import logging
import pathlib
import re

from micronet_jax.datasets.annotations import (
  ANNOTATION_ENDINGS,
  annotation_ending,
  documents,
)
from micronet_jax.datasets.entries import same_name
from micronet_jax.errors import InputError, or_left_out
from micronet_jax.imaging.decoding import IMAGE_ENDINGS

ANNOTATION_FOLDERS = ("points", "annotations", "labels", "masks")

# Other things have these endings too: they count where an image has nothing else.
_COMMON_ENDINGS = (".txt", ".tsv", ".zip", ".roi", ".geojson.gz", ".json.gz")
_OME = re.compile(r"\.ome$", re.IGNORECASE)
_ADDED = re.compile(r"^CellCounter_|[_-]RoiSet$")  # by Fiji, and by its users

log = logging.getLogger("micronet_jax")


def pair_files(root: pathlib.Path) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
  """Finds every image of a folder and its annotation file.

  A file belongs to the image of the same name. Names are the same in any form of
  Unicode, and without the `.ome` of `a.ome.tif` or what Fiji adds (`CellCounter_a.xml`,
  `a_RoiSet.zip`). A COCO file of another name is for all images that it names.

  Args:
    root: the folder.

  Returns:
    Image and annotation by name; the image's, without `.ome` if the annotation's has
    none.

  Raises:
    InputError: no images, an image without annotation or the reverse, or two files
      for one name.
  """
  folder = root / "images"
  images: dict[str, pathlib.Path] = {}
  for path in _visible(folder):
    if path.suffix.lower() in IMAGE_ENDINGS:
      _add(images, same_name(path.stem), path)
  if not images:
    raise InputError(
      f"{folder} holds no images; their endings must be {', '.join(IMAGE_ENDINGS)}."
    )
  found = _owned(root, images)
  for name in sorted(images.keys() - found.keys()):
    path = images.pop(name)
    with or_left_out():
      raise InputError(
        f"{path} has no annotation file; {root / 'points' / name}.csv (or another"
        " format) is needed, which may hold the header x,y alone."
      )
  pairs = {}
  for name, path in images.items():
    short, told = _OME.sub("", name), _names(found[name])
    own = short if told[0] != name and short in told and short not in images else name
    pairs[own] = (path, found[name])
  return pairs


def _owned(
  root: pathlib.Path, images: dict[str, pathlib.Path]
) -> dict[str, pathlib.Path]:
  """The annotation file of each image that has one, by the image's name."""
  owners = {_OME.sub("", name): name for name in sorted(images)} | {
    n: n for n in images
  }
  files = [path for name in ANNOTATION_FOLDERS for path in _visible(root / name)]
  files = [path for path in files if annotation_ending(path) in ANNOTATION_ENDINGS]
  found: dict[str, pathlib.Path] = {}
  others: dict[str, pathlib.Path] = {}
  shared: list[pathlib.Path] = []
  passed_over = 0
  for path in files:
    owner = next((owners[name] for name in _names(path) if name in owners), None)
    common = annotation_ending(path) in _COMMON_ENDINGS
    if owner is not None:
      _add(others if common else found, owner, path)
    elif annotation_ending(path) == ".json" and documents.is_shared(path):
      shared.append(path)
    elif common:
      passed_over += 1
    else:
      with or_left_out():
        raise InputError(
          f"{path} belongs to no image; {root / 'images'} must hold one named"
          f" {_names(path)[0]} with one of the endings {', '.join(IMAGE_ENDINGS)}."
        )
  passed_over += len(found.keys() & others.keys())
  if passed_over:
    log.warning(
      "%s: %d files (%s) are passed over, since they belong to no image or one that has"
      " another annotation",
      root,
      passed_over,
      ", ".join(_COMMON_ENDINGS),
    )
  found = others | found
  for path in shared:
    for name in documents.shared_names(path):
      if name in owners and owners[name] not in found:
        found[owners[name]] = path
  return found


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
  if not folder.is_dir():
    return []
  return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _names(path: pathlib.Path) -> list[str]:
  """The names of images that an annotation file may belong to, the likeliest first."""
  stem = same_name(path.name[: -len(annotation_ending(path))])
  plain = _ADDED.sub("", stem)
  return list(dict.fromkeys([stem, _OME.sub("", stem), plain, _OME.sub("", plain)]))


def _add(found: dict[str, pathlib.Path], name: str, path: pathlib.Path) -> None:
  with or_left_out():
    if name in found:
      raise InputError(
        f"{found[name]} and {path} belong to the same image {name}; one of them must"
        " go."
      )
    found[name] = path
