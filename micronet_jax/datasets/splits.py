"""Splits by patient, or of few patients by image, and shares of them.

Called by `training.data` and the studies.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from micronet_jax.config import SplitConfig
from micronet_jax.datasets.sample import Sample
from micronet_jax.errors import InputError

PARTS = ("train", "validation", "test")

UNITS = ("patient", "image")
"""What a split keeps in one part, the better first."""


@dataclasses.dataclass(frozen=True)
class Split:
  """Names of the training, validation and test images; stored with every run.

  Attributes:
    train: what is learned from.
    validation: what ξ, min_distance and the best step are chosen on; empty where
      nothing is held out.
    test: what is only scored; may be empty.
    unit: what is in one part only: each "patient"; or each "image", and then scores say
      nothing of other patients.
  """

  train: tuple[str, ...]
  validation: tuple[str, ...]
  test: tuple[str, ...]
  unit: str = UNITS[0]

  def of(self, samples: Sequence[Sample], part: str) -> list[Sample]:
    """The samples of one part, in the split's order.

    Raises:
      InputError: a name of the split that the samples lack.
    """
    by_name = {sample.name: sample for sample in samples}
    missing = [name for name in getattr(self, part) if name not in by_name]
    if missing:
      raise InputError(
        f"the {part} split stored with this run names {len(missing)} images that the "
        f"data set no longer has, first {missing[0]!r}; restore them or use another "
        "workdir"
      )
    return [by_name[name] for name in getattr(self, part)]


def split_by_patient(
  samples: Sequence[Sample],
  options: SplitConfig | None = None,
  *,
  seen: Collection[str] = (),
) -> Split:
  """Splits by patient, within each organ (section "Datasets": half, half, 20 %).

  Patients are drawn for the test part, then for validation from the rest; no
  patient is in two parts. Fractions are of an organ's patients, rounded; every
  part that is asked for gets at least one patient over all organs. Patients that are
  named to validate do, instead of a share. `options.make_do` says what happens where
  that cannot be.

  Args:
    samples: all of them.
    options: the fractions and the seed, or the patients; the same give the same split,
      whatever the order.
    seen: names of samples that the network has seen already.

  Returns:
    The split; names sorted.

  Raises:
    InputError: too few patients to fill the parts that are asked for, or a patient is
      named whom nobody has.
  """
  options = options or SplitConfig()
  if not options.make_do or options.validation_patients or not samples:
    return _split(samples, options, _groups(samples, "patient"))
  for unit in UNITS:
    groups = _groups(samples, unit)
    trained = {groups[name] for name in seen}
    held_out = 2 if options.test_fraction else 1
    if len(set(groups.values()) - trained) >= held_out + (not trained):
      return dataclasses.replace(_split(samples, options, groups, trained), unit=unit)
  return Split(tuple(sorted(groups)), (), (), unit)


def _groups(samples: Sequence[Sample], unit: str) -> dict[str, str]:
  """What keeps each sample, by name, together with others: its patient, or nothing."""
  return {s.name: s.patient if unit == "patient" else s.name for s in samples}


def _split(
  samples: Sequence[Sample],
  options: SplitConfig,
  group_of: Mapping[str, str],
  trained: Collection[str] = (),
) -> Split:
  """Splits by groups, of which some train in any case."""
  seed, test_fraction = options.seed, options.test_fraction
  organ_of: dict[str, str] = {}
  for sample in sorted(samples, key=lambda sample: sample.name):
    organ_of.setdefault(group_of[sample.name], sample.organ)
  queues: dict[str, list[str]] = {}
  for patient, organ in sorted(organ_of.items()):
    queues.setdefault(organ, []).append(patient)
  for organ, queue in queues.items():
    np.random.default_rng([seed, zlib.crc32(organ.encode())]).shuffle(queue)
  part_of = dict.fromkeys(options.validation_patients, "validation")
  _check_named(part_of, organ_of)
  parts = [("test", test_fraction, 2), ("validation", options.validation_fraction, 1)]
  if part_of:
    parts = [("test", test_fraction, 1)]
  if trained:  # so that nobody else must
    part_of |= dict.fromkeys(trained, "train")
    parts = [(part, fraction, spare - 1) for part, fraction, spare in parts]
  queues = {o: [p for p in queue if p not in part_of] for o, queue in queues.items()}
  for part, fraction, spare in parts:
    sizes = [len(queue) for queue in queues.values()]
    for queue, count in zip(
      queues.values(), _allocate(sizes, fraction, spare), strict=True
    ):
      part_of.update(dict.fromkeys(queue[:count], part))
      del queue[:count]
  names: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
  for sample in samples:
    names[part_of.get(group_of[sample.name], "train")].append(sample.name)
  if not names["train"] or not names["validation"]:
    raise InputError(
      f"{len(organ_of)} patient(s) cannot fill a training, a validation and "
      f"{'a' if test_fraction else 'no'} test part, and a patient is never in two: "
      "add images, or say in index.csv which patient each is from, or make do with "
      "what there is: config.split.make_do=True"
    )
  train, validation, test = (tuple(sorted(names[part])) for part in PARTS)
  return Split(train, validation, test)


def _check_named(named: Collection[str], there: Collection[str]) -> None:
  """Raises InputError if a patient is named whom nobody has, or all are."""
  unknown = [patient for patient in named if patient not in there]
  if unknown or (named and not set(there) - set(named)):
    wrong = f"names {unknown[0]!r}, whom no image is of" if unknown else "names all"
    raise InputError(
      f"config.split.validation_patients {wrong}; the patients are "
      f"{', '.join(sorted(there))}, and some must train"
    )


def _allocate(sizes: list[int], fraction: float, spare: int) -> list[int]:
  """Shares out round(fraction · total), at least 1 if any, by largest remainder.

  Of few, less, so that `spare` are left for the parts to come.
  """
  total = max(1, int(fraction * sum(sizes) + 0.5)) if fraction > 0 else 0
  if total > max(1, sum(sizes) - spare):
    total = max(1, sum(sizes) - spare)
    fraction = total / max(1, sum(sizes))
  quotas = [fraction * size for size in sizes]
  counts = [int(quota) for quota in quotas]
  by_remainder = sorted(range(len(sizes)), key=lambda i: counts[i] - quotas[i])
  for i in by_remainder[: max(0, total - sum(counts))]:
    counts[i] += 1
  return counts


def check_no_leakage(split: Split, samples: Sequence[Sample]) -> None:
  """Makes sure that no image and no patient is in two parts of a split.

  Patients may be, where the split is by image.

  Raises:
    InputError: one is; the message names it and the two parts.
  """
  patient_of = {sample.name: sample.patient for sample in samples}
  part_of = {n: part for part in PARTS for n in getattr(split, part)}
  pictures: dict[str, Sample] = {}
  for sample in samples:
    other = pictures.setdefault(sample.pixels_digest, sample)
    # Tiles of one colour, such as glass, may well be equal.
    parts = part_of.get(sample.name), part_of.get(other.name)
    if None not in parts and parts[0] != parts[1] and sample.image.std() > 0:
      raise InputError(
        f"images {other.name!r} and {sample.name!r} are the same picture, in the "
        f"{part_of[other.name]} and the {part_of[sample.name]} part of the split; "
        "remove one, or give both one patient in index.csv"
      )
  seen: dict[str, str] = {}
  for part in PARTS:
    for name in getattr(split, part):
      patient = name if split.unit == "image" else patient_of.get(name, name)
      if seen.setdefault(patient, part) != part:
        raise InputError(
          f"patient {patient!r} is in the {seen[patient]} and the {part} part of the "
          "split; a patient's images must stay in one part"
        )


def take_fraction(
  names: Sequence[str], fraction: float, *, seed: int = 0
) -> tuple[str, ...]:
  """A random share of names, at least one; a larger share contains a smaller one."""
  count = max(1, int(fraction * len(names) + 0.5))
  order = np.random.default_rng(seed).permutation(len(names))[:count]
  return tuple(names[i] for i in sorted(order))


def take_turns(samples: Sequence[Sample], count: int) -> list[Sample]:
  """So many samples, the first of each patient, then the second, and so on.

  Sorted by name, whatever the order.
  """
  patients: dict[str, list[Sample]] = {}
  for sample in sorted(samples, key=lambda sample: sample.name):
    patients.setdefault(sample.patient, []).append(sample)
  turns = itertools.zip_longest(*(patients[name] for name in sorted(patients)))
  order = [sample for turn in turns for sample in turn if sample is not None]
  return sorted(order[:count], key=lambda sample: sample.name)
