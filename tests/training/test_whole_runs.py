"""Whole runs: resuming, the plateau, divergence, transfer, the report."""

import json
import signal
import threading

import jax
import numpy as np
import pytest
import tissue
from networks import META, QUICK, random_weights

from micronet_jax import checkpoints, errors, models
from micronet_jax.errors import InputError
from micronet_jax.evaluation import metrics, thresholds
from micronet_jax.settings import changed
from micronet_jax.stored import read_log
from micronet_jax.training import job, loop
from micronet_jax.training import step as steps
from micronet_jax.training.job import train_and_evaluate
from micronet_jax.training.loop import check_finite, fit
from micronet_jax.training.run import (
  TrainingRun,
  as_saved,
  follow_checkpoint,
  prepare_training,
)


def _fit(config, workdir, *, data=None, stop=None, start=None):
  stop = stop or threading.Event()
  config = follow_checkpoint(config, start[1] if start else None)
  prepared = prepare_training(config, start=start)
  data = data or tissue.data()
  return fit(config, data, workdir, prepared, label="test", stop=stop)


def _latest(workdir):
  """Every array of the newest checkpoint, by path."""
  prepared = prepare_training(tissue.config())
  state = steps.create_state(prepared.recipe, prepared.weights)
  saved = checkpoints.Checkpoints(workdir / "checkpoints")
  found = saved.restore("latest", *as_saved(state))
  saved.close()
  return found["meta"], checkpoints.flatten([found["weights"], found["training"]])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A run that was never stopped."""
  workdir = tmp_path_factory.mktemp("whole")
  detector = _fit(tissue.config(), workdir)
  return workdir, detector


def _stop_at(monkeypatch, step, action):
  """Calls `action` after the step, where a signal or a crash may come."""
  check = check_finite

  def checked(run, before, metrics, names):
    check(run, before, metrics, names)
    if before + 1 == step:
      action()

  monkeypatch.setattr(loop, "check_finite", checked)


@pytest.mark.parametrize("step", [1, 4, 7])
def test_a_run_stopped_and_resumed_ends_in_the_same_bits(
  whole, tmp_path, monkeypatch, capsys, step
):
  stop = threading.Event()
  with monkeypatch.context() as patch:
    _stop_at(patch, step, stop.set)
    with pytest.raises(errors.Stopped, match=f"stopped at step {step}"):
      _fit(tissue.config(), tmp_path, stop=stop)
  assert _latest(tmp_path)[0]["step"] == step
  _fit(tissue.config(), tmp_path)
  assert f"resumed at step {step}" in capsys.readouterr().out
  _assert_same(_latest(tmp_path), _latest(whole[0]))
  assert _logged(tmp_path) == _logged(whole[0])


def test_a_run_killed_between_checkpoints_ends_in_the_same_bits(
  whole, tmp_path, monkeypatch
):
  def crash():
    raise RuntimeError("power cut")

  with monkeypatch.context() as patch:
    _stop_at(patch, 6, crash)
    with pytest.raises(RuntimeError, match="power cut"):
      _fit(tissue.config(), tmp_path)
  assert _latest(tmp_path)[0]["step"] == 4
  _fit(tissue.config(), tmp_path)
  _assert_same(_latest(tmp_path), _latest(whole[0]))
  logged = [r["step"] for r in read_log(tmp_path / "log.jsonl") if "loss" in r]
  assert logged == [2, 4, 6, 8]


def test_a_run_killed_as_soon_as_it_is_saved_has_all_of_its_log(
  whole, tmp_path, monkeypatch
):
  save = TrainingRun.save

  def save_and_crash(run, kind, state):
    save(run, kind, state)
    if kind == "latest":
      run.saved.wait()
      raise RuntimeError("power cut")

  with monkeypatch.context() as patch:
    patch.setattr(TrainingRun, "save", save_and_crash)
    with pytest.raises(RuntimeError, match="power cut"):
      _fit(tissue.config(), tmp_path)
  _fit(tissue.config(), tmp_path)
  assert _logged(tmp_path) == _logged(whole[0])


def _logged(workdir):
  return [
    (each["step"], each.get("loss"), each.get("val_f1"))
    for each in read_log(workdir / "log.jsonl")
  ]


def _assert_same(one, other):
  meta, arrays = one
  other_meta, other_arrays = other
  assert meta["record"] == other_meta["record"]
  assert set(arrays) == set(other_arrays)
  for path, value in arrays.items():
    np.testing.assert_array_equal(value, other_arrays[path], err_msg=path)


def test_a_finished_run_is_not_trained_again(whole, monkeypatch):
  monkeypatch.setattr(loop, "take_steps", None)
  workdir, detector = whole
  again = _fit(tissue.config(), workdir)
  assert again.meta == detector.meta


def test_a_checkpoint_says_everything_that_detection_and_resuming_need(whole):
  meta, arrays = _latest(whole[0])
  assert meta["step"] == 8
  assert meta["model"]["width"] == 2
  assert meta["split"]["test"] == ["f", "g"]
  assert meta["proximity"]["scale"] == 5.0
  assert meta["mpp"] == 0.25
  assert 0 <= meta["xi"] < 1
  assert meta["min_distance"] == 5
  assert meta["config"]["optimizer"]["momentum"] == 0.9
  assert "normalisation" in meta
  assert meta["record"]["finished"]
  assert any("trace" in path for path in arrays)


def test_snapshots_are_kept_for_good_with_what_was_chosen_at_them(
  tmp_path, monkeypatch
):
  chosen = iter((0.3, 0.4))

  def choose(*_):
    return thresholds.Choice(xi=next(chosen), min_distance=5, f1=0.5, ed=1.0)

  monkeypatch.setattr(loop, "choose_threshold", choose)
  _fit(tissue.config(snapshot_every=2), tmp_path)
  folders = (tmp_path / "checkpoints/snapshots").iterdir()
  metas = {p.name: checkpoints.load_weights(str(p))[1] for p in folders}
  assert metas.keys() == {"2", "4", "6", "8"}
  assert [metas[step]["xi"] for step in ("4", "6", "8")] == [0.3, 0.3, 0.4]


def test_a_damaged_latest_checkpoint_costs_steps_not_the_run(
  whole, tmp_path, monkeypatch, capsys
):
  stop = threading.Event()
  with monkeypatch.context() as patch:
    _stop_at(patch, 7, stop.set)
    with pytest.raises(errors.Stopped):
      _fit(tissue.config(), tmp_path, stop=stop)
  (tmp_path / "checkpoints/latest/7/meta/metadata").write_text("{")
  _fit(tissue.config(), tmp_path)
  out = capsys.readouterr().out
  assert "latest/7 is damaged" in out
  assert "resumed at step 4" in out
  _assert_same(_latest(tmp_path), _latest(whole[0]))


def test_a_loss_that_is_not_finite_stops_with_step_images_and_checkpoint(tmp_path):
  config = tissue.config(optimizer__learning_rate=1e25)
  with pytest.raises(InputError) as error:
    _fit(config, tmp_path)
  text = str(error.value)
  assert "not finite at step 2" in text
  assert "drawn from" in text
  assert any(f" {name}" in text for name in "abc")
  assert "last good checkpoint: none" in text


def test_the_plateau_lowers_the_rate_and_then_stops(tmp_path, monkeypatch):
  choice = thresholds.Choice(xi=0.5, min_distance=5, f1=0.5, ed=1.0)
  monkeypatch.setattr(loop, "choose_threshold", lambda *_: choice)
  config = tissue.config(
    num_steps=40, eval_every=1, optimizer__plateau_patience=2, log_every=1
  )
  _fit(config, tmp_path)
  rates = {
    r["step"]: r["learning_rate"]
    for r in read_log(tmp_path / "log.jsonl")
    if "learning_rate" in r
  }
  # Best at step 1; a tenth after steps 3 and 5; under 1e-4 after step 7.
  expected = {1: 0.01, 3: 0.01, 4: 0.001, 5: 0.001, 6: 1e-4, 7: 1e-4}
  for step, rate in expected.items():
    assert rates[step] == pytest.approx(rate), step
  assert max(rates) == 7
  assert _latest(tmp_path)[0]["record"]["best_step"] == 1


def test_a_rate_below_the_plateau_s_minimum_trains_until_the_plateau(
  tmp_path, monkeypatch
):
  choice = thresholds.Choice(xi=0.5, min_distance=5, f1=0.5, ed=1.0)
  monkeypatch.setattr(loop, "choose_threshold", lambda *_: choice)
  config = tissue.config(
    num_steps=8,
    eval_every=1,
    optimizer__plateau_patience=3,
    optimizer__learning_rate=5e-5,
  )
  _fit(config, tmp_path)
  assert _latest(tmp_path)[0]["step"] == 4  # best at step 1, and three more


def test_learning_happens(tmp_path):
  config = tissue.config(
    num_steps=120, eval_every=60, model__width=4, optimizer__learning_rate=0.05
  )
  detector = _fit(config, tmp_path)
  data = tissue.data()
  found = [detector.detect(s.image).centers for s in data.test]
  report = metrics.evaluate_points(found, [s.centers for s in data.test])
  assert report["6"]["f1"] > 0.8


def test_transfer_from_another_width_is_refused(whole, tmp_path):
  start = checkpoints.load_weights(str(whole[0]))
  with pytest.raises(
    InputError, match=r"of 127 entries differ: .* is \(4,\) in .*, \(6,\) here"
  ):
    _fit(tissue.config(model__width=3), tmp_path, start=start)
  assert not (tmp_path / "checkpoints").exists()


def test_what_fits_of_another_network_is_taken_over_and_the_rest_is_said(whole, caplog):
  start = checkpoints.load_weights(str(whole[0]))
  changes = {"model__context": ("up4",), "model__width": None, "init_partial": True}
  config = tissue.config(init_from="x", **changes)
  prepared = prepare_training(config, start=start)  # of the checkpoint's width
  had, has = map(checkpoints.flatten, (start[0], prepared.weights))
  left = [path for path, leaf in has.items() if had[path].shape != leaf.shape]
  assert 0 < len(left) < 5
  assert f"{len(has) - len(left)} of {len(has)} entries" in caplog.text
  assert caplog.text.strip().endswith(", ".join(left))
  for path in has.keys() - set(left):
    np.testing.assert_array_equal(has[path], had[path])


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"model__width": 3}, "of width 3: no kernel"),
    ({"model__name": "frcn"}, "network frcn of width"),
  ],
)
def test_what_does_not_fit_at_all_is_refused(whole, changes, words):
  start = checkpoints.load_weights(str(whole[0]))
  config = tissue.config(init_from="x", init_partial=True, **changes)
  with pytest.raises(InputError, match=words):
    prepare_training(config, start=start)


def test_a_block_that_is_to_stay_as_it_is_must_fit_whole(whole):
  weights, meta = checkpoints.load_weights(str(whole[0]))
  weights["params"]["down2"].popitem()
  start, changes = (weights, meta), {"init_from": "x", "init_partial": True}
  with pytest.raises(InputError, match=r"down2/.* freeze fewer than 3"):
    prepare_training(tissue.config(freeze_blocks=3, **changes), start=start)
  prepare_training(tissue.config(freeze_blocks=2, **changes), start=start)


def test_fine_tuning_starts_from_the_checkpoint_and_keeps_frozen_blocks(
  whole, tmp_path
):
  start = checkpoints.load_weights(str(whole[0]))
  config = tissue.config(freeze_blocks=3, num_steps=4, init_from="x")
  _fit(config, tmp_path, start=start)
  log = read_log(tmp_path / "log.jsonl")
  assert log[0]["step"] == 0  # validated before the first step
  weights, _ = checkpoints.load_weights(str(tmp_path / "checkpoints/latest/4"))
  for kind in ("params", "batch_stats"):
    for block, tree in weights[kind].items():
      same = jax.tree.map(np.array_equal, tree, start[0][kind][block])
      frozen = block in models.MicroNet.BLOCKS[:3]
      assert all(jax.tree.leaves(same)) == frozen, (kind, block)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  root = tmp_path_factory.mktemp("data") / "mine"
  tissue.write_folder(root, [tissue.dots(f"p{i}_{j}") for i in range(6) for j in "ab"])
  return root


def test_the_job_writes_report_and_pictures_and_resumes(
  folder, tmp_path, capsys, monkeypatch
):
  config = tissue.quick_config(
    target__name="folder", target__root=str(folder), data_dir=str(tmp_path / "tfds")
  )
  first = train_and_evaluate(config, tmp_path / "run")
  text = capsys.readouterr().out
  report = json.loads((tmp_path / "run/report.json").read_text())
  assert report == first
  assert report["job"] == "train"
  assert report["dataset"] == "folder/mine"
  assert (report["images"], report["patients"], report["part"]) == (6, 3, "test")
  assert set(report["radius_px"]) == {"16", "12", "8", "6"}
  assert set(report["radius_px"]["16"]) == {"precision", "recall", "f1", "ed"}
  assert report["nuclei"] == 30
  assert 0 < report["f1_chance"]["16"] < 1
  assert "trained" in text
  for picture in ("precision_recall.png", "detections.png", "training.png"):
    assert (tmp_path / "run" / picture).stat().st_size > 5_000
  assert not list((tmp_path / "run").glob("*.partial"))
  monkeypatch.setattr(loop, "take_steps", None)  # nothing is trained again
  again = train_and_evaluate(config, tmp_path / "run")
  assert again["radius_px"] == first["radius_px"]

  tuned = changed(
    config,
    {"job": "finetune", "init_from": str(tmp_path / "run"), "split.seed": 5},
  )
  with pytest.raises(InputError, match="was trained on"):
    train_and_evaluate(tuned, tmp_path / "leak")
  assert not (tmp_path / "leak").exists()


def _tuning(folder, tmp_path, **changes):
  """Fine-tunes a small network of random weights on a folder."""
  meta, base = {**META, "model": QUICK}, tmp_path / "base"
  checkpoints.export_weights(base, random_weights(QUICK), meta, dtype="float32")
  return tissue.quick_config(
    job="finetune",
    target__name="folder",
    target__root=str(folder),
    data_dir=str(tmp_path / "tfds"),
    init_from=str(base),
    **changes,
  )


def test_fine_tuning_compares_base_scratch_and_itself(folder, tmp_path, capsys):
  config = _tuning(folder, tmp_path, compare=("base", "scratch"), num_steps=4)
  report = train_and_evaluate(config, tmp_path / "run")
  assert report["detector"] == "fine-tuned"
  assert list(report["compared"]) == [
    "base",
    "base, threshold re-chosen",
    "from scratch",
  ]
  table = capsys.readouterr().out.split("folder/mine, test part")[1]
  for label in ("base", "from scratch", "fine-tuned", "by chance"):
    assert label in table
  assert (tmp_path / "run/scratch/checkpoints/best").is_dir()


def _or_signal(monkeypatch, module, name, number):
  """Sends this process a signal as soon as a function of a module has ended."""
  work = getattr(module, name)

  def work_and_signal(*arguments, **options):
    result = work(*arguments, **options)
    signal.raise_signal(number)
    return result

  monkeypatch.setattr(module, name, work_and_signal)


def test_a_signal_after_the_last_step_stops_before_the_scores(
  folder, tmp_path, monkeypatch
):
  """In the last validation, and while the base is looked at: the report is the same."""
  config = _tuning(folder, tmp_path, compare=("base",), num_steps=1)
  whole = train_and_evaluate(config, tmp_path / "whole")
  for module, name, number in (
    (loop, "check_finite", signal.SIGINT),
    (job, "choose_threshold", signal.SIGTERM),
    (job, "choose_threshold", signal.SIGINT),
  ):
    with monkeypatch.context() as patch:
      _or_signal(patch, module, name, number)
      with pytest.raises(errors.Stopped, match=r"trained; run .* to score it"):
        train_and_evaluate(config, tmp_path / "run")
    assert (tmp_path / "run/checkpoints/latest/1").is_dir()
    assert not (tmp_path / "run/report.json").exists()
  report = train_and_evaluate(config, tmp_path / "run")
  assert {**report, "seconds": 0} == {**whole, "seconds": 0}
  assert _logged(tmp_path / "run") == _logged(tmp_path / "whole")


def test_a_resumed_run_may_take_another_number_of_steps_a_call(tmp_path, monkeypatch):
  stop = threading.Event()
  with monkeypatch.context() as patch:
    _stop_at(patch, 3, stop.set)
    with pytest.raises(errors.Stopped):
      _fit(tissue.quick_config(), tmp_path, stop=stop)
  _fit(tissue.quick_config(steps_per_call=2), tmp_path)
  validated = [r["step"] for r in read_log(tmp_path / "log.jsonl") if "val_f1" in r]
  assert validated == [4, 8]
