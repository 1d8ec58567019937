"""What a data set on disk consists of, and how one image of it becomes samples.

Made by the builders' `find`.
"""

import collections
import dataclasses
import logging
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from micronet_jax.datasets.annotations import read_centers
from micronet_jax.datasets.annotations.regions import (
  read_marked_regions,
  read_regions,
)
from micronet_jax.datasets.sample import Sample, region_name
from micronet_jax.errors import InputError
from micronet_jax.files import digest
from micronet_jax.imaging.canvas import Box, inside
from micronet_jax.imaging.opening import open_image
from micronet_jax.imaging.reader import Reader
from micronet_jax.imaging.slides import SLIDE_ENDINGS

UNKNOWN_ORGAN = "unknown"

MOST_WHOLE = 2**26
"""Pixels (8192²) beyond which no image is annotated as a whole."""

log = logging.getLogger("micronet_jax")


@dataclasses.dataclass(frozen=True)
class Entry:
  """One image, its annotation files, and what is known about it.

  Attributes:
    name: unique within its data set.
    image: the image's file.
    annotations: the files whose centres together are the image's.
    regions: the file that says what of it is annotated completely; None if there is
      none, and the annotations say it, or all of it is.
    organ: see `Sample`.
    patient: see `Sample`; None for the name.
    mpp: microns per pixel, or None for what the image's file says.
    shape: (height, width) that somebody wrote down, or None.
    published: a published set as its makers distribute it, whose centres beyond
      the border are moved to it, and of whose files the resolution is not believed; a
      user's own centres there are an error.
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
  regions: pathlib.Path | None = None


def read_entry(entry: Entry) -> list[Sample]:
  """Reads one image and its centres.

  Of an image with regions, each is a sample of its own, named NAME@x,y,width,height, of
  the same patient; of pixels and centres beyond them nothing is known afterwards.

  Args:
    entry: what to read.

  Returns:
    One sample, or one for each region: none if nothing of the image is annotated.

  Raises:
    InputError: a file cannot be read, the files contradict each other, or a slide has
      no regions.
  """
  with open_image(entry.image) as reader:
    shape = reader.levels[0]
    if entry.shape not in (None, shape):
      raise InputError(
        f"{entry.image} is {shape[1]} x {shape[0]} pixels, but index.csv gives it width"
        f" {entry.shape[1]} and height {entry.shape[0]}."
      )
    centers = _read_all_centers(entry, shape)
    regions = _find_regions(entry, shape)
    if regions is None:
      _check_annotated_whole(entry, shape)
      return [_sample(entry, reader, centers, entry.name, (0, 0, *shape[::-1]))]
    samples = [
      _sample(entry, reader, centers, region_name(entry.name, *region), region)
      for region in regions.tolist()
    ]
  beyond = len(centers) - sum(len(sample.centers) for sample in samples)
  if beyond and samples:
    log.warning(
      "%s: %d of %d centres lie beyond its %d region(s) and are left out",
      *(entry.image, beyond, len(centers), len(samples)),
    )
  return samples


def _read_all_centers(entry: Entry, shape: tuple[int, int]) -> np.ndarray:
  """The centres of all annotation files together, float32 `[N, 2]`."""
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
  return np.concatenate(centers) if centers else np.zeros((0, 2), np.float32)


def _find_regions(entry: Entry, shape: tuple[int, int]) -> np.ndarray | None:
  """What is annotated completely, by its own file or else by the annotations."""
  if entry.published:
    return None
  if entry.regions is not None:
    regions = read_regions(entry.regions, shape=shape, image=entry.image)
    if len(regions) and not entry.annotations:
      raise InputError(
        f"{entry.image} has regions in {entry.regions}, but no file of points, which is"
        " needed and may hold the header x,y alone."
      )
    return regions
  for path in entry.annotations:
    marked = read_marked_regions(path, shape=shape, image=entry.image)
    if marked is not None:
      return marked
  return None


def _check_annotated_whole(entry: Entry, shape: tuple[int, int]) -> None:
  """Raises InputError for a slide: nobody annotates all of one."""
  height, width = shape
  if entry.image.suffix.lower() in SLIDE_ENDINGS or height * width > MOST_WHOLE:
    raise InputError(
      f"{entry.image} is a slide of {width} x {height} pixels without regions; a file"
      f" regions/{entry.name}.csv with the header x,y,width,height must say which parts"
      " of it are annotated completely."
    )


def _sample(
  entry: Entry,
  reader: Reader,
  centers: np.ndarray,
  name: str,
  region: Sequence[int],
) -> Sample:
  """One part of an image, with the centres on its pixels."""
  x, y, width, height = region
  here = inside(centers, Box(y, x, y + height, x + width))
  return Sample(
    name=name,
    organ=entry.organ,
    patient=entry.patient or entry.name,
    mpp=entry.mpp if entry.published else entry.mpp or reader.mpp,
    image=reader.read(0, y, x, height, width),
    centers=centers[here] - np.array([y, x], np.float32),
  )


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
    root: the folder that the files are in. Elsewhere files of the same names, sizes and
      times may hold something else, so the sum is of this place, links resolved.

  Returns:
    16 hexadecimal digits of the place, every entry's fields, and every file's path
    within root, size and time of change in nanoseconds.

  Raises:
    InputError: a file is not there, as behind a broken link.
  """
  states = [repr(str(root.resolve()))]
  for entry in sorted(entries, key=lambda entry: entry.name):
    files = [entry.image, *entry.annotations]
    files += [entry.regions] if entry.regions else []
    fields = dataclasses.replace(
      entry, image=pathlib.Path(), annotations=(), regions=None
    )
    states.append(repr(fields))
    for path in files:
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
