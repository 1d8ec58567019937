"""What a training run is, what it is known by, and what has become of it.

Two runs that would give the same network have the same key, whichever figure asks for
them; the key is the name of the run's folder.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from micronet_jax.config import FREE_FIELDS, as_dict
from micronet_jax.errors import InputError, Stopped
from micronet_jax.files import write_json
from micronet_jax.studies.organs import Organ

NOT_DETERMINING = frozenset(
  {
    *FREE_FIELDS,
    *("job", "compare", "evaluate_part"),
    # Said better by the organs and by the run to start from.
    *("target", "auxiliary", "init_from", "init_partial"),
  }
)
"""Fields of a config that do not determine a run."""

BEST = "best"

LOOK_EVERY = 1.0
"""Seconds between looks at what may have changed while waiting."""


class Start(NamedTuple):
  """The weights that a run begins with: `BEST` of another run, or those at a step."""

  run: "Run"
  checkpoint: str


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """One training run.

  Attributes:
    title: for people.
    config: the fields of configs/common.py; data and start are below.
    target: to learn and be tested on.
    auxiliary: organs whose training images are added.
    start: what is fine-tuned, or None for random weights.
    may_diverge: a loss that is not finite is a result here, not a failure.
  """

  title: str
  config: Any
  target: Organ
  auxiliary: tuple[Organ, ...] = ()
  start: Start | None = None
  may_diverge: bool = False

  @property
  def label(self) -> str:
    """The title and the seed."""
    return f"{self.title}, seed {self.config.seed}"

  @functools.cached_property
  def key(self) -> str:
    """12 hexadecimal digits of all that determines the run."""
    return digest(self.identity())

  def identity(self) -> dict[str, Any]:
    """What determines the run, ready for JSON."""
    config = _determining(as_dict(self.config))
    if not self.auxiliary:
      for field in ("auxiliary_percentage", "gamma", "naive_pooling"):
        config.pop(field, None)
    elif config["naive_pooling"]:
      config.pop("gamma")
    start = self.start and [self.start.run.key, self.start.checkpoint]
    return {
      "config": config,
      "target": self.target.identity(),
      "auxiliary": [organ.identity() for organ in sorted(self.auxiliary)],
      "start": start,
    }

  def program(self) -> str:
    """What the time of a step depends on, on one device."""
    config = as_dict(self.config)
    fields = [config["model"], config["warp"]["patch"], config["batch_size"]]
    return digest(fields)

  def folder(self, place: pathlib.Path) -> pathlib.Path:
    """The folder of the run below that of all studies."""
    return place / "runs" / self.key

  def checkpoint(self, place: pathlib.Path, name: str) -> pathlib.Path:
    """Where `checkpoints.load_weights` finds the best, or the snapshot of a step."""
    if name == BEST:
      return self.folder(place)
    return self.folder(place) / "checkpoints" / "snapshots" / name


def digest(values: Any) -> str:
  """12 hexadecimal digits of canonical JSON: keys sorted, 1 the same as 1.0."""
  text = json.dumps(_canonical(values), sort_keys=True, separators=(",", ":"))
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def _canonical(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {str(key): _canonical(entry) for key, entry in value.items()}
  if isinstance(value, list | tuple):
    return [_canonical(entry) for entry in value]
  return (
    float(value) if isinstance(value, int) and not isinstance(value, bool) else value
  )


def _determining(config: dict[str, Any]) -> dict[str, Any]:
  return {
    key: _determining(value) if isinstance(value, dict) else value
    for key, value in config.items()
    if key not in NOT_DETERMINING
  }


class Evaluation(NamedTuple):
  """One checkpoint on one part of one organ.

  Attributes:
    run: whose checkpoint.
    organ: whose images.
    checkpoint: `BEST`, or the step of a snapshot.
  """

  run: Run
  organ: Organ
  checkpoint: str = BEST

  @property
  def name(self) -> str:
    """Of its file: the same evaluation has the same, and no other has it."""
    data = digest(self.organ.identity())
    return f"{self.checkpoint}-{self.organ.name}-{data}-test.json"

  def path(self, place: pathlib.Path) -> pathlib.Path:
    """The file, in the folder of the run."""
    return self.run.folder(place) / "evaluations" / self.name


class State(NamedTuple):
  """What has become of a run.

  Attributes:
    done: whether it has ended.
    step: that it ended at, or can go on from.
    seconds: that a step took, all included; None if it is not done.
    diverged: what was said when the loss was not finite any more, or None.
  """

  done: bool
  step: int
  seconds: float | None = None
  diverged: str | None = None


def state_of(run: Run, place: pathlib.Path) -> State:
  """Reads the state of a run from its folder."""
  folder = run.folder(place)
  record = read_json(folder / "done.json")
  if record:
    return State(True, record["step"], record["seconds_per_step"], record["diverged"])
  found = (folder / "checkpoints" / "latest").glob("*")
  steps = [int(path.name) for path in found if path.name.isdigit()]
  return State(False, max(steps, default=0))


def read_json(path: pathlib.Path) -> dict[str, Any] | None:
  """What a file holds, None if there is none.

  Raises:
    InputError: it is not JSON.
  """
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    return None
  except (OSError, ValueError) as error:
    raise InputError(f"{path} cannot be read ({error}); remove it") from error


def describe(run: Run, place: pathlib.Path) -> None:
  """Writes `run.json`: what the run is, for people who open its folder."""
  values = {"title": run.title, "key": run.key, **run.identity()}
  write_json(run.folder(place) / "run.json", values)


def in_order(runs: Iterable[Run]) -> list[Run]:
  """The runs and those that they start from, each once, a start before its runs."""
  ordered: dict[str, Run] = {}

  def visit(run: Run) -> None:
    if run.key not in ordered:
      if run.start:
        visit(run.start.run)
      ordered[run.key] = run

  for run in runs:
    visit(run)
  return list(ordered.values())


@contextlib.contextmanager
def claimed(folder: pathlib.Path, stop: threading.Event) -> Iterator[None]:
  """Keeps two processes from training the same run: the second waits for the first.

  Args:
    folder: of the run.
    stop: ends the waiting.

  Raises:
    Stopped: `stop` was set before it was this process's turn.
  """
  import fcntl  # not on Windows, where detection works without

  folder.mkdir(parents=True, exist_ok=True)
  with (folder / "lock").open("a") as file:
    told = False
    while True:
      if stop.is_set():
        raise Stopped("stopped; run the same command again to go on")
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
      except BlockingIOError:
        if not told:
          print(f"waiting for another process that works in {folder}", flush=True)
        told = True
        stop.wait(LOOK_EVERY)
    yield
