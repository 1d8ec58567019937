"""The data of one run: target and auxiliary, split by patient.

Called by `training.job` and the studies; what it gives goes to `training.loop`.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Sequence

from micronet_jax.config import Config, DataConfig
from micronet_jax.datasets.provenance import PARTS, Provenance, check_unseen, records_of
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.sources import load_source, load_whole, source_name
from micronet_jax.datasets.splits import (
  Split,
  check_no_leakage,
  split_by_patient,
  take_fraction,
)
from micronet_jax.errors import InputError

log = logging.getLogger("micronet_jax")


@dataclasses.dataclass(frozen=True)
class Data:
  """The data of one run, at its own resolution.

  Attributes:
    name: of the target, for reports.
    split: of the target.
    train, validation, test: target samples; train after `target_fraction`.
    auxiliary: training samples of other organs; empty without.
    inherited: what the initial checkpoint has seen.
  """

  name: str
  split: Split
  train: list[Sample]
  validation: list[Sample]
  test: list[Sample]
  auxiliary: list[Sample]
  inherited: Provenance

  @property
  def provenance(self) -> Provenance:
    """Of a network that is trained on these data, from what `inherited` is of."""
    own = [record for part in PARTS for record in records_of(getattr(self, part), part)]
    return Provenance(tuple(own), self.inherited.seen)

  def from_scratch(self) -> "Data":
    """The same data, for a network that begins with random weights."""
    return dataclasses.replace(self, inherited=Provenance())


def load_data(config: Config, *, seen: Provenance | None = None) -> Data:
  """Loads and splits what a config asks for.

  Args:
    config: of the run.
    seen: by the initial checkpoint.

  Raises:
    InputError: data that cannot be used, or an image or patient on both sides.
  """
  samples = load_source(config.target, data_dir=config.data_dir)
  auxiliary = []
  if config.auxiliary.name:
    auxiliary = load_source(config.auxiliary, data_dir=config.data_dir)
  whole: list[Sample] = []
  if seen and seen.seen:
    whole = load_whole(config.target, data_dir=config.data_dir)
  name = source_name(config.target)
  return arrange_data(config, samples, auxiliary, name=name, seen=seen, whole=whole)


def arrange_data(
  config: Config,
  samples: Sequence[Sample],
  auxiliary: Sequence[Sample],
  *,
  name: str,
  seen: Provenance | None = None,
  whole: Sequence[Sample] = (),
) -> Data:
  """Splits what was loaded, and takes the shares that a config asks for.

  Args:
    config: of the run.
    samples: of the target.
    auxiliary: of other organs, likewise; empty without.
    name: of the target, for reports.
    seen: by the initial checkpoint.
    whole: other images of the target's patients, of any organ.

  Raises:
    InputError: too few patients, or an image or patient on both sides.
  """
  seen = seen or Provenance()
  known = [sample.name for sample in samples if seen.may_have_seen(sample)]
  split = split_by_patient(samples, config.split, seen=known)
  check_no_leakage(split, samples)
  if split.unit == "patient":  # else what was seen trains, and that is all there is
    held_out = split.of(samples, "test" if split.test else "validation")
    # Without a test part a run may go on choosing by what its ancestor chose by.
    known_to = seen if split.test else seen.trained
    check_unseen(held_out, [*samples, *whole], known_to)
  if config.split.make_do:
    _say_what_is_done(split, samples, known)
  chosen = take_fraction(split.train, config.target_fraction, seed=config.split.seed)
  return Data(
    name=name,
    split=split,
    train=dataclasses.replace(split, train=chosen).of(samples, "train"),
    validation=split.of(samples, "validation"),
    test=split.of(samples, "test"),
    auxiliary=_take_auxiliary(config, split, samples, auxiliary) if auxiliary else [],
    inherited=seen,
  )


def _say_what_is_done(
  split: Split, samples: Sequence[Sample], known: Sequence[str]
) -> None:
  """Says in a line each what was made do with."""
  patients = len({sample.patient for sample in samples})
  if known:
    log.warning(
      "%d of %d images were seen by the checkpoint already: they train again, and"
      " others are held out",
      *(len(known), len(samples)),
    )
  if not split.validation:
    log.warning(
      "%d image(s) or regions are too few to hold any out: all train, and nothing is"
      " scored",
      len(samples),
    )
  elif split.unit == "image":
    log.warning(
      "%d patient(s) are too few to hold any out: their %d images or regions are split"
      " instead, so scores are of slides that were trained on",
      *(patients, len(samples)),
    )


def _take_auxiliary(
  config: Config, split: Split, targets: Sequence[Sample], samples: Sequence[Sample]
) -> list[Sample]:
  """The auxiliary training images: their own training part, then the percentage.

  Where the target's validation patients are named, all of them train.

  Raises:
    InputError: one is, or is of a patient, that the target is validated or tested on.
  """
  if config.split.validation_patients:
    own = Split(tuple(sorted(sample.name for sample in samples)), (), ())
  else:
    own = split_by_patient(samples, config.split)
  held_out = [sample for sample in targets if sample.name not in split.train]
  training = own.of(samples, "train")
  pixels = {sample.pixels_digest for sample in held_out}
  patients: set[str] = set()
  if _place(config.auxiliary) == _place(config.target):
    patients = {sample.patient for sample in held_out}
  shared = [s for s in training if s.pixels_digest in pixels or s.patient in patients]
  if shared:
    raise InputError(
      f"auxiliary training data holds image {shared[0].name!r} of patient "
      f"{shared[0].patient!r}, whom the target is validated or tested on; choose other "
      "organs in config.auxiliary.organs"
    )
  share = config.auxiliary_percentage / 100
  names = take_fraction(own.train, share, seed=config.split.seed)
  return dataclasses.replace(own, train=names).of(samples, "train")


def _place(source: DataConfig) -> tuple[str, pathlib.Path]:
  """The same for the same data, however its root is written."""
  return source.name, pathlib.Path(source.root).expanduser().resolve()
