"""Which files of a folder belong to which image, by their names.

Called by the builder of folders.
"""

import logging
import pathlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from micronet_jax.datasets.annotations import (
  ANNOTATION_ENDINGS,
  annotation_ending,
  documents,
)
from micronet_jax.datasets.annotations.regions import REGION_ENDINGS
from micronet_jax.datasets.entries import same_name
from micronet_jax.errors import InputError, or_left_out
from micronet_jax.imaging.decoding import IMAGE_ENDINGS
from micronet_jax.imaging.opening import is_image

ANNOTATION_FOLDERS = ("points", "annotations", "labels", "masks")
REGION_FOLDER = "regions"

# Other things have these endings too: they count where an image has nothing else.
_COMMON_ENDINGS = (".txt", ".tsv", ".zip", ".roi", ".geojson.gz", ".json.gz")
_OME = re.compile(r"\.ome$", re.IGNORECASE)
_ADDED = re.compile(r"^CellCounter_|[_-]RoiSet$")  # by Fiji, and by its users

log = logging.getLogger("micronet_jax")


class Files(NamedTuple):
  """The files of one image.

  Attributes:
    image: the image.
    annotation: what marks its nuclei; None if there is none.
    regions: what says which parts are annotated completely; None if there is none.
  """

  image: pathlib.Path
  annotation: pathlib.Path | None
  regions: pathlib.Path | None


def image_folder(root: pathlib.Path) -> pathlib.Path:
  """Where the images of a folder lie: in `images/`, else directly in it."""
  folder = root / "images"
  return folder if folder.is_dir() else root


def pair_files(root: pathlib.Path) -> dict[str, Files]:
  """Finds every image of a folder and its annotation file.

  A file belongs to the image of the same name. Names are the same in any form of
  Unicode, and without the `.ome` of `a.ome.tif` or what Fiji adds (`CellCounter_a.xml`,
  `a_RoiSet.zip`). A COCO file of another name is for all images that it names.

  Where images lie directly in the folder, or files of regions are there, people are
  annotating: images that have neither annotation nor regions are left out, and counted.

  Args:
    root: the folder.

  Returns:
    The files of each image by its name; without `.ome` if the annotation's has none.

  Raises:
    InputError: no images, a file of annotations or regions without image, two files for
      one name; or an image without annotation, if all are annotated or none is.
  """
  folder = image_folder(root)
  images: dict[str, pathlib.Path] = {}
  for path in _visible(folder):
    if is_image(path):
      _add(images, same_name(path.stem), path)
  if not images:
    raise InputError(
      f"{folder} holds no images; their endings must be {', '.join(IMAGE_ENDINGS)}, or"
      " those of slides."
    )
  found, regions = _owned(root, images), _owned_regions(root, images)
  bare = sorted(images.keys() - found.keys() - regions.keys())
  annotating = (found or regions) and (folder == root or regions)
  if bare and annotating:
    log.warning(
      "%s: %d of %d images are left out, as they have neither annotation nor regions",
      *(root, len(bare), len(images)),
    )
  for name in bare:
    path = images.pop(name)
    with or_left_out():
      if not annotating:
        raise InputError(
          f"{path} has no annotation file; {root / 'points' / name}.csv (or another"
          " format) is needed, which may hold the header x,y alone."
        )
  pairs = {}
  for name in sorted(found.keys() | regions.keys()):
    annotation = found.get(name)
    own = name
    if annotation is not None:
      short, told = _OME.sub("", name), names_of_images(annotation)
      if told[0] != name and short in told and short not in images:
        own = short
    pairs[own] = Files(images[name], annotation, regions.get(name))
  return pairs


def _owners(images: Iterable[str]) -> dict[str, str]:
  """The image that each name is for, its own or without `.ome`."""
  return {_OME.sub("", name): name for name in sorted(images)} | {n: n for n in images}


def _owned_regions(
  root: pathlib.Path, images: dict[str, pathlib.Path]
) -> dict[str, pathlib.Path]:
  """The file of regions of each image that has one, by the image's name."""
  owners = _owners(images)
  found: dict[str, pathlib.Path] = {}
  for path in _visible(root / REGION_FOLDER):
    if annotation_ending(path) not in REGION_ENDINGS:
      continue
    owner = next(
      (owners[name] for name in names_of_images(path) if name in owners), None
    )
    with or_left_out():
      if owner is None:
        raise _without_image(path, root)
      _add(found, owner, path)
  return found


def _without_image(path: pathlib.Path, root: pathlib.Path) -> InputError:
  return InputError(
    f"{path} belongs to no image; {image_folder(root)} must hold one named"
    f" {names_of_images(path)[0]} with one of the endings {', '.join(IMAGE_ENDINGS)},"
    " or of a slide."
  )


def _owned(
  root: pathlib.Path, images: dict[str, pathlib.Path]
) -> dict[str, pathlib.Path]:
  """The annotation file of each image that has one, by the image's name."""
  owners = _owners(images)
  files = [path for name in ANNOTATION_FOLDERS for path in _visible(root / name)]
  files = [path for path in files if annotation_ending(path) in ANNOTATION_ENDINGS]
  found: dict[str, pathlib.Path] = {}
  others: dict[str, pathlib.Path] = {}
  shared: list[pathlib.Path] = []
  passed_over = 0
  for path in files:
    owner = next(
      (owners[name] for name in names_of_images(path) if name in owners), None
    )
    common = annotation_ending(path) in _COMMON_ENDINGS
    if owner is not None:
      _add(others if common else found, owner, path)
    elif annotation_ending(path) == ".json" and documents.is_shared(path):
      shared.append(path)
    elif common:
      passed_over += 1
    else:
      with or_left_out():
        raise _without_image(path, root)
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


def names_of_images(path: pathlib.Path) -> list[str]:
  """The names of images that an annotation file may belong to, the likeliest first.

  Args:
    path: of an annotation, or of regions, by its ending.
  """
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
