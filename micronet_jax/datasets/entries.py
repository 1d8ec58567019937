"""What a data set on disk consists of, before anything of it is read.

Made by the builders' `find`.
"""

import collections
import dataclasses
import pathlib
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from micronet_jax.datasets.annotations import read_centers
from micronet_jax.datasets.sample import Sample
from micronet_jax.errors import InputError
from micronet_jax.files import digest
from micronet_jax.imaging.decoding import read_image

UNKNOWN_ORGAN = "unknown"


@dataclasses.dataclass(frozen=True)
class Entry:
  """One image, its annotation files, and what is known about it.

  Attributes:
    name: unique within its data set.
    image: the image's file.
    annotations: the files whose centres together are the image's.
    organ: see `Sample`.
    patient: see `Sample`; None for the name.
    mpp: microns per pixel, or None if not known.
    shape: (height, width) that somebody wrote down, or None.
    published: a published set as its makers distribute it, whose centres beyond
      the border are moved to it; a user's own are an error.
    file_per_nucleus: every annotation file is the mask of one nucleus.
  """

  name: str
  image: pathlib.Path
  annotations: tuple[pathlib.Path, ...]
  organ: str = UNKNOWN_ORGAN
  patient: str | None = None
  mpp: float | None = None
  shape: tuple[int, int] | None = None
  published: bool = False
  file_per_nucleus: bool = False


def read_entry(entry: Entry) -> Sample:
  """Reads one image and its centres.

  Args:
    entry: what to read.

  Returns:
    The sample.

  Raises:
    InputError: a file cannot be read, or the files contradict each other.
  """
  image = read_image(entry.image)
  shape = (image.shape[0], image.shape[1])
  if entry.shape not in (None, shape):
    raise InputError(
      f"{entry.image} is {shape[1]} x {shape[0]} pixels, but index.csv gives it width"
      f" {entry.shape[1]} and height {entry.shape[0]}."
    )
  centers = [
    read_centers(
      path,
      shape=shape,
      clip=entry.published,
      single=entry.file_per_nucleus,
      mpp=entry.mpp,
      image=entry.image,
      name=entry.name,
    )
    for path in entry.annotations
  ]
  return Sample(
    name=entry.name,
    organ=entry.organ,
    patient=entry.patient or entry.name,
    mpp=entry.mpp,
    image=image,
    centers=np.concatenate(centers) if centers else np.zeros((0, 2), np.float32),
  )


def same_name(name: str) -> str:
  """A name in the one form of Unicode: é may be one letter, or e and an accent.

  Systems and programs write one or the other, and people see no difference.
  """
  return unicodedata.normalize("NFC", name)


def check_unique(entries: Sequence[Entry]) -> None:
  """Raises an InputError if two images would have the same name."""
  counts = collections.Counter(entry.name for entry in entries)
  for name in sorted(name for name, count in counts.items() if count > 1):
    first, second = [entry.image for entry in entries if entry.name == name][:2]
    raise InputError(
      f"{first} and {second} are both named {name}; one of them must go."
    )


def fingerprint(entries: Iterable[Entry], root: pathlib.Path) -> str:
  """Sums up a data set on disk, so that a prepared copy of it is known to be stale.

  Args:
    entries: the data set.
    root: the folder that the files are in; the sum does not depend on where it is.

  Returns:
    16 hexadecimal digits of every entry's fields, and every file's path within
    root, size and time of change in nanoseconds.

  Raises:
    InputError: a file is not there, as behind a broken link.
  """
  states = []
  for entry in sorted(entries, key=lambda entry: entry.name):
    fields = dataclasses.replace(entry, image=pathlib.Path(), annotations=())
    states.append(repr(fields))
    for path in (entry.image, *entry.annotations):
      try:
        status = path.stat()
      except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
      place = path.relative_to(root).as_posix()
      states.append(repr((place, status.st_size, status.st_mtime_ns)))
  return digest("".join(states).encode(), digits=16)


def visible_files(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
  """Finds what is not hidden, at any depth, sorted.

  Args:
    folder: where to look.
    pattern: as in `glob`, case sensitive.

  Returns:
    Paths without parts that start with a dot and without `__MACOSX`, which hold
    what archives carry along.
  """
  return sorted(
    path
    for path in folder.rglob(pattern)
    if not any(
      part.startswith(".") or part == "__MACOSX"
      for part in path.relative_to(folder).parts
    )
  )
