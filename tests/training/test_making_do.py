"""Fine-tuning on what there is: few patients, few regions, regions seen before."""

import json

import numpy as np
import pytest
import tissue
from cohorts import sample

from micronet_jax.datasets.sample import share_pixels
from micronet_jax.detection.detector import load
from micronet_jax.stored import read_log
from micronet_jax.training import loop
from micronet_jax.training.data import arrange_data
from micronet_jax.training.job import train_and_evaluate


@pytest.mark.parametrize(
  ("name", "other", "shared"),
  [
    ("a@0,0,10,10", "a@9,9,5,5", True),
    ("a@9,9,5,5", "a@0,0,10,10", True),
    ("a@0,0,10,10", "a@10,0,5,5", False),
    ("a@0,0,10,10", "a@0,10,5,5", False),
    ("a@0,0,10,10", "b@0,0,10,10", False),
    ("a@0,0,10,10", "a", True),
    ("a", "a@0,0,10,10", True),
    ("a", "a", False),  # pixels tell
    ("a@b@1,2,3,4", "a@b@1,2,3,4", True),
    ("a@b@1,2,3,4", "a@1,2,3,4", False),
  ],
)
def test_regions_that_overlap_by_their_names(name, other, shared):
  assert share_pixels(name, other) is shared


def region(x, *, image="a", width=10):
  pixels = np.random.default_rng(x).integers(0, 256, (10, width, 3), np.uint8)
  return sample(f"{image}@{x},0,{width},10", patient=image, image=pixels)


def arrange(samples, seen=None, **changes):
  config = tissue.config(split__make_do=True, **changes)
  return arrange_data(config, samples, (), name="mine", seen=seen)


def test_regions_of_one_slide_are_split_and_it_is_said(caplog):
  data = arrange([region(10 * i) for i in range(8)])
  assert (len(data.train), len(data.validation), len(data.test)) == (3, 1, 4)
  assert data.split.unit == "image"
  assert caplog.text.count("1 patient(s) are too few") == 1
  assert "their 8 images or regions are split instead" in caplog.text


def test_a_second_round_holds_out_what_the_first_has_not_seen(caplog):
  """Regions are added, and one that was trained on is drawn larger."""
  first = arrange([region(10 * i) for i in range(8)])
  caplog.clear()
  larger = first.train[0]
  x = int(larger.name.split("@")[1].split(",")[0])
  kept = [*first.train[1:], *first.validation, *first.test]
  more = [*kept, region(x, width=9), *[region(10 * i) for i in range(8, 12)]]
  second = arrange(more, seen=first.provenance)
  held_out = {one.name for one in [*second.validation, *second.test]}
  assert held_out
  assert not held_out & {one.name for one in [*first.train, *first.validation]}
  assert f"a@{x},0,9,10" in second.split.train
  assert "4 of 12 images were seen by the checkpoint already" in caplog.text


def test_with_two_regions_all_train_and_nothing_is_scored(
  tmp_path, monkeypatch, capsys, caplog
):
  root, run = tmp_path / "mine", tmp_path / "run"
  tissue.write_folder(root, [tissue.dots("a"), tissue.dots("b")])
  config = tissue.quick_config(
    target__name="folder",
    target__root=str(root),
    data_dir=str(tmp_path / "tfds"),
    split__make_do=True,
    num_steps=6,
    eval_every=2,
    compare=("scratch",),
  )
  report = train_and_evaluate(config, run)
  out = capsys.readouterr().out
  assert report == json.loads((run / "report.json").read_text())
  assert (report["part"], report["images"], report["nuclei"]) == ("none", 2, 10)
  assert "nothing was held out, so there is no score" in report["caveat"]
  assert report["caveat"] in out
  assert "2 image(s) or regions are too few to hold any out" in caplog.text
  assert not {"radius_px", "compared", "f1_chance"} & report.keys()
  assert "F1" not in out
  assert not (run / "scratch").exists()
  records = read_log(run / "log.jsonl")
  chosen = [record for record in records if "val_xi" in record]
  assert [record["step"] for record in chosen] == [2, 4, 6]
  assert not any("val_f1" in record for record in records)
  # It is the last state that is kept, with the last choice.
  detector = load(run)
  assert detector.meta["step"] == report["step"] == 6
  assert detector.meta["xi"] == report["xi"] == chosen[-1]["val_xi"]
  assert (run / "training.png").stat().st_size > 5_000
  monkeypatch.setattr(loop, "take_steps", None)  # nothing is trained again
  assert train_and_evaluate(config, run)["xi"] == report["xi"]
