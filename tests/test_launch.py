"""The command line: what goes wrong ends in one sentence and leaves nothing."""

import json
import logging
import os
import pathlib
import subprocess
import sys
import types

import absl.logging
import pytest
import tissue

import launch

ROOT = pathlib.Path(__file__).resolve().parents[1]
SMALL = (
  "--config.model.name=fcrna",  # compiled fastest
  "--config.model.width=2",
  "--config.warp.patch=32",
  "--config.num_steps=2",
  "--config.eval_every=2",
  "--config.batch_size=2",
  "--config.num_devices=1",
)


FORKS = """
import json, os, runpy, signal, sys
import micronet_jax.evaluation.job, micronet_jax.training.job

for line in sys.stdin:
  cwd, arguments = json.loads(line)
  child = os.fork()
  if not child:
    signal.alarm(900)  # rather than hang
    os.chdir(cwd)
    os.environ["TFDS_DATA_DIR"] = f"{cwd}/tfds"
    for number, name in enumerate(["out", "err"], 1):
      os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
    sys.exit()
  print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def _command(*arguments, config="train"):
  return [str(ROOT / "launch.py"), f"--config={ROOT}/configs/{config}.py", *arguments]


@pytest.fixture(scope="module")
def launch_again():
  """Starts launch.py in copies of one process that has imported JAX: in no time."""
  pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  command = [sys.executable, "-c", FORKS]
  with subprocess.Popen(command, env=environment, **pipes) as process:

    def launch_again(*arguments, cwd):
      print(json.dumps([str(cwd), arguments]), file=process.stdin, flush=True)
      status = int(process.stdout.readline())
      streams = [(cwd / name).read_text() for name in ("out", "err")]
      return subprocess.CompletedProcess(arguments, status, *streams)

    yield launch_again
    process.stdin.close()


@pytest.fixture
def folder(tmp_path):
  root = tmp_path / "mine"
  tissue.write_folder(root, [tissue.dots(f"p{i}") for i in range(5)])
  return root


def _no_index(root):
  (root / "index.csv").unlink()


def _missing_points(root):
  _no_index(root)
  (root / "points/p1.csv").unlink()


def _point_outside(root):
  (root / "points/p1.csv").write_text("x,y\n3,3\n64.2,10\n")


def _letter(root):
  (root / "points/p1.csv").write_text("x,y\n3,3\n4,l2\n")


def _unreadable(root):
  image = root / "images/p1.png"
  image.write_bytes(image.read_bytes()[:200])


@pytest.mark.parametrize(
  ("spoil", "expected"),
  [
    (_missing_points, ["p1"]),
    (_point_outside, ["p1.csv", "line 3", "64"]),
    (_letter, ["p1.csv", "line 3", "l2"]),
    (_unreadable, ["p1.png"]),
  ],
)
def test_a_folder_that_cannot_be_used(folder, tmp_path, launch_again, spoil, expected):
  spoil(folder)
  arguments = [*SMALL, "--config.target.name=folder", f"--config.target.root={folder}"]
  result = launch_again(*_command(*arguments), cwd=tmp_path)
  _expect_error(result, expected, tmp_path)


@pytest.mark.parametrize(
  ("arguments", "expected"),
  [
    (["--config.model.widht=2"], ["widht"]),
    (["--config.seed=4294967296"], ["config.seed is 4294967296", "4294967295"]),
    (["--config.num_steps=many"], ["num_steps", "many"]),
    (["--configs.num_steps=2"], ["configs.num_steps"]),
    (["stray"], ["stray"]),
    (["--config.target.name=folder"], ["root"]),
    (["--config.target.name=folder", "--config.target.root=nowhere"], ["nowhere"]),
    (["--config.target.name=cells"], ["cells", "folder"]),
    (["--config.batch=3"], ["there is no field config.batch"]),
    (["--config.model.widht=3"], ["no field config.model.widht; did you", '"width"']),
    (["--config.model.name=macronet"], ["config.model.name", "macronet"]),
    (["--config.num_devices=4"], ["config.batch_size 2", "4 devices"]),
    (["--config.init_from=nothing"], ["no checkpoint", "nothing"]),
  ],
)
def test_arguments_that_cannot_be_used(tmp_path, launch_again, arguments, expected):
  result = launch_again(*_command(*SMALL, *arguments), cwd=tmp_path)
  _expect_error(result, expected, tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path, launch_again):
  arguments = ["--config.model.width=3", "--config.num_devices=1"]
  _expect_error(
    launch_again(*_command(*arguments, config="finetune"), cwd=tmp_path),
    ["another model", "126 of 127 entries", "config.init_partial"],
    tmp_path,
  )


def _expect_error(result, expected, tmp_path):
  assert result.returncode in (1, 2), result.stderr
  message = result.stderr.strip()
  errors = message[message.index("error: ") :].splitlines()
  assert "Traceback" not in message
  assert len(errors) == 1, message
  for part in expected:
    assert part in message, message
  assert not (tmp_path / "runs").exists()
  left = [*tmp_path.rglob("*.partial*"), *tmp_path.rglob("*incomplete*")]
  assert not left, left


def test_another_log_or_number_of_steps_a_call_goes_on_in_the_same_folder():
  """The name of a run's folder depends on what can change its result."""
  names = {
    str(launch.default_workdir("train", tissue.config(**changes)))
    for changes in ({}, {"log_every": 7}, {"steps_per_call": 2}, {"num_devices": 2})
  }
  assert len(names) == 1
  other = launch.default_workdir("train", tissue.config(loss_lambda=0.5))
  assert str(other) not in names
  fields = {"images": "a.png", "init_from": "base", "mpp": None, "tile": None}
  predicted = {
    launch.default_workdir("predict", {**fields, **changes})
    for changes in ({}, {"tile": 512}, {"batch": 4}, {"devices": 2})
  }
  assert len(predicted) == 1
  assert launch.default_workdir("predict", {**fields, "mpp": 0.5}) not in predicted


def test_a_run_from_the_command_line_to_its_report(folder, tmp_path, launch_again):
  arguments = [*SMALL, "--config.target.name=folder", f"--config.target.root={folder}"]
  cache = tmp_path / "cache"
  environment = {"PYTHONPATH": str(ROOT), "TFDS_DATA_DIR": str(tmp_path / "tfds")}
  environment = {**os.environ, **environment, "XDG_CACHE_HOME": str(cache)}
  del environment["JAX_COMPILATION_CACHE_DIR"]
  result = subprocess.run(
    [sys.executable, *_command(*arguments)],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    env=environment,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  # What training compiled is kept for the next start.
  kept = [path.name for path in (cache / "micronet_jax/xla").iterdir()]
  assert any(name.startswith("jit_take") for name in kept), kept
  (run,) = (tmp_path / "runs").iterdir()
  assert run.name.startswith("train-folder-mine-")
  assert (run / "report.json").exists()
  assert "F1" in result.stdout
  evaluate = _command(
    "--config.target.name=folder",
    f"--config.target.root={folder}",
    f"--config.init_from={run}",
    config="evaluate",
  )
  evaluated = launch_again(*evaluate, "--config.evaluate_part=test", cwd=tmp_path)
  assert evaluated.returncode == 0, evaluated.stderr
  assert "checkpoint" in evaluated.stdout
  leaky = launch_again(*evaluate, cwd=tmp_path)
  assert leaky.returncode == 1
  assert "was trained on" in leaky.stderr


def test_what_the_package_notes_is_printed(monkeypatch, capsys):
  def job(*_, **__):
    logging.getLogger("micronet_jax").warning("%s: left out: 3 arrows", "a.xml")

  config = types.SimpleNamespace(to_dict=dict)
  monkeypatch.setattr(launch, "CONFIG", types.SimpleNamespace(value=config))
  monkeypatch.setattr(launch, "WORKDIR", types.SimpleNamespace(value=None))
  monkeypatch.setattr(launch, "DISTRIBUTED", types.SimpleNamespace(value=False))
  monkeypatch.setattr(launch, "run_job", job)
  verbosity = absl.logging.get_verbosity()
  try:
    launch.main([])
  finally:
    absl.logging.set_verbosity(verbosity)
  assert capsys.readouterr().err == "note: a.xml: left out: 3 arrows\n"
