"""From samples to what training reads: resolution, splits by patient, the pool.

Batches are drawn on the accelerator, inside the compiled step (`augmentation`);
here is what happens once, before the first step.
"""

import dataclasses
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from micronet_jax.augmentation import Images
from micronet_jax.datasets import load_samples
from micronet_jax.datasets.sample import Sample
from micronet_jax.errors import InputError
from micronet_jax.proximity import nearest_center
from micronet_jax.resampling import rescale_centers, rescale_image

WORKING_MPP = 0.25
"""Microns per pixel that the network sees: 40x."""

DEFAULT_ORGAN = "prostate"
"""What synthetic_he makes when nobody says: pale nuclei, the paper's hard case."""

FAR_AWAY = -1e6
"""Where unused rows of centres are, in pixels: no map reaches so far."""


def to_working_resolution(sample: Sample, *, mpp: float = WORKING_MPP) -> Sample:
  """Brings a sample of known resolution to `mpp`; one of unknown is left alone."""
  if sample.mpp is None or abs(sample.mpp / mpp - 1) < 0.01:
    return sample
  image = rescale_image(sample.image, sample.mpp / mpp)
  centers = rescale_centers(sample.centers, sample.image.shape, image.shape)
  return dataclasses.replace(sample, image=image, centers=centers, mpp=mpp)


@dataclasses.dataclass(frozen=True)
class Split:
  """Names of the training, validation and test images; stored with every run."""

  train: tuple[str, ...]
  validation: tuple[str, ...]
  test: tuple[str, ...]

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
  *,
  test_fraction: float = 0.5,
  validation_fraction: float = 0.2,
  seed: int = 0,
) -> Split:
  """Splits by patient, within each organ (section "Datasets": half, half, 20 %).

  Patients are drawn for the test part, then for validation from the rest; no
  patient is in two parts. Fractions are of an organ's patients, rounded; every
  part that is asked for gets at least one patient over all organs.

  Args:
    samples: all of them.
    test_fraction: of the patients, in [0, 1); 0 for no test part.
    validation_fraction: of the remaining patients, in (0, 1).
    seed: the same seed and patients give the same split, whatever the order.

  Returns:
    The split; names sorted.

  Raises:
    InputError: too few patients to fill the parts that are asked for.
  """
  organ_of: dict[str, str] = {}
  for sample in sorted(samples, key=lambda sample: sample.name):
    organ_of.setdefault(sample.patient, sample.organ)
  queues: dict[str, list[str]] = {}
  for patient, organ in sorted(organ_of.items()):
    queues.setdefault(organ, []).append(patient)
  for organ, queue in queues.items():
    np.random.default_rng([seed, zlib.crc32(organ.encode())]).shuffle(queue)
  part_of: dict[str, str] = {}
  parts = (("test", test_fraction, 2), ("validation", validation_fraction, 1))
  for part, fraction, spare in parts:
    sizes = [len(queue) for queue in queues.values()]
    for queue, count in zip(
      queues.values(), _allocate(sizes, fraction, spare), strict=True
    ):
      part_of.update(dict.fromkeys(queue[:count], part))
      del queue[:count]
  names: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
  for sample in samples:
    names[part_of.get(sample.patient, "train")].append(sample.name)
  if not names["train"] or not names["validation"]:
    raise InputError(
      f"{len(organ_of)} patient(s) cannot fill a training, a validation and "
      f"{'a' if test_fraction else 'no'} test part, and a patient is never in two: "
      "add images, or say in index.csv which patient each is from"
    )
  return Split(**{part: tuple(sorted(members)) for part, members in names.items()})


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

  Raises:
    InputError: one is; the message names it and the two parts.
  """
  patient_of = {sample.name: sample.patient for sample in samples}
  seen: dict[str, str] = {}
  for part in ("train", "validation", "test"):
    for name in getattr(split, part):
      patient = patient_of.get(name, name)
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


def channel_statistics(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation of each channel over the whole image.

  Args:
    image: uint8 `[H, W, 3]`.

  Returns:
    Two float32 `[3]` in grey levels; the deviation is at least 1, so that a flat
    image stays finite.
  """
  pixels = image.reshape(-1, image.shape[-1])
  mean, std = pixels.mean(0, dtype=np.float64), pixels.std(0, dtype=np.float64)
  return mean.astype(np.float32), np.maximum(std, 1.0).astype(np.float32)


def normalise(image: np.ndarray) -> np.ndarray:
  """What the network reads: uint8 `[H, W, 3]` to float32, per image and channel."""
  mean, std = channel_statistics(image)
  return (image.astype(np.float32) - mean) / std


def to_device(samples: Sequence[Sample], *, coarse: bool = False) -> Images:
  """Puts annotated images on the accelerator, padded to one size.

  Args:
    samples: at least one, of any sizes, at working resolution.
    coarse: add empty images and rows of centres up to round numbers, so that similar
      pools share one compiled step.

  Returns:
    The pool that `augmentation.draw_patches` reads.
  """
  height, width = (max(s.image.shape[axis] for s in samples) for axis in (0, 1))
  most = max(1, *(len(s.centers) for s in samples))
  count = len(samples)
  if coarse:
    most = 2 ** max(6, (most - 1).bit_length())
    # A power of two up to 32; beyond, at most a quarter more.
    unit = 2 ** max(3, (count - 1).bit_length() - (3 if count > 32 else 0))
    count += -count % unit
  pixels = np.zeros((count, height, width, 3), np.uint8)
  nearest = np.zeros((count, height, width), np.int32)
  centers = np.full((count, most, 2), FAR_AWAY, np.float32)
  sizes = np.ones((count, 2), np.int32)
  mean, std = np.zeros((count, 3), np.float32), np.ones((count, 3), np.float32)
  for i, sample in enumerate(samples):
    h, w = sample.image.shape[:2]
    pixels[i, :h, :w] = sample.image
    nearest[i, :h, :w] = nearest_center(sample.centers, (h, w))
    centers[i, : len(sample.centers)] = sample.centers
    sizes[i] = h, w
    mean[i], std[i] = channel_statistics(sample.image)
  return Images(
    pixels=jnp.asarray(pixels),
    sizes=jnp.asarray(sizes),
    mean=jnp.asarray(mean),
    std=jnp.asarray(std),
    centers=jnp.asarray(centers),
    nearest=jnp.asarray(nearest),
  )


def choose_images(key: jax.Array, position: jax.Array, pools: jax.Array) -> jax.Array:
  """Draws the image of one patch: target and auxiliary pool take turns.

  Args:
    key: typed random key.
    position: int32, the patch's place in the whole batch; it reads pool
      `position % P`.
    pools: int32 `[P, 2]`, first image and number of images of each pool.

  Returns:
    int32, an index into `Images`.
  """
  first, count = pools[position % pools.shape[0]]
  return first + jax.random.randint(key, (), 0, count)


@dataclasses.dataclass(frozen=True)
class Data:
  """The data of one run, at working resolution.

  Attributes:
    name: of the target, for reports.
    split: of the target.
    train, validation, test: target samples; train after `target_fraction`.
    auxiliary: training samples of other organs; empty without.
  """

  name: str
  split: Split
  train: list[Sample]
  validation: list[Sample]
  test: list[Sample]
  auxiliary: list[Sample]


def load_data(config: Any, *, trained_on: Sequence[str] = ()) -> Data:
  """Loads, resamples and splits what a config asks for.

  Args:
    config: the fields of configs/common.py.
    trained_on: names of images that the initial checkpoint has seen.

  Raises:
    InputError: data that cannot be used, or an image or patient on both sides.
  """
  samples = load_target(config)
  auxiliary = load_target(config, "auxiliary") if config.auxiliary.name else []
  return arrange_data(
    config, samples, auxiliary, name=data_name(config.target), trained_on=trained_on
  )


def arrange_data(
  config: Any,
  samples: Sequence[Sample],
  auxiliary: Sequence[Sample],
  *,
  name: str,
  trained_on: Sequence[str] = (),
) -> Data:
  """Splits what was loaded, and takes the shares that a config asks for.

  Args:
    config: the fields of configs/common.py.
    samples: of the target, at working resolution.
    auxiliary: of other organs, likewise; empty without.
    name: of the target, for reports.
    trained_on: names of images that the initial checkpoint has seen.

  Raises:
    InputError: too few patients, or an image or patient on both sides.
  """
  split = split_by_patient(
    samples,
    test_fraction=config.split.test_fraction,
    validation_fraction=config.split.validation_fraction,
    seed=config.split.seed,
  )
  check_no_leakage(split, samples)
  check_unseen(split.test or split.validation, trained_on)
  chosen = take_fraction(split.train, config.target_fraction, seed=config.split.seed)
  return Data(
    name=name,
    split=split,
    train=dataclasses.replace(split, train=chosen).of(samples, "train"),
    validation=split.of(samples, "validation"),
    test=split.of(samples, "test"),
    auxiliary=_take_auxiliary(config, split, samples, auxiliary) if auxiliary else [],
  )


def load_target(config: Any, part: str = "target") -> list[Sample]:
  """The samples of `config.target` or `config.auxiliary` at working resolution."""
  source = config[part]
  synthetic = source.name == "synthetic_he"
  organs = source.organs or (DEFAULT_ORGAN if synthetic else None)
  print(f"loading {data_name(source)}", flush=True)
  samples = load_samples(
    source.name,
    root=source.root or None,
    organs=organs,
    data_dir=config.data_dir or None,
    images=source.synthetic_images if synthetic else None,
  )
  return [to_working_resolution(sample) for sample in samples]


def data_name(source: Any) -> str:
  """How reports call a data set: its name, the last part of its root, its organs."""
  organs = source.organs or (DEFAULT_ORGAN if source.name == "synthetic_he" else "")
  parts = [source.name, pathlib.Path(source.root).name, organs]
  return "/".join(part for part in parts if part)


def images_seen(meta: Mapping[str, Any]) -> list[str]:
  """Names of the images that a checkpoint was trained or validated on."""
  split = meta.get("split", {})
  return [*split.get("train", ()), *split.get("validation", ())]


def check_unseen(names: Sequence[str], trained_on: Sequence[str]) -> None:
  """Makes sure that no image to be tested on was trained on.

  Raises:
    InputError: some were.
  """
  seen = sorted(set(names) & set(trained_on))
  if seen:
    raise InputError(
      f"the checkpoint was trained on {len(seen)} of the {len(names)} images that it "
      f"would be tested on, first {seen[0]!r}; test on images that it has not seen"
    )


def _take_auxiliary(
  config: Any, split: Split, targets: Sequence[Sample], samples: Sequence[Sample]
) -> list[Sample]:
  """The auxiliary training images: their own training part, then the percentage."""
  own = split_by_patient(
    samples,
    test_fraction=config.split.test_fraction,
    validation_fraction=config.split.validation_fraction,
    seed=config.split.seed,
  )
  if _place(config.auxiliary) == _place(config.target):
    held_out = {s.patient for s in targets if s.name not in split.train}
    shared = sorted(held_out & {s.patient for s in own.of(samples, "train")})
    if shared:
      raise InputError(
        f"auxiliary training data holds patient {shared[0]!r}, whom the target is "
        "validated or tested on; choose other organs in config.auxiliary.organs"
      )
  names = take_fraction(
    own.train, config.auxiliary_percentage / 100, seed=config.split.seed
  )
  return dataclasses.replace(own, train=names).of(samples, "train")


def _place(source: Any) -> tuple[str, pathlib.Path]:
  """The same for the same data, however its root is written."""
  return source.name, pathlib.Path(source.root).expanduser().resolve()
