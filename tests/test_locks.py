"""One process at a time works in a folder; a dead one keeps nobody out."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from folders import full_disk

from micronet_jax import locks
from micronet_jax.errors import InputError, Stopped
from micronet_jax.locks import locked

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOLD = """
import pathlib, sys, time
from micronet_jax.errors import InputError
from micronet_jax.locks import locked
try:
  with locked(pathlib.Path(sys.argv[1])):
    print("works", flush=True)
    time.sleep(float(sys.argv[2]))
except InputError as error:
  print(error, flush=True)
"""


def start(folder, seconds):
  """A process that works in a folder for so long, and the first line it says."""
  child = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(folder), str(seconds)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  return child, child.stdout.readline().strip()


def ends(child, how=None):
  if how:
    child.send_signal(how)
  child.communicate(timeout=300)


def write_lock(folder, *, silent=0.0, **changes):
  """The lock file of a process of another machine, last seen so many seconds ago."""
  signature = {"machine": "elsewhere", "name": "node7", "process": 4711, **changes}
  folder.mkdir(exist_ok=True)
  (folder / "lock").write_text(json.dumps(signature))
  then = time.time() - silent
  os.utime(folder / "lock", (then, then))


def refusal(folder):
  with pytest.raises(InputError) as caught, locked(folder):
    pass
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_of_two_processes_the_second_is_refused(tmp_path):
  first, said = start(tmp_path, 60)
  assert said == "works"
  second, said = start(tmp_path, 0)
  ends(second)
  assert said == (
    f"another process works in {tmp_path}; wait for it, or use another folder"
  )
  assert said == refusal(tmp_path)
  ends(first, signal.SIGTERM)


def test_a_process_that_was_killed_blocks_nobody(tmp_path):
  first, said = start(tmp_path, 60)
  assert said == "works"
  ends(first, signal.SIGKILL)
  assert json.loads((tmp_path / "lock").read_text())["process"] == first.pid
  second, said = start(tmp_path, 0)
  assert said == "works"
  ends(second)
  assert (tmp_path / "lock").read_text() == ""


def test_a_machine_that_shows_signs_of_life_is_not_disturbed(tmp_path):
  write_lock(tmp_path, silent=5)
  said = refusal(tmp_path)
  seen = r"\(process 4711 of node7, seen \d+ s ago; if it is dead, its lock ends 60"
  assert re.search(seen, said)
  assert re.search(seen, refusal(tmp_path))  # nothing was taken or changed
  write_lock(tmp_path, silent=locks.DEAD_AFTER - 10)
  assert "node7" in refusal(tmp_path)


def test_what_a_dead_machine_left_blocks_nobody(tmp_path):
  write_lock(tmp_path, silent=locks.DEAD_AFTER + 5)
  child, said = start(tmp_path, 0)
  assert said == "works"
  ends(child)
  assert (tmp_path / "lock").read_text() == ""


@pytest.mark.parametrize(
  "text", ["", "[]", "{", '{"machine": 3}', "\0" * 9, '{"machine":"a","process":"x"}']
)
def test_a_lock_file_that_says_nobody(tmp_path, text):
  (tmp_path / "lock").write_text(text)
  with locked(tmp_path):
    assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()


def test_signs_of_life_are_given_until_the_end(tmp_path, monkeypatch):
  monkeypatch.setattr(locks, "BEAT_EVERY", 0.05)
  path = tmp_path / "lock"
  with locked(tmp_path):
    os.utime(path, (0, 0))
    until = time.monotonic() + 20
    while time.time() - path.stat().st_mtime > 30 and time.monotonic() < until:
      time.sleep(0.05)
    assert time.time() - path.stat().st_mtime < 30
  os.utime(path, (0, 0))
  time.sleep(0.2)
  assert path.stat().st_mtime == 0
  assert path.read_text() == ""


def test_where_the_operating_system_has_no_locks(tmp_path, monkeypatch):
  """Signs of life decide, and whether this machine's process is there at all."""
  monkeypatch.setattr(locks, "_lock", lambda file: None)
  with locked(tmp_path):
    assert f"process {os.getpid()} of" in refusal(tmp_path)
  gone = _unused_number()
  write_lock(tmp_path, machine=locks._machine(), process=gone)
  with locked(tmp_path):
    pass


def _unused_number():
  with subprocess.Popen([sys.executable, "-c", ""]) as child:
    child.wait()
  return child.pid


def test_one_may_wait_for_ones_turn(tmp_path, monkeypatch):
  monkeypatch.setattr(locks, "LOOK_EVERY", 0.05)
  write_lock(tmp_path)
  stop, told = threading.Event(), []

  def told_once(line):
    told.append(line)
    write_lock(tmp_path, silent=locks.DEAD_AFTER + 5)  # it dies meanwhile

  with locked(tmp_path, wait=stop, told=told_once):
    pass
  assert len(told) == 1
  assert "waiting for another process" in told[0]
  write_lock(tmp_path)
  stop.set()
  with pytest.raises(Stopped), locked(tmp_path, wait=stop, told=told.append):
    pass


def test_a_full_disk_is_no_reason_to_stop(tmp_path):
  (tmp_path / "lock").touch()
  with full_disk(0), locked(tmp_path):
    assert (tmp_path / "lock").read_text() == ""
    assert "another process works" in refusal(tmp_path)


def test_who_works_in_a_folder_can_be_told(tmp_path):
  with locks.locked(tmp_path):
    assert locks.process_in(tmp_path) == os.getpid()
  signature = {"machine": "another", "name": "node7", "process": 12}
  (tmp_path / "lock").write_text(json.dumps(signature))
  with pytest.raises(InputError, match="process 12 of node7 works in"):
    locks.process_in(tmp_path)
