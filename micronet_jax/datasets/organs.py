"""The organs of a data set, each known by its contents, and where public ones lie.

Called by `studies.setting`, which finds them, and `studies.execution`, which reads.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from micronet_jax.datasets import load_samples
from micronet_jax.datasets.sample import Sample, cut_middle
from micronet_jax.datasets.splits import take_turns
from micronet_jax.errors import InputError
from micronet_jax.files import digest

REAL = {
  **{"bonemarrow": "mbm", "brain": "gbm40", "breast": "monuseg", "colon": "crchisto"},
  **dict.fromkeys(("kidney", "liver", "prostate"), "monuseg"),
}
"""The public organs with enough patients to split, and the folders they lie in."""

NUINSSEG = "nuinsseg"
"""Its organs are one slide each, so that images are split there, not patients."""

MOUSE = "mouse_"  # its organs that must be asked for by name

SYNTHETIC_IMAGES, SYNTHETIC_SIDE = 50, 500
LEAST_PATIENTS = 3


class Organ(NamedTuple):
  """One organ's images.

  Attributes:
    name: of the organ.
    kind: "synthetic_he", "folder" or `NUINSSEG`.
    digest: of the images' and points' contents, or the generator's version.
    images: at most so many, patients taking turns; 0 for all.
    side: that larger images are cut to, pixels at 0.25 microns; 0 for none.
    root: the folder; "" for synthetic tissue.
    data_dir: where prepared data is kept; "" for TFDS's own place.
  """

  name: str
  kind: str = ""
  digest: str = ""
  images: int = 0
  side: int = 0
  root: str = ""
  data_dir: str = ""

  @property
  def label(self) -> str:
    """The name as people write it."""
    name = self.name.removeprefix("human_").replace("bonemarrow", "bone_marrow")
    return name.replace("_", " ")

  def identity(self) -> dict[str, Any]:
    """What determines the images."""
    return dict(zip(self._fields[:5], self[:5], strict=True))


@functools.lru_cache(maxsize=4)
def _all_samples(kind: str, root: str, data_dir: str) -> tuple[Sample, ...]:
  """Every image below a folder, kept in memory; of one slide each its own patient."""
  samples = load_samples(kind, root=root, data_dir=data_dir or None)
  if kind == NUINSSEG:
    samples = [dataclasses.replace(each, patient=each.name) for each in samples]
  return tuple(samples)


def load_data_set(organ: Organ) -> Sequence[Sample]:
  """All images of the data set that an organ is of: a patient may have several."""
  if not organ.root:
    return load_organ(organ)
  return _all_samples(organ.kind, organ.root, organ.data_dir)


@functools.lru_cache(maxsize=64)
def load_organ(organ: Organ) -> tuple[Sample, ...]:
  """The samples of an organ, sorted by name; kept in memory."""
  if not organ.root:
    where: dict[str, Any] = {"organs": [organ.name], "data_dir": organ.data_dir or None}
    made = load_samples(organ.kind, images=organ.images, size=organ.side, **where)
    return tuple(made)
  samples = [s for s in load_data_set(organ) if s.organ == organ.name]
  chosen = take_turns(samples, organ.images or len(samples))
  return tuple(cut_middle(s, organ.side) for s in chosen)


def find_organs(
  data: str,
  *,
  root: str = "",
  only: Sequence[str] = (),
  count: int = 0,
  images: int = 0,
  side: int = 0,
  data_dir: str = "",
) -> list[Organ]:
  """Finds the organs of a data set.

  Args:
    data: "synthetic", "real" (`REAL`), `NUINSSEG`, or the root of a `folder` data set.
    root: for "real" and `NUINSSEG`, where data sets lie; "" for MICRONET_DATA.
    only: these organs; () for all, of `NUINSSEG` for all human ones.
    count: the first so many by name; 0 for all.
    images: see `Organ`, as the next two.
    side: of larger images after cutting.
    data_dir: where prepared data is kept.

  Raises:
    InputError: there is no such data, no such organ, or one of too few patients.
  """
  places = _find_places(data, root or os.environ.get("MICRONET_DATA", ""), data_dir)
  unknown = sorted(set(only) - set(places))
  if unknown:
    raise InputError(
      f"config.organs names {unknown[0]!r}; the data has {', '.join(places)}"
    )
  usual = [n for n in places if data != NUINSSEG or not n.startswith(MOUSE)]
  wanted = [name for name in places if name in (only or usual)][: count or None]
  if data == "synthetic":
    from micronet_jax.datasets.synthetic_he.presets import GENERATOR_VERSION

    made = "synthetic_he", str(GENERATOR_VERSION)
    size = images or SYNTHETIC_IMAGES, side or SYNTHETIC_SIDE
    return [Organ(name, *made, *size, "", data_dir) for name in wanted]
  found, few, kind = [], [], NUINSSEG if data == NUINSSEG else "folder"
  for name in wanted:
    every = _all_samples(kind, places[name], data_dir)
    samples = [s for s in every if s.organ == name]
    if not samples:
      raise InputError(f"{places[name]} has no organ {name!r} in its index.csv")
    if len({sample.patient for sample in samples}) < LEAST_PATIENTS:
      few.append(name)
    fields = ("name", "patient", "pixels_digest", "points_digest")
    contents = sorted([getattr(s, field) for field in fields] for s in samples)
    known = digest(contents, digits=16)
    found.append(Organ(name, kind, known, images, side, places[name], data_dir))
  if few:
    enough = ",".join(name for name in wanted if name not in few)
    raise InputError(
      f"organ(s) {', '.join(few)}: an organ needs images of at least {LEAST_PATIENTS} "
      "patients, to train, to validate and to test; leave these out with "
      f"--config.organs={enough}"
    )
  return found


def _find_places(data: str, root: str, data_dir: str) -> dict[str, str]:
  """The folder of each organ, "" of synthetic ones; sorted by organ."""
  if data == "synthetic":
    from micronet_jax.datasets.synthetic_he.presets import ORGANS

    return dict.fromkeys(ORGANS, "")
  if data in ("real", NUINSSEG) and not root:
    lies = f"{NUINSSEG} lies in"
    if data == "real":
      lies = "monuseg, gbm40, mbm and crchisto lie in"
    raise InputError(
      f"config.data is {data!r}, but nothing says where it is: set config.data_root or "
      f"the environment variable MICRONET_DATA to the folder that {lies}"
    )
  if data == "real":
    places = {organ: str(pathlib.Path(root) / name) for organ, name in REAL.items()}
  else:
    own = pathlib.Path(root) / NUINSSEG if data == NUINSSEG else pathlib.Path(data)
    places = {"": str(own.expanduser())}
  for place in places.values():
    if not pathlib.Path(place).is_dir():
      raise InputError(f"there is no folder {place}; config.data names the data")
  if data == "real":
    return places
  kind = NUINSSEG if data == NUINSSEG else "folder"
  organs = {sample.organ for sample in _all_samples(kind, places[""], data_dir)}
  return dict.fromkeys(sorted(organs), places[""])
