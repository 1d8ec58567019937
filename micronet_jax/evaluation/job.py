"""The evaluate job: a checkpoint on annotated data, without training.

Called by `launch.py` (configs/evaluate.py) and as `micronet_jax.evaluate`.
"""

import pathlib
import time
from typing import Any

from micronet_jax import checkpoints, devices
from micronet_jax.config import Config, check_config
from micronet_jax.datasets.provenance import check_unseen, provenance_of
from micronet_jax.datasets.sources import load_source, load_whole, source_name
from micronet_jax.detection.detector import Detector
from micronet_jax.errors import InputError
from micronet_jax.evaluation.report import About, write_report
from micronet_jax.workdir import claim_workdir, like_checkpoint


def evaluate(config: Config, workdir: str | pathlib.Path) -> dict[str, Any]:
  """Scores a checkpoint on data, without training.

  Args:
    config: `init_from` names the checkpoint and `evaluate_part` the images: "all", or
      the "test" or "validation" part of the checkpoint's own split.
    workdir: gets the report.

  Returns:
    What `report.json` holds.

  Raises:
    InputError: no checkpoint, data that cannot be used, or images that the
      checkpoint was trained on.
  """
  began = time.monotonic()
  workdir = pathlib.Path(workdir)
  check_config(config)
  if not config.init_from:
    raise InputError(
      "config.init_from is empty; name the checkpoint to evaluate, for instance 'base'"
    )
  devices.check_platform()
  devices.use_compilation_cache()
  detector = Detector(*checkpoints.load_weights(config.init_from))
  config = like_checkpoint(config, detector.meta)
  samples = load_source(config.target, data_dir=config.data_dir)
  provenance, part = provenance_of(detector.meta), config.evaluate_part
  if part == "all":
    whole = load_whole(config.target, data_dir=config.data_dir)
    check_unseen(samples, [*samples, *whole], provenance)
  else:
    samples = provenance.part(samples, part)
  if not samples:
    raise InputError(
      f"config.evaluate_part is {part!r}, but the checkpoint's split has no such part; "
      "use 'all'"
    )
  claim_workdir(config, workdir)
  split = detector.meta.get("split", {})
  unit = split.get("unit", "patient") if part != "all" else "patient"
  return write_report(
    workdir,
    {"checkpoint": detector},
    samples,
    part=part,
    about=About(config.job, source_name(config.target), began, unit),
  )
