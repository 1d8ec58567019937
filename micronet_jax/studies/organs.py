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
from micronet_jax.studies.schema import Budget, StudyConfig

REAL = {
  **{"bonemarrow": "mbm", "brain": "gbm40", "breast": "monuseg", "colon": "crchisto"},
  **dict.fromkeys(("kidney", "liver", "prostate"), "monuseg"),
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


def find_organs(config: StudyConfig, numbers: Budget) -> list[Organ]:
  """Finds the organs that a study is about, as its data, organs and budget say.

  Raises:
    InputError: there is no such data, no such organ, or one of too few patients.
  """
  places, names = _find_places(config), split_names(config.organs)
  unknown = sorted(set(names) - set(places))
  if unknown:
    raise InputError(
      f"config.organs names {unknown[0]!r}; the data has {', '.join(places)}"
    )
  wanted = [name for name in places if not names or name in names]
  wanted, images, side = wanted[: numbers.organs or None], numbers.images, numbers.side
  if config.data == "synthetic":
    from micronet_jax.datasets.synthetic_he.presets import GENERATOR_VERSION

    known = "synthetic_he", str(GENERATOR_VERSION)
    size = images or SYNTHETIC_IMAGES, side or SYNTHETIC_SIDE
    return [Organ(name, *known, *size, data_dir=config.data_dir) for name in wanted]
  found, few = [], []
  for name in wanted:
    samples = _samples_of(name, places[name], config.data_dir)
    if not samples:
      raise InputError(f"{places[name]} has no organ {name!r} in its index.csv")
    if len({sample.patient for sample in samples}) < LEAST_PATIENTS:
      few.append(name)
    fields = ("name", "patient", "pixels_digest", "points_digest")
    contents = [[getattr(sample, field) for field in fields] for sample in samples]
    known = "folder", digest(sorted(contents), digits=16)
    found.append(Organ(name, *known, images, side, places[name], config.data_dir))
  if few:
    enough = ",".join(name for name in wanted if name not in few)
    raise InputError(
      f"organ(s) {', '.join(few)}: an organ needs images of at least {LEAST_PATIENTS} "
      "patients, to train, to validate and to test; leave these out with "
      f"--config.organs={enough}"
    )
  return found


def split_names(text: str) -> list[str]:
  """The names in an option that takes several, separated by commas."""
  return [name.strip() for name in text.split(",") if name.strip()]


def _find_places(config: StudyConfig) -> dict[str, str]:
  """The folder of each organ, "" of synthetic ones; sorted by organ."""
  root = config.data_root or os.environ.get("MICRONET_DATA", "")
  if config.data == "synthetic":
    from micronet_jax.datasets.synthetic_he.presets import ORGANS

    return dict.fromkeys(ORGANS, "")
  if config.data == "real" and not root:
    raise InputError(
      "config.data is 'real', but nothing says where it lies: set config.data_root or "
      "the environment variable MICRONET_DATA to the folder of monuseg, gbm40, mbm "
      "and crchisto"
    )
  if config.data == "real":
    places = {organ: str(pathlib.Path(root) / name) for organ, name in REAL.items()}
  else:
    places = {"": str(pathlib.Path(config.data).expanduser())}
  for place in places.values():
    if not pathlib.Path(place).is_dir():
      raise InputError(f"there is no folder {place}; config.data names the data")
  if config.data == "real":
    return places
  samples = _all_samples(places[""], config.data_dir)
  return dict.fromkeys(sorted({sample.organ for sample in samples}), places[""])


@functools.lru_cache(maxsize=4)
def _all_samples(root: str, data_dir: str) -> tuple[Sample, ...]:
  """Every image of a folder, as it is; kept in memory."""
  return tuple(load_samples("folder", root=root, data_dir=data_dir or None))


def _samples_of(organ: str, root: str, data_dir: str) -> list[Sample]:
  return [sample for sample in _all_samples(root, data_dir) if sample.organ == organ]


def load_data_set(organ: Organ) -> tuple[Sample, ...]:
  """All images of the data set that an organ is of; patients may have several organs."""
  if organ.kind == "synthetic_he":
    return load_organ(organ)
  return _all_samples(organ.root, organ.data_dir)


@functools.lru_cache(maxsize=64)
def load_organ(organ: Organ) -> tuple[Sample, ...]:
  """The samples of an organ at working resolution, sorted by name; kept in memory."""
  if organ.kind == "synthetic_he":
    wanted: dict[str, Any] = {
      "organs": [organ.name],
      "data_dir": organ.data_dir or None,
    }
    return tuple(
      load_samples(organ.kind, images=organ.images, size=organ.side, **wanted)
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
  centers = sample.centers - np.array([y, x], sample.centers.dtype)
  inside = ((centers >= -0.5) & (centers < np.array(image.shape[:2]) - 0.5)).all(1)
  return sample.changed(image, centers[inside], mpp=sample.mpp)
