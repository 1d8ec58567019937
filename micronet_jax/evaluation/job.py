"""The evaluate job: a checkpoint on annotated data, without training."""

import pathlib
import time
from typing import Any

from micronet_jax import checkpoints
from micronet_jax.config import claim_workdir
from micronet_jax.datasets.provenance import check_unseen, images_seen
from micronet_jax.datasets.sources import load_source, source_name
from micronet_jax.datasets.splits import Split
from micronet_jax.detection.detector import Detector
from micronet_jax.errors import InputError
from micronet_jax.evaluation.report import write_report


def evaluate(config: Any, workdir: str | pathlib.Path) -> dict[str, Any]:
  """Scores a checkpoint on data, without training.

  Args:
    config: the fields of configs/common.py; `init_from` names the checkpoint and
      `evaluate_part` the images: "all", or the "test" or "validation" part of the
      checkpoint's own split.
    workdir: gets the report.

  Returns:
    What `report.json` holds.

  Raises:
    InputError: no checkpoint, data that cannot be used, or images that the
      checkpoint was trained on.
  """
  began = time.monotonic()
  workdir = pathlib.Path(workdir)
  if not config.init_from:
    raise InputError(
      "config.init_from is empty; name the checkpoint to evaluate, for instance 'base'"
    )
  detector = Detector(*checkpoints.load_weights(config.init_from))
  samples = load_source(config)
  split = detector.meta.get("split", {})
  part = config.evaluate_part
  if part == "all":
    check_unseen([s.name for s in samples], images_seen(detector.meta))
  elif part in ("test", "validation"):
    samples = Split(**split).of(samples, part) if split else []
  if part not in ("all", "test", "validation") or not samples:
    raise InputError(
      f"config.evaluate_part is {part!r}; use 'all', or 'test' or 'validation' if the "
      "checkpoint's split has that part"
    )
  claim_workdir(config, workdir)
  return write_report(
    workdir,
    {"checkpoint": detector},
    samples,
    job=config.job,
    dataset=source_name(config.target),
    part=part,
    began=began,
  )
