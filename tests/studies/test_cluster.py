"""Runs of a study on a Ray cluster: here a local one, with small jobs."""

import os
import pathlib
import sys
import threading
import time

import pytest

from micronet_jax import cluster
from micronet_jax.config import Config
from micronet_jax.datasets.organs import Organ
from micronet_jax.errors import InputError, Stopped
from micronet_jax.studies.execution import Job, work_off_on_ray
from micronet_jax.studies.runs import Run

ray = pytest.importorskip("ray")

# Ray forks; JAX warns of forks, whoever makes them.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")


def run_of(title, base=None):
  return Run(title, Config(), Organ(title, "folder", "0123"), base=base)


@pytest.fixture(scope="module")
def local():
  """A cluster of this machine, whose workers find this folder's modules."""
  here = pathlib.Path(__file__).resolve().parent
  path = os.pathsep.join([str(here), str(here.parents[1]), *sys.path[:1]])
  # Ray's own threads outlive a test, and its sockets are closed late.
  ray.init(
    address="local",  # whatever else runs on this machine
    num_cpus=2,
    include_dashboard=False,
    log_to_driver=False,
    runtime_env={"env_vars": {"PYTHONPATH": path}},
  )
  yield
  ray.shutdown()


def note(job, place, stop):
  """Says that it ran; a base first takes a moment."""
  if job.run.title == "base":
    time.sleep(0.5)
  with (place / "order").open("a") as file:
    file.write(f"{job.run.title}\n")


def die_once(job, place, stop):
  """The worker is killed the first time, as by a machine that goes away."""
  first = place / "died"
  if not first.exists():
    first.touch()
    os._exit(1)
  note(job, place, stop)


def fail_once(job, place, stop):
  """As with a device that another process uses, or a disk that is full."""
  first = place / "failed"
  if not first.exists():
    first.touch()
    raise OSError("no space left on device")
  note(job, place, stop)


def crash_base(job, place, stop):
  if job.run.title == "base":
    with (place / "tries").open("a") as file:
      file.write("x")
    raise RuntimeError("out of memory")
  note(job, place, stop)


def fail_base(job, place, stop):
  if job.run.title == "base":
    raise InputError("the loss is not finite")
  note(job, place, stop)


def wait_long(job, place, stop):
  note(job, place, stop)
  time.sleep(60)


def work(place, action, *, stop=None):
  base = run_of("base")
  jobs = [Job(run, ()) for run in (base, run_of("fine", base), run_of("other"))]
  stop = stop or threading.Event()
  found = work_off_on_ray(jobs, place, stop, cpus_per_run=1, action=action)
  order = (place / "order").read_text().split()
  return {job.run.title: found.get(job.run.key) for job in jobs}, order


def test_what_starts_from_a_run_waits_for_it(local, tmp_path, capsys):
  failed, order = work(tmp_path, note)
  assert not any(failed.values())
  assert sorted(order) == ["base", "fine", "other"]
  assert order.index("base") < order.index("fine")
  assert "[3/3] " in capsys.readouterr().out


def test_a_run_whose_worker_died_is_begun_again(local, tmp_path):
  failed, order = work(tmp_path, die_once)
  assert not any(failed.values())
  assert sorted(order) == ["base", "fine", "other"]


def test_a_run_that_failed_by_no_fault_of_its_own_is_begun_again(local, tmp_path):
  failed, order = work(tmp_path, fail_once)
  assert not any(failed.values())
  assert sorted(order) == ["base", "fine", "other"]


def test_what_fails_again_and_again_is_said(local, tmp_path):
  failed, order = work(tmp_path, crash_base)
  assert failed == {
    "base": "base, seed 0: RuntimeError: out of memory",
    "fine": "fine, seed 0: its base failed",
    "other": None,
  }
  assert (tmp_path / "tries").read_text() == "x" * (1 + cluster.RETRIES)
  assert order == ["other"]


def test_a_failed_base_fails_what_starts_from_it(local, tmp_path):
  failed, order = work(tmp_path, fail_base)
  assert failed == {
    "base": "base, seed 0: the loss is not finite",
    "fine": "fine, seed 0: its base failed",
    "other": None,
  }
  assert order == ["other"]


def test_more_cpus_than_any_machine_has_are_refused(local, tmp_path):
  with pytest.raises(InputError, match="cpus_per_run is 64; the largest machine"):
    work_off_on_ray([], tmp_path, threading.Event(), cpus_per_run=64)


def test_a_stop_ends_the_workers(local, tmp_path):
  stop = threading.Event()
  threading.Timer(3, stop.set).start()
  began = time.monotonic()
  with pytest.raises(Stopped):
    work(tmp_path, wait_long, stop=stop)
  assert time.monotonic() - began < 30


def test_without_ray_one_sentence_says_how_to_get_it(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "ray", None)
  with pytest.raises(InputError, match="Ray is not installed: pip install"):
    work_off_on_ray([], tmp_path, threading.Event(), cpus_per_run=1)
