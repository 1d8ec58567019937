"""A network's own resolution: trained at it, carried, followed, never contradicted."""

import dataclasses
import json

import numpy as np
import pytest
import tissue

import micronet_jax as mn
from micronet_jax import checkpoints
from micronet_jax.errors import InputError
from micronet_jax.imaging.resampling import rescale_image
from micronet_jax.settings import changed
from micronet_jax.training import augmentation, pool
from micronet_jax.training.run import prepare_training
from micronet_jax.training.step import make_objective, reach_of
from micronet_jax.training.targets import proximity_map


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Eight tiles of eight patients, at 0.25 microns."""
  root = tmp_path_factory.mktemp("half") / "mine"
  tissue.write_folder(root, [tissue.dots(f"p{i}", size=80) for i in range(8)])
  lines = [f"p{i},dots,p{i},0.25" for i in range(8)]
  (root / "index.csv").write_text("\n".join(["name,organ,patient,mpp", *lines]))
  return root


@pytest.fixture(scope="module")
def options(folder, tmp_path_factory):
  return {
    "target__name": "folder",
    "target__root": str(folder),
    "data_dir": str(tmp_path_factory.mktemp("tfds")),
    "num_steps": 2,
    "eval_every": 2,
    "threshold_rule": "absolute",
    "smoothing": 2.0,
  }


@pytest.fixture(scope="module")
def half(options, tmp_path_factory):
  """A run at 0.5 microns."""
  run = tmp_path_factory.mktemp("runs") / "half"
  mn.train_and_evaluate(tissue.config(**options, working_mpp=0.5), run)
  return run


def test_the_checkpoint_carries_it_and_everything_follows(half, options, tmp_path):
  weights, meta = checkpoints.load_weights(str(half))
  assert (meta["mpp"], meta["threshold_rule"]) == (0.5, "absolute")
  assert meta["smoothing"] == 2.0
  report = json.loads((half / "report.json").read_text())
  assert (report["mpp"], report["working_mpp"]) == (0.25, 0.5)
  assert mn.load(half).mpp == 0.5
  options = {**options, "init_from": str(half)}
  # A config that asks for no rule, smoothing or resolution has the checkpoint's.
  plain = tissue.config(**{**options, "threshold_rule": None, "smoothing": None})
  tuned = mn.train_and_evaluate(plain, tmp_path / "tuned")
  assert (tuned["working_mpp"], tuned["threshold_rule"]) == (0.5, "absolute")
  assert tuned["smoothing"] == 2.0
  none = tissue.config(**{**options, "smoothing": 0.0})
  assert mn.train_and_evaluate(none, tmp_path / "none")["smoothing"] == 0.0
  config = tissue.config(**options, job="evaluate", evaluate_part="test")
  assert mn.evaluate(config, tmp_path / "scored")["working_mpp"] == 0.5
  said = json.loads((tmp_path / "scored/config.json").read_text())
  assert said["model"]["width"] == meta["model"]["width"]
  for field, value in {"threshold_rule": "median", "smoothing": 0.0}.items():
    with pytest.raises(InputError, match=f"config.{field} is {value!r}, but an"):
      mn.evaluate(dataclasses.replace(config, **{field: value}), tmp_path / "other")
  wider = changed(config, {"model.width": 9})
  with pytest.raises(InputError, match=r"config\.model\.width is 9, but"):
    mn.evaluate(wider, tmp_path / "other")
  checkpoints.export_weights(tmp_path / "out", weights, meta, dtype="bfloat16")
  assert mn.load(tmp_path / "out").mpp == 0.5


@pytest.mark.parametrize("job", ["finetune", "evaluate"])
def test_a_config_that_contradicts_it_is_refused(half, options, tmp_path, job):
  config = tissue.config(**options, init_from=str(half), working_mpp=0.25, job=job)
  run = mn.evaluate if job == "evaluate" else mn.train_and_evaluate
  with pytest.raises(InputError, match=r"working_mpp is 0\.25.* works at 0\.5 microns"):
    run(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_patches_and_maps_are_those_of_the_resampled_image():
  """d = 15 at 0.25 microns is 7.5 pixels here; Eq. 1 on the host agrees."""
  still = {"warp__rotate": 0.0, "warp__mirror": 0.0, "warp__elastic": 0.0}
  config = tissue.config(working_mpp=0.5, warp__shift=0.0, **still)
  recipe = prepare_training(config).recipe
  sample = dataclasses.replace(tissue.dots("one", size=64, nuclei=6), mpp=0.25)
  images = pool.to_device([sample], mpp=0.5, reach=reach_of(recipe))
  label, _ = make_objective(recipe, 5.0)
  keys = np.asarray([0]), tissue.keys(1)
  patch, target = augmentation.draw_patches(
    images, *keys, warp=recipe.warp, label=label, appearance=recipe.appearance
  )
  small = rescale_image(sample.image, 0.5).astype(np.float32)
  mean, std = small.mean((0, 1)), small.std((0, 1))
  np.testing.assert_allclose(patch[0], (small - mean) / std, atol=1e-4)
  centers = (sample.centers + 0.5) / 2 - 0.5
  expected = proximity_map(centers, (32, 32), radius=7.5)
  np.testing.assert_allclose(target[0], expected, atol=1e-5)
