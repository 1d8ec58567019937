"""The scripts behind the model card: on made-up data sets and a small network."""

import dataclasses
import json

import numpy as np
import pytest
import tissue
from networks import META, random_weights

import micronet_jax as mn
from benchmarks import card, correcting, few_tiles
from micronet_jax import checkpoints
from micronet_jax.evaluation import metrics
from micronet_jax.evaluation.matching import match


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  folder = tmp_path_factory.mktemp("weights") / "small"
  seen = [tissue.dots("v0"), tissue.dots("t0")]
  records = [
    {"name": s.name, "patient": s.patient, "part": part, "pixels": s.pixels_digest}
    for s, part in zip(seen, ("validation", "train"), strict=True)
  ]
  meta = {**META, "mpp": 0.5, "threshold_rule": "absolute", "xi": 0.1}
  meta["provenance"] = {"own": records, "inherited": []}
  checkpoints.export_weights(folder, random_weights(), meta, dtype="float32")
  return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """Two data sets, one of them with what the network has seen."""
  root = tmp_path_factory.mktemp("data")
  tissue.write_folder(root / "gbm40", [tissue.dots(f"b{i}", nuclei=12) for i in (0, 1)])
  names = ("v0", "t0", "t0_again", "n0")
  samples = [tissue.dots(name.split("_")[0]) for name in names]
  samples[2] = dataclasses.replace(tissue.dots("other"), name="t0_again", patient="t0")
  organs = ("he", "purple", "purple", "purple")
  made = zip(samples, organs, strict=True)
  tissue.write_folder(
    root / "dsb2018", [dataclasses.replace(each, organ=organ) for each, organ in made]
  )
  return root


def test_rows_are_what_validated_and_what_nobody_saw(data, weights, tmp_path, capsys):
  options = ["--data", str(data), "--weights", weights, "--json", str(tmp_path / "j")]
  card.main([*options, "--pictures", str(tmp_path / "docs")])
  rows = {row["data"]: row for row in json.loads((tmp_path / "j").read_text())["rows"]}
  # Of the patient that trained, the other image is no test either.
  counts = {label: row["images"] for label, row in rows.items()}
  assert counts == {
    "validation: dsb2018": 1,
    "DSB 2018, other stains": 1,
    "GBM40, brain": 2,
  }
  detector = mn.load(weights)
  samples = mn.load_samples("folder", root=data / "gbm40")
  found = [detector.detect(s.image, mpp=0.25).centers for s in samples]
  f1 = metrics.evaluate_points(found, [s.centers for s in samples])["12"]["f1"]
  assert rows["GBM40, brain"]["F1 at 12 px"] == f"{f1:.3f}"
  best = float(rows["GBM40, brain"]["hindsight, 12 px"].split(" ")[0])
  assert best >= round(f1, 3)
  assert "| GBM40, brain |" in capsys.readouterr().out


def test_few_tiles_are_trained_and_drawn(weights, tmp_path):
  root = tmp_path / "mine"
  tissue.write_folder(root, [tissue.dots(f"p{i}") for i in range(9)])
  options = [f"--root={root}", f"--weights={weights}", "--tiles=1,9", "--seeds=0"]
  options += ["--num_steps=1", f"--workdir={tmp_path}", f"--data_dir={tmp_path / 't'}"]
  options += [f"--json={tmp_path / 'j'}", f"--figure={tmp_path / 'f.png'}"]
  few_tiles.main(options)
  rows = json.loads((tmp_path / "j").read_text())["rows"]
  # Nine tiles are asked for, and as many are taken as train.
  assert [row["tiles"] for row in rows] == [1, 3]
  assert [row["nuclei"] for row in rows] == [5, 15]
  assert {"base", "from scratch", "fine-tuned"} < set(rows[0])
  scores = [float(row["fine-tuned"]) for row in rows]
  assert np.all((np.asarray(scores) >= 0) & (np.asarray(scores) <= 1))
  assert (tmp_path / "f.png").stat().st_size > 1000


def test_correcting_counts_clicks_and_scores_others(weights, tmp_path):
  root = tmp_path / "mine"
  tissue.write_folder(root, [tissue.dots(f"p{i}", size=80) for i in range(8)])
  options = [f"--root={root}", f"--weights={weights}", "--regions=4", "--side=60"]
  options += ["--num_steps=1", f"--workdir={tmp_path}", f"--data_dir={tmp_path / 't'}"]
  correcting.main([*options, f"--json={tmp_path / 'j'}"])
  before, after = json.loads((tmp_path / "j").read_text())["rows"]
  assert (before["clicks"], before["images"], after["images"]) == (0, 4, 4)
  made = {p.stem for p in (tmp_path / "corrected").glob("*.png")}
  assert made == {"p0", "p1", "p2", "p3"}
  # Every nucleus of the regions is there once, found or added.
  detector, clicks = mn.load(weights), 0
  for name in made:
    sample = tissue.dots(name, size=80)
    work = correcting.correct(detector, sample, 60)
    true = correcting.within(sample.centers, work.region)
    assert len(work.centers) == len(true)
    assert match(work.centers, true, radius=12.0).tp == len(true)
    clicks += work.added + work.removed + 1
  assert after["clicks"] == clicks
