"""`micronet finetune`, `evaluate`, `export`: what configs/ say, without a checkout."""

import dataclasses
import importlib
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tissue
from absl import flags
from ml_collections import config_flags
from networks import META, random_weights

from micronet_jax import checkpoints, cli, recipes
from micronet_jax.commands import jobs
from micronet_jax.config import Config
from micronet_jax.errors import InputError, Stopped
from micronet_jax.settings import changed, from_dict, with_texts

ROOT = pathlib.Path(__file__).resolve().parents[1]


# --- Values as texts -----------------------------------------------------------------


def test_values_are_read_by_the_type_of_their_field():
  texts = ["num_steps=600", "gamma=5", "model.width=8", "model.dropout=none"]
  texts += ["naive_pooling=True", "model.remat=false", "compare=base, scratch"]
  texts += ["min_distances=3,5", "target.organs=liver,breast", "data_dir=a=b"]
  config = with_texts(changed(Config(), {"model.dropout": 0.1}), texts)
  assert config == changed(
    Config(),
    {
      **{"num_steps": 600, "gamma": 5.0, "model.width": 8, "naive_pooling": True},
      **{"compare": ("base", "scratch"), "min_distances": (3, 5)},
      **{"target.organs": "liver,breast", "data_dir": "a=b"},
    },
  )
  assert with_texts(recipes.FINETUNE, ["compare="]).compare == ()


@pytest.mark.parametrize(
  ("text", "parts"),
  [
    ("num_steps", ["'num_steps' is not FIELD=VALUE"]),
    ("numsteps=5", ["no field config.numsteps; near it there are num_steps"]),
    ("widht=5", ["no field config.widht; near it there are model.width"]),
    ("model=5", ["no field config.model; near it there are model.name, model.width"]),
    ("zzz=5", ["there is no field config.zzz"]),
    ("num_steps=many", ["config.num_steps is 'many'; it must be a whole number"]),
    ("num_steps=1.5", ["config.num_steps is '1.5'", "a whole number"]),
    ("gamma=x", ["config.gamma is 'x'; it must be a number"]),
    ("naive_pooling=ja", ["config.naive_pooling is 'ja'; it must be True or False"]),
    ("min_distances=3,x", ["config.min_distances is 'x'; it must be a whole number"]),
    ("num_steps=none", ["config.num_steps is 'none'"]),
  ],
)
def test_wrong_texts_are_named(text, parts):
  with pytest.raises(InputError) as caught:
    with_texts(Config(), [text])
  for part in parts:
    assert part in str(caught.value)
  assert "\n" not in str(caught.value)


# --- The commands --------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
  """What jobs would have been told."""
  calls = []
  monkeypatch.setattr(jobs, "train_or_evaluate", lambda *told: calls.append(told))
  return calls


def launched(monkeypatch, command):
  """The config that launch.py makes of a printed command."""
  python, launch, *arguments = shlex.split(command)
  assert (python, launch) == ("python", "launch.py")
  monkeypatch.setattr(sys, "argv", [launch, *arguments])
  monkeypatch.chdir(ROOT)
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file("config", flag_values=values)
  flags.DEFINE_string("workdir", None, "", flag_values=values)
  values(sys.argv)
  return from_dict(Config, config.value.to_dict()), values.workdir


@pytest.mark.parametrize(
  ("line", "changes", "workdir"),
  [
    ("finetune my/tiles -o 'runs/a b'", {"target.root": "my/tiles"}, "runs/a b"),
    (
      "finetune m -o r -w runs/old --set num_steps=600 --set compare=base"
      " --set min_distances=3,5 --set model.remat=true --set split.seed=3",
      {
        **{"target.root": "m", "init_from": "runs/old", "num_steps": 600},
        **{"compare": ("base",), "min_distances": (3, 5), "model.remat": True},
        "split.seed": 3,
      },
      "r",
    ),
    (
      "evaluate runs/a m --set evaluate_part=test",
      {"target.root": "m", "init_from": "runs/a", "evaluate_part": "test"},
      None,
    ),
  ],
)
def test_a_command_is_the_config_of_its_name(
  asked, monkeypatch, capsys, line, changes, workdir
):
  """And so is the command of launch.py that it prints."""
  arguments = shlex.split(line)
  assert cli.main(arguments) == 0
  recipe = importlib.import_module(f"configs.{arguments[0]}").get_config().to_dict()
  expected = changed(from_dict(Config, recipe), {"target.name": "folder", **changes})
  assert asked == [(expected, workdir)]
  _, _, command = capsys.readouterr().out.strip().partition("in a checkout: ")
  assert launched(monkeypatch, command) == (expected, workdir)


def test_the_recipes_by_hand():
  """What README and the configs promise of the main job."""
  tune = recipes.FINETUNE
  assert (tune.job, tune.init_from, tune.compare) == (
    *("finetune", "base"), ("base", "scratch"),
  )  # fmt: skip
  assert (tune.num_steps, tune.eval_every, tune.warp.patch) == (150, 50, 128)
  assert (tune.optimizer.schedule, tune.split.make_do) == ("cosine", True)
  evaluate = dataclasses.replace(recipes.EVALUATE, job="train", init_from="")
  assert evaluate == Config()


@pytest.mark.parametrize(
  ("line", "parts"),
  [
    ("finetune m", ["-o/--out"]),
    (
      "finetune m -o r --set numsteps=5",
      ["config.numsteps", "num_steps", "finetune -"],
    ),
    ("finetune m -o r --set gamma=x", ["config.gamma is 'x'"]),
    ("finetune m -o r --set init_from=x", ["config.init_from is not for --set"]),
    ("evaluate base m --set job=train", ["config.job is not for --set"]),
    ("evaluate base", ["FOLDER"]),
    ("export runs/a", ["-o/--out"]),
  ],
)
def test_wrong_options_end_in_one_sentence(asked, capsys, line, parts):
  try:
    status = cli.main(line.split())
  except SystemExit as ended:
    status = ended.code
  assert status == 2
  out, err = capsys.readouterr()
  (sentence,) = err.splitlines()
  assert out == ""
  assert sentence.startswith("error: ")
  for part in parts:
    assert part in sentence
  assert not asked


def test_how_jobs_end(capsys):
  def work(error):
    def raise_it():
      raise error

    return raise_it

  assert jobs.ending(lambda: None, "") == 0
  assert jobs.ending(lambda: 3, "") == 3
  assert jobs.ending(work(InputError("no such thing")), "") == 1
  assert capsys.readouterr().err == "error: no such thing\n"
  assert jobs.ending(work(Stopped("stopped at step 3")), "") == 130
  assert capsys.readouterr().err.strip() == "stopped at step 3"


def test_a_folder_that_is_not_there(tmp_path, capsys):
  line = ["finetune", str(tmp_path / "none"), "-o", str(tmp_path / "run")]
  assert cli.main(line) == 1
  err = capsys.readouterr().err
  assert err.startswith(f"error: there is no folder {tmp_path / 'none'}; ")
  assert not (tmp_path / "run").exists()


def test_the_loop_is_shown_and_its_commands_can_be_parsed(capsys):
  assert len(cli.LOOP.splitlines()) == 1 + 4 + 2
  known = cli.parser()._subparsers._group_actions[0].choices
  for line in cli.LOOP.splitlines()[1:5]:
    command = line.split("  ")[1].split()
    assert command[0] == "micronet"
    if command[1] in known:
      assert cli.parser().parse_args(command[1:]).command == command[1]
  with pytest.raises(SystemExit):
    cli.main(["--help"])
  assert cli.LOOP in capsys.readouterr().out


def test_help_needs_no_checkout(tmp_path):
  """What a wheel holds: the package alone."""
  (tmp_path / "micronet_jax").symlink_to(ROOT / "micronet_jax")
  script = """
import sys
sys.path = [path for path in sys.path if path]
for name in ("configs", "ml_collections", "jax", "tensorflow_datasets"):
  sys.modules[name] = None  # cannot be imported
from micronet_jax import cli
for name in ("finetune", "evaluate", "export"):
  try:
    cli.main([name, "--help"])
  except SystemExit as ended:
    assert ended.code == 0
"""
  run = subprocess.run(
    [sys.executable, "-c", script],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(tmp_path)},
    capture_output=True,
    text=True,
  )
  assert run.returncode == 0, run.stderr
  for name in ("finetune", "evaluate", "export"):
    assert f"usage: micronet {name} " in run.stdout
  assert "regions/NAME.csv" in run.stdout
  assert max(map(len, run.stdout.splitlines())) <= 88


def test_what_is_exported_is_what_was_trained(tmp_path, capsys):
  weights = random_weights()
  meta = {**META, "config": {"target": {"root": "/home/me"}}}
  checkpoints.export_weights(tmp_path / "run", weights, meta, dtype="float32")
  line = ["export", str(tmp_path / "run"), "-o", str(tmp_path / "out")]
  assert cli.main(line) == 0
  assert str(tmp_path / "out") in capsys.readouterr().out
  found, told = checkpoints.load_weights(str(tmp_path / "out"))
  jax.tree.map(np.testing.assert_array_equal, found, weights)
  assert told["config"]["target"]["root"] == ""
  assert cli.main(line) == 1
  assert "exists; export to another folder" in capsys.readouterr().err


# --- A whole run ---------------------------------------------------------------------


def test_stopped_and_started_again_it_fine_tunes_on_regions_of_one_slide(tmp_path):
  """As the page does: a process, SIGTERM, the same command; then it is evaluated."""
  root, run = tmp_path / "mine", tmp_path / "run"
  tissue.write_folder(root, [tissue.dots("slide", size=200, nuclei=60)])
  (root / "index.csv").unlink()
  (root / "regions").mkdir()
  lines = [f"{x},{y},60,60" for x in (0, 70, 140) for y in (0, 70)]
  table = "\n".join(["x,y,width,height", *lines]) + "\n"
  (root / "regions/slide.csv").write_text(table)
  meta = {**META, "provenance": {"own": [], "inherited": []}}
  checkpoints.export_weights(tmp_path / "base", random_weights(), meta, dtype="float32")
  options = ["num_steps=40", "eval_every=4", "log_every=2", "warp.patch=32"]
  options += ["compare=base", "batch_size=2", "num_devices=1"]
  sets = [part for option in options for part in ("--set", option)]
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  environment |= {"TFDS_DATA_DIR": str(tmp_path / "tfds")}
  command = [sys.executable, "-m", "micronet_jax.cli"]
  tune = [*command, "finetune", str(root), "-o", str(run), *sets]
  tune += ["--weights", str(tmp_path / "base")]
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
  with subprocess.Popen(tune, cwd=tmp_path, env=environment, **pipes) as process:
    log = run / "log.jsonl"
    while not (log.exists() and '"loss"' in log.read_text()):
      assert process.poll() is None, process.communicate()
      time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
  assert process.returncode == 130, err
  assert "run the same command again to go on" in err
  assert "1 patient(s) are too few to hold any out: their 6 images or regions" in err
  assert not (run / "report.json").exists()

  def finish(arguments):
    return subprocess.run(
      arguments, cwd=tmp_path, env=environment, capture_output=True, text=True
    )

  again = finish(tune)
  assert again.returncode == 0, again.stderr
  assert "resumed at step" in again.stdout
  report = json.loads((run / "report.json").read_text())
  assert (report["part"], report["images"], report["patients"]) == ("test", 3, 1)
  assert "same slides" in report["caveat"]
  assert report["caveat"] in again.stdout
  held_out = [*command, "evaluate", str(run), str(root), "-o", "scores"]
  evaluated = finish([*held_out, "--set", "evaluate_part=test"])
  assert evaluated.returncode == 0, evaluated.stderr
  same = json.loads((tmp_path / "scores/report.json").read_text())
  for field in ("radius_px", "images", "nuclei", "caveat"):
    assert same[field] == report[field]
  refused = finish(held_out)
  assert refused.returncode == 1
  assert "was trained on" in refused.stderr
