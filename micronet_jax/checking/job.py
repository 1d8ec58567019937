"""The check job: reads a data set as training would, and says what it would trip over.

Called by `commands.check`.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from tqdm import tqdm

from micronet_jax.checking import centers, images
from micronet_jax.checking.sheet import check_replaceable, write_sheet
from micronet_jax.checking.stain import examine_stain
from micronet_jax.checking.trouble import Examined, Trouble, counted
from micronet_jax.config import Config, SplitConfig, check_config
from micronet_jax.datasets import read_samples
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.sources import load_source, source_name
from micronet_jax.datasets.splits import PARTS, split_by_patient
from micronet_jax.errors import InputError, collecting_faults
from micronet_jax.terminal import heard


def check_data(config: Config, sheet: pathlib.Path) -> bool:
  """Checks the target data of a config.

  Prints a line for each trouble and, last, what came of it.

  Args:
    config: `target`, `data_dir`, `split` and `min_distances` are what matters.
    sheet: HTML file to write, with pictures of the suspects.

  Returns:
    Whether nothing was found that would stop training or make a number wrong.

  Raises:
    InputError: there is nothing to check, or the sheet cannot be written.
  """
  config = check_config(config)
  check_replaceable(sheet)
  title = source_name(config.target)
  print(f"checking {title}", flush=True)
  with heard() as said, collecting_faults() as faults:
    samples = _read(config)
  troubles = [Trouble(True, "cannot be read", str(fault)) for fault in faults]
  troubles += [Trouble(False, "said when reading", text) for text in said]
  troubles += find_faults(config, samples)
  troubles.sort(key=lambda trouble: not trouble.wrong)
  lines = _summary(samples, troubles)
  by_name = {sample.name: sample for sample in samples}
  for trouble in troubles:
    print(f"{'WRONG ' if trouble.wrong else 'remark'}  {trouble.title}: {trouble.text}")
  write_sheet(sheet, title, lines, troubles, by_name)
  print("\n".join([*lines[:-1], f"all of this with pictures: {sheet}", lines[-1]]))
  return not any(trouble.wrong for trouble in troubles)


def _read(config: Config) -> list[Sample]:
  target = config.target
  if target.name == "synthetic_he":
    return load_source(target, data_dir=config.data_dir)
  return read_samples(
    target.name,
    root=target.root or None,
    organs=target.organs or None,
    data_dir=config.data_dir or None,
  )


def find_faults(config: Config, samples: Sequence[Sample]) -> list[Trouble]:
  """What is odd about images that can be read."""
  troubles, parts = _split(config, samples)
  examined = [
    _examine(sample)
    for sample in tqdm(samples, disable=None, leave=False, unit="image")
  ]
  return [
    *troubles,
    *centers.find_misplaced(examined),
    *centers.find_on_background(examined),
    *centers.find_too_close(examined, min(config.min_distances)),
    *centers.find_empty(examined),
    *images.find_copies(examined, parts),
    *images.find_patients(examined),
    *images.find_resolutions(examined),
    *images.find_nothing_to_see(examined),
    *centers.find_untold(examined),
  ]


def _split(
  config: Config, samples: Sequence[Sample]
) -> tuple[list[Trouble], dict[str, str]]:
  """What is wrong with the split, and which part each image is in."""
  try:
    return [], _parts(samples, config.split)
  except InputError as error:
    refused = str(error)
  try:
    parts = _parts(samples, dataclasses.replace(config.split, make_do=True))
  except InputError:
    return [Trouble(True, "cannot be split", refused)], {}
  text = f"{refused}, as `micronet finetune` does"
  return [Trouble(False, "few to split", text)], parts


def _parts(samples: Sequence[Sample], options: SplitConfig) -> dict[str, str]:
  """Which part each image is in; InputError if there are too few."""
  split = split_by_patient(samples, options)
  return {name: part for part in PARTS for name in getattr(split, part)}


def _examine(sample: Sample) -> Examined:
  if sample.is_plain:
    return Examined(sample, None, None)
  hashes = images.look_alike_hashes(sample.image)
  return Examined(sample, hashes, examine_stain(sample))


def _summary(samples: Sequence[Sample], troubles: Sequence[Trouble]) -> list[str]:
  """What was read; and what came of it, with the exit status."""
  nuclei = sum(len(sample.centers) for sample in samples)
  patients = len({sample.patient for sample in samples})
  read = f"read {counted(len(samples), 'image')} of {counted(patients, 'patient')}, "
  read += counted(nuclei, "centre")
  wrong = sum(trouble.wrong for trouble in troubles)
  remarks = counted(len(troubles) - wrong, "remark")
  if wrong:
    verdict = f"{counted(wrong, 'fault')} to stop training or make a number wrong"
    return [read, f"{verdict}, {remarks} (exit status 1)"]
  verdict = "nothing to stop training or make a number wrong"
  return [read, f"{verdict}, {remarks} (exit status 0)"]
