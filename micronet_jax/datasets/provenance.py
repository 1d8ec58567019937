"""What a network has seen: one object, kept in its checkpoint.

Made by `training.data` for a run, read from checkpoints by `training.job`,
`evaluation.job` and the studies. Images are known by their content, not by file names.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from micronet_jax.datasets import splits
from micronet_jax.datasets.sample import Sample, image_of, share_pixels
from micronet_jax.errors import InputError

PARTS = (*splits.PARTS, "auxiliary")


@dataclasses.dataclass(frozen=True)
class ImageRecord:
  """One image of a run.

  Attributes:
    name: in its data set, for messages.
    patient: whose it is.
    part: one of `PARTS`.
    pixels: digest of the image, see `Sample`; "" in checkpoints of version 0.1, whose
      images are known by their names.
    points: digest of its centres and resolution.
  """

  name: str
  patient: str
  part: str
  pixels: str = ""
  points: str = ""


@dataclasses.dataclass(frozen=True)
class Provenance:
  """The images of a run, and those that its ancestors have seen.

  Attributes:
    own: all images of the run, the test part included.
    inherited: what the network had seen that it was started from.
  """

  own: tuple[ImageRecord, ...] = ()
  inherited: tuple[ImageRecord, ...] = ()

  @property
  def seen(self) -> tuple[ImageRecord, ...]:
    """The images that weights, ξ or min_distance depend on."""
    own = (record for record in self.own if record.part != "test")
    return tuple(dict.fromkeys([*own, *self.inherited]))

  @property
  def trained(self) -> "Provenance":
    """The same, without the images that only chose ξ, min_distance or a step."""
    held_out = ("validation", "test")
    own = tuple(record for record in self.own if record.part not in held_out)
    left = tuple(record for record in self.inherited if record.part not in held_out)
    return Provenance(own, left)

  def has_seen(self, sample: Sample) -> bool:
    """Whether an image is among those seen: the same pixels, whatever its name."""
    pixels, names = self._known
    return sample.pixels_digest in pixels or sample.name in names

  def may_have_seen(self, sample: Sample) -> bool:
    """The same, or whether it overlaps a region that was seen, by their names."""
    overlapping = self._names.get(image_of(sample.name), ())
    return self.has_seen(sample) or any(
      share_pixels(sample.name, name) for name in overlapping
    )

  @functools.cached_property
  def _known(self) -> tuple[set[str], set[str]]:
    """Digests of the images seen, and names of those of version 0.1."""
    pixels = {record.pixels for record in self.seen if record.pixels}
    return pixels, {record.name for record in self.seen if not record.pixels}

  @functools.cached_property
  def _names(self) -> dict[str, list[str]]:
    """Names of those seen, by the image that they are a region of."""
    names: dict[str, list[str]] = {}
    for record in self.seen:
      names.setdefault(image_of(record.name), []).append(record.name)
    return names

  def part(self, samples: Sequence[Sample], part: str) -> list[Sample]:
    """The samples that are of one part of the run.

    Raises:
      InputError: one of the part's images is not among them.
    """
    left, found, missing = list(samples), [], []
    for record in (record for record in self.own if record.part == part):
      same = [sample for sample in left if _is_of(record, sample)]
      # Of equal pictures the one of that name, and each once.
      same.sort(key=lambda sample: sample.name != record.name)
      if same:
        left.remove(same[0])
        found.append(same[0])
      else:
        missing.append(record.name)
    if missing:
      raise InputError(
        f"the checkpoint's {part} part has {len(missing)} images that the data set "
        f"lacks, first {missing[0]!r}; evaluate it on the data that it was trained on"
      )
    return found

  def to_json(self) -> dict[str, Any]:
    """For the checkpoint's meta."""
    return {
      name: [dataclasses.asdict(record) for record in getattr(self, name)]
      for name in ("own", "inherited")
    }


def _is_of(record: ImageRecord, sample: Sample) -> bool:
  if record.pixels:
    return record.pixels == sample.pixels_digest
  return record.name == sample.name


def provenance_of(meta: Mapping[str, Any]) -> Provenance:
  """What a checkpoint's meta says that it has seen; of version 0.1, names only."""
  if "provenance" in meta:
    return Provenance(
      **{
        name: tuple(ImageRecord(**record) for record in meta["provenance"][name])
        for name in ("own", "inherited")
      }
    )
  split = meta.get("split", {})
  return Provenance(
    tuple(
      ImageRecord(name=name, patient="", part=part)
      for part in splits.PARTS
      for name in split.get(part, ())
    )
  )


def records_of(samples: Iterable[Sample], part: str) -> list[ImageRecord]:
  """One part of a run's provenance."""
  return [
    ImageRecord(s.name, s.patient, part, s.pixels_digest, s.points_digest)
    for s in samples
  ]


def check_unseen(
  tested: Sequence[Sample], everything: Sequence[Sample], seen: Provenance
) -> None:
  """Makes sure that a network is tested on images, and patients, that it has not seen.

  Args:
    tested: what it would be tested on.
    everything: the whole data set: an image of it that was seen says whose other images
      were seen in part.
    seen: of the network.

  Raises:
    InputError: it has seen one, or another image of the same patient.
  """
  known = [sample for sample in everything if seen.has_seen(sample)]
  patients = {sample.patient: sample.name for sample in known}
  names = {sample.name for sample in known}
  same = [sample.name for sample in tested if sample.name in names]
  if same:
    raise InputError(
      f"the checkpoint was trained on {len(same)} of the {len(tested)} images that it "
      f"would be tested on, first {same[0]!r}; test on images that it has not seen"
    )
  shared = [sample for sample in tested if sample.patient in patients]
  if shared:
    patient = shared[0].patient
    raise InputError(
      f"the checkpoint was trained on patient {patient!r} (image "
      f"{patients[patient]!r}), of whom {shared[0].name!r} would test it; test on "
      "patients that it has not seen"
    )


def check_same_data(before: Provenance, now: Provenance) -> None:
  """Makes sure that a run goes on with the data that it began with.

  Raises:
    InputError: images, points or the split have changed since.
  """
  # Target and auxiliary data may have files of one name.
  old, new = (
    {(record.part == "auxiliary", record.name): record for record in each.own}
    for each in (before, now)
  )
  if not any(record.pixels for record in before.own):
    # Version 0.1 kept no auxiliary images, and training images that were left out.
    new = {key: each for key, each in new.items() if each.part != "auxiliary"}
    old = {k: each for k, each in old.items() if k in new or each.part != "train"}
  changes = []
  for what, keys in (
    ("new", new.keys() - old.keys()),
    ("gone", old.keys() - new.keys()),
  ):
    if keys:
      first = min(name for _, name in keys)
      changes.append(f"{len(keys)} image(s) {what}, first {first!r}")
  both = [(old[key], new[key]) for key in new if key in old]
  for what, field in (
    ("other pixels", "pixels"),
    ("other points or resolution", "points"),
    ("another part of the split", "part"),
  ):
    names = [
      a.name
      for a, b in both
      if getattr(a, field) != getattr(b, field) and getattr(a, field)
    ]
    if names:
      changes.append(f"{len(names)} image(s) with {what}, first {min(names)!r}")
  if changes:
    raise InputError(
      f"the data have changed since this run began: {'; '.join(changes)}; use another "
      "folder (--workdir or -o) to train on them as they are now, or restore them"
    )
