"""In which order tasks are handed to Ray, and how many: with this process for Ray."""

import itertools
import threading
import types

import pytest

from micronet_jax.cluster import AHEAD, Cluster, NeedFailed, Task


class Here:
  """Answers as Ray of one machine does, and ends the task that it got first."""

  exceptions = types.SimpleNamespace(RayError=OSError)

  def __init__(self, cpus, gpus=0):
    self.gpus = gpus
    self.cpus, self.running, self.most = cpus, {}, 0
    self.numbers = itertools.count()

  def cluster_resources(self):
    return {"CPU": self.cpus, "GPU": self.gpus}

  def nodes(self):
    return [{"Alive": True, "Resources": self.cluster_resources()}]

  def remote(self, **wanted):
    self.wanted = wanted
    return lambda function: types.SimpleNamespace(remote=self._begin(function))

  def _begin(self, function):
    def begin(*arguments):
      reference = next(self.numbers)
      self.running[reference] = lambda: function(*arguments)
      self.most = max(self.most, len(self.running))
      return reference

    return begin

  def wait(self, references, *, timeout):
    return [min(references)], []

  def get(self, reference):
    return self.running.pop(reference)()


def fail():
  raise OSError("the worker died")


@pytest.fixture
def ray(monkeypatch):
  monkeypatch.setenv("NPROC", "2")  # which a task would set
  return Here(2)


def test_tasks_of_a_lower_turn_go_first_and_ray_has_a_few(ray):
  cluster = Cluster(ray, cpus=1, asked="cpus")
  for number in range(20):
    cluster.submit(Task(number, lambda: None, turn=2))
  ended = []
  for task, _ in cluster.finished(threading.Event()):
    ended.append(task.key)
    if task.key == 0:
      cluster.submit(Task("part", lambda: None, turn=1))
    if task.key == "part":
      cluster.submit(Task("last", lambda: None))
  assert ended.index("part") == AHEAD * 2  # those that Ray had come before
  assert ended.index("last") == 2 * AHEAD * 2
  assert [each for each in ended if type(each) is int] == list(range(20))
  assert ray.most == AHEAD * 2


def test_machines_that_come_later_get_tasks(ray):
  cluster = Cluster(ray, cpus=1, asked="cpus")
  for number in range(20):
    cluster.submit(Task(number, lambda: None))
  for task, _ in cluster.finished(threading.Event()):
    if task.key == 1:
      ray.cpus = 5
  assert ray.most == AHEAD * 5


@pytest.mark.parametrize(("gpus", "most"), [(0, 2), (3, 3)])
def test_tasks_stay_what_they_are_when_gpus_come_or_go(monkeypatch, gpus, most):
  monkeypatch.setenv("NPROC", "2")
  ray = Here(2, gpus=gpus)
  cluster = Cluster(ray, cpus=1, asked="cpus")
  assert ray.wanted.keys() & {"num_gpus", "num_cpus"} == {
    "num_gpus" if gpus else "num_cpus"
  }
  assert cluster.places == most
  ray.gpus = 0 if gpus else 5
  assert cluster.places == (1 if gpus else most)


def test_what_is_needed_ends_first_and_its_failure_is_told(ray):
  cluster = Cluster(ray, cpus=2, asked="cpus")
  cluster.submit(Task("bad", fail))
  cluster.submit(Task("good", lambda: 1))
  cluster.submit(Task("of bad", fail, needs=("bad",)))
  cluster.submit(Task("of that", fail, needs=("of bad", "good"), turn=-1))
  cluster.submit(Task("of good", lambda: 2, needs=("good",)))
  ended = {task.key: outcome for task, outcome in cluster.finished(threading.Event())}
  assert [*ended].index("good") < [*ended].index("of good")
  assert [ended[key].value for key in ("good", "of good")] == [1, 2]
  assert isinstance(ended["bad"].error, OSError)
  for key in ("of bad", "of that"):
    assert isinstance(ended[key].error, NeedFailed)
  with pytest.raises(KeyError, match="nothing"):
    cluster.submit(Task("more", fail, needs=("nothing",)))
