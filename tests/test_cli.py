"""`micronet detect`, and launch.py with configs/predict.py, which does the same."""

import json
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import PIL.Image
import pytest
import tissue
from absl import flags
from ml_collections import config_flags
from networks import META, random_weights

import launch
from configs import predict as predict_config
from micronet_jax import checkpoints, cli, devices, terminal
from micronet_jax.commands import detect
from micronet_jax.config import PredictConfig
from micronet_jax.detection import detector
from micronet_jax.errors import InputError
from micronet_jax.predict import job
from micronet_jax.predict.outputs import FORMATS

ROOT = pathlib.Path(__file__).resolve().parents[1]
TILES = 9 * 9  # of 272 pixels, whose cores in the middle are of 16


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
  """JAX reads this when it is imported: nothing is cached, and nothing at home."""
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def called(monkeypatch):
  """What `predict_images` would have been told; it finds nothing."""
  calls = []

  def predict(images, out, *, weights, options):
    calls.append((list(images), str(out), weights, options))
    return [{"image": image, "nuclei": 0} for image in images]

  monkeypatch.setattr(job, "predict_images", predict)
  return calls


def refused(arguments, capsys):
  """The one line on stderr of a command line that is wrong."""
  with pytest.raises(SystemExit) as caught:
    cli.main(arguments)
  assert caught.value.code == 2
  printed = capsys.readouterr()
  assert printed.out == ""
  (line,) = printed.err.splitlines()
  assert line.startswith("error: ")
  assert re.search(r"; see micronet( detect)? --help$", line)
  return line


@pytest.mark.parametrize(
  ("arguments", "expected"),
  [
    ([], "COMMAND"),
    (["find"], "invalid choice: 'find'"),
    (["detect"], "IMAGE, -o/--out"),
    (["detect", "a.png"], "-o/--out"),
    (["detect", "a.png", "-o", "out", "--mpp", "x"], "--mpp: invalid float value: 'x'"),
    (["detect", "a.png", "-o", "out", "--tile", "1.5"], "--tile: invalid int value"),
    (["detect", "a.png", "-o", "out", "--pdf"], "unrecognized arguments: --pdf"),
    (["detect", "a.png", "-o", "out", "--region", "1,2,3"], "'1,2,3' is not X,Y,W,H"),
    (["detect", "a.png", "-o", "out", "--region", "1,2,3,x"], "four whole numbers"),
  ],
)
def test_wrong_options_end_in_one_sentence(arguments, expected, capsys):
  assert expected in refused(arguments, capsys)


def test_version_and_help_name_everything(capsys):
  for arguments in (["--version"], ["--help"], ["detect", "--help"]):
    with pytest.raises(SystemExit) as caught:
      cli.main(arguments)
    assert not caught.value.code
  text = capsys.readouterr().out
  assert text.startswith(f"micronet {cli.__version__}\n")
  assert max(map(len, text.splitlines())) <= 88
  described = text[text.index("positional arguments", text.index("IMAGE [IMAGE")) :]
  named = {"devices": "devices", "cpus_per_task": "cpus"}
  for field in PredictConfig.__dataclass_fields__:
    assert f"--{named.get(field, field.removesuffix('s'))}" in described
  for ending in FORMATS.values():
    assert f"NAME{ending} " in text


def test_the_examples_in_the_help_can_be_parsed():
  examples = [line.split() for line in detect.EXAMPLES.splitlines()[1:]]
  assert len(examples) >= 4
  for name, *arguments in examples:
    assert name == "micronet"
    assert cli.parser().parse_args(arguments).command == "detect"


def test_options_arrive(called, capsys):
  assert cli.main(["detect", "a.png", "b/", "-o", "out"]) == 0
  text = "detect a.svs -o out -w run --mpp 0.5 --threshold 0.3 --no-tissue --tile 512 "
  text += "--batch 4 --devices 2 --region 1,2,3,4 --region 5,6,7,8 --shard 3/16"
  assert cli.main([*text.split(), "--format", "csv, overlay"]) == 0
  every = PredictConfig(
    mpp=0.5,
    threshold=0.3,
    regions=((1, 2, 3, 4), (5, 6, 7, 8)),
    tissue=False,
    formats=("csv", "overlay"),
    tile=512,
    batch=4,
    devices=2,
    shard="3/16",
  )
  assert called == [
    (["a.png", "b/"], "out", "base", PredictConfig()),
    (["a.svs"], "out", "run", every),
  ]
  assert capsys.readouterr() == ("", "")


def test_the_config_says_the_same(called):
  config = predict_config.get_config()
  with pytest.raises(InputError, match=r"config\.images names no image"):
    detect.run_config(config, "out")
  config.images = "a.png, tiles/*.png"
  assert detect.run_config(config, "out") == 0
  config.update(
    {"init_from": "run", "mpp": 0.5, "threshold": 0.3, "tissue": False, "tile": 512}
  )
  config.update({"regions": "1,2,3,4; 5,6,7,8", "formats": "csv", "batch": 4})
  config.shard = "3/16"
  assert detect.run_config(config, "out") == 0
  every = PredictConfig(
    mpp=0.5,
    threshold=0.3,
    regions=((1, 2, 3, 4), (5, 6, 7, 8)),
    tissue=False,
    formats=("csv",),
    tile=512,
    batch=4,
    shard="3/16",
  )
  images = ["a.png", "tiles/*.png"]
  assert called == [
    (images, "out", "base", PredictConfig()),
    (images, "out", "run", every),
  ]
  config.regions = "1,2,3"
  with pytest.raises(InputError, match=r"config\.regions: '1,2,3' is not X,Y,W,H"):
    detect.run_config(config, "out")


def test_every_run_by_config_has_its_own_folder():
  config = predict_config.get_config()
  one = launch.default_workdir("predict", config.to_dict())
  again = predict_config.get_config().to_dict()
  assert launch.default_workdir("predict", again) == one
  config.images = "b.png"
  other = launch.default_workdir("predict", config.to_dict())
  assert re.fullmatch(r"runs/predict-[0-9a-f]{8}", str(one))
  assert one.parent == other.parent
  assert one != other


def test_the_config_can_be_changed_from_the_command_line(monkeypatch):
  """Fields that are None at first have a type nevertheless."""
  arguments = [
    *("launch.py", f"--config={ROOT}/configs/predict.py", "--config.mpp=0.5"),
    *("--config.images=tiles/*.png", "--config.threshold=0.25"),
    *("--config.tissue=False", "--config.regions=0,0,10,10"),
  ]
  monkeypatch.setattr(sys, "argv", arguments)  # where ml_collections looks
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file("config", flag_values=values)
  values(arguments)
  assert (config.value.mpp, config.value.threshold) == (0.5, 0.25)
  assert config.value.tissue is False
  assert config.value.images == "tiles/*.png"


def test_the_exit_status(called, monkeypatch, capsys):
  failed = [{"image": "a.png", "error": "a.png is empty"}]
  monkeypatch.setattr(job, "predict_images", lambda *_, **__: failed)
  assert cli.main(["detect", "a.png", "-o", "out"]) == 1

  def raises(error):
    def predict(*_, **__):
      raise error

    monkeypatch.setattr(job, "predict_images", predict)
    return cli.main(["detect", "a.png", "-o", "out"])

  assert raises(InputError("it is so")) == 1
  assert capsys.readouterr().err == "error: it is so\n"
  assert raises(KeyboardInterrupt()) == 130
  assert "the same command goes on from here" in capsys.readouterr().err


def test_sigterm_ends_the_work_as_ctrl_c_does(monkeypatch):
  before = signal.getsignal(signal.SIGTERM)

  def predict(*_, **__):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)

  monkeypatch.setattr(job, "predict_images", predict)
  assert cli.main(["detect", "a.png", "-o", "out"]) == 130
  assert signal.getsignal(signal.SIGTERM) == before


def test_it_runs_in_another_thread_too(called):
  status = []
  arguments = ["detect", "a.png", "-o", "out"]
  thread = threading.Thread(target=lambda: status.append(cli.main(arguments)))
  thread.start()
  thread.join()
  assert status == [0]


def test_notes_are_printed_and_the_logger_left_as_it_was(capsys):
  logger = logging.getLogger("micronet_jax")
  before = logger.level, logger.propagate, logger.handlers[:]
  root = logging.getLogger()
  level = root.level
  root.setLevel(logging.ERROR)  # as absl has it in launch.py
  try:
    with terminal.notes():
      logging.getLogger("micronet_jax").warning("%s is white", "a.png")
  finally:
    root.setLevel(level)
  assert capsys.readouterr().err == "note: a.png is white\n"
  assert (logger.level, logger.propagate, logger.handlers) == before


def test_a_cache_is_used_unless_told_or_impossible(tmp_path, monkeypatch):
  told = {}
  monkeypatch.setattr(jax.config, "update", told.__setitem__)
  devices.use_compilation_cache()
  assert told == {}  # JAX_COMPILATION_CACHE_DIR is set
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  devices.use_compilation_cache()
  assert told == {}
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
  devices.use_compilation_cache()
  assert told["jax_compilation_cache_dir"] == str(tmp_path / "new/micronet_jax/xla")


def test_killed_at_any_time_it_goes_on(tmp_path):
  """The command itself: SIGTERM, SIGKILL, then launch.py to the end, then done."""
  weights, out, cache = tmp_path / "weights", tmp_path / "out", tmp_path / "xdg"
  checkpoints.export_weights(weights, random_weights(), META, dtype="float32")
  image = tissue.dots("k", size=400, nuclei=80).image
  PIL.Image.fromarray(image).save(tmp_path / "k.png", dpi=(101_600, 101_600))
  environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
  del environment["JAX_COMPILATION_CACHE_DIR"], environment["XLA_FLAGS"]
  command = [sys.executable, "-m", "micronet_jax.cli", "detect", "k.png", "-o", "out"]
  command += ["-w", "weights", "--tile", "272", "--batch", "1", "--format", "csv"]
  lines = out / ".k.partial" / "tiles.jsonl"

  def start(command):
    return subprocess.Popen(
      command,
      cwd=tmp_path,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def finished():
    return lines.read_bytes().count(b"\n") if lines.exists() else 0

  def stop(how, least):
    with start(command) as process:
      while finished() < least:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
      process.send_signal(how)
      _, errors = process.communicate(timeout=300)
    return process.returncode, errors

  status, errors = stop(signal.SIGTERM, 1)
  assert status == 130
  assert errors.endswith("stopped; the same command goes on from here\n")
  assert "Traceback" not in errors
  compiled = sorted(path.name for path in cache.rglob("*-cache"))
  assert compiled
  before = finished()
  status, _ = stop(signal.SIGKILL, before + 1)
  assert status == -signal.SIGKILL
  before = finished()
  assert before < TILES
  launched = [sys.executable, str(ROOT / "launch.py"), "--workdir=out"]
  launched += [f"--config={ROOT}/configs/predict.py", "--config.images=k.png"]
  launched += ["--config.init_from=weights", "--config.formats=csv"]
  with start([*launched, "--config.tile=272", "--config.batch=1"]) as process:
    printed, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  assert f"{before} of {TILES} tiles were done before" in printed
  # Nothing but the progress bar, and no program compiled again.
  assert all("tile/s" in part for part in re.split(r"[\r\n]+", errors) if part), errors
  assert sorted(path.name for path in cache.rglob("*-cache")) == compiled
  assert sorted(path.name for path in out.iterdir()) == [
    *("k.csv", "k.json", "summary.csv")
  ]
  expected = detector.Detector(random_weights(), META).detect(image, mpp=0.25)
  table = np.genfromtxt(out / "k.csv", delimiter=",", skip_header=1)
  assert len(table) == len(expected.scores) > 20
  assert json.loads((out / "k.json").read_text())["nuclei"] == len(table)
  points = np.column_stack([expected.centers[:, ::-1], expected.scores])
  for found in table:
    assert (np.abs(points - found) <= [0.02, 0.02, 0.002]).all(1).any()
