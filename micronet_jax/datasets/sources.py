"""The data set that a config names, at working resolution."""

import pathlib
from typing import Any

from micronet_jax.datasets import load_samples
from micronet_jax.datasets.sample import Sample, to_working_resolution

DEFAULT_ORGAN = "prostate"
"""What synthetic_he makes when nobody says: pale nuclei, the paper's hard case."""


def load_source(config: Any, part: str = "target") -> list[Sample]:
  """The samples of `config.target` or `config.auxiliary` at working resolution."""
  source = config[part]
  synthetic = source.name == "synthetic_he"
  organs = source.organs or (DEFAULT_ORGAN if synthetic else None)
  print(f"loading {source_name(source)}", flush=True)
  samples = load_samples(
    source.name,
    root=source.root or None,
    organs=organs,
    data_dir=config.data_dir or None,
    images=source.synthetic_images if synthetic else None,
  )
  return [to_working_resolution(sample) for sample in samples]


def source_name(source: Any) -> str:
  """How reports call a data set: its name, the last part of its root, its organs."""
  organs = source.organs or (DEFAULT_ORGAN if source.name == "synthetic_he" else "")
  parts = [source.name, pathlib.Path(source.root).name, organs]
  return "/".join(part for part in parts if part)
