"""The research door: python launch.py --config=configs/X.py [--config.field=value].

Every run has a folder, --workdir; the same command goes on where it stopped. Started as
several processes (docs/cluster.md), they train together.
"""

from micronet_jax.signals import end_at_once

GOING_ON = "stopped; run the same command again to go on"

if __name__ == "__main__":
  end_at_once(GOING_ON)  # what follows takes a second

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from micronet_jax.commands.jobs import default_workdir, ending, train_or_evaluate
from micronet_jax.config import Config
from micronet_jax.errors import InputError
from micronet_jax.processes import join_others, losses_explained
from micronet_jax.settings import from_dict
from micronet_jax.signals import leave
from micronet_jax.terminal import prepare_streams

CONFIG = config_flags.DEFINE_config_file(
  "config", None, "File of configs/; --config.field=value changes a field."
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run; by default one of its own for each config."
)
DISTRIBUTED = flags.DEFINE_bool(
  "distributed",
  False,
  "Train with all processes that JAX finds, as on a TPU pod; srun and mpirun need no "
  "such word.",
)
TRAINING = ("train", "finetune", "auxiliary")
OTHERS = ("evaluate", "check", "predict", "study")


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses the command line; a wrong flag or field ends in one sentence."""
  try:
    rest = flags.FLAGS(list(argv))
    if len(rest) > 1:
      raise InputError(f"unknown argument {rest[1]!r}; options begin with --")
    if CONFIG.value is None:
      raise InputError("--config is missing; for instance --config=configs/finetune.py")
  except (
    *(flags.Error, AttributeError, KeyError, TypeError, ValueError),
    *(FileNotFoundError, SyntaxError, ImportError),
  ) as error:
    print(f"error: {_sentence(error, argv)}", file=sys.stderr)
    raise SystemExit(2) from None
  return rest


def _sentence(error: BaseException, argv: Sequence[str]) -> str:
  cause = error.args[0] if error.args else ""
  # ml_collections says no more of a field than "'its name'", and perhaps a hint.
  name, _, hint = str(*getattr(cause, "args", (cause,))).partition("\n")
  for argument in argv:
    field = argument.partition("=")[0].lstrip("-")
    if isinstance(error, AttributeError | KeyError) and name in (
      f"'{part}'" for part in field.split(".")
    ):
      hint = hint.replace("Did", "; did", 1)
      return f"there is no field {field}{hint}"
  text = " ".join(str(error).split())
  return text if text else type(error).__name__


def run_job(
  job: str, fields: Mapping[str, Any], workdir: str | None, *, distributed: bool = False
) -> int:
  """Hands a config, typed, to the job that it names.

  Args:
    job: its name.
    fields: of the config.
    workdir: of the run; None for one of its own.
    distributed: train with all processes that JAX finds.

  Returns:
    The exit status.

  Raises:
    InputError: there is no such job, or as the job raises it.
    Stopped: the job was asked to stop.
  """
  if job not in TRAINING + OTHERS:
    jobs = ", ".join(TRAINING + OTHERS)
    raise InputError(f"config.job is {job!r}; the jobs are {jobs}")
  if job in TRAINING:
    config = from_dict(Config, fields)
    join_others(asked=distributed)
    with losses_explained():
      train_or_evaluate(config, workdir)
    return 0
  if distributed:
    raise InputError(f"--distributed is for training, not for the job {job!r}")
  if job == "evaluate":
    train_or_evaluate(from_dict(Config, fields), workdir)
    return 0
  folder = pathlib.Path(workdir or default_workdir(job, fields))
  print(f"workdir {folder}", flush=True)
  # Each brings what it needs: JAX takes seconds to import.
  if job == "check":
    from micronet_jax.commands.check import run_check

    return run_check(from_dict(Config, fields), folder / "check.html")
  if job == "predict":
    from micronet_jax.commands.detect import run_config

    return run_config(fields, folder)
  from micronet_jax.studies.schema import StudyConfig
  from micronet_jax.studies.study import run_study

  run_study(from_dict(StudyConfig, fields), folder)
  return 0


def main(argv: Sequence[str]) -> None:
  """Runs the job that the config names; errors are one sentence."""
  del argv
  # app.run makes absl print what all libraries tell, Orbax every file that it writes.
  logging.set_verbosity(logging.FATAL)
  fields = CONFIG.value.to_dict()
  status = ending(
    lambda: run_job(
      fields.get("job", ""), fields, WORKDIR.value, distributed=DISTRIBUTED.value
    ),
    GOING_ON,
  )
  if status:
    leave(status)


if __name__ == "__main__":
  prepare_streams()
  app.run(main, flags_parser=parse_flags)
