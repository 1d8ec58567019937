"""The benchmarks: what they time is what they say, and each runs to its table."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import torch
from networks import META, random_weights
from scipy import spatial

from benchmarks import (
  archive,
  charts,
  growth,
  inference,
  many_sizes,
  memory,
  pipeline,
  postprocess,
  pytorch,
  scaling,
  steps_per_call,
  timing,
  train_step,
  workload,
)
from micronet_jax.config import WarpConfig
from micronet_jax.detection.detector import Detector
from micronet_jax.imaging.normalisation import normalise
from micronet_jax.predict import job
from micronet_jax.training.losses import weighted_mse
from micronet_jax.training.targets import proximity

STILL = WarpConfig(patch=32, rotate=0.0, mirror=0.0, shift=0.0, elastic=0.0)


@pytest.fixture(scope="module")
def samples():
  return workload.tissue(count=2, size=100)


@pytest.fixture
def no_compiler(monkeypatch):
  """torch.compile as on a machine without a C++ compiler (and a minute faster)."""

  def refuse(module, **_):
    def call(*_):
      raise RuntimeError("no compiler\nand a long explanation")

    return call

  monkeypatch.setattr(torch, "compile", refuse)


# --- timing -----------------------------------------------------------------------


def test_variants_take_turns_and_every_second_round_goes_backwards():
  calls = []
  variants = {name: lambda name=name: calls.append(name) for name in "abc"}
  seconds = timing.interleave(variants, repeats=3, warmup=1)
  assert "".join(calls) == "abc" + "abc" + "cba" + "abc"
  assert {name: len(each) for name, each in seconds.items()} == dict.fromkeys("abc", 3)


def test_no_round_begins_after_the_budget_but_the_first():
  seconds = timing.interleave({"a": lambda: None}, repeats=50, budget_s=-1.0)
  assert len(seconds["a"]) == 1


@pytest.mark.parametrize(
  ("value", "text"),
  [
    (0.0, "0.00"),
    (0.012345, "0.0123"),
    (3.254, "3.25"),
    (41.26, "41.3"),
    (1234, "1234"),
  ],
)
def test_numbers_have_three_digits(value, text):
  assert timing.digits(value) == text


def test_ratio_is_the_median_over_rounds():
  # round by round 2, 1/2 and 3 times as fast; the medians' ratio would be 4 / 2
  assert train_step.ratio([4.0, 2.0, 9.0], [2.0, 4.0, 3.0]) == 2.0


# --- the other side ---------------------------------------------------------------


def test_the_loader_reads_what_ours_reads(samples):
  data = pytorch.Patches(samples, STILL)
  y, x = 56, 64  # around the nucleus
  grid = np.stack(np.mgrid[y : y + 32, x : x + 32]).astype(float)
  patch, target = data.read(1, grid)
  crop = normalise(samples[1].image)[y : y + 32, x : x + 32]
  np.testing.assert_allclose(patch.transpose(1, 2, 0), crop, rtol=0, atol=1e-5)
  distance = spatial.distance.cdist(grid.reshape(2, -1).T, samples[1].centers).min(1)
  expected = proximity(distance, alpha=3.0, radius=15.0).reshape(32, 32)
  np.testing.assert_allclose(target, expected, rtol=0, atol=1e-6)
  assert target.max() > 0.2


def test_the_loader_draws_patches_inside_the_image(samples):
  data, random = pytorch.Patches(samples, STILL), np.random.default_rng(0)
  places = np.stack([data.positions(random, (100, 90)) for _ in range(50)])
  assert places.min() >= 0
  assert (places.max((0, 2, 3)) <= (99.5, 89.5)).all()
  np.testing.assert_allclose(np.diff(places[:, 0], axis=1), 1, atol=1e-5)
  np.testing.assert_allclose(np.diff(places[:, 1], axis=2), 1, atol=1e-5)


def test_the_loader_warps_as_ours_does(samples):
  # what the warp may do to distances: turns and mirror images keep them
  turned = dataclasses.replace(STILL, rotate=180.0, mirror=1.0)
  random = np.random.default_rng(1)
  place = pytorch.Patches(samples, turned).positions(random, (100, 100))
  down, right = np.diff(place, axis=1), np.diff(place, axis=2)
  np.testing.assert_allclose(np.hypot(*down), 1, atol=1e-4)
  np.testing.assert_allclose(np.hypot(*right), 1, atol=1e-4)
  cross = down[0, 0, 0] * right[1, 0, 0] - down[1, 0, 0] * right[0, 0, 0]
  assert cross == pytest.approx(-1, abs=1e-4)  # mirrored


def test_the_twin_steps_on_our_loss():
  random = np.random.default_rng(0)
  output, maps = random.normal(size=(2, 3, 8, 8)).astype(np.float32)
  maps = np.abs(maps) / np.abs(maps).max()
  theirs = pytorch._loss(torch.from_numpy(output), torch.from_numpy(maps))
  ours = weighted_mse(output, maps, lam=5.0, scale=5.0)
  assert float(theirs) == pytest.approx(float(ours), rel=1e-5)


# --- each benchmark ---------------------------------------------------------------


def rows_of(path):
  content = json.loads(path.read_text())
  assert content["machine"]["platform"] == jax.default_backend()
  assert {"device", "jax", "flax", "cores"} <= content["machine"].keys()
  return content["rows"]


def test_train_step(tmp_path, capsys, no_compiler):
  path = tmp_path / "numbers.json"
  train_step.main(["--quick", f"--json={path}"])
  (row,) = rows_of(path)
  assert float(row["Gflop a step"]) > 0
  assert {"PyTorch, s", "PyTorch, loader, s", "times PyTorch"} <= row.keys()
  printed = capsys.readouterr().out
  assert "PyTorch, compiled does not work here: no compiler\n" in printed
  assert "no GPU here" in printed


def test_inference(tmp_path, no_compiler):
  path = tmp_path / "numbers.json"
  inference.main(["--quick", "--weights=", f"--json={path}"])
  (row,) = rows_of(path)
  assert float(row["s/mm²"]) > 0


def test_pipeline(tmp_path):
  path = tmp_path / "numbers.json"
  pipeline.main(["--quick", f"--json={path}"])
  drawn, waited = rows_of(path)
  assert drawn["drawing alone of the step"].endswith("%")
  assert waited["more in the loop"].endswith("%")


def test_postprocess_and_its_picture(tmp_path):
  path, picture = tmp_path / "numbers.json", tmp_path / "growth.png"
  postprocess.main(["--quick", f"--json={path}", f"--draw={picture}"])
  rows = rows_of(path)
  assert [row["by"] for row in rows[:-1]] == [
    *("local_maxima", "scikit-image", "scipy"),
    *("match", "greedy", "scipy, dense"),
  ]
  assert picture.read_bytes().startswith(b"\x89PNG")


def test_growth_in_proportion_has_slope_one():
  assert postprocess.slope({10: [1.0, 9.0, 0.1], 1000: [100.0]}) == pytest.approx(1)


def test_memory(tmp_path):
  path = tmp_path / "numbers.json"
  # in this process, where the compiler's plan is the same
  memory.main(
    ["--quick", "--train=1", "--search=", f"--json={path}"], run=memory.measure
  )
  (row,) = rows_of(path)
  assert row["remat"] is True
  assert row["planned MB"] >= row["arguments MB"] > 0


def test_growth(tmp_path):
  path = tmp_path / "numbers.json"
  arguments = ["--quick", f"--folder={tmp_path / 'files'}", f"--json={path}"]
  growth.main(arguments, run=growth.measure)
  found = {row["what"]: row["result"] for row in rows_of(path)}
  assert found["journal resumed"] == found["journal read in order"] == "3,000 points"
  assert found["csv opened (pyarrow)"] == found["parquet opened (pyarrow)"]
  assert found["geojson as annotations"] == "3,000 centres"
  assert list((tmp_path / "files").iterdir()) == []


def test_archive(tmp_path, monkeypatch):
  monkeypatch.setattr(job, "load", lambda _: Detector(random_weights(), META))
  path = tmp_path / "numbers.json"
  arguments = ["--quick", f"--folder={tmp_path / 'files'}", f"--json={path}"]
  archive.main(arguments, run=growth.measure)
  found = {row["what"]: row["result"] for row in rows_of(path)}
  assert found["all nuclei counted"] == "2,000 nuclei"
  assert found["mean score of one site"].endswith("of 1,000")
  assert found["those from 0.6 on, by slide"].endswith("in 2 slides")
  assert found["the job, all done before"] == "3 done before"


def test_many_sizes(tmp_path, monkeypatch):
  monkeypatch.setattr(many_sizes, "load", lambda _: Detector(random_weights(), META))
  path = tmp_path / "numbers.json"
  many_sizes.main(["--quick", "--repeats=2", f"--json={path}"])
  assert [row["side"] for row in rows_of(path)] == [100, 130]


def test_scaling(tmp_path):
  path = tmp_path / "numbers.json"
  scaling.main(["--quick", "--processes=0", f"--json={path}"], start=scaling.Local)
  one, two = rows_of(path)
  assert (one["patches each"], two["patches each"]) == (8, 4)
  assert float(two["first loss differs by"]) < 1e-5


def test_steps_per_call(tmp_path):
  path = tmp_path / "numbers.json"
  steps_per_call.main(["--quick", f"--json={path}"])
  (row,) = rows_of(path)
  assert row["steps a call"] == "1"


def test_a_chain_goes_on_from_its_last_state(samples):
  config = workload.configure(width=2, patch=32, batch=2, **workload.QUICK)
  chain = workload.Chain(workload.prepare(config, samples), size=2, unroll=True)
  for _ in range(3):
    state, metrics = chain()
  assert int(state.step) == 6
  assert np.isfinite(metrics.loss).all()


def test_charts_draw_the_medians_of_each_method():
  times = {"peaks": {"ours": {10: [1.0], 100: [9.0, 11.0]}, "theirs": {10: [2.0]}}}
  (axes,) = charts.growth(times).axes
  drawn = {bars.get_label(): bars.lines[0].get_xydata() for bars in axes.containers}
  assert drawn["ours"].tolist() == [[10, 1], [100, 10]]
  assert drawn["theirs"].tolist() == [[10, 2]]
  (line,) = (each for each in axes.lines if each.get_label() == "in proportion")
  assert line.get_xydata().tolist() == [[10, 1], [100, 10]]
