"""The loop that people work in: detect, correct in QuPath, fine-tune, detect again."""

import json
import uuid

import numpy as np
import pytest
import tissue
from PIL import Image

import micronet_jax as mn
from micronet_jax import checkpoints
from micronet_jax.datasets import load_samples
from micronet_jax.settings import as_dict
from micronet_jax.stored import read_log
from micronet_jax.training.run import prepare_training

QUPATH_CORNER = 0.5  # where QuPath has the centre of the top-left pixel


def correct_in_qupath(path, *, remove, add):
  """Rewrites a file as QuPath exports it after a person worked on its objects.

  Detections are deleted; what is missing is marked with the points tool, of which
  all marks are one annotation; QuPath indents, and writes objects in its own order.
  """
  features = json.loads(path.read_text())["features"]
  kept = [each for i, each in enumerate(features) if i not in remove]
  marks = [[float(x) + QUPATH_CORNER, float(y) + QUPATH_CORNER] for y, x in add]
  if marks:
    kept.insert(0, {
      "type": "Feature",
      "id": str(uuid.uuid4()),
      "geometry": {"type": "MultiPoint", "coordinates": marks},
      "properties": {
        "objectType": "annotation",
        "name": "missed",
        "classification": {"name": "Nucleus", "color": [86, 180, 233]},
        "isLocked": False,
      },
    })  # fmt: skip
  whole = {"type": "FeatureCollection", "features": kept}
  path.write_text(json.dumps(whole, indent=2))


def _by_place(centers):
  return np.array(sorted(np.round(centers, 2).tolist())).reshape(-1, 2)


@pytest.mark.parametrize("kept", ["detections", "points"])
def test_corrections_in_qupath_are_what_training_reads(tmp_path, kept):
  sample = tissue.dots("one", nuclei=6)
  (tmp_path / "images").mkdir()
  Image.fromarray(sample.image).save(tmp_path / "images" / "one.png")
  found = mn.Detections(sample.centers, np.linspace(1, 0.5, 6).astype(np.float32))
  path = tmp_path / "annotations" / "one.geojson"
  found.to_geojson(path)
  added = [(3.25, 60.5), (0, 0), (63, 63)]
  if kept == "detections":
    correct_in_qupath(path, remove={1, 4}, add=added)
    expected = np.concatenate([np.delete(sample.centers, [1, 4], 0), added])
  else:  # "Convert detections to points", and then all is one annotation
    correct_in_qupath(path, remove=set(range(6)), add=[*sample.centers[2:], *added])
    expected = np.concatenate([sample.centers[2:], added])
  (read,) = load_samples("folder", root=tmp_path, data_dir=tmp_path / "cache")
  np.testing.assert_allclose(_by_place(read.centers), _by_place(expected), atol=0.0051)


def test_detect_correct_fine_tune_detect(tmp_path):
  common = {"data_dir": str(tmp_path / "cache"), "target__name": "folder"}
  prepared = prepare_training(tissue.config())
  meta = {"model": as_dict(tissue.config().model), "xi": 0.4, "min_distance": 5}
  meta |= {"proximity": {"scale": 5.0}}
  checkpoints.export_weights(tmp_path / "base", prepared.weights, meta, dtype="float32")
  base = mn.load(tmp_path / "base")

  mine, nuclei = tmp_path / "mine", 0
  (mine / "images").mkdir(parents=True)
  for i in range(4):
    truth = tissue.dots(f"mine{i}", nuclei=7, seed=1)
    Image.fromarray(truth.image).save(mine / "images" / f"mine{i}.png")
    found = base.detect(mine / "images" / f"mine{i}.png", mpp=0.25)
    found.to_geojson(mine / "annotations" / f"mine{i}.geojson")
    pairs = mn.match(found.centers, truth.centers, radius=8).pairs
    wrong = set(range(len(found.scores))) - set(pairs[:, 0].tolist())
    missed = np.delete(truth.centers, pairs[:, 1], axis=0)
    correct_in_qupath(
      mine / "annotations" / f"mine{i}.geojson", remove=wrong, add=missed
    )
    nuclei += len(truth.centers)
  corrected = load_samples("folder", root=mine, data_dir=tmp_path / "cache")
  assert sum(len(sample.centers) for sample in corrected) == nuclei

  config = tissue.config(
    **common,
    target__root=str(mine),
    init_from=str(tmp_path / "base"),
    job="finetune",
    split__test_fraction=0,
    optimizer__schedule="cosine",
    num_steps=24,
    eval_every=12,
    log_every=1,
  )
  report = mn.train_and_evaluate(config, tmp_path / "tuned")
  assert report["part"] == "validation"
  assert report["detector"] == "fine-tuned"
  log = read_log(tmp_path / "tuned" / "log.jsonl")
  assert [each["step"] for each in log if "val_f1" in each] == [0, 12, 24]
  losses = [each["loss"] for each in log if "loss" in each]
  assert np.mean(losses[-6:]) < np.mean(losses[:6])

  tuned = mn.load(tmp_path / "tuned")
  split = tuned.meta["split"]
  named = [*split["train"], *split["validation"], *split["test"]]
  assert sorted(named) == [f"mine{i}" for i in range(4)]
  new = tissue.dots("new", seed=2)
  before, after = (each.detect(new.image, mpp=0.25) for each in (base, tuned))
  assert np.isfinite(after.scores).all()
  assert (after.centers >= 0).all()
  assert (after.centers <= 63).all()
  assert before.scores.tolist() != after.scores.tolist()
