"""results.csv and findings.md: what they hold, and that the one gives the other."""

import csv
import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from study_tables import Made, found, organ, row, rows_of, setting

from micronet_jax.errors import InputError
from micronet_jax.evaluation.intervals import Estimate
from micronet_jax.settings import changed
from micronet_jax.studies import study
from micronet_jax.studies.claims import decide_claim
from micronet_jax.studies.earlier import read_folder
from micronet_jax.studies.results import read_lines, read_results, write_results
from micronet_jax.studies.schema import StudyConfig
from micronet_jax.studies.setting import Setting, setting_from_json

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMITTED = [
  path.relative_to(ROOT) for path in sorted(ROOT.glob("results/**/results.csv"))
]
OLD = [path for path in COMMITTED if len(path.parts) == 3]  # of version 0.1


def written(path, rows, name="fig4"):
  write_results(path, name, setting(name, names="ab").to_json(), rows)
  with path.open(encoding="utf-8") as file:
    return list(csv.DictReader(file))


def test_results_csv_holds_what_the_evaluations_say(tmp_path):
  table = [
    found([3, 1], [1, 0], [0, 2], distance=[6.0, 4.0], panel="a", run="0123"),
    row("diff", "a", x=0.5, f1=None, seed=2),
    found([3, 1] * 3, [1, 0] * 3, [0, 2] * 3, panel="b"),
  ]
  first, second, third = written(tmp_path / "results.csv", table)
  assert float(first["f1"]) == pytest.approx(8 / 11, abs=1e-6)
  assert float(first["ed"]) == 2.5
  assert (first["images"], first["patients"], first["nuclei"]) == ("2", "2", "6")
  assert json.loads(first["by_patient"])["p1"] == [1, 0, 2, 4]
  assert first["f1_low"] == ""  # of two patients
  assert (first["run"], first["study"]) == ("0123", "fig4")
  assert (second["x"], second["seed"]) == ("0.5", "2")
  assert second["diverged"].startswith("nan at step 3")
  assert second["f1"] == second["xi"] == second["by_patient"] == ""
  assert float(third["f1_low"]) < float(third["f1"]) < float(third["f1_high"])
  assert json.loads(first["setting"])["organs"] == ["a", "b"]
  assert second["setting"] == third["setting"] == ""


def test_rows_survive_their_file(tmp_path):
  table = [
    found([3, 1], [1, 0], [0, 2], distance=[1 / 3, 4.0], panel="a: b, c", base="d"),
    row("γ = 5", "a", x=5.0, f1=None, seed=2),
  ]
  path = tmp_path / "results.csv"
  chosen = setting(names="ab")
  write_results(path, "fig4", chosen.to_json(), table)
  values, (first, second) = read_results(path)
  assert values == chosen.to_json()
  values["config"]["recipe"]["gone"] = values["config"]["old"] = 1  # of a version since
  assert setting_from_json(values).to_json() == chosen.to_json()
  for name in ("by_patient", "panel", "base", "f1_12px", "step", "images", "diverged"):
    assert getattr(first, name) == getattr(table[0], name)
  for name in ("diverged", "x", "seed", "series", "by_patient"):
    assert getattr(second, name) == getattr(table[1], name)
  assert np.isnan(second.score())


@pytest.mark.parametrize("name", [name for name in study.STUDIES if name != "fig12"])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_findings_are_recomputed_from_results_alone(name, seeds, tmp_path):
  chosen = setting(name, names="abcd", targets="ab", seeds=seeds)
  table = rows_of(chosen, Made())
  path = tmp_path / "results.csv"
  write_results(path, name, chosen.to_json(), table)
  text, findings = study.judge_study(table, chosen)
  assert study.findings_from_results(path) == text
  assert len(findings) == text.count("** |\n")


def test_a_command_recomputes_findings(tmp_path):
  chosen = setting("fig9")
  path = tmp_path / "results.csv"
  write_results(path, "fig9", chosen.to_json(), rows_of(chosen))
  command = [sys.executable, "-m", "micronet_jax.studies.study"]
  run = subprocess.run([*command, path], cwd=ROOT, capture_output=True, text=True)
  assert run.stdout == study.findings_from_results(path)
  old = tmp_path / "old.csv"  # as version 0.1 wrote it
  old.write_text("study,panel,series,x,seed\nfig9,a,with,0,0\n")
  run = subprocess.run([*command, old], cwd=ROOT, capture_output=True, text=True)
  assert run.returncode == 1
  assert "lacks counts by patient" in run.stderr
  assert "Traceback" not in run.stderr


def test_files_that_cannot_be_recomputed(tmp_path):
  with pytest.raises(InputError, match="cannot be read"):
    study.findings_from_results(tmp_path / "none.csv")
  path = tmp_path / "results.csv"
  written(path, [], "fig12")
  with pytest.raises(InputError, match="lacks counts by patient"):
    study.findings_from_results(path)


def test_results_name_no_place_of_this_machine(tmp_path):
  config = StudyConfig(data="/home/me/mine", data_root="/home/me", data_dir="/home/x")
  chosen = Setting(config, (organ("a"), organ("b")))
  write_results(tmp_path / "results.csv", "fig4", chosen.to_json(), [row("same", "a")])
  text = (tmp_path / "results.csv").read_text()
  assert "home" not in text
  assert study.setting_from_json(chosen.to_json()).config.data == "mine"


# The committed results; some are of version 0.1.


@pytest.mark.parametrize("path", OLD, ids=str)
def test_the_committed_findings_are_what_the_claims_give(path):
  """Everything in findings.md but the intervals' ends, of every committed study.

  Version 0.1 kept no counts by patient in results.csv, so intervals cannot be worked
  out again: verdicts are, from the committed intervals and the claims' margins. Each
  value is to three decimals, as written; so are the notes, tables and texts.
  """
  folder = (ROOT / path).parent
  text = (folder / "findings.md").read_text(encoding="utf-8")
  chosen, table = read_folder(folder)
  with (folder / "results.csv").open(encoding="utf-8") as file:
    lines = list(csv.DictReader(file))
  for line, each in zip(lines, table, strict=True):
    if not each.diverged:
      assert each.score() == pytest.approx(float(line["f1"]), abs=2e-6)
  again, findings = study.judge_study(table, chosen)
  assert re.sub(r"All numbers.*", "", again).count("\n") == text.count("\n")
  old = [line for line in text.splitlines() if line.endswith("** |")]
  assert len(old) == len(findings) > 0
  for line, (claim, estimate, _) in zip(old, findings, strict=True):
    words, number, value, ends, over, verdict = line.strip("| ").split(" | ")
    assert words == claim.text
    assert number.partition("; above ")[0] == claim.number
    assert value == f"{estimate.value:+.3f}", claim.text
    assert over == estimate.source
    if claim.measure not in ("diverged", "share"):
      limits = [None, None] if ends == "none" else map(float, ends.split(" to "))
      decided = decide_claim(claim, Estimate(estimate.value, *limits, ""))
      assert verdict == f"**{decided}**", claim.text
  for before, now in zip(text.splitlines(), again.splitlines(), strict=True):
    if before.startswith("All numbers"):
      assert json.loads(before.split("`")[1]) == json.loads(now.split("`")[1])
    elif before not in old:
      assert before == now


@pytest.mark.parametrize("path", sorted({*COMMITTED} - {*OLD}), ids=str)
def test_committed_findings_are_made_of_their_results(path):
  path = ROOT / path
  assert study.findings_from_results(path) == (path.parent / "findings.md").read_text()


def test_findings_of_one_slide_an_organ_say_so(tmp_path):
  chosen = setting("fig4", names="abcdef", seeds=(0, 1, 2))
  config = changed(chosen.config, {"data": "nuinsseg", "budget": "coarse"})
  known = {
    name: {"stain": [0.1, 0.2, i / 10], "size": 5.0 + i, "density": 900.0 / (i + 1)}
    for i, name in enumerate("abcdef")
  }
  chosen = dataclasses.replace(chosen, config=config, tissue=known)
  table = rows_of(chosen, Made())
  study.write_study(table, chosen, tmp_path)
  text = (tmp_path / "findings.md").read_text()
  assert study.findings_from_results(tmp_path / "results.csv") == text
  assert "split by patient" not in text
  assert "tested on the very slide that it was trained on" in text
  assert "seeds and test images" in text
  assert "3 seeds, 36 test images" in text
  assert "Spearman's ρ over all pairs" in text
  patients = dataclasses.replace(chosen, config=setting("fig4").config)
  assert "slide" not in study.judge_study(table, patients)[0]
  values, rows = read_results(tmp_path / "results.csv")
  assert setting_from_json(values).tissue == known
  assert len(rows) == len(table)
  lines = read_lines(tmp_path)
  assert [each.source for each in lines] == ["3 seeds, 36 test images", "6 organs"]


@pytest.mark.parametrize("path", [path for path in COMMITTED if path not in OLD])
def test_what_was_run_is_what_the_plan_asks_for(path):
  """Figs. 5, 7 and 8 choose bases and sources by Fig. 4 of the same set."""
  values, rows = read_results(ROOT / path)
  chosen = setting_from_json(values)
  _, matrix = read_results(ROOT / path.parent.parent / "fig4/results.csv")
  first = {(r.trained_on, r.organ): r.score() for r in matrix if r.seed == 0}
  named = {each.label: each.name for each in chosen.organs}
  f1 = {(named[label], tested): score for (label, tested), score in first.items()}
  planned = rows_of(chosen, Made(f1))
  places = [
    sorted((r.panel, r.series, r.x, r.seed, r.checkpoint, r.organ) for r in each)
    for each in (planned, rows)
  ]
  assert places[0] == places[1]
