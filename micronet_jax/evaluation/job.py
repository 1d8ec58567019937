"""The evaluate job: a checkpoint on annotated data, without training.

Called by `launch.py` (configs/evaluate.py) and as `micronet_jax.evaluate`.
"""

import logging
import pathlib
import time
from typing import Any

from micronet_jax import checkpoints, devices, models
from micronet_jax.config import Config, check_config
from micronet_jax.datasets.provenance import check_unseen, provenance_of
from micronet_jax.datasets.sources import load_source, load_whole, source_name
from micronet_jax.detection.detector import Detector
from micronet_jax.errors import InputError
from micronet_jax.evaluation.report import About, write_report
from micronet_jax.settings import as_dict, as_python, changed
from micronet_jax.workdir import as_workdir, claim_workdir, like_checkpoint

log = logging.getLogger("micronet_jax")


def evaluate(config: Config, workdir: str | pathlib.Path) -> dict[str, Any]:
  """Scores a checkpoint on data, without training.

  Args:
    config: `init_from` names the checkpoint and `evaluate_part` the images: "all", or
      the "test" or "validation" part of the checkpoint's own split.
    workdir: gets the report.

  Returns:
    What `report.json` holds.

  Raises:
    InputError: no checkpoint, another network or search than the checkpoint's, data
      that cannot be used, or images that the checkpoint was trained on.
  """
  began = time.monotonic()
  config = check_config(config)
  workdir = as_workdir(workdir)
  if not config.init_from:
    raise InputError(
      "config.init_from is empty; name the checkpoint to evaluate, for instance 'base'"
    )
  devices.check_platform()
  devices.use_compilation_cache()
  detector = Detector(*checkpoints.load_weights(config.init_from))
  config = _as_stored(config, detector)
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
  if not any(len(sample.centers) for sample in samples):
    log.warning("no image has a centre: all that is found will count as false")
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


def _as_stored(config: Config, detector: Detector) -> Config:
  """The config with the checkpoint's network and search: nothing is chosen anew.

  Raises:
    InputError: it asks for others.
  """
  meta, given = detector.meta, as_dict(config.model)
  stored = models.complete_options(meta["model"])
  asked = {f"model.{name}": (given[name], stored.get(name)) for name in given}
  asked["threshold_rule"] = config.threshold_rule, detector.rule
  asked["smoothing"] = config.smoothing, detector.smoothing
  plain = as_dict(Config())
  for field, (wanted, there) in asked.items():
    name = field.removeprefix("model.")
    unsaid = (plain["model"] if name != field else plain)[name]
    if name != "remat" and wanted != unsaid and as_python(there) != wanted:
      raise InputError(
        f"config.{field} is {wanted!r}, but an evaluation takes the checkpoint"
        f" {config.init_from} as it is, with {there!r}; leave config.{field} out"
      )
  return changed(like_checkpoint(config, meta), {"model": stored})
