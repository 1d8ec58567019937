"""The ten minutes of benchmarks/gpu.py: the same code on the CPU, in tiny sizes."""

import json
import re
import sys
import time

import pytest

from benchmarks import gpu, gpu_base, gpu_parts, report


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
  out = tmp_path_factory.mktemp("gpu") / "out"
  status = gpu.main(["--smoke", "--minutes=60", f"--out={out}"])
  return status, out, json.loads((out / "gpu.json").read_text())


def test_smoke_runs_every_part(smoke):
  status, _, content = smoke
  assert content["machine"]["platform"] == "cpu"
  assert list(content["parts"]) == list(gpu.SHARES) == list(gpu_parts.PARTS)
  for part in content["parts"].values():
    assert part["state"].startswith("done in ")
    assert part["rows"]
    assert [row["error"] for row in part["rows"] if "error" in row] == []
  assert status == 0


def test_smoke_measures_what_was_asked_for(smoke):
  rows = {name: part["rows"] for name, part in smoke[2]["parts"].items()}
  assert "matmul, Tflop/s" in rows["device"][0]
  assert {"ours, s", "PyTorch, s", "of matmul"} <= rows["step"][0].keys()
  assert [row.get("steps a call") for row in rows["feeding"]] == ["1", "2", None]
  assert "drawing alone of the step" in rows["feeding"][-1]
  assert {"s/mm²", "times PyTorch"} <= rows["images"][0].keys()
  assert [row["batch"] for row in rows["tiles"]] == [1, 2]
  assert [row["microns a pixel"] for row in rows["slide"]] == [0.25, 0.5]
  stages = {"reading, s", "resampling, s", "search, s", "CSV and GeoJSON, s"}
  for row in rows["slide"]:
    assert stages | {"s/mm²", "device idle in that"} <= row.keys()
  assert [row["of"] for row in rows["base"][:2]] == ["plan", "training"]
  assert [row["of step"] for row in rows["base"][2:]] == [2, 4, 6, 8]


def test_smoke_leaves_a_page_and_a_network(smoke):
  _, out, content = smoke
  page = (out / "gpu.md").read_text()
  for title in gpu.TITLES.values():
    assert f"\n## {title}\n" in page
  assert "No GPU here" in page
  assert (out / content["parts"]["base"]["rows"][1]["checkpoint"]).is_dir()
  assert not (out / "slide.tif").exists()


def test_a_run_is_not_written_over(smoke, capsys):
  assert gpu.main(["--smoke", f"--out={smoke[1]}"]) == 2
  assert "holds a run" in capsys.readouterr().err


def test_a_part_that_hangs_is_cut_with_what_it_started(tmp_path):
  note = tmp_path / "alive"
  child = f"import time\nwhile True:\n  open({str(note)!r}, 'w'); time.sleep(0.05)"
  parent = (
    "import subprocess, sys, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    f"subprocess.run([sys.executable, '-c', {child!r}])"
  )

  def until_alive():
    while not note.exists():
      time.sleep(0.05)

  command = [sys.executable, "-c", parent]
  state = gpu.run_for(command, 1.0, watch=until_alive, grace_s=0.5)
  assert re.fullmatch(r"cut after \d+ s", state)
  note.unlink()
  time.sleep(0.3)
  assert not note.exists()


def test_a_part_that_fails_says_so():
  command = [sys.executable, "-c", "raise SystemExit(3)"]
  assert gpu.run_for(command, 60.0).endswith("with status 3")


def test_a_case_that_fails_leaves_the_others(tmp_path, monkeypatch):
  def part(job):
    yield {"batch": 1}, lambda: [{"s": "1.0"}]
    yield {"batch": 2}, lambda: 1 / 0
    yield {"batch": 3}, lambda: [{"s": "3.0"}]

  monkeypatch.setitem(gpu_parts.PARTS, "step", part)
  gpu_parts.run("step", gpu_parts.Job(tmp_path, "", True, 0.0))
  rows = json.loads((tmp_path / "parts" / "step.json").read_text())["rows"]
  assert [row.get("s") for row in rows] == ["1.0", None, "3.0"]
  assert rows[1]["error"] == "ZeroDivisionError: division by zero"
  assert report.as_markdown(rows).splitlines()[3].startswith("| 2 | - | ZeroDivision")


def test_tile_and_batch_are_those_of_least_time(tmp_path):
  job = gpu_parts.Job(tmp_path, "", False, 0.0)
  assert gpu_parts.chosen(job) == (1536, 1)
  rows = [
    {"tile": 1024, "batch": 8, "device, s/mm²": "0.310"},
    {"tile": 2048, "batch": 4, "error": "memory"},
    {"tile": 2048, "batch": 2, "device, s/mm²": "0.290"},
  ]
  (tmp_path / "parts").mkdir()
  (tmp_path / "parts" / "tiles.json").write_text(json.dumps({"rows": rows}))
  assert gpu_parts.chosen(job) == (2048, 2)


def test_no_steps_without_time(tmp_path, monkeypatch):
  monkeypatch.setattr(gpu_base, "validate", lambda *_: 1.0)
  config = gpu_base.recipe(out=tmp_path, data="", smoke=True)
  with pytest.raises(ValueError, match="too few for 4 steps"):
    gpu_base.fit_into(config, ends=time.time(), most=8)
