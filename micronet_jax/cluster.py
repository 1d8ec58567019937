"""Tasks on a Ray cluster, begun again where a worker or a machine died.

All machines must see the same folders under the same paths, and have the package. A
task gets one GPU, or so many CPUs where there is none. Called by `predict.spread` and
`studies.execution` for `executor='ray'`.
"""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from micronet_jax.errors import InputError, Stopped
from micronet_jax.terminal import heard

RETRIES = 3
"""How often a task is begun again after its worker died, or it failed by a fault."""


LOOK_EVERY = 1.0
"""Seconds between looks at whether the user wants to stop."""


log = logging.getLogger("micronet_jax")


class Task(NamedTuple):
  """What a worker is to do.

  Attributes:
    key: tells it from others.
    action: is called without arguments in a worker, to which it is pickled.
    needs: keys of tasks, submitted before, without which it cannot begin.
  """

  key: Hashable
  action: Callable[[], Any]
  needs: tuple[Hashable, ...] = ()


class Outcome(NamedTuple):
  """How a task ended.

  Attributes:
    value: what its action returned.
    error: why it failed, once too often.
    notes: what the package logged meanwhile.
  """

  value: Any = None
  error: Exception | None = None
  notes: tuple[str, ...] = ()


class NeedFailed(Exception):
  """A task did not begin, because one that it needs failed."""


class Cluster:
  """Takes tasks and gives their outcomes; made by `connected`.

  Attributes:
    places: how many tasks there is room for at once.
  """

  def __init__(self, ray: Any, *, cpus: int, asked: str):
    """Sees what room there is; the arguments are those of `connected`."""
    gpus = int(ray.cluster_resources().get("GPU", 0))
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(resources.get("CPU", 0)) for resources in alive]
    if not gpus and cpus > max(cores):
      raise InputError(
        f"{asked} is {cpus}; the largest machine of the cluster has {max(cores)} CPUs"
      )
    self.places = gpus or sum(each // cpus for each in cores)
    wanted: dict[str, Any] = {"num_gpus": 1} if gpus else {"num_cpus": cpus}
    wanted["max_calls"] = 0  # or each task on a GPU would start JAX anew
    decorated = ray.remote(max_retries=RETRIES, retry_exceptions=True, **wanted)
    self._ray, self._remote = ray, decorated(_attempt)
    self._references: dict[Hashable, Any] = {}
    self._pending: dict[Any, Task] = {}
    self._failed: set[Hashable] = set()

  def submit(self, task: Task) -> None:
    """Queues a task."""
    needs = [self._references[key] for key in task.needs]
    reference = self._remote.remote(task.action, *needs)
    self._references[task.key] = reference
    self._pending[reference] = task

  def finished(self, stop: threading.Event) -> Iterator[tuple[Task, Outcome]]:
    """Waits for all tasks, those submitted meanwhile too, and passes their notes on.

    Args:
      stop: set by the user's wish to stop.

    Yields:
      Each task as it ends, one that is needed before those that need it.

    Raises:
      Stopped: `stop` was set; the workers are ended.
    """
    while self._pending:
      ready, _ = self._ray.wait(list(self._pending), timeout=LOOK_EVERY)
      for reference in ready:
        task = self._pending.pop(reference)
        outcome = self._outcome(task, reference)
        for note in outcome.notes:
          log.warning("%s", note)
        yield task, outcome
      if stop.is_set() and self._pending:
        raise Stopped("stopped; the same command goes on where it stopped")

  def _outcome(self, task: Task, reference: Any) -> Outcome:
    try:
      outcome: Outcome = self._ray.get(reference)
    except self._ray.exceptions.RayError as error:  # failed or died once too often
      outcome = Outcome(error=getattr(error, "cause", None) or error)
    if outcome.error:
      self._failed.add(task.key)
      if self._failed.intersection(task.needs):
        return Outcome(error=NeedFailed())
    return outcome

  def cancel(self) -> None:
    """Ends the workers of all that is not finished."""
    for reference in self._pending:
      self._ray.cancel(reference, force=True)


@contextlib.contextmanager
def connected(*, cpus: int, asked: str) -> Iterator[Cluster]:
  """Finds the cluster that Ray knows of, or makes one of this machine.

  Args:
    cpus: that a task gets where no machine has a GPU.
    asked: what the user calls that number.

  Yields:
    The cluster; what is not finished at the end is cancelled.

  Raises:
    InputError: Ray is not installed, finds no cluster, or no machine of it has so many
      CPUs.
  """
  try:
    import ray
  except ImportError as error:
    raise InputError(
      "executor is 'ray', but Ray is not installed: pip install 'micronet-jax[ray]'"
    ) from error
  own = not ray.is_initialized()
  if own:
    before = signal.getsignal(signal.SIGTERM)
    try:
      ray.init(
        include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING
      )
    except (ConnectionError, ValueError, RuntimeError) as error:
      raise InputError(
        f"Ray can use no cluster ({' '.join(str(error).split())[:200]}); RAY_ADDRESS"
        " names the one to use, and without it and `ray start` Ray makes one here"
      ) from error
    if threading.current_thread() is threading.main_thread():
      signal.signal(signal.SIGTERM, before)  # which Ray replaces by an end at once
  try:
    cluster = Cluster(ray, cpus=cpus, asked=asked)
    try:
      yield cluster
    finally:
      cluster.cancel()
  finally:
    if own:
      ray.shutdown()


def _attempt(action: Callable[[], Any], *before: Outcome) -> Outcome:
  """Runs in a worker; `before` are the outcomes of what the task needs."""
  for each in before:
    if each.error:
      return each._replace(notes=())
  with heard() as notes:
    try:
      return Outcome(action(), notes=tuple(notes))
    except InputError as error:  # would fail again
      return Outcome(error=error, notes=tuple(notes))
