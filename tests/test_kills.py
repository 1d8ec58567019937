"""Training and detection that are killed, stopped and starved, in short.

benchmarks/kills.py does the same a hundred times (docs/reliability.md).
"""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from benchmarks import jobs

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_whatever_happens_the_end_is_the_same(tmp_path):
  numbers = tmp_path / "kills.json"
  told = ["--quick", "--train=1", "--detect=1", "--stop=1", "--full=1"]
  # A process of its own, whose processes begin with all that they need imported.
  command = [sys.executable, "-m", "benchmarks.kills", *told, f"--json={numbers}"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stdout + done.stderr
  rows = json.loads(numbers.read_text())["rows"]
  assert [row["work"] for row in rows] == ["train_all", "detect_all"]
  for row in rows:
    assert (row["killed"], row["stopped"], row["disk full"]) == (1, 1, 1)
    assert row["runs"] >= 1


@pytest.fixture
def results(tmp_path):
  """Twice what a detection leaves."""
  out = tmp_path / "whole" / jobs.DETECTED
  out.mkdir(parents=True)
  (out / "large.csv").write_text("x,y,score\n1,2,0.5\n")
  (out / "large.json").write_text('{"nuclei": 1, "seconds": 3}')
  (out / "summary.csv").write_text("image,seconds\nlarge.png,3\n")
  shutil.copytree(tmp_path / "whole", tmp_path / "other")
  (tmp_path / "other/out/large.json").write_text('{"nuclei": 1, "seconds": 9}')
  return tmp_path / "other", tmp_path / "whole"


@pytest.mark.parametrize(
  ("name", "text", "expected"),
  [
    ("large.csv", "x,y,score\n1,2,0.4\n", "large.csv differs"),
    ("large.json", '{"nuclei": 2, "seconds": 3}', "the record differs"),
    (".left-behind", "", "left are"),
  ],
)
def test_another_result_is_seen(results, name, text, expected):
  assert jobs.compare_detection(*results) == ""
  (results[0] / jobs.DETECTED / name).write_text(text)
  assert jobs.compare_detection(*results).startswith(expected)
