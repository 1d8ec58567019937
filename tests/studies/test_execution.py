"""Who works runs off, in which order; what may not be seen; what the plan says."""

import dataclasses
import functools
import itertools
import json
import threading

import jax
import numpy as np
import pytest
from study_tables import found, organ, rows_of, run_of, setting

from micronet_jax import locks
from micronet_jax.datasets.provenance import Provenance, records_of
from micronet_jax.datasets.sample import Sample
from micronet_jax.errors import InputError
from micronet_jax.studies import execution, runs
from micronet_jax.studies.execution import Archive, Job, describe_plan
from micronet_jax.studies.results import Row
from micronet_jax.studies.runs import Evaluation, make_run


def write_done(run, place, **changes):
  folder = run.folder(place)
  folder.mkdir(parents=True, exist_ok=True)
  record = {"step": 300, "seconds_per_step": 0.2, "diverged": None}
  record |= {"device": jax.devices()[0].device_kind, "program": run.program()}
  (folder / "done.json").write_text(json.dumps({**record, **changes}))


def write_found(wanted, place, row):
  path = wanted.path(place)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(dataclasses.asdict(row)))


# What is kept on disk.


def test_an_archive_gives_what_is_there_and_knows_what_is_missing(tmp_path):
  base, liver = run_of(organ("a"), title="base"), organ("liver")
  tuned = run_of(organ("b"), base=base, title="tuned")
  archive = Archive(tmp_path)
  assert archive.rows("p", "s", 1, tuned, liver) == []
  assert archive.rows("p", "t", 2, tuned, tuned.target, "30") == []
  assert [job.run.title for job in archive.jobs()] == ["base", "tuned"]
  assert [len(job.evaluations) for job in archive.jobs()] == [0, 2]
  write_done(base, tmp_path)
  assert [job.run.title for job in archive.jobs()] == ["tuned"]
  write_done(tuned, tmp_path)
  row = found([3, 1], [1, 0], [0, 2], name="liver", example=(0, 0.5, [[1.0, 2.0]]))
  write_found(Evaluation(tuned, liver), tmp_path, row)
  (read,) = archive.rows("p", "s", 1, tuned, liver)
  assert (read.panel, read.series, read.x, read.run) == ("p", "s", 1, tuned.key)
  assert (read.trained_on, read.base, read.checkpoint) == ("b", "a", "best")
  assert read.by_patient == row.by_patient
  assert read.example[2] == [[1.0, 2.0]]
  (job,) = archive.jobs()
  assert [each.checkpoint for each in job.evaluations] == ["30"]


def test_what_diverged_needs_no_evaluation(tmp_path):
  run = run_of(title="lost")
  write_done(run, tmp_path, diverged="nan at step 3")
  archive = Archive(tmp_path)
  (read,) = archive.rows("p", "s", 0, run, organ("liver"))
  assert (read.diverged, read.organ) == ("nan at step 3", "liver")
  assert np.isnan(read.score())
  assert archive.jobs() == []


def test_folders_of_another_version_are_refused_in_one_sentence(tmp_path):
  run, archive = run_of(), Archive(tmp_path)
  write_done(run, tmp_path)
  path = Evaluation(run, run.target).path(tmp_path)
  path.parent.mkdir()
  path.write_text('{"organ": "breast", "counts": [[1, 2, 3, 4]]}')
  with pytest.raises(InputError, match="is of another version; remove it"):
    archive.rows("p", "s", 0, run, run.target)
  (run.folder(tmp_path) / "done.json").write_text('{"title": "old"}')
  with pytest.raises(InputError, match="is of another version; remove the folder"):
    archive.rows("p", "s", 0, run, run.target)
  # Those of runs that nobody asks for are passed over.
  other = setting(names="ab")
  archive = Archive(tmp_path)
  rows_of(other, archive)
  assert "2 runs, 0 done" in describe_plan(archive, measure=False, chooses=False)


# What a network must not have seen.


@pytest.fixture
def three_organs(monkeypatch):
  """Breast and kidney of one data set share patients; liver has others."""
  patients = {"breast": "abcdef", "kidney": "abcdefghijkl", "liver": "mnop"}
  generator = np.random.default_rng(0)
  samples = {
    name: tuple(
      Sample(
        *(f"{name}{patient}", name, patient, 0.25),
        generator.integers(0, 255, (64, 64, 3), np.uint8),
        np.ones((1, 2), "f4"),
      )
      for patient in each
    )
    for name, each in patients.items()
  }
  every = tuple(itertools.chain(*samples.values()))
  for module in (execution, runs):
    monkeypatch.setattr(module, "load_organ", lambda which: samples[which.name])
  monkeypatch.setattr(execution, "load_data_set", lambda which: every)
  return samples


def test_auxiliary_images_of_held_out_patients_are_refused(three_organs):
  breast, kidney, liver = organ("breast"), organ("kidney"), organ("liver")
  with pytest.raises(InputError, match="kidney and breast share patient"):
    execution.assemble_data(run_of(breast, auxiliary=[kidney]))
  data = execution.assemble_data(run_of(breast, auxiliary=[liver]))
  assert {s.patient for s in data.auxiliary} <= set("mnop")
  assert {s.organ for s in data.train} == {"breast"}
  # Elsewhere the same name is another patient.
  execution.assemble_data(run_of(breast, auxiliary=[kidney._replace(root="there")]))


def test_a_network_is_not_tested_on_patients_that_it_or_its_base_has_seen(three_organs):
  class Found(Exception):
    """It was tested."""

  class Detector:
    def __init__(self, seen):
      self.meta = {"provenance": seen.to_json(), "min_distance": 5, "xi": 0.5}

    def peaks(self, *_):
      raise Found

  wanted = Evaluation(run_of(organ("breast")), organ("breast"))
  kidney, liver = (
    tuple(records_of(three_organs[name], "train")) for name in ("kidney", "liver")
  )
  for seen in (Provenance(kidney), Provenance(inherited=kidney)):
    with pytest.raises(InputError, match=r"breast cannot test it.*config\.organs"):
      execution.score_run(Detector(seen), wanted)
  with pytest.raises(Found):
    execution.score_run(Detector(Provenance(liver, liver)), wanted)


# The plan.


def test_the_plan_says_what_is_done_and_how_long_the_rest_takes(tmp_path):
  chosen, archive = setting(names="abc"), Archive(tmp_path)
  runs_ = [make_run(chosen, each, 0) for each in chosen.organs]
  rows_of(chosen, archive)
  text = describe_plan(archive, measure=False, chooses=False)
  assert text.count("to do") == 3
  assert text.count("not measured yet") == 4
  write_done(runs_[0], tmp_path)
  (runs_[1].folder(tmp_path) / "checkpoints/latest/120").mkdir(parents=True)
  text = describe_plan(archive, measure=False, chooses=False)
  lines = text.splitlines()
  assert lines[1].split()[-2:] == ["done", "0.0"]
  assert "stopped at 120" in lines[2]
  assert float(lines[2].split()[-1]) == pytest.approx(180 * 0.2 / 60)
  assert float(lines[3].split()[-1]) == pytest.approx(300 * 0.2 / 60)
  assert "3 runs, 1 done" in text
  assert "9 test sets to detect in" in text
  assert "more" not in text


def test_the_plan_counts_what_is_missing_now_and_says_that_more_follows(tmp_path):
  archive = Archive(tmp_path)
  rows_of(setting("fig5", names="abcd", targets="a"), archive)
  text = describe_plan(archive, measure=False, chooses=True)
  assert "4 runs, 0 done" in text  # the column that chooses
  assert "and more, from bases or sources that these results choose" in text


def test_steps_are_measured_once(tmp_path, monkeypatch):
  measured = []
  monkeypatch.setattr(
    "micronet_jax.training.timing.measure_step",
    lambda config: measured.append(config) or 0.5,
  )
  archive = Archive(tmp_path)
  rows_of(setting(names="ab"), archive)
  for _ in range(2):
    text = describe_plan(archive, measure=True, chooses=False)
    assert "not measured" not in text
    assert float(text.splitlines()[1].split()[-1]) == pytest.approx(300 * 0.5 / 60)
  assert len(measured) == 1  # both runs are one program
  assert "not measured" not in describe_plan(archive, measure=False, chooses=False)


# One after the other.


def test_a_failed_base_fails_what_starts_from_it_and_nothing_else(
  tmp_path, monkeypatch, capsys
):
  base, fine = run_of(organ("a"), title="base"), run_of(organ("b"), title="fine")
  after = run_of(base=base, title="after")
  last = run_of(base=after, title="last")
  worked = []

  def do(job, place, stop):
    worked.append(job.run.title)
    if job.run is base:
      raise InputError("the loss is not finite")

  monkeypatch.setattr(execution, "do_job", do)
  jobs = [Job(run, ()) for run in (base, after, last, fine)]
  failures = execution.work_off(jobs, tmp_path, threading.Event())
  assert worked == ["base", "fine"]
  assert failures == {
    base.key: "base, seed 0: the loss is not finite",
    after.key: "after, seed 0: its base failed",
    last.key: "last, seed 0: its base failed",
  }
  assert "failed: base, seed 0: the loss is not finite" in capsys.readouterr().out


def test_another_process_waits_for_a_run(tmp_path, monkeypatch, capsys):
  """The second finds it done, and trains nothing."""
  run, order, waits = run_of(), [], threading.Event()

  def train(run, place, stop):
    order.append("trained")
    assert waits.wait(60)
    write_done(run, place)

  def tell(line):
    print(line)
    waits.set()

  monkeypatch.setattr(execution, "train_run", train)
  monkeypatch.setattr(locks, "LOOK_EVERY", 0.05)
  monkeypatch.setattr(execution, "locked", functools.partial(locks.locked, told=tell))
  work = [
    threading.Thread(target=execution.do_job, args=(Job(run, ()), tmp_path, event))
    for event in (threading.Event(), threading.Event())
  ]
  for each in work:
    each.start()
  for each in work:
    each.join(60)
  assert order == ["trained"]
  out = capsys.readouterr().out
  assert "waiting for another process" in out
  assert "trained before" in out


def test_a_row_is_ready_for_json():
  row = found([3], [1], [0], example=(1, 0.5, [[1.0, 2.0]]))
  again = Row(**json.loads(json.dumps(dataclasses.asdict(row))))
  assert again.tally.counts.tolist() == row.tally.counts.tolist()
