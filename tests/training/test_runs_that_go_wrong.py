"""Runs whose data, baseline or checkpoints are not what they were."""

import dataclasses
import json
import shutil
import threading
import types

import jax
import numpy as np
import pytest
import tissue

from micronet_jax import checkpoints
from micronet_jax.errors import InputError
from micronet_jax.evaluation.thresholds import Choice
from micronet_jax.locks import locked
from micronet_jax.settings import as_dict, changed
from micronet_jax.training import job, loop
from micronet_jax.training.job import train_and_evaluate
from micronet_jax.training.loop import Diverged
from micronet_jax.training.run import Record, prepare_training


@pytest.fixture
def folder(tmp_path):
  root = tmp_path / "mine"
  tissue.write_folder(root, [tissue.dots(f"p{i}") for i in range(7)])
  return root


@pytest.fixture
def config(folder, tmp_path):
  return tissue.config(
    target__name="folder",
    target__root=str(folder),
    data_dir=str(tmp_path / "tfds"),
    num_steps=4,
  )


@pytest.fixture
def never_trains(monkeypatch):
  """For what should find all of its work done."""

  def arm():
    monkeypatch.setattr(loop, "take_steps", lambda *_, **__: pytest.fail("trains"))

  return arm


# Data that change under a run.


def _add_images(root):
  for i in range(7, 13):
    sample = tissue.dots(f"p{i}")
    tissue.Image.fromarray(sample.image).save(root / f"images/p{i}.png")
    (root / f"points/p{i}.csv").write_text("x,y\n5,5\n")
  lines = [f"p{i},dots,p{i},0.25" for i in range(7, 13)]
  with (root / "index.csv").open("a") as index:
    index.write("\n".join(lines) + "\n")


def _remove_image(root):
  for path in (root / "images/p3.png", root / "points/p3.csv"):
    path.unlink()
  lines = (root / "index.csv").read_text().splitlines()
  kept = [line for line in lines if not line.startswith("p3,")]
  (root / "index.csv").write_text("\n".join(kept) + "\n")


def _correct_points(root):
  (root / "points/p2.csv").write_text("x,y\n10,10\n")


def _paint(root):
  image = 255 - np.asarray(tissue.Image.open(root / "images/p2.png"))
  tissue.Image.fromarray(image).save(root / "images/p2.png")


@pytest.mark.parametrize(
  ("change", "expected"),
  [
    (_add_images, ["6 image(s) new, first 'p10'"]),
    (_remove_image, ["1 image(s) gone, first 'p3'"]),
    (_correct_points, ["1 image(s) with other points or resolution, first 'p2'"]),
    (_paint, ["1 image(s) with other pixels, first 'p2'"]),
  ],
)
def test_a_run_whose_data_have_changed_is_not_gone_on_with(
  config, folder, tmp_path, change, expected
):
  run = tmp_path / "run"
  train_and_evaluate(config, run)
  before = (run / "report.json").read_bytes()
  change(folder)
  with pytest.raises(InputError) as caught:
    train_and_evaluate(config, run)
  for part in (*expected, "--workdir"):
    assert part in str(caught.value)
  assert (run / "report.json").read_bytes() == before
  other = train_and_evaluate(config, tmp_path / "other")
  assert other["detector"] == "trained"


def test_a_moved_folder_is_the_same_data(config, folder, tmp_path, never_trains):
  first = train_and_evaluate(config, tmp_path / "run")
  moved = folder.rename(tmp_path / "moved")
  stored = tmp_path / "run/config.json"
  values = json.loads(stored.read_text())
  values["target"]["root"] = str(moved)
  stored.write_text(json.dumps(values))
  never_trains()
  again = train_and_evaluate(
    changed(config, {"target.root": str(moved)}), tmp_path / "run"
  )
  assert again["radius_px"] == first["radius_px"]


def test_two_trainings_in_one_folder(config, tmp_path):
  with locked(tmp_path / "run"), pytest.raises(InputError, match="another process"):
    train_and_evaluate(config, tmp_path / "run")
  assert not (tmp_path / "run/config.json").exists()  # it would be refused ever after


# A loss that is not finite.


@pytest.mark.parametrize("shape", [(64, 64), (1, 1)])
def test_images_of_one_colour_are_not_blamed_on_the_learning_rate(shape):
  data = tissue.data()
  image = np.full((*shape, 3), 200, np.uint8)
  plain = dataclasses.replace(data.train[1], image=image)
  names = [sample.name for sample in data.train]

  def told(train):
    run = types.SimpleNamespace(
      data=dataclasses.replace(data, train=train),
      saved=types.SimpleNamespace(wait=lambda: None, newest=lambda _: None),
    )
    metrics = types.SimpleNamespace(
      finite=np.array([True, False]),
      images=np.array([[0, 0], [0, 1]]),
      loss=np.array([1.0, np.nan]),
    )
    with pytest.raises(Diverged) as caught:
      loop.check_finite(run, 4, metrics, names)
    return str(caught.value)

  found = told([data.train[0], plain, data.train[2]])
  assert "not finite at step 6" in found
  assert f"of these, {names[1]} have one colour all over" in found
  assert "learning_rate" not in found
  assert "learning_rate" in told(data.train)


# A baseline that diverges.


def test_a_baseline_that_diverges_is_a_line_in_the_table(
  config, tmp_path, monkeypatch, capsys, never_trains
):
  prepared = prepare_training(tissue.config())
  meta = {"model": as_dict(tissue.config().model), "xi": 0.4, "min_distance": 5}
  meta |= {"proximity": {"scale": 5.0}}
  checkpoints.export_weights(tmp_path / "base", prepared.weights, meta, dtype="float32")
  tuned = changed(
    config,
    {"init_from": str(tmp_path / "base"), "compare": ["scratch"], "job": "finetune"},
  )
  trained = []
  fit = loop.fit

  def fit_or_diverge(*arguments, label, **options):
    trained.append(label)
    if label == "from scratch":
      raise Diverged("the loss or a gradient is not finite at step 3; a lower rate")
    return fit(*arguments, label=label, **options)

  monkeypatch.setattr(job, "fit", fit_or_diverge)
  for _ in range(2):
    report = train_and_evaluate(tuned, tmp_path / "run")
    assert report["detector"] == "fine-tuned"
    assert report["failed"]["from scratch"].endswith("at step 3; a lower rate")
    table = capsys.readouterr().out.split("test part")[1]
    assert "from scratch  the loss or a gradient is not finite at step 3\n" in table
  # The network that people wait for comes first, and what diverged is not repeated.
  assert trained == ["fine-tuned", "from scratch", "fine-tuned"]


def test_a_patient_seen_in_another_organ_is_refused(tmp_path):
  """The base trained on kidneys; the livers of the same patients may not test it."""
  root, made = tmp_path / "mine", []
  for patient in range(7):
    for organ in ("kidney", "liver"):
      sample = tissue.dots(f"p{patient}_{organ}")
      made.append(dataclasses.replace(sample, organ=organ))
  tissue.write_folder(root, made)
  options = {"target__name": "folder", "target__root": str(root), "num_steps": 2}
  options |= {"data_dir": str(tmp_path / "tfds"), "eval_every": 2}
  base = tmp_path / "base"
  train_and_evaluate(tissue.config(**options, target__organs="kidney"), base)
  tuned = {**options, "init_from": str(base), "target__organs": "liver"}
  # Another seed tests on some of those who trained the base.
  with pytest.raises(InputError, match="was trained on patient 'p"):
    train_and_evaluate(tissue.config(**tuned, split__seed=3), tmp_path / "tuned")


def test_too_little_memory_is_one_sentence(tmp_path, monkeypatch):
  def take_steps(*_, **__):
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9")

  monkeypatch.setattr(loop, "take_steps", take_steps)
  with pytest.raises(InputError, match=r"3 training image.* 2 patches of 32 x 32 pix"):
    _fit(tmp_path)


# Checkpoints that are lost.


def _lose(checkpoint):
  shutil.rmtree(checkpoint)


def _damage(checkpoint):
  (checkpoint / "meta/metadata").write_text("{")


def _fit(workdir, **changes):
  config = tissue.config(**changes)
  prepared, stop = prepare_training(config), threading.Event()
  data = tissue.data()
  return loop.fit(config, data, workdir, prepared, label="test", stop=stop)


def _choices(monkeypatch, *scores):
  """Validation finds these F1, one after the other."""
  left = list(scores)

  def choose(*_):
    return Choice(xi=0.5, min_distance=5, f1=left.pop(0), ed=1.0)

  monkeypatch.setattr(loop, "choose_threshold", choose)


@pytest.mark.parametrize("harm", [_lose, _damage])
def test_a_lost_best_checkpoint_does_not_cost_the_run(
  tmp_path, monkeypatch, capsys, never_trains, harm
):
  """Best at step 4 of 8, after a worse one at step 2: the latest is used, and said."""
  _choices(monkeypatch, 0.2, 0.6, 0.5, 0.4)
  whole = _fit(tmp_path, eval_every=2)
  assert whole.meta["step"] == 4
  harm(tmp_path / "checkpoints/best/4")
  never_trains()
  found = _fit(tmp_path, eval_every=2)
  assert found.meta["step"] == 8
  assert "of step 4, is damaged or missing" in found.meta["note"]
  assert found.meta["note"] in capsys.readouterr().out


def test_a_run_that_goes_on_keeps_a_best_again(tmp_path, monkeypatch):
  """What was best is lost; the best of the rest is kept, though lower."""
  _choices(monkeypatch, 0.9, 0.5)
  _fit(tmp_path, num_steps=8)
  _lose(tmp_path / "checkpoints/best/4")
  latest = tmp_path / "checkpoints/latest/8"
  assert latest.is_dir()
  _choices(monkeypatch, 0.3, 0.2)
  monkeypatch.setattr(loop, "Record", lambda **r: Record(**{**r, "finished": False}))
  found = _fit(tmp_path, num_steps=16)
  assert found.meta["step"] == 12
  assert "note" not in found.meta


def test_a_best_network_that_was_being_saved_is_saved_again(tmp_path, monkeypatch):
  """A kill after one of the two saves of a step: what goes on is the best itself."""
  _choices(monkeypatch, 0.9)
  _fit(tmp_path, num_steps=4)
  _lose(tmp_path / "checkpoints/best/4")
  _choices(monkeypatch, 0.3, 0.2)
  monkeypatch.setattr(loop, "Record", lambda **r: Record(**{**r, "finished": False}))
  found = _fit(tmp_path, num_steps=12)
  assert found.meta["step"] == 4
  assert "note" not in found.meta
