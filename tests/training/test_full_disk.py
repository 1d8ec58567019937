"""A run whose folder takes no more files says so, ends, and goes on later."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import tissue

from micronet_jax import checkpoints
from micronet_jax.errors import InputError
from micronet_jax.stored import read_log
from micronet_jax.training.progress import Progress

ROOT = pathlib.Path(__file__).resolve().parents[2]

SCRIPT = """
import pathlib, resource, sys, threading
import tests.conftest
import tissue
from micronet_jax.errors import InputError
from micronet_jax.signals import leave
from micronet_jax.terminal import notes
from micronet_jax.training import loop
from micronet_jax.training.run import follow_checkpoint, prepare_training

work, action = pathlib.Path(sys.argv[1]), sys.argv[2]
check = loop.check_finite

def checked(run, before, *rest):
  check(run, before, *rest)
  if before + 1 == 5 and action == "full":  # as a disk without space
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))

loop.check_finite = checked
config = follow_checkpoint(tissue.quick_config(eval_every=2), None)
stop = threading.Event()
try:
  with notes():
    made = prepare_training(config)
    loop.fit(config, tissue.data(), work, made, label="t", stop=stop)
except InputError as error:
  print(f"error: {error}", file=sys.stderr)
  leave(1)
"""


def _train(workdir, action):
  environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
  # JAX says on stderr what it cannot keep.
  environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
  return subprocess.run(
    [sys.executable, "-c", SCRIPT, str(workdir), action],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=500,
    check=False,
  )


def test_a_run_that_cannot_save_ends_and_goes_on(tmp_path):
  """In the middle of a run, with the process's own threads: it must end."""
  stopped = _train(tmp_path, "full")
  assert stopped.returncode == 1, stopped.stderr
  assert stopped.stderr.startswith(f"error: {tmp_path}"), stopped.stderr
  assert len(stopped.stderr.splitlines()) == 1, stopped.stderr
  assert "cannot be written" in stopped.stderr
  left = checkpoints.find_checkpoint(str(tmp_path))
  assert left.name in ("2", "4")
  goes_on = _train(tmp_path, "nothing")
  assert goes_on.returncode == 0, goes_on.stderr
  assert "resumed at step " in goes_on.stdout
  steps = [record["step"] for record in read_log(tmp_path / "log.jsonl")]
  assert steps == sorted(steps)
  assert steps[-1] == 8


def test_a_folder_of_checkpoints_that_is_a_file(tmp_path):
  (tmp_path / "checkpoints").write_text("")
  saved = checkpoints.Checkpoints(tmp_path / "checkpoints")
  weights = {"params": {"a": tissue.np.ones(3)}}
  with pytest.raises(InputError, match=r"checkpoints cannot be written .*nothing is s"):
    saved.save("latest", 1, weights, {"step": 1}, {"step": 1})
  saved.close()


def test_a_log_that_cannot_be_written(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, "No space left on device")

  with Progress(tmp_path, label="x", start=0, num_steps=9) as progress:
    progress.train(1, loss=1.0, learning_rate=0.1)
    with monkeypatch.context() as patch:
      patch.setattr(progress._board, "write_event", full)
      with pytest.raises(InputError, match=r"cannot be written \(No space left"):
        progress.train(2, loss=1.0, learning_rate=0.1)
  lines = (tmp_path / "log.jsonl").read_text().splitlines()
  assert [json.loads(line)["step"] for line in lines] == [1, 2]
