"""Data sets: annotated images by name, prepared on first use.

`load_samples` is the one door. What it needs of TFDS is imported when it is called,
so that nobody pays for it who only detects nuclei.
"""

import importlib
import numbers
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from micronet_jax.datasets.sample import Sample
from micronet_jax.errors import InputError, check_type, or_left_out

if TYPE_CHECKING:
  from micronet_jax.datasets.entries import Entry

DATASETS = (
  *("folder", "monuseg", "crchisto", "bbbc038", "nuinsseg"),
  "synthetic_he",
)
ALL_ORGANS = "all"

__all__ = ["ALL_ORGANS", "DATASETS", "Sample", "load_samples", "read_samples"]


def load_samples(
  name: str,
  *,
  root: str | os.PathLike[str] | None = None,
  organs: str | Sequence[str] | None = None,
  data_dir: str | os.PathLike[str] | None = None,
  images: int | None = None,
  size: int | None = None,
) -> list[Sample]:
  """Loads a data set, preparing it if it was not or has changed since.

  Args:
    name: one of `DATASETS`.
    root: for `folder`, the folder (its layout is in that builder's docstring); for
      published sets, where they were unpacked, `<data_dir>/downloads/manual` if None;
      `synthetic_he` needs none.
    organs: only these, as a list or separated by commas; None or `all` for all there
      are. `synthetic_he` makes what is named here, and needs a name.
    data_dir: where prepared data sets are kept; TFDS's own place (the variable
      TFDS_DATA_DIR, else ~/tensorflow_datasets) if None.
    images: at most so many images an organ, the first by name; `synthetic_he` makes
      so many, 50 if None.
    size: `synthetic_he` only: height and width in pixels, 500 if None.

  Returns:
    The samples, sorted by name.

  Raises:
    InputError: an argument, or a file of the data set, cannot be used.
  """
  _check_name(name)
  _check_positive("images", images)
  _check_positive("size", size)
  wanted = _parse_organs(organs)
  store = _store(data_dir)
  if name == "synthetic_he":
    samples = _synthetic(wanted, store, images, size)
  else:
    samples = _from_files(name, root, store)
    _check_organs(wanted, {sample.organ for sample in samples}, name)
  samples.sort(key=lambda sample: sample.name)
  return _first_of_each(samples, wanted, images)


def read_samples(
  name: str,
  *,
  root: str | os.PathLike[str] | None = None,
  organs: str | Sequence[str] | None = None,
  data_dir: str | os.PathLike[str] | None = None,
) -> list[Sample]:
  """Reads a data set as `load_samples` does, but keeps no prepared copy.

  For who checks data: within `collecting_faults`, what is wrong is left out.

  Args:
    name: as `load_samples` takes it, like the others; not `synthetic_he`.
    root: see there.
    organs: see there.
    data_dir: see there.

  Returns:
    The samples, sorted by name.

  Raises:
    InputError: as `load_samples`.
  """
  from micronet_jax.datasets import entries

  _check_name(name)
  _, _, found = _find(name, root, _store(data_dir))
  with or_left_out():
    entries.check_unique(found)
  samples: list[Sample] = []
  for entry in sorted(found, key=lambda entry: entry.name):
    with or_left_out():
      samples += entries.read_entry(entry)
  wanted = _parse_organs(organs)
  _check_organs(wanted, {entry.organ for entry in found}, name)
  return _first_of_each(samples, wanted, None)


def _store(data_dir: str | os.PathLike[str] | None) -> pathlib.Path:
  """Where prepared data sets are kept."""
  _check_path(data_dir, "data_dir")
  named = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  return pathlib.Path(named).expanduser()


def _check_name(name: str) -> None:
  if name not in DATASETS:
    raise InputError(f"there is no data set '{name}'; there are {', '.join(DATASETS)}.")


def _check_positive(field: str, value: int | None) -> None:
  if value is None:
    return
  check_type(value, numbers.Integral, field, "a whole number")
  if value < 1:
    raise InputError(f"{field} must be 1 or more, but it is {value}.")


def _parse_organs(organs: str | Sequence[str] | None) -> list[str]:
  """The organs as a list without repetitions; empty if nobody chose."""
  parts = organs.split(",") if isinstance(organs, str) else organs or ()
  check_type(parts, Iterable, "organs", "names, in a list or with commas between")
  parts = list(parts)
  for each in parts:
    check_type(each, str, "one of organs", "a name")
  return list(dict.fromkeys(part.strip().lower() for part in parts if part.strip()))


def _check_organs(wanted: list[str], known: Iterable[str], name: str) -> None:
  for organ in wanted:
    if organ not in known and organ != ALL_ORGANS:
      raise InputError(
        f"the data set {name} has no organ '{organ}'; it has"
        f" {', '.join(sorted(known))}."
      )


def _first_of_each(
  samples: list[Sample], wanted: list[str], images: int | None
) -> list[Sample]:
  """Of samples sorted by name, the wanted organs, so many of each."""
  counts: dict[str, int] = {}
  chosen = []
  for sample in samples:
    if wanted and ALL_ORGANS not in wanted and sample.organ not in wanted:
      continue
    counts[sample.organ] = counts.get(sample.organ, 0) + 1
    if images is None or counts[sample.organ] <= images:
      chosen.append(sample)
  return chosen


def _check_path(value: object, name: str) -> None:
  check_type(value, str | os.PathLike | None, name, "a folder, as text or a path")


def _builder_module(name: str) -> Any:
  return importlib.import_module(f"{__name__}.{name}.{name}_dataset_builder")


def _find(
  name: str, root: str | os.PathLike[str] | None, store: pathlib.Path
) -> tuple[Any, pathlib.Path, list["Entry"]]:
  """The builder, the folder and the entries of a data set that lies in files."""
  _check_path(root, "root")
  builder = _builder_module(name).Builder
  if not root and name == "folder":
    raise InputError(f"root is missing; {builder.MANUAL_DOWNLOAD_INSTRUCTIONS}.")
  folder = pathlib.Path(root or store / "downloads" / "manual").expanduser()
  if not folder.is_dir():
    raise InputError(
      f"there is no folder {folder}; {builder.MANUAL_DOWNLOAD_INSTRUCTIONS}."
    )
  found = builder.find(folder)
  if not found:
    raise InputError(
      f"{folder} does not hold {name}; {builder.MANUAL_DOWNLOAD_INSTRUCTIONS}."
    )
  return builder, folder, found


def _from_files(
  name: str, root: str | os.PathLike[str] | None, store: pathlib.Path
) -> list[Sample]:
  """Samples of a data set that lies in files below root."""
  from micronet_jax.datasets import builders, entries

  builder, folder, found = _find(name, root, store)
  entries.check_unique(found)
  state = entries.fingerprint(found, folder)
  config = builders.FilesConfig(name=state, entries=found)
  samples = builders.load_prepared(builder, config, store)
  builders.keep_newest(name, state, store, root=folder)
  return samples


def _synthetic(
  wanted: list[str], store: pathlib.Path, images: int | None, size: int | None
) -> list[Sample]:
  """Synthetic samples of the wanted organs."""
  from micronet_jax.datasets import builders

  module = _builder_module("synthetic_he")
  _check_organs(wanted, module.KINDS, "synthetic_he")
  if not wanted:
    raise InputError(
      f"organs is missing; the data set synthetic_he makes {', '.join(module.ORGANS)},"
      f" or {ALL_ORGANS} of them."
    )
  samples = []
  for organ in module.ORGANS if ALL_ORGANS in wanted else wanted:
    config = module.config(
      organ, images=images or module.IMAGES, size=size or module.SIZE
    )
    samples += builders.load_prepared(module.Builder, config, store)
  return samples
