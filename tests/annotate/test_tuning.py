"""Fine-tuning outlives its server, and is gone on with after a kill; no browser."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import httpx
import pytest
from networks import META, random_weights
from serving import save_image
from tissue import dots

from benchmarks.compiling import QUICKLY
from micronet_jax import checkpoints
from micronet_jax.annotate.finetuning import FineTuning
from micronet_jax.annotate.folder import Folder
from micronet_jax.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST = 900  # seconds, where much else runs
STEPS = 100


@pytest.fixture
def corrected(tmp_path):
  """One image, of which one region is corrected."""
  sample = dots("a", size=128, nuclei=12, seed=0)
  save_image(tmp_path / "mine/a.png", sample.image)
  inside = [(y, x) for y, x in sample.centers.tolist() if y < 99.5]
  write(tmp_path / "mine/points/a.csv",
        "x,y\n" + "".join(f"{x:.2f},{y:.2f}\n" for y, x in inside))  # fmt: skip
  write(tmp_path / "mine/regions/a.csv", "x,y,width,height\n0,0,128,100\n")
  yield tmp_path
  note = tmp_path / "mine/.micronet/finetune.json"
  with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
    process = json.loads(note.read_text())["process"]
    if str(tmp_path) in pathlib.Path(f"/proc/{process}/cmdline").read_text():
      os.kill(process, signal.SIGKILL)  # it would outlive a test that fails


def write(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)


@contextlib.contextmanager
def served(folder):
  """`micronet annotate` as a shell runs it, killed at the end; gives a client."""
  process = subprocess.Popen(
    [*(sys.executable, "-m", "micronet_jax.cli", "annotate", str(folder / "mine")),
     *("-w", str(folder / "tiny"), "--port", "0")],
    env={**os.environ, "PYTHONPATH": str(ROOT), "TFDS_DATA_DIR": str(folder / "tfds")},
    stdout=subprocess.PIPE,
    text=True,
  )  # fmt: skip
  with process:
    try:
      url = next(line.strip() for line in process.stdout if "http" in line)
      with httpx.Client(base_url=url.split("/?")[0], timeout=MOST) as client:
        assert client.get(url).status_code == 200
        yield client
    finally:
      process.kill()


def tuning(client, condition):
  """The state of fine-tuning, once a condition holds."""
  end = time.monotonic() + MOST
  while not condition(said := client.get("/api/state").json()["tuning"]):
    assert said["state"] != "failed", said
    assert time.monotonic() < end, said
    time.sleep(0.05)
  return said


def saved(records):
  """The step of the last validation, after which each time a checkpoint is made."""
  return max((record["step"] for record in records if "val_xi" in record), default=0)


def test_a_run_outlives_its_server_and_goes_on_after_a_kill(corrected, monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", QUICKLY)
  tiny = corrected / "tiny"
  checkpoints.export_weights(tiny, random_weights(), META, dtype="float32")
  with served(corrected) as client:
    begun = client.post("/api/tune", json={"do": "begin", "steps": STEPS})
    assert begun.json()["state"] == "running"
  with served(corrected) as client:
    said = tuning(client, lambda tuning: saved(tuning["records"]) >= 50)
    assert said["state"] == "running"  # though its server was killed
    note = json.loads((corrected / "mine/.micronet/finetune.json").read_text())
    os.kill(note["process"], signal.SIGKILL)
    said = tuning(client, lambda tuning: tuning["state"] != "running")
    assert said["state"] == "stopped"
    assert 50 <= said["records"][-1]["step"] < STEPS
    assert client.post("/api/tune", json={"do": "resume"}).json()["state"] == "running"
    said = tuning(client, lambda tuning: tuning["state"] == "done")
  losses = [record["step"] for record in said["records"] if "loss" in record]
  assert losses == list(range(10, STEPS + 1, 10))  # nothing twice, nothing left out
  # One region: it trains, and nothing that could be taken for a score is reported.
  assert (said["report"]["part"], said["report"]["images"]) == ("none", 1)
  assert "nothing was held out" in said["report"]["caveat"]
  assert not {"radius_px", "compared"} & said["report"].keys()
  assert not any("val_f1" in record for record in said["records"])


@pytest.mark.parametrize(
  "note",
  ['{"run": "../../out", "weights": "base", "steps": 3, "process": 1}',
   '{"run": "finetune-1", "weights": "base", "steps": "3; rm", "process": 1}',
   '{"run": "finetune-1"}', "[]"],
)  # fmt: skip
def test_a_note_that_others_made_starts_nothing(corrected, note):
  write(corrected / "mine/.micronet/finetune.json", note)
  runs = FineTuning(Folder(corrected / "mine"))
  for what in (runs.resume, runs.status, runs.stop):
    with pytest.raises(InputError, match=r"finetune\.json"):
      what()
  assert not (corrected / "mine/runs").exists()


def test_a_loss_that_is_no_number_is_null_for_the_page(corrected):
  run = corrected / "mine/runs/finetune-1"
  write(
    run / "log.jsonl", '{"step": 10, "loss": Infinity}\n{"step": 20, "loss": NaN}\n'
  )
  note = {"run": "finetune-1", "weights": "base", "steps": 30, "process": 1}
  write(corrected / "mine/.micronet/finetune.json", json.dumps(note))
  said = FineTuning(Folder(corrected / "mine")).status()
  assert [record["loss"] for record in said["records"]] == [None, None]
  assert said["state"] == "stopped"
