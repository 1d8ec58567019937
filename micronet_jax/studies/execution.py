"""Trains runs and scores their checkpoints, each once, whoever asks."""

import functools
import pathlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from micronet_jax import checkpoints, errors
from micronet_jax.config import check_config, claim_workdir
from micronet_jax.datasets.provenance import images_seen
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.splits import split_by_patient
from micronet_jax.detection.detector import Detector
from micronet_jax.detection.peaks import select_peaks
from micronet_jax.errors import InputError
from micronet_jax.evaluation import matching, scores, thresholds
from micronet_jax.files import write_json
from micronet_jax.studies import organs, results, runs
from micronet_jax.studies.organs import Organ
from micronet_jax.studies.results import Outcome
from micronet_jax.studies.runs import BEST, Evaluation, Run
from micronet_jax.training.data import Data, arrange_data
from micronet_jax.training.loop import Diverged, fit
from micronet_jax.training.run import prepare_training
from micronet_jax.version import __version__


class Job(NamedTuple):
  """A run to be trained, and what is to be scored of it afterwards."""

  run: Run
  evaluations: tuple[Evaluation, ...]


class Results:
  """What the folder of the studies holds; each file is read once."""

  def __init__(self, place: pathlib.Path):
    self.place = place
    self._outcomes: dict[pathlib.Path, Outcome] = {}

  def outcome(self, wanted: Evaluation) -> Outcome | None:
    """What an evaluation found; None if it has not been made."""
    path = wanted.path(self.place)
    if path not in self._outcomes:
      state = runs.state_of(wanted.run, self.place)
      values = runs.read_json(path)
      if state.diverged:
        self._outcomes[path] = results.lost(wanted.organ.name, state.diverged)
      elif values is None:
        return None
      else:
        self._outcomes[path] = results.from_json(values)
    return self._outcomes[path]

  def last_step(self, run: Run) -> int | None:
    """The step that a run ended at; None if it has not ended."""
    state = runs.state_of(run, self.place)
    return state.step if state.done else None


def jobs_for(wanted: Sequence[Evaluation], known: Results) -> list[Job]:
  """What is left to do for some evaluations, in an order that can be worked off."""
  missing: dict[str, dict[str, Evaluation]] = {}
  for each in wanted:
    if known.outcome(each) is None:
      missing.setdefault(each.run.key, {})[f"{each.name}"] = each
  needed = runs.in_order(
    each.run for group in missing.values() for each in group.values()
  )
  return [
    Job(run, tuple(missing.get(run.key, {}).values()))
    for run in needed
    if run.key in missing or known.last_step(run) is None
  ]


def work_off(
  jobs: Sequence[Job], place: pathlib.Path, stop: threading.Event
) -> dict[str, str]:
  """Does jobs one after the other, here.

  Args:
    jobs: a start before what starts from it.
    place: the folder of all studies.
    stop: when set, the current run saves, and `training.Stopped` is raised.

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
    failed = attempt(functools.partial(do, job, place, stop), job)
    if failed:
      failures[job.run.key] = failed
      print(f"failed: {failed}", flush=True)
  return failures


def attempt(action: Callable[[], None], job: Job) -> str | None:
  """One sentence if an action fails; a stop is passed on."""
  try:
    action()
  except errors.Stopped:
    raise
  except Exception as error:  # one run must not end the study
    return sentence(job, error)
  return None


def sentence(job: Job, error: Exception) -> str:
  """Which run failed and why, on one line."""
  text = " ".join(str(error).split()) or type(error).__name__
  if not isinstance(error, InputError):
    text = f"{type(error).__name__}: {text}"
  if isinstance(error, Diverged):
    model = job.run.config.model.name
    text += f"; a lower rate is config.budgets.BUDGET.own_rates.{model}"
  return f"{job.run.label}: {text}"


def do(job: Job, place: pathlib.Path, stop: threading.Event) -> None:
  """Trains a run unless it is done, then makes the evaluations that are missing.

  Raises:
    InputError: data or a checkpoint that cannot be used, or a loss that is not finite
      where that is no result.
    Stopped: `stop` was set.
  """
  with runs.claimed(job.run.folder(place), stop):
    if runs.state_of(job.run, place).done:
      print(f"   trained before; scores {len(job.evaluations)} test set(s)", flush=True)
    else:
      train(job.run, place, stop)
    if runs.state_of(job.run, place).diverged:
      return
    for checkpoint in dict.fromkeys(each.checkpoint for each in job.evaluations):
      detector = load_detector(job.run, checkpoint, place)
      for each in job.evaluations:
        if each.checkpoint == checkpoint and not each.path(place).exists():
          if stop.is_set():
            raise errors.Stopped("stopped; run the same command again to go on")
          outcome = score(detector, each)
          write_json(each.path(place), outcome.to_json())


def train(run: Run, place: pathlib.Path, stop: threading.Event) -> None:
  """Trains, or resumes; ends with `done.json`."""
  began, first = time.monotonic(), runs.state_of(run, place).step
  folder = run.folder(place)
  start = None
  if run.start:
    source = run.start.run.checkpoint(place, run.start.checkpoint)
    start = checkpoints.load_weights(str(source))
  data = assemble(run, trained_on=images_seen(start[1]) if start else ())
  config = run.config.copy_and_resolve_references()
  config.target.name, config.target.organs = run.target.kind, run.target.name
  config.auxiliary.organs = ",".join(organ.name for organ in run.auxiliary)
  config.auxiliary.name = run.auxiliary[0].kind if run.auxiliary else ""
  if run.start:
    config.init_from = f"../{run.start.run.key}"
  check_config(config)
  claim_workdir(config, folder)
  runs.describe(run, place)
  prepared = prepare_training(config, start=start)
  diverged, record = None, {}
  try:
    detector = fit(config, data, folder, prepared, label=" ", stop=stop)
    record = detector.meta["record"]
  except Diverged as error:
    if not run.may_diverge:
      raise
    diverged = str(error)
  (step,) = _steps(folder)[-1:] or (0,)
  seconds = time.monotonic() - began
  values = {
    "title": run.title,
    "key": run.key,
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


def _steps(folder: pathlib.Path) -> list[int]:
  """Steps of the latest checkpoints, rising."""
  found = (folder / "checkpoints" / "latest").glob("*")
  return sorted(int(path.name) for path in found if path.name.isdigit())


def assemble(run: Run, *, trained_on: Sequence[str] = ()) -> Data:
  """The data of a run, from images that are read once a process.

  Raises:
    InputError: an auxiliary organ's training images are of patients, in the same data
      set, whom the target is validated or tested on.
  """
  for organ in run.auxiliary:
    _check_patients(run, trained_on=organ, tested_on=run.target)
  auxiliary = [s for organ in sorted(run.auxiliary) for s in organs.load(organ)]
  return arrange_data(
    run.config,
    organs.load(run.target),
    auxiliary,
    name=run.target.name,
    trained_on=trained_on,
  )


def _check_patients(run: Run, *, trained_on: Organ, tested_on: Organ) -> None:
  """Two organs of a data set may have patients in common, and parts of their own.

  Raises:
    InputError: someone is in the one's training and in the other's held-out part.
  """
  same_set = trained_on.root and trained_on.root == tested_on.root
  if not same_set or trained_on == tested_on:
    return
  seen = {s.patient for s in part_of(run, trained_on, "train")}
  held_out = {
    s.patient for part in ("validation", "test") for s in part_of(run, tested_on, part)
  }
  if seen & held_out:
    raise InputError(
      f"{trained_on.label} and {tested_on.label} share patient "
      f"{min(seen & held_out)!r}, who would be trained on in the one and tested on in "
      "the other; leave one of the two out with config.organs"
    )


def part_of(run: Run, organ: Organ, part: str = "test") -> list[Sample]:
  """One part of an organ's images, split as the run splits its own."""
  samples = organs.load(organ)
  options = run.config.split
  split = split_by_patient(
    samples,
    test_fraction=options.test_fraction,
    validation_fraction=options.validation_fraction,
    seed=options.seed,
  )
  return split.of(samples, part)


def load_detector(run: Run, checkpoint: str, place: pathlib.Path) -> Detector:
  """A checkpoint of a run with the threshold that its own validation part prefers.

  The best checkpoint holds it; that of a snapshot is chosen here.
  """
  weights, meta = checkpoints.load_weights(str(run.checkpoint(place, checkpoint)))
  detector = Detector(weights, meta)
  if checkpoint == BEST:
    return detector
  validation = part_of(run, run.target, "validation")
  choice = thresholds.choose_threshold(run.config, detector, validation)
  return detector.with_threshold(xi=choice.xi, min_distance=choice.min_distance)


def score(detector: Detector, wanted: Evaluation) -> Outcome:
  """Detects in the test images of an organ and compares with its annotations.

  Raises:
    InputError: the network was trained on one of its patients.
  """
  for organ in (wanted.run.target, *wanted.run.auxiliary):
    _check_patients(wanted.run, trained_on=organ, tested_on=wanted.organ)
  if wanted.run.start:
    base = wanted.run.start.run
    _check_patients(base, trained_on=base.target, tested_on=wanted.organ)
  samples = part_of(wanted.run, wanted.organ)
  distance = detector.meta["min_distance"]
  # All radii, as in validation: one compiled program for both.
  peaks = detector.peaks(
    (s.image for s in samples), tuple(wanted.run.config.min_distances)
  )[distance]
  found = [select_peaks(*each, xi=detector.meta["xi"])[0] for each in peaks]
  annotated = [s.centers for s in samples]
  matches = matching.match_images(found, annotated)
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
    counts=np.array([(m.tp, m.fp, m.fn, m.distances.sum()) for m in matches]),
    detected=found if wanted.organ == wanted.run.target else (),
    curve={
      name: np.round(getattr(curve, name), 6).tolist()
      for name in ("xi", "precision", "recall", "f1")
    },
    chance=chance["16"],
    f1_12=scores.evaluate_points(found, annotated, radii=(12,))["12"]["f1"],
    xi=detector.meta["xi"],
    min_distance=distance,
    step=detector.meta["step"],
  )


def timings(place: pathlib.Path) -> Mapping[str, list[dict[str, Any]]]:
  """The records of all finished runs on this kind of device, by program."""
  device = jax.devices()[0].device_kind
  found: dict[str, list[dict[str, Any]]] = {}
  for path in sorted((place / "runs").glob("*/done.json")):
    record = runs.read_json(path)
    if record and record["device"] == device and not record["diverged"]:
      found.setdefault(record["program"], []).append(record)
  return found
