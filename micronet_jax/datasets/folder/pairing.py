"""Which files of a folder belong to which image, by their names.

Called by the builder of folders and by `annotate.store`.
"""

import logging
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from micronet_jax.datasets.annotations import (
  ANNOTATION_ENDINGS,
  annotation_ending,
  documents,
)
from micronet_jax.datasets.annotations.regions import REGION_ENDINGS
from micronet_jax.datasets.entries import visible_files
from micronet_jax.errors import InputError, collecting_faults, or_left_out
from micronet_jax.files import same_name
from micronet_jax.imaging.decoding import IMAGE_ENDINGS
from micronet_jax.imaging.opening import is_image

ANNOTATION_FOLDERS = ("points", "annotations", "labels", "masks")
REGION_FOLDER = "regions"

_INDEX = "index.csv"
_BESIDE_IMAGES = (*ANNOTATION_FOLDERS, REGION_FOLDER, _INDEX)

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


class Claims(NamedTuple):
  """All files that are of one image, two of a kind too, which is a fault.

  Attributes:
    image: the image.
    annotations: what marks its nuclei.
    regions: what says which parts are annotated completely.
  """

  image: pathlib.Path
  annotations: list[pathlib.Path]
  regions: list[pathlib.Path]

  def single(self) -> Files:
    """The one file of each kind.

    Raises:
      InputError: there are two of a kind.
    """
    for kind in (self.annotations, self.regions):
      with or_left_out():
        if len(kind) > 1:
          raise _belong_together(kind[0], kind[1], same_name(self.image.stem))
    annotation, regions = (next(iter(kind), None) for kind in self[1:])
    return Files(self.image, annotation, regions)


def image_folder(root: pathlib.Path) -> pathlib.Path:
  """Where the images of a folder lie: in `images/`, else directly in it."""
  folder = root / "images"
  return folder if folder.is_dir() else root


def check_layout(root: pathlib.Path) -> None:
  """Refuses, or says, what would be overlooked where it lies.

  Raises:
    InputError: a name that this package gives is written in upper case, which some
      systems tell apart and others do not; or what belongs beside `images/` is in it.
  """
  for path in _named(root, ("images", *_BESIDE_IMAGES)):
    proper = root / path.name.lower()
    with or_left_out():
      if not (proper.exists() and proper.samefile(path)):
        raise InputError(
          f"{path} is not read under this name; it must be {proper.name}, in lower"
          " case, or be called something else."
        )
  folder = image_folder(root)
  if folder == root:
    return
  for path in _named(folder, _BESIDE_IMAGES):
    with or_left_out():
      raise InputError(
        f"{path} is not read there; it belongs beside the folder images, as"
        f" {root / path.name.lower()}."
      )
  below = [path for path in visible_files(folder, "*/*") if is_image(path)]
  if below:
    folders = sorted({path.relative_to(folder).parts[0] for path in below})
    shown = ", ".join(folders[:3]) + (" and others" if len(folders) > 3 else "")
    log.warning(
      "%s: %d images in folders of it (%s) are left out, as only those directly in it"
      " are read",
      *(folder, len(below), shown),
    )
  beside = sum(map(is_image, root.iterdir()))
  if beside:
    log.warning(
      "%s: %d images beside the folder images are left out, as only those in it are"
      " read",
      *(root, beside),
    )


def _named(folder: pathlib.Path, names: Sequence[str]) -> list[pathlib.Path]:
  """What is in a folder under one of these names, upper or lower case."""
  return [
    path
    for path in _visible(folder)
    if path.name.lower() in names and path.is_dir() == (path.name.lower() != _INDEX)
  ]


def find_claims(root: pathlib.Path) -> dict[str, Claims]:
  """Finds what `pair_files` finds, faults and all, in a folder that is being filled.

  Args:
    root: the folder.

  Returns:
    For each image, by its name, the files that are of it; of others nothing is said.
  """
  with collecting_faults():
    return _find_claims(root)[0]


def pair_files(root: pathlib.Path) -> dict[str, Files]:
  """Finds every image of a folder and its annotation file.

  A file belongs to the image of the same name. Names are the same in any form of
  Unicode, and without the `.ome` of `a.ome.tif` or what Fiji adds (`CellCounter_a.xml`,
  `a_RoiSet.zip`). A COCO file of another name is for all images that it names, which
  then have no other.

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
  claims, passed_over = _find_claims(root)
  if not claims:
    raise InputError(
      f"{folder} holds no images; their endings must be {', '.join(IMAGE_ENDINGS)}, or"
      " those of slides."
    )
  if passed_over:
    log.warning(
      "%s: %d files (%s) are passed over, since they belong to no image or one that has"
      " another annotation",
      *(root, passed_over, ", ".join(_COMMON_ENDINGS)),
    )
  pairs = {name: each.single() for name, each in claims.items()}
  bare = [name for name, files in pairs.items() if not any(files[1:])]
  regions = any(files.regions for files in pairs.values())
  annotating = (len(bare) < len(pairs)) and (folder == root or regions)
  if bare and annotating:
    log.warning(
      "%s: %d of %d images are left out, as they have neither annotation nor regions",
      *(root, len(bare), len(pairs)),
    )
  for name in bare:
    path = pairs.pop(name).image
    with or_left_out():
      if not annotating:
        raise InputError(
          f"{path} has no annotation file; {root / 'points' / name}.csv (or another"
          " format) is needed, which may hold the header x,y alone."
        )
  return pairs


def _find_claims(root: pathlib.Path) -> tuple[dict[str, Claims], int]:
  """As `find_claims`; and how many files with common endings are passed over."""
  images: dict[str, pathlib.Path] = {}
  for path in _visible(image_folder(root)):
    if is_image(path):
      name = same_name(path.stem)
      with or_left_out():
        if name in images:
          raise _belong_together(images[name], path, name)
        images[name] = path
  found, passed_over = _owned(root, images) if images else ({}, 0)
  regions = _owned_regions(root, images) if images else {}
  claims = {}
  for name in sorted(images):
    annotations = found.get(name, [])
    own = name
    if annotations:
      short, told = plain_name(name), _names(annotations[0])
      if told[0] != name and short in told and short not in images:
        own = short
    claims[own] = Claims(images[name], annotations, regions.get(name, []))
  return claims, passed_over


def plain_name(name: str) -> str:
  """A name without the `.ome` of `a.ome.tif`."""
  return _OME.sub("", name)


def _owners(images: Iterable[str]) -> dict[str, str]:
  """The image that each name is for, its own or without `.ome`."""
  return {plain_name(name): name for name in sorted(images)} | {n: n for n in images}


def _owned_regions(
  root: pathlib.Path, images: dict[str, pathlib.Path]
) -> dict[str, list[pathlib.Path]]:
  """The files of regions of each image that has one, by the image's name."""
  owners = _owners(images)
  found: dict[str, list[pathlib.Path]] = {}
  for path in visible_files(root / REGION_FOLDER, "*"):
    ending = annotation_ending(path)
    owner = next((owners[name] for name in _names(path) if name in owners), None)
    readable = ending in REGION_ENDINGS and path.parent == root / REGION_FOLDER
    with or_left_out():
      if not readable and ending in ANNOTATION_ENDINGS and owner is not None:
        raise InputError(
          f"{path} is not read, though it has the name of an image; regions are read"
          f" from {root / REGION_FOLDER / owner} with one of the endings"
          f" {', '.join(REGION_ENDINGS)}."
        )
      if not readable:
        continue
      if owner is None:
        raise _without_image(path, root)
      found.setdefault(owner, []).append(path)
  return found


def _without_image(path: pathlib.Path, root: pathlib.Path) -> InputError:
  return InputError(
    f"{path} belongs to no image; {image_folder(root)} must hold one named"
    f" {_names(path)[0]} with one of the endings {', '.join(IMAGE_ENDINGS)}, or of a"
    " slide."
  )


def _owned(
  root: pathlib.Path, images: dict[str, pathlib.Path]
) -> tuple[dict[str, list[pathlib.Path]], int]:
  """The annotation files of each image that has one, by the image's name.

  Also how many files are passed over.
  """
  owners = _owners(images)
  files = [path for name in ANNOTATION_FOLDERS for path in _visible(root / name)]
  files = [path for path in files if annotation_ending(path) in ANNOTATION_ENDINGS]
  found: dict[str, list[pathlib.Path]] = {}
  others: dict[str, list[pathlib.Path]] = {}
  passed_over = 0
  for path in files:
    owner = next((owners[name] for name in _names(path) if name in owners), None)
    common = annotation_ending(path) in _COMMON_ENDINGS
    with or_left_out():
      if owner is not None:
        (others if common else found).setdefault(owner, []).append(path)
      elif annotation_ending(path) == ".json" and documents.is_shared(path):
        for about in {owners.get(name) for name in documents.shared_names(path)}:
          if about is not None:
            found.setdefault(about, []).append(path)
      elif common:
        passed_over += 1
      else:
        raise _without_image(path, root)
  passed_over += sum(len(others[name]) for name in found.keys() & others.keys())
  return others | found, passed_over


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
  if not folder.is_dir():
    return []
  return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _names(path: pathlib.Path) -> list[str]:
  """The names of images that an annotation file may belong to, the likeliest first."""
  stem = same_name(path.name[: -len(annotation_ending(path))])
  plain = _ADDED.sub("", stem)
  return list(dict.fromkeys([stem, plain_name(stem), plain, plain_name(plain)]))


def _belong_together(one: pathlib.Path, other: pathlib.Path, name: str) -> InputError:
  return InputError(
    f"{one} and {other} belong to the same image {name}; one of them must go."
  )
