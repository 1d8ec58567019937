"""Trains runs and scores their checkpoints, each once, whoever asks.

`train_run` and `score_run` keep what they made in the run's folder; figures read it
through an `Archive`, and the jobs it lacks are done here, one after the other, or on a
Ray cluster. Called by `studies.study`.
"""

import dataclasses
import functools
import pathlib
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from micronet_jax import checkpoints, devices
from micronet_jax.cluster import NeedFailed, Task, connected
from micronet_jax.config import check_config
from micronet_jax.datasets.organs import Organ, load_data_set, load_organ
from micronet_jax.datasets.provenance import Provenance, check_unseen, provenance_of
from micronet_jax.detection.detector import Detector
from micronet_jax.errors import InputError, Stopped
from micronet_jax.evaluation.metrics import count_matches, form_metric
from micronet_jax.evaluation.scoring import score_detector
from micronet_jax.evaluation.thresholds import choose_threshold
from micronet_jax.files import read_json, write_json
from micronet_jax.locks import locked
from micronet_jax.settings import changed
from micronet_jax.stored import ENDED, EVALUATED, check_stored, read_stored
from micronet_jax.studies.results import Row
from micronet_jax.studies.runs import BEST, Evaluation, Run, order_runs
from micronet_jax.training.data import Data, arrange_data
from micronet_jax.training.loop import Diverged, fit
from micronet_jax.training.run import follow_checkpoint, prepare_training
from micronet_jax.training.timing import remembered_step
from micronet_jax.version import __version__
from micronet_jax.workdir import claim_workdir


class Job(NamedTuple):
  """A run to be trained, and what is to be scored of it afterwards."""

  run: Run
  evaluations: tuple[Evaluation, ...]


class Archive:
  """What the folder of the studies holds, and what was asked of it, by its file."""

  def __init__(self, place: pathlib.Path):
    self.place = place
    self.wanted: dict[pathlib.Path, Evaluation] = {}
    self._found: dict[pathlib.Path, Row] = {}

  def outcome(self, wanted: Evaluation) -> Row | None:
    """What an evaluation found; None if it has not been made."""
    path = wanted.path(self.place)
    self.wanted[path] = wanted
    if path not in self._found:
      done, values = wanted.run.done(self.place) or {}, read_json(path)
      if done.get("diverged"):
        self._found[path] = Row(wanted.organ.name, diverged=done["diverged"])
      elif values is not None:
        if set(values) != {field.name for field in dataclasses.fields(Row)}:
          raise InputError(f"{path} is of another version; remove it")
        self._found[path] = Row(**check_stored(values, EVALUATED, str(path)))
    return self._found.get(path)

  def rows(
    self, panel: str, series: str, x: float, run: Run, organ: Organ, at: str = BEST
  ) -> list[Row]:
    """The row of a figure, of a run's checkpoint; none while it is not evaluated."""
    found = self.outcome(Evaluation(run, organ, at))
    place: dict[str, Any] = {"panel": panel, "series": series, "x": x, "checkpoint": at}
    place |= {"seed": run.config.seed, "run": run.key, "run_title": run.title}
    base = run.base.target.label if run.base else ""
    place |= {"trained_on": run.target.label, "base": base}
    return [dataclasses.replace(found, **place)] if found else []

  def last_step(self, run: Run) -> int | None:
    """The step that a run ended at; None if it has not ended."""
    done = run.done(self.place)
    return done["step"] if done else None

  def jobs(self) -> list[Job]:
    """What is left to do, a start before what starts from it."""
    missing: dict[str, list[Evaluation]] = {}
    for wanted in self.wanted.values():
      if self.outcome(wanted) is None:
        missing.setdefault(wanted.run.key, []).append(wanted)
    return [
      Job(run, tuple(missing.get(run.key, ())))
      for run in order_runs(group[0].run for group in missing.values())
      if run.key in missing or self.last_step(run) is None
    ]


def work_off(
  jobs: Sequence[Job], place: pathlib.Path, stop: threading.Event
) -> dict[str, str]:
  """Does jobs one after the other; gives by run a sentence on each that failed."""
  failures: dict[str, str] = {}
  for number, job in enumerate(jobs, 1):
    base = job.run.base
    if base and base.key in failures:
      failures[job.run.key] = _without_base(job)
      continue
    print(f"[{number}/{len(jobs)}] {job.run.label} ({job.run.key})", flush=True)
    try:
      do_job(job, place, stop)
    except Stopped:
      raise
    except Exception as error:  # one run must not end the study
      failures[job.run.key] = _describe_failure(job, error)
      print(f"failed: {failures[job.run.key]}", flush=True)
  return failures


def _without_base(job: Job) -> str:
  return f"{job.run.label}: its base failed"


def _describe_failure(job: Job, error: Exception) -> str:
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

  Raises InputError for data or a checkpoint that cannot be used; `Stopped`.
  """
  devices.use_compilation_cache()
  with locked(job.run.folder(place), wait=stop):
    if job.run.done(place):
      print(f"   trained before; scores {len(job.evaluations)} test set(s)", flush=True)
    else:
      train_run(job.run, place, stop)
    if (job.run.done(place) or {}).get("diverged"):
      return
    for checkpoint in dict.fromkeys(each.checkpoint for each in job.evaluations):
      weights, meta = checkpoints.load_weights(job.run.checkpoint(place, checkpoint))
      detector = Detector(weights, meta)
      if checkpoint != BEST:  # which holds the threshold that validation prefers
        validation = job.run.part(job.run.target, "validation")
        best = choose_threshold(job.run.config, detector, validation)
        detector = detector.with_search(job.run.config).with_threshold(
          xi=best.xi, min_distance=best.min_distance
        )
      for each in job.evaluations:
        if each.checkpoint == checkpoint and not each.path(place).exists():
          if stop.is_set():
            raise Stopped("stopped; run the same command again to go on")
          write_json(each.path(place), dataclasses.asdict(score_run(detector, each)))


def work_off_on_ray(
  jobs: Sequence[Job],
  place: pathlib.Path,
  stop: threading.Event,
  *,
  cpus_per_run: int,
  action: Callable[[Job, pathlib.Path, threading.Event], None] = do_job,
) -> dict[str, str]:
  """Does jobs as `work_off`, each once the run that it starts from is done.

  A run gets a GPU, or so many CPUs where there is none; `action` does a job. What died
  goes on from its last checkpoint, on whatever machine.

  Raises:
    InputError: as `cluster.connected` raises it.
    Stopped: `stop` was set; workers are ended, and go on from their last checkpoints.
  """
  failures: dict[str, str] = {}
  by_key = {job.run.key: job for job in jobs}
  with connected(cpus=cpus_per_run, asked="config.cpus_per_run") as cluster:
    for job in jobs:
      base = job.run.base
      needs = (base.key,) if base and base.key in by_key else ()
      once = functools.partial(action, job, place)
      cluster.submit(Task(job.run.key, functools.partial(_unstopped, once), needs))
    for number, (task, outcome) in enumerate(cluster.finished(stop), 1):
      text = (job := by_key[str(task.key)]).run.label
      if outcome.error:
        lacks = isinstance(outcome.error, NeedFailed)
        failed = _without_base(job) if lacks else _describe_failure(job, outcome.error)
        failures[job.run.key], text = failed, f"failed: {failed}"
      print(f"[{number}/{len(jobs)}] {text}", flush=True)
  return failures


def _unstopped(work: Callable[[threading.Event], None]) -> None:
  """Runs in a worker, which nobody asks to stop."""
  work(threading.Event())


def train_run(run: Run, place: pathlib.Path, stop: threading.Event) -> None:
  """Trains, or resumes; ends with `done.json`."""
  began, first = time.monotonic(), run.step(place)
  folder, start, seen = run.folder(place), None, None
  values = {"target.name": run.target.kind, "target.organs": run.target.name}
  if run.auxiliary:
    values["auxiliary.name"] = run.auxiliary[0].kind
    values["auxiliary.organs"] = ",".join(organ.name for organ in run.auxiliary)
  if run.base:
    start = checkpoints.load_weights(run.base.checkpoint(place, run.at))
    seen = provenance_of(start[1])
    values["init_from"] = f"../{run.base.key}"
  data = assemble_data(run, seen=seen)
  config = check_config(changed(run.config, values))
  config = follow_checkpoint(config, start[1] if start else None)
  claim_workdir(config, folder)
  names = {"title": run.title, "key": run.key}
  # For people who open the folder.
  write_json(folder / "run.json", {**names, **run.identity()})
  diverged, record = None, {}
  try:
    prepared = prepare_training(config, start=start)
    detector = fit(config, data, folder, prepared, label=" ", stop=stop)
    record = detector.meta["record"]
  except Diverged as error:
    if not run.may_diverge:
      raise
    diverged = str(error)
  step, seconds = run.step(place), time.monotonic() - began
  done = {"program": run.program(), "device": jax.devices()[0].device_kind}
  done |= {"step": step, "diverged": diverged, "version": __version__}
  done |= {name: record.get(name) for name in ("best_step", "best_f1")}
  # All included: reading, compiling, validation and saving.
  done |= {"seconds": seconds, "seconds_per_step": seconds / max(step - first, 1)}
  write_json(folder / "done.json", {**names, **done})


def assemble_data(run: Run, *, seen: Provenance | None = None) -> Data:
  """The data of a run; InputError if auxiliary ones are of held-out patients."""
  held_out = [*run.part(run.target, "validation"), *run.part(run.target, "test")]
  for organ in run.auxiliary:
    shared = {s.patient for s in run.part(organ, "train")} & {
      s.patient for s in held_out
    }
    if organ.root and organ.root == run.target.root and shared:
      raise InputError(
        f"{organ.label} and {run.target.label} share patient {min(shared)!r}, who "
        "would be trained on in the one and tested on in the other; leave one of the "
        "two out with config.organs"
      )
  others = [sample for organ in sorted(run.auxiliary) for sample in load_organ(organ)]
  target, name = load_organ(run.target), run.target.name
  return arrange_data(run.config, target, others, name=name, seen=seen)


def score_run(detector: Detector, wanted: Evaluation) -> Row:
  """Tests a network; InputError if it, or a base of it, has seen a patient."""
  run, organ = wanted.run, wanted.organ
  samples = run.part(organ, "test")
  try:
    check_unseen(samples, load_data_set(organ), provenance_of(detector.meta))
  except InputError as error:
    raise InputError(
      f"{organ.label} cannot test it: {error}; or leave one of the two organs out with "
      "config.organs"
    ) from error
  found = score_detector(detector, samples)
  names = ("xi", "precision", "recall", "f1")
  counts, patients = count_matches(found.matches["16"]), [s.patient for s in samples]
  own = {name: counts[[p == name for p in patients]].sum(0) for name in patients}
  f1 = form_metric(counts, "f1")
  median = int(np.argsort(f1, kind="stable")[len(f1) // 2])
  example = median, float(f1[median]), found.detected[median].round(1).tolist()
  return Row(
    organ=organ.name,
    by_patient={name: sums.tolist() for name, sums in own.items()},
    images=len(samples),
    example=example if organ == run.target else (),
    curve={name: getattr(found.curve, name).round(6).tolist() for name in names},
    f1_chance=found.chance["16"],
    f1_12px=found.radius_px["12"]["f1"],
    xi=detector.meta["xi"],
    min_distance=detector.meta["min_distance"],
    step=detector.meta["step"],
  )


def describe_plan(archive: Archive, *, measure: bool, chooses: bool) -> str:
  """What `--config.plan_only=True` prints of what was asked for and what is there."""
  wanted = order_runs(each.run for each in archive.wanted.values())
  seconds = _time_programs(wanted, archive.place, measure=measure)
  width = max((len(run.label) for run in wanted), default=3)
  lines = [f"{'run':{width}}  hash          state               minutes left"]
  total, done, unknown = 0.0, 0, 0
  for run in wanted:
    record, each = run.done(archive.place), seconds.get(run.program())
    step = run.step(archive.place)
    text, minutes = f"stopped at {step}" if step else "to do", "0.0"
    if record:
      text, done = "diverged" if record["diverged"] else "done", done + 1
    elif each is None:
      minutes, unknown = "not measured yet", unknown + 1
    else:
      left = (run.config.num_steps - step) * each / 60
      minutes, total = f"{left:.1f}", total + left
    lines.append(f"{run.label:{width}}  {run.key}  {text:18}  {minutes}")
  lines.append(f"{len(wanted)} runs, {done} done")
  if chooses:
    lines.append("and more, from bases or sources that these results choose")
  to_score = sum(archive.outcome(each) is None for each in archive.wanted.values())
  lines.append(f"{to_score} test sets to detect in, not counted in the time")
  text = f"{total / 60:.1f} hours left on this machine, one run after the other"
  lines.append(text + (f", and {unknown} runs not measured yet" if unknown else ""))
  return "\n".join(lines)


def _time_programs(
  wanted: Iterable[Run], place: pathlib.Path, *, measure: bool
) -> dict[str, float]:
  """Seconds a step by program: of finished runs, all included; else measured."""
  times: dict[str, list[float]] = {}
  for path in sorted((place / "runs").glob("*/done.json")):
    try:
      done = read_stored(path, ENDED) or {}
    except InputError:  # of another version: its times say nothing
      continue
    here = done.get("device") == jax.devices()[0].device_kind
    if here and "seconds_per_step" in done and not done["diverged"]:
      times.setdefault(done["program"], []).append(done["seconds_per_step"])
  for run in wanted:
    program, path = run.program(), place / "step_times.json"
    if program not in times:
      seconds = remembered_step(run.config, program, path, measure=measure)
      times |= {program: [seconds]} if seconds else {}
  return {program: statistics.median(each) for program, each in times.items()}
