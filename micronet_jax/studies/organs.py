"""The organs of a study: where their images are, and what they are known by.

Called by `studies.setting`, which finds them, and `studies.execution`, which reads them.
"""

import functools
import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from micronet_jax.datasets import load_samples
from micronet_jax.datasets.sample import Sample, to_working_resolution
from micronet_jax.errors import InputError
from micronet_jax.files import digest

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
    digest: of the images' and points' contents, or the generator's version.
    images: at most so many, patients taking turns; 0 for all.
    side: that larger images are cut to, pixels at working resolution; 0 for none.
    root: the folder; "" for synthetic tissue.
    data_dir: where prepared data is kept; "" for TFDS's own place.
  """

  name: str
  kind: str
  digest: str
  images: int
  side: int
  root: str = ""
  data_dir: str = ""

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
  """Finds the organs that a study is about.

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
  found = _places(data, root or os.environ.get("MICRONET_DATA", ""), data_dir)
  names = split_names(only)
  unknown = sorted(set(names) - set(found))
  if unknown:
    raise InputError(
      f"config.organs names {unknown[0]!r}; the data has {', '.join(found)}"
    )
  wanted = [name for name in found if not names or name in names][: count or None]
  if data == "synthetic":
    from micronet_jax.datasets.synthetic_he.presets import GENERATOR_VERSION

    version = str(GENERATOR_VERSION)
    numbers = images or SYNTHETIC_IMAGES, side or SYNTHETIC_SIDE
    return [
      Organ(name, "synthetic_he", version, *numbers, data_dir=data_dir)
      for name in wanted
    ]
  samples = {name: _samples_of(name, found[name], data_dir) for name in wanted}
  missing = [name for name in wanted if not samples[name]]
  if missing:
    raise InputError(
      f"{found[missing[0]]} has no organ {missing[0]!r} in its index.csv"
    )
  few = [n for n in wanted if len({s.patient for s in samples[n]}) < LEAST_PATIENTS]
  if few:
    enough = ",".join(name for name in wanted if name not in few)
    raise InputError(
      f"organ(s) {', '.join(few)}: an organ needs images of at least {LEAST_PATIENTS} "
      "patients, to train, to validate and to test; leave these out with "
      f"--config.organs={enough}"
    )
  return [
    Organ(name, "folder", _digest_of(samples[name]), images, side, place, data_dir)
    for name, place in found.items()
    if name in samples
  ]


def split_names(text: str) -> list[str]:
  """The names in an option that takes several, separated by commas."""
  return [name.strip() for name in text.split(",") if name.strip()]


def _places(data: str, root: str, data_dir: str) -> dict[str, str]:
  """The folder of each organ, "" of synthetic ones; sorted by organ."""
  if data == "synthetic":
    from micronet_jax.datasets.synthetic_he.presets import ORGANS

    return dict.fromkeys(ORGANS, "")
  if data == "real" and not root:
    raise InputError(
      "config.data is 'real', but nothing says where it lies: set config.data_root or "
      "the environment variable MICRONET_DATA to the folder of monuseg, gbm40, mbm "
      "and crchisto"
    )
  if data == "real":
    places = {organ: str(pathlib.Path(root) / name) for organ, name in REAL.items()}
  else:
    places = {"": data}
  for place in places.values():
    if not pathlib.Path(place).expanduser().is_dir():
      raise InputError(f"there is no folder {place}; config.data names the data")
  if data != "real":
    organs = {sample.organ for sample in _all_samples(data, data_dir)}
    return dict.fromkeys(sorted(organs), data)
  return places


def _samples_of(organ: str, root: str, data_dir: str) -> list[Sample]:
  return [sample for sample in _all_samples(root, data_dir) if sample.organ == organ]


@functools.lru_cache(maxsize=4)
def _all_samples(root: str, data_dir: str) -> tuple[Sample, ...]:
  """Every image of a folder, as it is; kept in memory."""
  place = str(pathlib.Path(root).expanduser())
  return tuple(load_samples("folder", root=place, data_dir=data_dir or None))


def _digest_of(samples: Sequence[Sample]) -> str:
  """Of the contents and of what splits them, not of where the files are."""
  fields = ("name", "patient", "pixels_digest", "points_digest")
  ordered = sorted(samples, key=lambda sample: sample.name)
  return digest([[getattr(s, field) for field in fields] for s in ordered], digits=16)


@functools.lru_cache(maxsize=64)
def load_organ(organ: Organ) -> tuple[Sample, ...]:
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
  samples = _samples_of(organ.name, organ.root, organ.data_dir)
  chosen = take_turns(samples, organ.images or len(samples))
  return tuple(cut_middle(to_working_resolution(s), organ.side) for s in chosen)


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
  y, x = max(height - side, 0) // 2, max(width - side, 0) // 2
  image = np.ascontiguousarray(sample.image[y : y + side, x : x + side])
  centers = sample.centers - np.array([y, x]).astype(sample.centers.dtype)
  inside = ((centers >= -0.5) & (centers < np.array(image.shape[:2]) - 0.5)).all(1)
  return sample.changed(image, centers[inside], mpp=sample.mpp)
