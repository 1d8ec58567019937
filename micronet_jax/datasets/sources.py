"""The data set that a config names.

Called by `training.data` and `evaluation.job`.
"""

import logging
import pathlib
from collections.abc import Sequence

from micronet_jax.config import DataConfig
from micronet_jax.datasets import load_samples
from micronet_jax.datasets.sample import Sample, image_of
from micronet_jax.lengths import REFERENCE_MPP

DEFAULT_ORGAN = "prostate"
"""What synthetic_he makes when nobody says: pale nuclei, the paper's hard case."""

log = logging.getLogger("micronet_jax")


def load_source(source: DataConfig, *, data_dir: str = "") -> list[Sample]:
  """The samples of `config.target` or `config.auxiliary`, at their own resolution.

  Args:
    source: which.
    data_dir: where prepared data sets are kept; "" for TFDS's own place.
  """
  synthetic = source.name == "synthetic_he"
  organs = source.organs or (DEFAULT_ORGAN if synthetic else None)
  print(f"loading {source_name(source)}", flush=True)
  samples = load_samples(
    source.name,
    root=source.root or None,
    organs=organs,
    data_dir=data_dir or None,
    images=source.synthetic_images if synthetic else None,
  )
  _say_what_is_taken(source, samples)
  return samples


def _say_what_is_taken(source: DataConfig, samples: Sequence[Sample]) -> None:
  """Says which images do not say how large their pixels are."""
  images = list(dict.fromkeys(image_of(each.name) for each in samples))
  unknown = list(
    dict.fromkeys(image_of(each.name) for each in samples if each.mpp is None)
  )
  if unknown:
    remedy = "; the column mpp of index.csv says otherwise"
    log.warning(
      "%d of %d images of %s (first %s) do not say their microns per pixel: taken as"
      " %g%s",
      *(len(unknown), len(images), source.root or source.name, unknown[0]),
      *(REFERENCE_MPP, remedy if source.name == "folder" else ""),
    )


def load_whole(source: DataConfig, *, data_dir: str = "") -> list[Sample]:
  """All organs of the data set that a source is part of, as stored; none if it is all.

  Whose images a network has seen is told by any of theirs, of whatever organ.
  """
  if source.name == "synthetic_he" or not source.organs:
    return []  # of a patient of its own each; or all were loaded as the source
  return load_samples(source.name, root=source.root or None, data_dir=data_dir or None)


def source_name(source: DataConfig) -> str:
  """How reports call a data set: its name, the last part of its root, its organs."""
  organs = source.organs or (DEFAULT_ORGAN if source.name == "synthetic_he" else "")
  parts = [source.name, pathlib.Path(source.root).name, organs]
  return "/".join(part for part in parts if part)
