"""The predict job on a cluster: the same files, whatever dies or is left half-way."""

import json
import os
import pathlib
import signal
import threading
import time

import pytest
from networks import META, random_weights
from predictions import SMALL, TILES, names, options, write_dots

from benchmarks import node_kills
from benchmarks.compiling import QUICKLY
from micronet_jax import checkpoints
from micronet_jax.cluster import RETRIES, Outcome
from micronet_jax.config import PredictConfig
from micronet_jax.errors import InputError
from micronet_jax.locks import Busy, locked
from micronet_jax.predict import image as image_job
from micronet_jax.predict import spread
from micronet_jax.predict.image import Divisible, Work, predict_image, search_part
from micronet_jax.predict.job import predict_images
from micronet_jax.predict.journal import Journal

# Ray forks; JAX warns of forks, whoever makes them.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")


def assert_same(out, whole):
  """All files alike, but for the seconds that it took."""
  assert names(out) == names(whole)
  for name in names(whole):
    one, other = (folder / name for folder in (out, whole))
    if name.endswith(".json"):
      records = [json.loads(each.read_text()) for each in (one, other)]
      assert {**records[0], "seconds": 0} == {**records[1], "seconds": 0}
    elif name != "summary.csv":  # which has them too
      assert one.read_bytes() == other.read_bytes(), name


# Parts of a slide, in this process.


@pytest.fixture
def work(detector):
  return Work(detector, "base", image_job.digest_network(detector), options())


@pytest.mark.parametrize(("kind", "parts"), [("all", 4), ("some", 4), ("half", 3)])
def test_parts_are_taken_over_and_what_they_lack_is_searched(
  work, image, tmp_path, counted, monkeypatch, kind, parts
):
  whole, out = tmp_path / "whole", tmp_path / "out"
  predict_images([image], whole, options=options())
  out.mkdir()
  stem = out / "big"
  with pytest.raises(Divisible) as found:
    predict_image(work, image, stem, most=TILES - 1)
  assert found.value.tiles == TILES
  assert names(out) == []
  counted.clear()
  add = Journal.add

  def stop(journal, *arguments, **keywords):
    add(journal, *arguments, **keywords)
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    if kind == "half":
      patch.setattr(Journal, "add", stop)
    for part in range(1, parts + (kind == "all")):
      try:
        search_part(work, image, stem, part, parts)
      except KeyboardInterrupt:
        assert kind == "half"
  by_parts = counted.copy()
  assert len(by_parts) == len({*by_parts}) == {"all": 6, "some": 4, "half": 2}[kind]
  if kind == "half":  # other parts than before: done tiles are not repeated
    for part in (1, 2):
      search_part(work, image, stem, part, 2)
    assert sorted(counted) == list(range(TILES))
  predict_image(work, image, stem, most=2)  # so few are left
  assert sorted(counted) == list(range(TILES))
  (result,) = predict_images([image], out, options=options())
  assert result["repeated"]
  assert_same(out, whole)


def test_a_part_leaves_what_is_wrong_for_the_whole_to_say(work, tmp_path, caplog):
  (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
  image, stem = str(tmp_path / "cut.png"), tmp_path / "out" / "cut"
  search_part(work, image, stem, 1, 2)
  assert "part 1 of 2 of" in caplog.text
  with pytest.raises(InputError, match=r"cut\.png"):
    predict_image(work, image, stem)
  assert not stem.parent.exists()


# What follows from how tasks end, with this process for a cluster.


class Here:
  """Runs tasks at once; those whose key `dies` names end their worker for good."""

  places = 1

  def __init__(self, dies):
    self.queue, self.keys, self.dies = [], [], dies

  def submit(self, task):
    self.queue.append(task)

  def finished(self, stop):
    while self.queue:
      task = self.queue.pop(0)
      self.keys.append(task.key)
      if self.dies(task.key):
        yield task, Outcome(error=OSError("the worker died"))
        continue
      try:
        yield task, Outcome(task.action())
      except InputError as error:
        yield task, Outcome(error=error)

  def __call__(self, **_):
    return self

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass


@pytest.fixture
def here(detector, monkeypatch, counted):
  cluster = Here(lambda key: False)
  monkeypatch.setattr(spread, "connected", cluster)
  monkeypatch.setattr(spread, "load", lambda weights: detector)
  monkeypatch.setattr(spread, "use_compilation_cache", lambda: None)
  monkeypatch.setattr(spread, "PART_TILES", 2)
  yield cluster
  spread._prepare_work.cache_clear()


def on_ray(**changes):
  return PredictConfig(**{"tile": SMALL["tile"], "executor": "ray", **changes})


def some_images(folder, *, small=3):
  folder.mkdir()
  images = [write_dots(folder / "large.png")]
  images += [write_dots(folder / f"{n}.png", shape=(60, 70)) for n in range(small)]
  (folder / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
  return [*images, str(folder / "bad.png")]


def test_shares_end_when_their_time_is_up_and_large_images_are_cut(
  here, tmp_path, monkeypatch, capsys
):
  images = some_images(tmp_path / "in", small=7)
  whole, out = tmp_path / "whole", tmp_path / "out"
  expected = predict_images(images, whole, options=options())
  monkeypatch.setattr(spread, "SHARE_SECONDS", 0.0)
  printed = capsys.readouterr().err
  found = predict_images(images, out, options=on_ray())
  assert_same(out, whole)
  assert [each["image"] for each in found] == images
  assert found[-1] == expected[-1]  # the error
  assert capsys.readouterr().err.split("error: ")[1] == printed.split("error: ")[1]
  shares = [key for key in here.keys if isinstance(key, spread.Share)]
  # 9 images in fours of two: each share gives one back; and the slide's last task.
  assert [len(key.jobs) for key in shares].count(1) == 1 + 4 + 1
  parts = [key for key in here.keys if isinstance(key, spread.Part)]
  assert [(key.number, key.parts) for key in parts] == [(1, 3), (2, 3), (3, 3)]


def test_one_image_that_ends_workers_does_not_take_others_with_it(here, tmp_path):
  images = some_images(tmp_path / "in", small=7)
  here.dies = lambda key: any("3.png" in job[0] for job in getattr(key, "jobs", ()))
  found = predict_images(images, tmp_path / "out", options=on_ray())
  failed = {each["image"]: each["error"] for each in found if "error" in each}
  assert list(failed) == [images[4], images[-1]]
  assert failed[images[4]] == (
    f"failed {1 + RETRIES} times, last by OSError: the worker died"
  )


def test_a_slide_fails_once_with_any_of_its_parts(here, tmp_path, counted):
  image, out = write_dots(tmp_path / "large.png"), tmp_path / "out"
  here.dies = lambda key: isinstance(key, spread.Part) and key.number < 3
  (result,) = predict_images([image], out, options=on_ray())
  assert "the worker died" in result["error"]
  searched = counted.copy()
  here.dies = lambda key: False
  (result,) = predict_images([image], out, options=on_ray())
  assert "error" not in result
  assert len(searched) == 2
  assert sorted(counted) == list(range(TILES))  # what part 3 had found is not repeated


@pytest.mark.parametrize(
  ("changes", "says"),
  [
    ({"version": "0.0.1"}, "but the command is of 0.0.1; install the same"),
    ({"network": "0"}, "finds other weights at base than the command did"),
    ({"folder": "/no/such"}, "does not see /no/such"),
  ],
)
def test_workers_must_have_what_the_command_has(work, here, changes, says):
  order = spread.Order(
    "base", work.network, on_ray(), str(pathlib.Path.cwd()), spread.__version__, 2
  )
  share = spread.Share((("a.png", pathlib.Path("a")),))
  with pytest.raises(InputError, match=says):
    spread._predict_share(order._replace(**changes), share)


def test_a_task_waits_for_a_process_that_may_be_dying(
  work, image, tmp_path, monkeypatch, counted
):
  monkeypatch.setattr(spread, "LOOK_EVERY", 0.05)
  stem = tmp_path / "big"
  with pytest.raises(Busy), locked(tmp_path / ".big.partial"):
    predict_image(work, image, stem)
  held = threading.Event()

  def hold():
    with locked(tmp_path / ".big.partial"):
      held.set()
      time.sleep(0.3)

  thread = threading.Thread(target=hold)
  thread.start()
  held.wait()
  assert spread._patiently(lambda: predict_image(work, image, stem))["nuclei"] > 0
  thread.join()


def test_devices_are_not_for_ray(image, tmp_path):
  with pytest.raises(InputError, match="devices is 1, but each task on Ray has one"):
    predict_images([image], tmp_path, options=on_ray(devices=1))


# A cluster of two machines: processes of this one that think so.


def test_two_machines_write_what_one_writes(tmp_path, monkeypatch, capsys):
  """One loses a worker half-way, as its out-of-memory killer ends them."""
  cluster_utils = pytest.importorskip("ray.cluster_utils")
  checkpoints.export_weights(tmp_path / "w", random_weights(), META, dtype="float32")
  images, weights = some_images(tmp_path / "in"), str(tmp_path / "w")
  whole, out = tmp_path / "whole", tmp_path / "out"
  predict_images(images, whole, weights=weights, options=options())
  monkeypatch.setattr(spread, "PART_TILES", 2)
  root = pathlib.Path(__file__).resolve().parents[2]
  monkeypatch.setenv("PYTHONPATH", str(root))
  monkeypatch.setenv("XLA_FLAGS", QUICKLY)  # without the eight devices of tests
  cluster = cluster_utils.Cluster(True, head_node_args=node_kills.machine(num_cpus=1))
  try:
    cluster.add_node(**node_kills.machine(num_cpus=1))
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    before = signal.getsignal(signal.SIGTERM)
    killer = threading.Thread(target=kill_a_worker, args=(out,))
    killer.start()
    given = on_ray(cpus_per_task=1)
    found = predict_images(images, out, weights=weights, options=given)
    killer.join()
    assert signal.getsignal(signal.SIGTERM) is before  # Ray has one of its own
  finally:
    cluster.shutdown()
  assert len(found) == len(images)
  assert (tmp_path / "killed").exists()
  assert_same(out, whole)
  assert "3 of 3 parts are searched" in capsys.readouterr().out


def kill_a_worker(out):
  """The first that searches a part."""
  until = time.monotonic() + 240
  while time.monotonic() < until:
    for lock in out.glob(".*.parts/*/lock"):
      if text := lock.read_text():
        os.kill(json.loads(text)["process"], signal.SIGKILL)
        (out.parent / "killed").touch()
        return
    time.sleep(0.01)
