"""Jobs: where they run, how they end, and `micronet NAME` for each that has a recipe.

Called by `commands` and `launch.py`, which share all of this.
"""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from micronet_jax.config import Config, PredictConfig
from micronet_jax.errors import InputError, Stopped
from micronet_jax.files import digest
from micronet_jax.processes import first_to_say
from micronet_jax.settings import as_dict, changed, determining, with_texts
from micronet_jax.signals import INTERRUPTED, interruptible
from micronet_jax.terminal import is_closed, notes

GOING_ON = "stopped; the same command goes on from here"


def default_workdir(job: str, config: Config | Mapping[str, Any]) -> pathlib.Path:
  """runs/JOB-DATA-HASH: what would give another result never lands in the same folder.

  Studies share one, so that they share their runs.
  """
  if job == "study":
    return pathlib.Path("runs/studies")
  data: list[str] = []
  if isinstance(config, Config):
    target, fields = config.target, determining(config)
    data = [target.name, target.organs or pathlib.Path(target.root).name]
  else:
    free = as_dict(PredictConfig()).keys() - determining(PredictConfig()).keys()
    fields = {name: config[name] for name in config if name not in free}
  name = "-".join([job, *filter(None, data), digest(fields, digits=8)])
  return pathlib.Path("runs") / name.replace(",", "+").replace("/", "_")


def ending(work: Callable[[], int | None], going_on: str) -> int:
  """Does the work of a command, and says in one sentence how it ended, if not well.

  Args:
    work: returns its exit status, None for 0.
    going_on: what is said when a signal stops it before it can say more.

  Returns:
    The exit status: that of the work, 1 after an error, 130 when interrupted.
  """
  try:
    with notes(), interruptible(going_on):
      return work() or 0
  except InputError as error:
    if first_to_say(str(error)):
      print(f"error: {error}", file=sys.stderr)
    return 1
  except Stopped as stopped:
    if not is_closed() and first_to_say(str(stopped)):
      print(f"\n{stopped}", file=sys.stderr)
    return INTERRUPTED


def train_or_evaluate(config: Config, workdir: str | None) -> None:
  """Hands a config to its job.

  Args:
    config: of training, fine-tuning or evaluation.
    workdir: of the run; None for one of its own.

  Raises:
    InputError: as the job raises it.
    Stopped: the job was asked to stop.
  """
  folder = pathlib.Path(workdir or default_workdir(config.job, config))
  print(f"workdir {folder}", flush=True)
  # Each brings what it needs: JAX takes seconds to import.
  if config.job == "evaluate":
    from micronet_jax.evaluation.job import evaluate

    evaluate(config, folder)
  else:
    from micronet_jax.training.job import train_and_evaluate

    train_and_evaluate(config, folder)


def add_settings(command: argparse.ArgumentParser, name: str, such: str) -> None:
  """Adds `--set`, which changes any field of a recipe, such as those named."""
  command.add_argument(
    "--set",
    action="append",
    default=[],
    metavar="FIELD=VALUE",
    help=f"another value for a field of configs/{name}.py, such as {such}; may be "
    "repeated",
  )


def run_recipe(
  recipe: Config, folder: str, weights: str, texts: Sequence[str], workdir: str | None
) -> int:
  """Runs a recipe as launch.py runs the config of its name, whose command it prints.

  Args:
    recipe: one of `recipes`.
    folder: of annotated images.
    weights: to begin with.
    texts: other fields, as `--set` has them.
    workdir: as `train_or_evaluate` takes it.

  Returns:
    The exit status; 2 if a text is wrong.
  """
  given = {"target.name": "folder", "target.root": folder, "init_from": weights}
  try:
    for text in texts:
      field = text.partition("=")[0].strip()
      if field in given or field == "job":
        raise InputError(f"config.{field} is not for --set: the command itself says it")
    config = with_texts(changed(recipe, given), texts)
  except InputError as error:
    print(f"error: {error}; see micronet {recipe.job} --help", file=sys.stderr)
    return 2
  fields = [f"--config.{field}={value}" for field, value in given.items()]
  fields += [f"--config.{text}" for text in texts]
  place = [f"--workdir={workdir}"] if workdir else []
  launch = ["python", "launch.py", f"--config=configs/{recipe.job}.py", *fields, *place]
  print(f"in a checkout: {shlex.join(launch)}", flush=True)
  return ending(lambda: train_or_evaluate(config, workdir), GOING_ON)
