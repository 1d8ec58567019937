"""The packaged base, on embedded and on real tissue, and the main job from it."""

import json
import pathlib

import jax
import numpy as np
import pytest
import tissue
from scipy import optimize, spatial

import micronet_jax as mn
from configs import base as base_config
from configs import finetune
from micronet_jax import checkpoints
from micronet_jax.config import Config
from micronet_jax.datasets.provenance import provenance_of
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.synthetic_he.generator import generate
from micronet_jax.evaluation import metrics
from micronet_jax.imaging.decoding import read_image
from micronet_jax.settings import as_dict, changed, from_dict
from micronet_jax.training.job import train_and_evaluate


@pytest.fixture(scope="module")
def base():
  return mn.load("base")


def _crop(root: pathlib.Path, name: str, size: int) -> Sample:
  """The top-left corner of a real tile, in memory only."""
  points = np.loadtxt(root / f"points/{name}.csv", delimiter=",", skiprows=1, ndmin=2)
  centers = points[:, ::-1].astype(np.float32)
  return Sample(
    name=name,
    organ=name.split("__")[0],
    patient=name.rsplit("_", 1)[0],
    mpp=0.25,
    image=read_image(root / f"images/{name}.jpg")[:size, :size],
    centers=centers[(centers < size - 0.5).all(1)],
  )


def _f1(detector, samples):
  found = [detector.detect(s.image, mpp=s.mpp).centers for s in samples]
  return metrics.evaluate_points(found, [s.centers for s in samples])["12"]["f1"]


@pytest.mark.parametrize(
  ("name", "stage", "licence"),
  [("base", "second", "CC BY 4.0"), ("base-nc", "nc", "CC BY-NC-SA 4.0")],
)
def test_packaged_weights_are_small_whole_and_say_where_they_are_from(
  name, stage, licence
):
  folder = checkpoints.find_checkpoint(name)
  size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
  assert size < 7e6
  weights, meta = checkpoints.load_weights(name)  # compares the checksums
  assert sum(x.size for x in jax.tree.leaves(weights["params"])) == 3_086_625
  assert (meta["mpp"], meta["threshold_rule"]) == (0.5, "median")
  assert meta["config"]["target"]["root"] == ""
  ours = as_dict(from_dict(Config, base_config.get_config(stage).to_dict()))
  fields = ("num_steps", "eval_every", "split", "optimizer", "warp", "working_mpp")
  for field in (*fields, "loss_floor", "smoothing", "threshold_rule"):
    assert meta["config"][field] == ours[field]
  assert meta["config"]["auxiliary"]["organs"] == ours["auxiliary"]["organs"]
  assert meta["config"]["appearance"]["stain"] == ours["appearance"]["stain"]
  records = provenance_of(meta).own
  validation = {each.patient for each in records if each.part == "validation"}
  assert validation == set(ours["split"]["validation_patients"])
  assert {each.part for each in records} == {"train", "validation"}
  # What others measure on is no part of it, nor of what it began with.
  drawn = {each.patient for each in provenance_of(meta).seen} - {
    each.patient for each in records
  }
  assert all(each.startswith("artefacts__") for each in drawn)
  free = [each for each in records if each.patient.startswith(("human_", "mouse_"))]
  assert (len(free) == len(records)) == (name == "base")
  assert not any(each.name.startswith("prostate") for each in records)
  card = (folder.parent / "README.md").read_text()
  for word in (f"# `{name}`", licence, "NuInsSeg", "CPU", "human_kidney", "F1"):
    assert word in card


def test_the_base_finds_nuclei_on_embedded_tissue(base):
  samples = []
  for organ in ("breast", "lymph_nodes"):
    image, centers = generate(organ, 0, size=200)
    samples.append(Sample("s", organ, "s", 0.25, image, centers))
  assert _f1(base, samples) > 0.6


def test_the_base_finds_nuclei_of_an_organ_it_has_not_seen(base, real_data):
  """A slack bound on brain: what it reaches on all tiles stands in its card."""
  root = real_data / "gbm40"
  names = [f"brain__{number}" for number in ("05", "15", "25", "35")]
  assert _f1(base, [_crop(root, name, 250) for name in names]) > 0.8


def test_the_main_job_on_real_prostate(real_data, tmp_path, capsys):
  """End to end on real tissue, at a budget that proves the machinery only."""
  root = real_data / "monuseg"
  tiles = sorted(p.stem for p in (root / "images").glob("prostate__*r0c0.jpg"))
  tissue.write_folder(tmp_path / "prostate", [_crop(root, t, 160) for t in tiles])
  small = {
    "target.name": "folder",
    "target.root": str(tmp_path / "prostate"),
    "data_dir": str(tmp_path / "tfds"),
    "num_devices": 1,
    "warp.patch": 64,
    "num_steps": 10,
    "eval_every": 5,
  }
  config = changed(from_dict(Config, finetune.get_config().to_dict()), small)
  report = train_and_evaluate(config, tmp_path / "run")
  assert (report["images"], report["patients"]) == (3, 3)
  # What is reported is what `detect` finds with the checkpoints that were kept.
  again = mn.load(tmp_path / "run")
  compared = report["compared"]
  for detector, scored in (
    (again, report),
    (mn.load(tmp_path / "run/scratch"), compared["from scratch"]),
    (mn.load("base"), compared["base"]),
  ):
    found = [
      _counts(detector, tmp_path / "prostate", name)
      for name in again.meta["split"]["test"]
    ]
    true, points = np.sum(found, 0)
    assert scored["radius_px"]["12"]["f1"] == pytest.approx(2 * true / points)
  assert report["radius_px"]["16"]["f1"] > report["f1_chance"]["16"]
  saved = json.loads((tmp_path / "run/report.json").read_text())
  assert saved == json.loads(json.dumps(report))
  assert "fine-tuned" in capsys.readouterr().out


def _counts(detector, folder, name):
  """Pairs within 12 px, and detections and annotations together, of one image."""
  table = folder / f"points/{name}.csv"
  annotated = np.loadtxt(table, delimiter=",", skiprows=1, ndmin=2)[:, ::-1]
  detected = detector.detect(folder / f"images/{name}.png", mpp=0.25).centers
  apart = spatial.distance.cdist(detected, annotated)
  rows, columns = optimize.linear_sum_assignment(np.where(apart <= 12, apart, 1e6))
  return (apart[rows, columns] <= 12).sum(), sum(apart.shape)


@pytest.mark.parametrize("organ", ["adrenal_gland", "eye", "prostate"])
def test_scores_are_as_high_as_people_are_told(base, organ):
  """`Detections`, docs/scale.md and notebook 1 say so to who chooses a threshold."""
  found = base.detect(generate(organ, 1, size=256)[0], mpp=0.25)
  assert 0.3 <= found.scores[0] <= 0.5
  assert 0.1 < found.scores[-1] < 0.25
