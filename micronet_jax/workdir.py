"""The folder of a run: whose config it holds.

Called by `training.job`, `evaluation.job` and the studies before anything expensive.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from micronet_jax import models
from micronet_jax.config import RELATIVE, SELECT_RADIUS, Config
from micronet_jax.errors import InputError, check_type
from micronet_jax.files import read_json, write_json
from micronet_jax.lengths import REFERENCE_MPP, resolution_of, scale_between
from micronet_jax.settings import as_dict, changed, determining, from_dict

_REPLACED = (
  *("report.json", "log.jsonl"),
  *("detections.png", "precision_recall.png", "training.png"),
)


def as_workdir(given: str | os.PathLike[str]) -> pathlib.Path:
  """A run's folder as a path; InputError if it is neither text nor a path."""
  check_type(given, str | os.PathLike, "workdir", "a folder, as text or a path")
  return pathlib.Path(given)


def claim_workdir(config: Config, workdir: pathlib.Path) -> None:
  """Makes a run's folder, or makes sure that the run in it has the same config.

  Fields that cannot change a result may differ; networks are compared with their own
  defaults filled in.

  Raises:
    InputError: the folder holds a run of another config (every field that differs is
      listed), or files of somebody else that the run would replace, or cannot be
      written.
  """
  path = workdir / "config.json"
  config = with_whole_model(config)
  theirs = read_json(path)
  if theirs is None:
    _check_ours(workdir)
  else:
    try:
      before = with_whole_model(from_dict(Config, theirs))
    except InputError as error:
      raise InputError(
        f"{path} is of another version of this program ({error}); use another folder "
        "(--workdir or -o)"
      ) from error
    lines = _differences(determining(before), determining(config))
    if lines:
      raise InputError(
        f"{workdir} holds a run with another config; use another folder (--workdir or "
        "-o), or these values:\n  " + "\n  ".join(lines)
      )
  try:
    write_json(path, as_dict(config))
  except InputError as error:
    raise InputError(
      f"the workdir {workdir} cannot be written ({_reason(error)}); use another "
      "folder (--workdir or -o)"
    ) from error


def _check_ours(workdir: pathlib.Path) -> None:
  """Makes sure that a folder without config holds nothing that a run would replace.

  A run whose config was removed, as one that was damaged must be, has checkpoints.
  """
  if (workdir / "checkpoints" / "latest").is_dir():
    return
  for name in _REPLACED:
    if os.path.lexists(workdir / name):
      raise InputError(
        f"{workdir / name} is there and was not written by this program (no config.json"
        " that says so); move it, or use another folder (--workdir or -o)"
      )


def with_whole_model(
  config: Config, *, like: Mapping[str, Any] | None = None
) -> Config:
  """The same config, its network's own defaults and resolution filled in.

  Args:
    config: of a run.
    like: options of a checkpoint, as `models.complete_options` takes them.

  Raises:
    InputError: there is no such network, or it does not take one of the fields.
  """
  taken = models.complete_options(as_dict(config.model), like=like)
  blank: dict[str, Any] = dict.fromkeys(("width", "context", "dropout", "test_norm"))
  blank["remat"] = False
  fields = {f"model.{name}": value for name, value in {**blank, **taken}.items()}
  rule = config.threshold_rule or RELATIVE
  radius = config.select_radius or SELECT_RADIUS[rule]
  others = {"threshold_rule": rule, "select_radius": radius}
  others["working_mpp"] = resolution_of(config)
  others["smoothing"] = config.smoothing or 0.0
  return changed(config, fields | others)


def like_checkpoint(config: Config, meta: Mapping[str, Any]) -> Config:
  """The same config with what it leaves to the checkpoint that it begins with.

  These are resolution, rule and smoothing; the last two are the config's own where it
  has them.

  Raises:
    InputError: the config asks for another one.
  """
  mpp = meta.get("mpp", REFERENCE_MPP)  # version 0.1 knew no other
  wanted = mpp if config.working_mpp is None else config.working_mpp
  if scale_between(mpp, wanted) != 1:
    raise InputError(
      f"config.working_mpp is {wanted:g}, but the checkpoint {config.init_from} works "
      f"at {mpp:g} microns per pixel; leave config.working_mpp out, or start from "
      "another checkpoint or from scratch"
    )
  rule = config.threshold_rule or meta.get("threshold_rule", RELATIVE)
  smoothing = config.smoothing
  if smoothing is None:
    smoothing = meta.get("smoothing", 0.0)
  return dataclasses.replace(
    config, working_mpp=mpp, threshold_rule=rule, smoothing=smoothing
  )


def _reason(error: InputError) -> str:
  """What the operating system said."""
  return getattr(error.__cause__, "strerror", None) or str(error)


def _differences(theirs: Any, mine: Any, field: str = "config") -> list[str]:
  if isinstance(theirs, dict) and isinstance(mine, dict):
    lines = []
    for key in sorted({*theirs, *mine}):
      lines += _differences(theirs.get(key), mine.get(key), f"{field}.{key}")
    return lines
  return [] if theirs == mine else [f"{field} was {theirs!r}, now {mine!r}"]
