"""The organs of a study: where their images are, and what they are known by."""

import dataclasses
import functools
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from micronet_jax.datasets import load_samples
from micronet_jax.datasets.sample import Sample, to_working_resolution
from micronet_jax.errors import InputError

REAL = {
  "bonemarrow": "mbm",
  "brain": "gbm40",
  "breast": "monuseg",
  "colon": "crchisto",
  "kidney": "monuseg",
  "liver": "monuseg",
  "prostate": "monuseg",
}
"""The public organs with enough patients to split, and the folders they lie in."""

SYNTHETIC_IMAGES, SYNTHETIC_SIDE = 50, 500
LEAST_PATIENTS = 3


class Organ(NamedTuple):
  """One organ's images.

  Attributes:
    name: of the organ.
    kind: "synthetic_he" or "folder".
    digest: of the files' contents, or of the generator; not of where they are.
    images: at most so many, patients taking turns; 0 for all.
    side: that larger images are cut to, pixels at working resolution; 0 for none.
    root: the folder; "" for synthetic tissue.
    data_dir: where prepared data is kept; "" for TFDS's own place.
    patients: whom the images are of; 0 where they are not counted.
  """

  name: str
  kind: str
  digest: str
  images: int
  side: int
  root: str = ""
  data_dir: str = ""
  patients: int = 0

  @property
  def label(self) -> str:
    """The name as people write it."""
    return self.name.replace("_", " ").replace("bonemarrow", "bone marrow")

  def identity(self) -> dict[str, Any]:
    """What determines the images."""
    fields = ("name", "kind", "digest", "images", "side")
    return {field: getattr(self, field) for field in fields}


def find_organs(
  data: str,
  *,
  root: str = "",
  only: str = "",
  count: int = 0,
  images: int = 0,
  side: int = 0,
  data_dir: str = "",
) -> list[Organ]:
  """Finds the organs that a study is about; their images are not read yet.

  Args:
    data: "synthetic", "real", or the root of a `folder` data set.
    root: for "real", where its data sets lie; "" for MICRONET_DATA.
    only: these organs, separated by commas; "" for all.
    count: the first so many by name; 0 for all.
    images: see `Organ`, as the next two.
    side: of larger images after cutting.
    data_dir: where prepared data is kept.

  Raises:
    InputError: there is no such data, no such organ, or one of too few patients.
  """
  if data == "synthetic":
    found = _synthetic(images or SYNTHETIC_IMAGES, side or SYNTHETIC_SIDE)
  elif data == "real":
    found = _real(root or os.environ.get("MICRONET_DATA", ""), images, side)
  else:
    found = _folder(data, None, images, side)
  names = split_names(only)
  unknown = sorted(set(names) - {organ.name for organ in found})
  if unknown:
    raise InputError(
      f"config.organs names {unknown[0]!r}; the data has "
      f"{', '.join(organ.name for organ in found)}"
    )
  found = [o for o in found if not names or o.name in names][: count or None]
  few = [o.name for o in found if 0 < o.patients < LEAST_PATIENTS]
  if few:
    enough = ",".join(o.name for o in found if o.name not in few)
    raise InputError(
      f"organ(s) {', '.join(few)}: an organ needs images of at least {LEAST_PATIENTS} "
      "patients, to train, to validate and to test; leave these out with "
      f"--config.organs={enough}"
    )
  return [organ._replace(data_dir=data_dir) for organ in found]


def split_names(text: str) -> list[str]:
  """The names in an option that takes several, separated by commas."""
  return [name.strip() for name in text.split(",") if name.strip()]


def _synthetic(images: int, side: int) -> list[Organ]:
  from micronet_jax.datasets.synthetic_he.presets import GENERATOR_VERSION, ORGANS

  return [
    Organ(organ, "synthetic_he", str(GENERATOR_VERSION), images, side)
    for organ in ORGANS
  ]


def _real(root: str, images: int, side: int) -> list[Organ]:
  if not root:
    raise InputError(
      "config.data is 'real', but nothing says where it lies: set config.data_root or "
      "the environment variable MICRONET_DATA to the folder of monuseg, gbm40, mbm "
      "and crchisto"
    )
  by_set: dict[str, list[str]] = {}
  for organ, name in REAL.items():
    by_set.setdefault(name, []).append(organ)
  organs = [
    organ
    for name, wanted in by_set.items()
    for organ in _folder(str(pathlib.Path(root) / name), wanted, images, side)
  ]
  return sorted(organs)


def _folder(
  root: str, wanted: Sequence[str] | None, images: int, side: int
) -> list[Organ]:
  from micronet_jax.datasets.folder.folder_dataset_builder import Builder

  folder = pathlib.Path(root).expanduser()
  if not folder.is_dir():
    raise InputError(f"there is no folder {folder}; config.data names the data")
  files: dict[str, list] = {}
  for entry in sorted(Builder.find(folder), key=lambda entry: entry.name):
    if wanted is None or entry.organ in wanted:
      files.setdefault(entry.organ, []).append(entry)
  missing = sorted(set(wanted or ()) - set(files))
  if missing:
    raise InputError(f"{folder} has no organ {missing[0]!r} in its index.csv")
  return [
    Organ(
      *(organ, "folder", _digest(entries), images, side),
      root=str(folder),
      patients=len({entry.patient for entry in entries}),
    )
    for organ, entries in sorted(files.items())
  ]


def _digest(entries: Iterable[Any]) -> str:
  """16 hexadecimal digits of the entries' fields and of their files' bytes."""
  digest = hashlib.sha256()
  for entry in entries:
    fields = entry.name, entry.organ, entry.patient, entry.mpp
    digest.update(repr(fields).encode())
    for path in (entry.image, *entry.annotations):
      digest.update(path.suffix.lower().encode() + path.read_bytes())
  return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=64)
def load(organ: Organ) -> tuple[Sample, ...]:
  """The samples of an organ at working resolution, sorted by name; kept in memory."""
  if organ.kind == "synthetic_he":
    return tuple(
      load_samples(
        organ.kind,
        organs=[organ.name],
        data_dir=organ.data_dir or None,
        images=organ.images,
        size=organ.side,
      )
    )
  samples = [s for s in _all_of(organ.root, organ.data_dir) if s.organ == organ.name]
  chosen = take_turns(samples, organ.images or len(samples))
  return tuple(
    cut_middle(to_working_resolution(sample), organ.side) for sample in chosen
  )


@functools.lru_cache(maxsize=4)
def _all_of(root: str, data_dir: str) -> tuple[Sample, ...]:
  return tuple(load_samples("folder", root=root, data_dir=data_dir or None))


def take_turns(samples: Sequence[Sample], count: int) -> list[Sample]:
  """So many samples, the first of each patient, then the second, and so on."""
  patients: dict[str, list[Sample]] = {}
  for sample in sorted(samples, key=lambda sample: sample.name):
    patients.setdefault(sample.patient, []).append(sample)
  turns = itertools.zip_longest(*(patients[name] for name in sorted(patients)))
  order = [sample for turn in turns for sample in turn if sample is not None]
  return sorted(order[:count], key=lambda sample: sample.name)


def cut_middle(sample: Sample, side: int) -> Sample:
  """Cuts what is larger to the `side` pixels around its middle; 0 leaves it alone."""
  height, width = sample.image.shape[:2]
  if not side or max(height, width) <= side:
    return sample
  corner = np.array([max(height - side, 0) // 2, max(width - side, 0) // 2])
  y, x = corner.tolist()
  image = sample.image[y : y + side, x : x + side]
  centers = sample.centers - corner.astype(sample.centers.dtype)
  inside = ((centers >= -0.5) & (centers < np.array(image.shape[:2]) - 0.5)).all(1)
  return dataclasses.replace(
    sample, image=np.ascontiguousarray(image), centers=centers[inside]
  )
