"""The predict job on a Ray cluster: images, and parts of large slides, as tasks.

A task takes one image after the other until its time is up, and hands the rest back. A
slide with more than `PART_TILES` tiles left is handed back too, and searched in parts,
each by a task, into journals beside its results; when all parts are done, one more task
takes them over and writes the files. Tasks whose worker or machine died are begun again
by Ray, elsewhere, and go on from the journals. Called by `predict.job`.
"""

import functools
import os
import pathlib
import platform
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from micronet_jax.cluster import RETRIES, Cluster, Outcome, Task, connected
from micronet_jax.config import PredictConfig
from micronet_jax.detection.detector import load
from micronet_jax.devices import use_compilation_cache
from micronet_jax.errors import InputError
from micronet_jax.files import sweep
from micronet_jax.locks import DEAD_AFTER, LOOK_EVERY, Busy
from micronet_jax.predict.image import (
  Divisible,
  Work,
  digest_network,
  predict_image,
  result_or_error,
  search_part,
)
from micronet_jax.signals import caught_signals
from micronet_jax.version import __version__

PART_TILES = 512
"""Tiles beyond which a slide is searched in parts, of up to so many each."""


SHARES = 4
"""Tasks that each place of the cluster gets, if there are so many images."""


SHARE_SECONDS = 120.0
"""After which a task begins no further image, so that what is found is told."""


T = TypeVar("T")
Job = tuple[str, pathlib.Path]  # an image, and its files less the ending


class Order(NamedTuple):
  """What workers must know, and must have as the command has it.

  Attributes:
    weights: how the user names them.
    network: `digest_network` of what they are.
    options: of the job.
    folder: that paths are relative to.
    version: of the package.
    part_tiles: that one task searches of an image at most.
  """

  weights: str
  network: str
  options: PredictConfig
  folder: str
  version: str
  part_tiles: int


class Share(NamedTuple):
  """The key of a task: images for one worker, whole whatever their size if `whole`."""

  jobs: tuple[Job, ...]
  whole: bool = False
  seconds: float = 0.0


class Part(NamedTuple):
  """The key of a task: one of so many parts of a slide."""

  job: Job
  number: int
  parts: int


class Report(NamedTuple):
  """What came of a share.

  Attributes:
    results: of images that are done, or failed.
    large: slides to be searched in parts, with how many.
    left: images for which there was no time.
  """

  results: list[dict[str, Any]]
  large: list[tuple[Job, int]]
  left: tuple[Job, ...]


def predict_on_ray(
  weights: str, network: str, options: PredictConfig, jobs: Sequence[Job]
) -> Generator[dict[str, Any], None, None]:
  """Does what `predict.job` does one by one, for all images at once.

  Args:
    weights: as `load` takes them.
    network: `digest_network` of what they are here.
    options: of the job.
    jobs: images with the paths of their files.

  Yields:
    What `predict_image` returns, or an error, of each image as it is done.

  Raises:
    InputError: as `cluster.connected` raises it.
    Stopped: a signal came; what is found so far is in the journals.
  """
  order = Order(weights, network, options, os.getcwd(), __version__, PART_TILES)
  cpus = options.cpus_per_task
  with (
    caught_signals() as stop,
    connected(cpus=cpus, asked="cpus_per_task (--cpus)") as cluster,
  ):
    spread = _Spread(cluster, order)
    size = max(1, len(jobs) // (SHARES * cluster.places))
    for start in range(0, len(jobs), size):
      spread.submit(Share(tuple(jobs[start : start + size])))
    for task, outcome in cluster.finished(stop):
      if isinstance(task.key, Part):
        yield from spread.after_part(task.key, outcome)
      elif isinstance(task.key, Share):
        yield from spread.after_share(task.key, outcome)


class _Spread:
  """What to do once a task has ended."""

  def __init__(self, cluster: Cluster, order: Order):
    self._cluster, self._order = cluster, order
    self._seconds: dict[Job, list[float]] = {}  # of each part that is done

  def submit(self, key: Share | Part) -> None:
    """What is begun is ended first, so that results come all the time."""
    action: Callable[[], Any]
    if isinstance(key, Share):
      action = functools.partial(_predict_share, self._order, key)
      turn = 0 if key.whole else 2
    else:
      action, turn = functools.partial(_search_part, self._order, key), 1
    self._cluster.submit(Task(key, action, turn=turn))

  def after_share(self, share: Share, outcome: Outcome) -> Iterator[dict[str, Any]]:
    if outcome.error:
      if len(share.jobs) > 1:  # one of them may end the workers; which?
        for job in share.jobs:
          self.submit(Share((job,)))
      else:
        yield _failed(share.jobs[0], outcome.error)
      return
    report: Report = outcome.value
    yield from report.results
    for job, count in report.large:
      self._seconds[job] = []
      for number in range(1, count + 1):
        self.submit(Part(job, number, count))
    if report.left:
      self.submit(Share(report.left))

  def after_part(self, part: Part, outcome: Outcome) -> Iterator[dict[str, Any]]:
    seconds = self._seconds.get(part.job)
    if seconds is None:  # another part has failed
      return
    if outcome.error:
      del self._seconds[part.job]
      yield _failed(part.job, outcome.error)
      return
    seconds.append(outcome.value)
    print(
      f"{part.job[0]}: {len(seconds)} of {part.parts} parts are searched", flush=True
    )
    if len(seconds) == part.parts:
      self.submit(Share((part.job,), whole=True, seconds=sum(seconds)))


def _failed(job: Job, error: Exception) -> dict[str, Any]:
  text = " ".join(str(error).split())
  if not isinstance(error, InputError):
    text = f"failed {1 + RETRIES} times, last by {type(error).__name__}: {text[:200]}"
  return {"image": job[0], "error": text}


# What runs in a worker.


def _predict_share(order: Order, share: Share) -> Report:
  work, began = _prepare_work(order), time.monotonic()
  # What a worker left that was killed here while it wrote.
  sweep(share.jobs[0][1].parent)
  report = Report([], [], ())
  most = None if share.whole else order.part_tiles
  for number, (image, stem) in enumerate(share.jobs):
    if number and time.monotonic() - began > SHARE_SECONDS:
      return report._replace(left=share.jobs[number:])
    detect = functools.partial(
      predict_image, work, image, stem, most=most, seconds=share.seconds
    )
    try:
      action = functools.partial(_patiently, detect)
      report.results.append(result_or_error(image, action))
    except Divisible as found:
      report.large.append(((image, stem), -(-found.tiles // order.part_tiles)))
  return report


def _search_part(order: Order, part: Part) -> float:
  work, numbers = _prepare_work(order), (part.number, part.parts)
  return _patiently(functools.partial(search_part, work, *part.job, *numbers))


def _patiently(action: Callable[[], T]) -> T:
  """Waits while another works there: Ray may think it dead, or it may be so since."""
  until = time.monotonic() + 2 * DEAD_AFTER
  while True:
    try:
      return action()
    except Busy:
      if time.monotonic() > until:
        raise
    time.sleep(LOOK_EVERY)


@functools.cache
def _prepare_work(order: Order) -> Work:
  """Loads the network, once in a process.

  Raises:
    InputError: folder, package or network are not those of the command.
  """
  machine = platform.node()
  try:
    os.chdir(order.folder)
  except OSError as error:
    raise InputError(
      f"{machine} does not see {order.folder} ({error.strerror}), where the command was"
      " given; give it in a folder that all machines of the cluster share"
    ) from error
  if order.version != __version__:
    raise InputError(
      f"{machine} has micronet_jax {__version__}, but the command is of"
      f" {order.version}; install the same on all machines of the cluster"
    )
  use_compilation_cache()
  detector = load(order.weights)
  if (network := digest_network(detector)) != order.network:
    raise InputError(
      f"{machine} finds other weights at {order.weights} than the command did"
      f" ({network}, not {order.network}); all must read the same, which none changes"
    )
  return Work(detector, order.weights, order.network, order.options)
