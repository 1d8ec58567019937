"""Runs of a study on a Ray cluster: one task a run, retried from its checkpoint.

All machines must see the folder of the studies and the data under the same paths.
Called by `studies.study` for `--config.executor=ray`.
"""

import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from micronet_jax.errors import InputError, Stopped
from micronet_jax.studies.execution import Job, describe_failure, do_job

RETRIES = 3  # how often a run is begun again after its worker died
LOOK_EVERY = 1.0  # seconds between looks at whether the user wants to stop
Action = Callable[[Job, pathlib.Path, threading.Event], None]


def work_off_on_ray(
  jobs: Sequence[Job],
  place: pathlib.Path,
  stop: threading.Event,
  *,
  cpus_per_run: int,
  action: Action = do_job,
) -> dict[str, str]:
  """Does jobs as `execution.work_off`, each once the run that it starts from is done.

  A run gets a GPU, or so many CPUs where there is none; `action` does a job.

  Raises:
    InputError: Ray is not installed, or no machine has so many CPUs.
    Stopped: `stop` was set; workers are ended, and go on from their last checkpoints.
  """
  try:
    import ray
  except ImportError as error:
    raise InputError(
      "config.executor is 'ray', but Ray is not installed: pip install -e '.[ray]'"
    ) from error
  own = not ray.is_initialized()
  if own:
    ray.init(log_to_driver=False, include_dashboard=False)
  try:
    gpus = ray.cluster_resources().get("GPU", 0)
    most = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
    if not gpus and cpus_per_run > most:
      raise InputError(
        f"config.cpus_per_run is {cpus_per_run}; the largest machine of the cluster "
        f"has {most:g} CPUs"
      )
    resources: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": cpus_per_run}
    task = ray.remote(max_retries=RETRIES, retry_exceptions=True, **resources)(_task)
    references: dict[str, Any] = {}
    for job in jobs:
      base = references.get(job.run.base.key) if job.run.base else None
      references[job.run.key] = task.remote(job, place, action, base)
    pending = {references[job.run.key]: job for job in jobs}
    return _collect(ray, pending, stop)
  finally:
    if own:
      ray.shutdown()


def _task(
  job: Job, place: pathlib.Path, action: Action, lost: str | None
) -> str | None:
  """Runs in a worker; `lost` is what the task of its base returned."""
  if lost:
    return f"{job.run.label}: its base failed"
  try:
    action(job, place, threading.Event())
  except InputError as error:  # would fail again
    return describe_failure(job, error)
  return None


def _collect(
  ray: Any, pending: dict[Any, Job], stop: threading.Event
) -> dict[str, str]:
  """Waits for all tasks; prints a line for each."""
  failures: dict[str, str] = {}
  count = len(pending)
  while pending:
    finished, _ = ray.wait(list(pending), timeout=LOOK_EVERY)
    for reference in finished:
      job = pending.pop(reference)
      try:
        failed = ray.get(reference)
      except ray.exceptions.RayError as error:  # failed or died once too often
        failed = describe_failure(job, getattr(error, "cause", None) or error)
        if job.run.base and job.run.base.key in failures:
          failed = f"{job.run.label}: its base failed"
      if failed:
        failures[job.run.key] = failed
      text = f"failed: {failed}" if failed else job.run.label
      print(f"[{count - len(pending)}/{count}] {text}", flush=True)
    if stop.is_set() and pending:
      for reference in pending:
        ray.cancel(reference, force=True)
      raise Stopped(
        "stopped; runs go on from their last checkpoint with the same command"
      )
  return failures
