"""All studies end to end at the smoke budget; nothing is trained twice."""

import importlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

import micronet_jax as mn
from micronet_jax.datasets.organs import load_organ
from micronet_jax.errors import InputError
from micronet_jax.settings import changed, from_dict
from micronet_jax.studies import execution, study
from micronet_jax.studies.runs import make_run
from micronet_jax.studies.schema import StudyConfig
from micronet_jax.studies.setting import find_setting

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIGURES = {name: [name] for name in study.STUDIES} | {"fig7_8": ["fig7", "fig8"]}
FIGURES |= {name: [name, f"{name}_map"] for name in ("fig4", "fig10")}


def _config(name, tfds, **changes):
  file = importlib.import_module(f"configs.paper.{name}").get_config()
  config = from_dict(StudyConfig, file.to_dict())
  fields = {"budget": "smoke", "data_dir": str(tfds), "recipe.num_devices": 1}
  return changed(config, fields | changes)


def _done(place):
  return {path.parent.name for path in place.glob("runs/*/done.json")}


@pytest.fixture(scope="module")
def tfds(tmp_path_factory):
  return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="module")
def trained():
  """Keys of the runs that training.fit was called for, in order."""
  called, fit = [], execution.fit

  def counting(config, data, workdir, *rest, **options):
    called.append(workdir.name)
    return fit(config, data, workdir, *rest, **options)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(execution, "fit", counting)
    yield called


def test_a_study_killed_halfway_goes_on(place, tfds, trained, capsys):
  """The command line, ended after its first run; then the rest, in this process."""
  command = [sys.executable, str(ROOT / "launch.py")]
  command += [f"--config={ROOT}/configs/paper/fig4.py", "--config.budget=smoke"]
  command += [f"--config.data_dir={tfds}", f"--workdir={place}"]
  command += ["--config.recipe.num_devices=1"]
  with (place / "log").open("w") as log:
    process = subprocess.Popen(
      command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    deadline = time.monotonic() + 600
    while not _done(place) and process.poll() is None:
      assert time.monotonic() < deadline
      time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 130, (place / "log").read_text()
  before = _done(place)
  assert 1 <= len(before) < 3
  assert not (place / "fig4-smoke-synthetic").exists()
  times = {key: (place / "runs" / key / "done.json").stat().st_mtime for key in before}
  study.run_study(_config("fig4", tfds), place)
  assert len(_done(place)) == 3
  assert not before & set(trained)
  for key, at in times.items():
    assert (place / "runs" / key / "done.json").stat().st_mtime == at
  assert "results, figures and findings" in capsys.readouterr().out


@pytest.mark.parametrize("name", study.STUDIES)
def test_a_study_ends_in_results_figures_and_findings(
  name, place, tfds, trained, capsys
):
  before = len(trained)
  study.run_study(_config(name, tfds), place)
  out = capsys.readouterr().out
  known = out.count("   trained before; scores")
  assert len(re.findall(r"^\[\d+/", out, re.M)) == len(trained) - before + known
  folder = place / f"{name}-smoke-synthetic"
  wanted = {"results.csv", "findings.md"}
  wanted |= {f"{figure}.{kind}" for figure in FIGURES[name] for kind in ("pdf", "png")}
  assert {path.name for path in folder.iterdir()} == wanted
  text = (folder / "findings.md").read_text()
  expected = "Nothing is trained" if name == "fig12" else "the numbers mean nothing"
  assert expected in text
  if name != "fig12":  # nothing is trained for it
    assert study.findings_from_results(folder / "results.csv") == text
  for figure in FIGURES[name]:
    with Image.open(folder / f"{figure}.png") as image:
      assert min(image.size) > 300
  assert len(trained) == len(set(trained)), "a run was trained twice"


def test_a_finished_study_trains_and_scores_nothing(place, tfds, trained, monkeypatch):
  before = len(trained)
  monkeypatch.setattr(execution, "score_run", None)
  study.run_study(_config("fig5", tfds), place)
  assert len(trained) == before


def test_a_run_of_a_study_is_a_run_like_any_other(place, tfds):
  config = _config("fig4", tfds)
  chosen = find_setting(config)
  run = make_run(chosen, chosen.organs[0], 0)
  detector = mn.load(run.folder(place))
  assert detector.meta["model"]["width"] == 2
  image = load_organ(chosen.organs[0])[0].image
  assert detector.detect(image).centers.shape[1] == 2
  assert json.loads((run.folder(place) / "run.json").read_text())["key"] == run.key
  saved = run.folder(place) / "checkpoints/snapshots"
  assert {path.name for path in saved.iterdir()} == {"1", "2"}


def test_divergence_is_a_result_only_where_it_may_be(tmp_path, tfds, capsys):
  steep = {"budgets.smoke.lambdas": [5000.0], "budgets.smoke.learning_rate": 1e25}
  config = _config("fig9", tfds, **steep)
  study.run_study(config, tmp_path)
  assert "holds: λ = 500 and 5000 diverge" in capsys.readouterr().out
  text = (tmp_path / "fig9-smoke-synthetic/findings.md").read_text()
  assert "not finite at step 2" in text
  assert "not finite" in (tmp_path / "fig9-smoke-synthetic/results.csv").read_text()
  config = _config("fig9", tfds, **steep | {"budgets.smoke.lambdas": [5.0]})
  with pytest.raises(InputError, match=r"1 run.s. failed.*\n.*not finite"):
    study.run_study(config, tmp_path)


def test_a_step_is_timed_for_the_plan(tmp_path, tfds, capsys):
  config = _config("fig4", tfds, plan_only=True)
  study.run_study(config, tmp_path)
  out = capsys.readouterr().out
  assert "timing steps" in out
  assert "3 runs, 0 done" in out
  assert "not measured" not in out
  study.run_study(config, tmp_path)
  assert "timing" not in capsys.readouterr().out
  assert not (tmp_path / "runs").exists()
