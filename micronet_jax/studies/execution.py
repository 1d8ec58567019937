"""Trains runs and scores their checkpoints, each once, whoever asks.

`train_run` and `score_run` keep what they made in the run's folder; figures read it
through an `Archive`, and `studies.study` and `studies.cluster` work off what it lacks.
"""

import functools
import pathlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from micronet_jax import checkpoints, devices
from micronet_jax.config import Config, changed, check_config
from micronet_jax.datasets.provenance import Provenance, check_unseen, provenance_of
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.splits import split_by_patient
from micronet_jax.detection.detector import Detector
from micronet_jax.detection.peaks import select_peaks
from micronet_jax.errors import InputError, Stopped
from micronet_jax.evaluation import matching, scores
from micronet_jax.evaluation.thresholds import choose_threshold
from micronet_jax.evaluation.workdir import claim_workdir
from micronet_jax.files import locked, read_json, write_json
from micronet_jax.studies.organs import Organ, load_data_set, load_organ
from micronet_jax.studies.results import (
  Outcome,
  Row,
  lost_outcome,
  outcome_from_json,
)
from micronet_jax.studies.runs import BEST, Evaluation, Run, order_runs, state_of
from micronet_jax.training.data import Data, arrange_data
from micronet_jax.training.loop import Diverged, fit
from micronet_jax.training.run import follow_checkpoint, prepare_training
from micronet_jax.version import __version__


class Job(NamedTuple):
  """A run to be trained, and what is to be scored of it afterwards."""

  run: Run
  evaluations: tuple[Evaluation, ...]


class Archive:
  """What the folder of the studies holds, and what was asked of it in vain.

  Attributes:
    place: the folder.
    wanted: every evaluation that was asked for, by its file.
  """

  def __init__(self, place: pathlib.Path):
    self.place = place
    self.wanted: dict[pathlib.Path, Evaluation] = {}
    self._outcomes: dict[pathlib.Path, Outcome] = {}

  def outcome(self, wanted: Evaluation) -> Outcome | None:
    """What an evaluation found; None if it has not been made."""
    path = wanted.path(self.place)
    self.wanted[path] = wanted
    if path not in self._outcomes:
      state, values = state_of(wanted.run, self.place), read_json(path)
      if state.diverged:
        self._outcomes[path] = lost_outcome(wanted.organ.name, state.diverged)
      elif values is None:
        return None
      else:
        self._outcomes[path] = outcome_from_json(values)
    return self._outcomes[path]

  def rows(
    self,
    panel: str,
    series: str,
    x: float,
    run: Run,
    organ: Organ,
    checkpoint: str = BEST,
  ) -> list[Row]:
    """The row of a figure, see `Row`; none while the evaluation is missing."""
    found = self.outcome(Evaluation(run, organ, checkpoint))
    if found is None:
      return []
    base = run.start.run.target.label if run.start else ""
    names = run.key, run.title, checkpoint, run.target.label, base
    return [Row(panel, series, x, run.config.seed, *names, found)]

  def last_step(self, run: Run) -> int | None:
    """The step that a run ended at; None if it has not ended."""
    state = state_of(run, self.place)
    return state.step if state.done else None

  def runs(self) -> list[Run]:
    """All runs that were asked for, a start before what starts from it."""
    return order_runs(wanted.run for wanted in self.wanted.values())

  def jobs(self) -> list[Job]:
    """What is left to do, in an order that can be worked off."""
    missing: dict[str, list[Evaluation]] = {}
    for wanted in self.wanted.values():
      if self.outcome(wanted) is None:
        missing.setdefault(wanted.run.key, []).append(wanted)
    needed = order_runs(group[0].run for group in missing.values())
    return [
      Job(run, tuple(missing.get(run.key, ())))
      for run in needed
      if run.key in missing or self.last_step(run) is None
    ]


def work_off(
  jobs: Sequence[Job], place: pathlib.Path, stop: threading.Event
) -> dict[str, str]:
  """Does jobs one after the other, here.

  Args:
    jobs: a start before what starts from it.
    place: the folder of all studies.
    stop: when set, the current run saves, and `Stopped` is raised.

  Returns:
    By the run's key, one sentence on each job that failed.
  """
  failures: dict[str, str] = {}
  for number, job in enumerate(jobs, 1):
    start = job.run.start
    if start and start.run.key in failures:
      failures[job.run.key] = f"{job.run.label}: its base failed"
      continue
    print(f"[{number}/{len(jobs)}] {job.run.label} ({job.run.key})", flush=True)
    failed = attempt_job(functools.partial(do_job, job, place, stop), job)
    if failed:
      failures[job.run.key] = failed
      print(f"failed: {failed}", flush=True)
  return failures


def attempt_job(action: Callable[[], None], job: Job) -> str | None:
  """One sentence if an action fails; a stop is passed on."""
  try:
    action()
  except Stopped:
    raise
  except Exception as error:  # one run must not end the study
    return describe_failure(job, error)
  return None


def describe_failure(job: Job, error: Exception) -> str:
  """Which run failed and why, on one line."""
  text = " ".join(str(error).split()) or type(error).__name__
  if not isinstance(error, InputError):
    text = f"{type(error).__name__}: {text}"
  if isinstance(error, Diverged):
    model = job.run.config.model.name
    text += f"; a lower rate is config.budgets.BUDGET.own_rates.{model}"
  return f"{job.run.label}: {text}"


def do_job(job: Job, place: pathlib.Path, stop: threading.Event) -> None:
  """Trains a run unless it is done, then makes the evaluations that are missing.

  Raises:
    InputError: data or a checkpoint that cannot be used, or a loss that is not finite
      where that is no result.
    Stopped: `stop` was set.
  """
  devices.use_compilation_cache()
  with locked(job.run.folder(place), wait=stop):
    if state_of(job.run, place).done:
      print(f"   trained before; scores {len(job.evaluations)} test set(s)", flush=True)
    else:
      train_run(job.run, place, stop)
    if state_of(job.run, place).diverged:
      return
    for checkpoint in dict.fromkeys(each.checkpoint for each in job.evaluations):
      detector = load_detector(job.run, checkpoint, place)
      for each in job.evaluations:
        if each.checkpoint == checkpoint and not each.path(place).exists():
          if stop.is_set():
            raise Stopped("stopped; run the same command again to go on")
          write_json(each.path(place), score_run(detector, each).to_json())


def train_run(run: Run, place: pathlib.Path, stop: threading.Event) -> None:
  """Trains, or resumes; ends with `done.json`."""
  began, first = time.monotonic(), state_of(run, place).step
  folder = run.folder(place)
  start = None
  if run.start:
    source = run.start.run.checkpoint(place, run.start.checkpoint)
    start = checkpoints.load_weights(str(source))
  data = assemble_data(run, seen=provenance_of(start[1]) if start else None)
  config = changed(
    run.config,
    {
      "target.name": run.target.kind,
      "target.organs": run.target.name,
      "auxiliary.name": run.auxiliary[0].kind if run.auxiliary else "",
      "auxiliary.organs": ",".join(organ.name for organ in run.auxiliary),
      "init_from": f"../{run.start.run.key}" if run.start else "",
    },
  )
  check_config(config)
  config = follow_checkpoint(config, start[1] if start else None)
  claim_workdir(config, folder)
  # For people who open the folder.
  names = {"title": run.title, "key": run.key}
  write_json(folder / "run.json", {**names, **run.identity()})
  prepared = prepare_training(config, start=start)
  diverged, record = None, {}
  try:
    detector = fit(config, data, folder, prepared, label=" ", stop=stop)
    record = detector.meta["record"]
  except Diverged as error:
    if not run.may_diverge:
      raise
    diverged = str(error)
  step, seconds = state_of(run, place).step, time.monotonic() - began
  values = {
    **names,
    "program": run.program(),
    "device": jax.devices()[0].device_kind,
    "step": step,
    "best_step": record.get("best_step"),
    "best_f1": record.get("best_f1"),
    "seconds": round(seconds, 1),
    # All included: reading, compiling, validation and saving.
    "seconds_per_step": seconds / max(step - first, 1),
    "diverged": diverged,
    "version": __version__,
  }
  write_json(folder / "done.json", values)


def assemble_data(run: Run, *, seen: Provenance | None = None) -> Data:
  """The data of a run, from images that are read once a process.

  Raises:
    InputError: an auxiliary organ's training images are of patients, in the same data
      set, whom the target is validated or tested on.
  """
  held_out = {
    s.patient
    for part in ("validation", "test")
    for s in part_of_organ(run.config, run.target, part)
  }
  for organ in run.auxiliary:
    shared = {s.patient for s in part_of_organ(run.config, organ, "train")} & held_out
    if organ.root and organ.root == run.target.root and shared:
      raise InputError(
        f"{organ.label} and {run.target.label} share patient {min(shared)!r}, who would "
        "be trained on in the one and tested on in the other; leave one of the two out "
        "with config.organs"
      )
  return arrange_data(
    run.config,
    load_organ(run.target),
    [s for organ in sorted(run.auxiliary) for s in load_organ(organ)],
    name=run.target.name,
    seen=seen,
  )


def part_of_organ(config: Config, organ: Organ, part: str = "test") -> list[Sample]:
  """One part of an organ's images, split as a run splits its own."""
  samples = load_organ(organ)
  return split_by_patient(samples, config.split).of(samples, part)


def load_detector(run: Run, checkpoint: str, place: pathlib.Path) -> Detector:
  """A checkpoint of a run with the threshold that its own validation part prefers.

  The best checkpoint holds it; that of a snapshot is chosen here.
  """
  weights, meta = checkpoints.load_weights(str(run.checkpoint(place, checkpoint)))
  detector = Detector(weights, meta)
  if checkpoint == BEST:
    return detector
  validation = part_of_organ(run.config, run.target, "validation")
  choice = choose_threshold(run.config, detector, validation)
  return detector.with_threshold(xi=choice.xi, min_distance=choice.min_distance)


def score_run(detector: Detector, wanted: Evaluation) -> Outcome:
  """Detects in the test images of an organ and compares with its annotations.

  Raises:
    InputError: the network, or one that it was tuned from, has seen one of its patients.
  """
  samples = part_of_organ(wanted.run.config, wanted.organ)
  try:
    check_unseen(samples, load_data_set(wanted.organ), provenance_of(detector.meta))
  except InputError as error:
    raise InputError(
      f"{wanted.organ.label} cannot test it: {error}; or leave one of the two organs out "
      "with config.organs"
    ) from error
  distance = detector.meta["min_distance"]
  # All radii, as in validation: one compiled program for both.
  peaks = detector.peaks(
    (s.image for s in samples), tuple(wanted.run.config.min_distances)
  )[distance]
  found = [select_peaks(*each, xi=detector.meta["xi"])[0] for each in peaks]
  annotated = [s.centers for s in samples]
  curve = scores.precision_recall_curve(peaks, annotated)
  chance = scores.chance_level(
    [len(points) for points in found],
    annotated,
    [s.image.shape[:2] for s in samples],
    radii=(16,),
  )
  return Outcome(
    organ=wanted.organ.name,
    patients=tuple(s.patient for s in samples),
    counts=scores.count_matches(matching.match_images(found, annotated)),
    detected=found if wanted.organ == wanted.run.target else (),
    curve={
      name: getattr(curve, name).round(6).tolist()
      for name in ("xi", "precision", "recall", "f1")
    },
    chance=chance["16"],
    f1_12=scores.evaluate_points(found, annotated, radii=(12,))["12"]["f1"],
    xi=detector.meta["xi"],
    min_distance=distance,
    step=detector.meta["step"],
  )


def find_timings(place: pathlib.Path) -> dict[str, list[float]]:
  """Seconds a step of all finished runs on this kind of device, by program."""
  device = jax.devices()[0].device_kind
  found: dict[str, list[float]] = {}
  for path in sorted((place / "runs").glob("*/done.json")):
    record: dict[str, Any] = read_json(path) or {}
    timed = {"program", "seconds_per_step"} <= set(record)  # else of another version
    if timed and record.get("device") == device and not record.get("diverged"):
      found.setdefault(record["program"], []).append(record["seconds_per_step"])
  return found
