"""The data of one run: target and auxiliary, split by patient."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from micronet_jax.datasets.provenance import check_unseen
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.sources import load_source, source_name
from micronet_jax.datasets.splits import (
  Split,
  check_no_leakage,
  split_by_patient,
  take_fraction,
)
from micronet_jax.errors import InputError


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
  samples = load_source(config)
  auxiliary = load_source(config, "auxiliary") if config.auxiliary.name else []
  return arrange_data(
    config, samples, auxiliary, name=source_name(config.target), trained_on=trained_on
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
