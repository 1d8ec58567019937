"""Tasks on a Ray cluster, begun again where a worker or a machine died.

All machines must see the same folders under the same paths, and have the package. A
task gets one GPU, or so many CPUs where there is none. Called by `predict.spread` and
`studies.execution` for `executor='ray'`.
"""

import contextlib
import heapq
import logging
import os
import signal
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

from micronet_jax.errors import InputError, Stopped, how_to_install
from micronet_jax.terminal import heard

RETRIES = 3
"""How often a task is begun again after its worker died, or it failed by a fault."""


LOOK_EVERY = 1.0
"""Seconds between looks at whether the user wants to stop."""


AHEAD = 2
"""Tasks that Ray has for each place, so that none waits for the next; Ray takes them in
the order in which they come, so the others are kept here."""


log = logging.getLogger("micronet_jax")


class Task(NamedTuple):
  """What a worker is to do.

  Attributes:
    key: tells it from others.
    action: is called without arguments in a worker, to which it is pickled.
    needs: keys of tasks, submitted before, without which it cannot begin.
    turn: those of a lower turn begin first, of one turn in the order of submission.
  """

  key: Hashable
  action: Callable[[], Any]
  needs: tuple[Hashable, ...] = ()
  turn: int = 0


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
  """Takes tasks and gives their outcomes; made by `connected`."""

  def __init__(self, ray: Any, *, cpus: int, asked: str):
    """Sees what room there is; the arguments are those of `connected`."""
    self._ray, self._cpus = ray, cpus
    self._on_gpus = bool(self._gpus())  # for good: tasks ask for what they ask for
    cores = self._cores()
    if not self._on_gpus and cpus > max(cores):
      raise InputError(
        f"{asked} is {cpus}; the largest machine of the cluster has {max(cores)} CPUs"
      )
    wanted: dict[str, Any] = {"num_gpus": 1} if self._on_gpus else {"num_cpus": cpus}
    wanted["max_calls"] = 0  # or each task on a GPU would start JAX anew
    decorated = ray.remote(max_retries=RETRIES, retry_exceptions=True, **wanted)
    self._remote = decorated(_attempt)
    self._waiting: list[tuple[int, int, Task]] = []  # a heap
    self._pending: dict[Any, Task] = {}
    self._submitted: set[Hashable] = set()
    self._ended: dict[Hashable, bool] = {}  # whether it failed

  def _gpus(self) -> int:
    return int(self._ray.cluster_resources().get("GPU", 0))

  def _cores(self) -> list[int]:
    alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
    return [int(resources.get("CPU", 0)) for resources in alive]

  @property
  def places(self) -> int:
    """How many tasks there is room for at once, by the machines there are now."""
    if self._on_gpus:
      return max(1, self._gpus())
    return max(1, sum(each // self._cpus for each in self._cores()))

  def submit(self, task: Task) -> None:
    """Queues a task.

    Raises:
      KeyError: it needs one that was not submitted.
    """
    if missing := set(task.needs) - self._submitted:
      raise KeyError(*missing)
    heapq.heappush(self._waiting, (task.turn, len(self._submitted), task))
    self._submitted.add(task.key)

  def finished(self, stop: threading.Event) -> Iterator[tuple[Task, Outcome]]:
    """Waits for all tasks, those submitted meanwhile too, and passes their notes on.

    Args:
      stop: set by the user's wish to stop.

    Yields:
      Each task as it ends, one that is needed before those that need it.

    Raises:
      Stopped: `stop` was set; the workers are ended.
    """
    while self._waiting or self._pending:
      room = AHEAD * self.places
      while len(self._pending) < room and (task := self._next()):
        if any(self._ended[key] for key in task.needs):
          self._ended[task.key] = True
          yield task, Outcome(error=NeedFailed())
        else:
          cpus = None if self._on_gpus else self._cpus
          self._pending[self._remote.remote(task.action, cpus)] = task
      if not self._pending:
        continue
      ready, _ = self._ray.wait(list(self._pending), timeout=LOOK_EVERY)
      for reference in ready:
        task = self._pending.pop(reference)
        outcome = self._outcome(reference)
        self._ended[task.key] = outcome.error is not None
        for note in outcome.notes:
          log.warning("%s", note)
        yield task, outcome
      if stop.is_set() and (self._pending or self._waiting):
        raise Stopped("stopped; the same command goes on where it stopped")

  def _next(self) -> Task | None:
    """Takes the first of the waiting tasks whose needs have ended, if there is one."""
    aside, found = [], None
    while self._waiting and found is None:
      entry = heapq.heappop(self._waiting)
      if all(key in self._ended for key in entry[-1].needs):
        found = entry[-1]
      else:
        aside.append(entry)
    for entry in aside:
      heapq.heappush(self._waiting, entry)
    return found

  def _outcome(self, reference: Any) -> Outcome:
    try:
      outcome: Outcome = self._ray.get(reference)
    except self._ray.exceptions.RayError as error:  # failed or died once too often
      return Outcome(error=getattr(error, "cause", None) or error)
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
      f"executor is 'ray', but Ray is not installed: {how_to_install('ray')}"
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


def _attempt(action: Callable[[], Any], cpus: int | None) -> Outcome:
  """Runs in a worker, whose JAX uses so many CPUs; None for as many as it likes."""
  if cpus:
    os.environ.setdefault("NPROC", str(cpus))  # XLA's; nothing where JAX has begun
  with heard() as notes:
    try:
      return Outcome(action(), notes=tuple(notes))
    except InputError as error:  # would fail again
      return Outcome(error=error, notes=tuple(notes))
