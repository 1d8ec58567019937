"""What is checked of a configuration before anything expensive starts."""

import json
import pathlib
from typing import Any

from micronet_jax import models
from micronet_jax.errors import InputError
from micronet_jax.files import write_json

ABOVE_ZERO = 1e-9  # the smallest value of what must not be zero


FREE_FIELDS = ("log_every", "num_devices", "steps_per_call", "data_dir", "remat")
"""Fields that may change when a run is resumed: none changes its result beyond
rounding."""


def as_dict(config: Any) -> dict[str, Any]:
  """A config as JSON would give it back: nested dicts, lists, numbers, strings."""
  items = config.to_dict() if hasattr(config, "to_dict") else config
  return json.loads(json.dumps(items))


def check_config(config: Any) -> None:
  """Checks the values that would otherwise fail late or mean nothing.

  Raises:
    InputError: naming the field, its value and what would be right.
  """
  _check_ranges(config)
  if config.optimizer.schedule not in ("plateau", "cosine"):
    raise InputError(
      f"config.optimizer.schedule is {config.optimizer.schedule!r}; "
      "use 'plateau' or 'cosine'"
    )
  for field in ("eval_every", "snapshot_every", "num_steps"):
    if config[field] % max(config.steps_per_call, 1):
      raise InputError(
        f"config.{field} {config[field]} is not a multiple of config.steps_per_call "
        f"{config.steps_per_call}"
      )
  unknown = set(config.compare) - {"base", "scratch"}
  if unknown or ("base" in config.compare and not config.init_from):
    raise InputError(
      f"config.compare is {tuple(config.compare)}; it takes 'scratch', and 'base' when "
      "config.init_from is set"
    )
  if config.freeze_blocks and not config.init_from:
    raise InputError(
      f"config.freeze_blocks is {config.freeze_blocks}, but without config.init_from "
      "the frozen blocks would stay random"
    )
  if config.auxiliary.name and not config.naive_pooling and config.batch_size % 2:
    raise InputError(
      f"config.batch_size is {config.batch_size}; target and auxiliary patches each "
      "take half of a batch, so use an even number or config.naive_pooling=True"
    )


def _check_ranges(config: Any) -> None:
  blocks = models.find_model(config.model.name).BLOCKS
  ranges = {
    "batch_size": (config.batch_size, 1, None),
    "num_steps": (config.num_steps, 1, None),
    "eval_every": (config.eval_every, 1, None),
    "log_every": (config.log_every, 1, None),
    "steps_per_call": (config.steps_per_call, 0, None),
    "num_devices": (config.num_devices, 0, None),
    "snapshot_every": (config.snapshot_every, 0, None),
    "freeze_blocks": (config.freeze_blocks, 0, len(blocks) - 1),
    "warp.patch": (config.warp.patch, 16, None),
    "warp.rotate": (config.warp.rotate, 0, None),
    "warp.mirror": (config.warp.mirror, 0, 1),
    "warp.shift": (config.warp.shift, 0, None),
    "warp.elastic": (config.warp.elastic, 0, 1),
    "warp.elastic_sigma": (config.warp.elastic_sigma, 0.5, None),
    "warp.elastic_alpha": (config.warp.elastic_alpha, 0, None),
    "target_fraction": (config.target_fraction, ABOVE_ZERO, 1),
    "auxiliary_percentage": (config.auxiliary_percentage, ABOVE_ZERO, 100),
    "gamma": (config.gamma, ABOVE_ZERO, None),
    "loss_lambda": (config.loss_lambda, 0, None),
    "proximity.alpha": (config.proximity.alpha, ABOVE_ZERO, None),
    "proximity.radius": (config.proximity.radius, ABOVE_ZERO, None),
    "proximity.scale": (config.proximity.scale, ABOVE_ZERO, None),
    "disk_radius": (config.disk_radius, ABOVE_ZERO, None),
    "model.dropout": (config.model.dropout, 0, 0.999),
    "split.test_fraction": (config.split.test_fraction, 0, 0.95),
    "split.validation_fraction": (config.split.validation_fraction, ABOVE_ZERO, 0.95),
    "optimizer.learning_rate": (config.optimizer.learning_rate, ABOVE_ZERO, None),
    "select_radius": (config.select_radius, ABOVE_ZERO, None),
  }
  for field, (value, low, high) in ranges.items():
    # Written so that NaN fails.
    if not value >= low or (high is not None and not value <= high):
      wanted = f"at least {low}" if high is None else f"from {low} to {high}"
      if low == ABOVE_ZERO:
        wanted = "above 0" if high is None else f"above 0 and at most {high}"
      raise InputError(f"config.{field} is {value}; it must be {wanted}")
  if not config.min_distances or min(config.min_distances) < 1:
    raise InputError(
      f"config.min_distances is {tuple(config.min_distances)}; give at least one "
      "distance of 1 pixel or more"
    )


def claim_workdir(config: Any, workdir: pathlib.Path) -> None:
  """Makes a run's folder, or makes sure that the run in it has the same config.

  Raises:
    InputError: the folder holds a run of another config (every field that differs is
      listed), or cannot be written.
  """
  path = workdir / "config.json"
  mine = as_dict(config)
  if path.exists():
    try:
      theirs = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
      raise InputError(
        f"{path} cannot be read ({error.strerror}); use another workdir"
      ) from error
    except ValueError as error:  # neither JSON nor text
      raise InputError(f"{path} is not JSON ({error}); use another workdir") from error
    lines = _differences(theirs, mine)
    if lines:
      raise InputError(
        f"{workdir} holds a run with another config; use another --workdir, or these "
        "values:\n  " + "\n  ".join(lines)
      )
  try:
    write_json(path, mine)
  except InputError as error:
    raise InputError(
      f"the workdir {workdir} cannot be written ({_reason(error)}); give another "
      "--workdir"
    ) from error


def _reason(error: InputError) -> str:
  """What the operating system said."""
  return getattr(error.__cause__, "strerror", None) or str(error)


def _differences(theirs: Any, mine: Any, field: str = "config") -> list[str]:
  if isinstance(theirs, dict) and isinstance(mine, dict):
    lines = []
    for key in sorted({*theirs, *mine} - set(FREE_FIELDS)):
      lines += _differences(theirs.get(key), mine.get(key), f"{field}.{key}")
    return lines
  return [] if theirs == mine else [f"{field} was {theirs!r}, now {mine!r}"]
