"""The training and the detection that `kills` disturbs, and how two are compared."""

import json
import pathlib
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import PIL.Image

import launch
from configs import train as train_config
from micronet_jax import cli
from micronet_jax.checkpoints import load_weights
from micronet_jax.datasets.synthetic_he.generator import generate
from micronet_jax.files import read_json
from micronet_jax.signals import end_at_once
from micronet_jax.stored import read_log
from micronet_jax.terminal import prepare_streams

STEPS = {"num_steps": 8, "eval_every": 2, "log_every": 3, "snapshot_every": 4}
QUICK_STEPS = {"num_steps": 4, "eval_every": 2, "log_every": 3}
DETECTED = "out"
CHECKPOINTS, RESULTS = "checkpoints", "results"


class Work(NamedTuple):
  """What is disturbed.

  Attributes:
    do: is given a folder for what it writes, and one of data.
    compare: says how what two left differs, or "".
    part: what a path below the folder belongs to.
    often: the part in which every second moment lies.
  """

  do: Callable[[pathlib.Path, pathlib.Path], None]
  compare: Callable[[pathlib.Path, pathlib.Path], str]
  part: Callable[[str], str]
  often: str


def prepare(data: pathlib.Path, *, quick: bool) -> None:
  """Synthetic tissue to train on, and an image of several tiles."""
  lines = ["name,organ,patient,mpp"]
  (data / "images").mkdir(parents=True)
  (data / "points").mkdir()
  for number in range(6):
    image, centers = generate("breast", number, size=96)
    PIL.Image.fromarray(image).save(data / f"images/p{number}.png")
    points = ["x,y", *(f"{x:.2f},{y:.2f}" for y, x in centers)]
    (data / f"points/p{number}.csv").write_text("\n".join(points) + "\n")
    lines.append(f"p{number},breast,p{number},0.25")
  (data / "index.csv").write_text("\n".join(lines) + "\n")
  image, _ = generate("breast", 7, size=304)
  PIL.Image.fromarray(image).save(data / "large.png")
  (data / "steps.json").write_text(json.dumps(QUICK_STEPS if quick else STEPS))


# Training.


def train_all(place: pathlib.Path, data: pathlib.Path) -> None:
  """A training from files to its report, by launch.py."""
  config = train_config.get_config()
  small = {
    "model.name": "fcrna",
    "model.width": 2,
    "warp.patch": 32,
    "batch_size": 2,
    "num_devices": 1,
  }
  source = {"target.name": "folder", "target.root": str(data)}
  source |= {"data_dir": str(place / "prepared"), "min_distances": (5,)}
  steps = json.loads((data / "steps.json").read_text())
  config.update_from_flattened_dict({**small, **source, **steps})
  vars(launch).update(
    CONFIG=types.SimpleNamespace(value=config),
    WORKDIR=types.SimpleNamespace(value=str(place)),
    DISTRIBUTED=types.SimpleNamespace(value=False),
  )
  end_at_once(launch.GOING_ON)
  prepare_streams()
  launch.main([])


def part_of_training(path: str) -> str:
  """The folder of a run that a path lies in."""
  first = pathlib.PurePath(path).parts[:1]
  known = (CHECKPOINTS, "prepared", "tensorboard")
  return first[0] if first and first[0] in known else "other files"


def compare_training(place: pathlib.Path, whole: pathlib.Path) -> str:
  """How two trainings differ: arrays and record of checkpoints, log, report."""
  for kind in ("latest", "best"):
    one, other = (_checkpoint(each, kind) for each in (place, whole))
    for key, value in other.items():
      if one.get(key) != value:
        return f"{key} of {kind} differs"
  logs = [
    [(each["step"], each.get("loss"), each.get("val_f1")) for each in read_log(path)]
    for path in (place / "log.jsonl", whole / "log.jsonl")
  ]
  if logs[0] != logs[1]:
    return f"the log is {logs[0]}, not {logs[1]}"
  found, wanted = (read_json(each / "report.json") or {} for each in (place, whole))
  same = all(found.get(key) == wanted[key] for key in ("radius_px", "images", "nuclei"))
  return "" if same else "the report differs"


def _checkpoint(place: pathlib.Path, kind: str) -> dict[str, Any]:
  """What the newest holds: CRC-32 of every array, among others.

  Loading it makes sure that the arrays of the network are those of the checksums.
  """
  folder = place / "checkpoints" / kind
  newest = max(folder.glob("[0-9]*"), key=lambda path: int(path.name))
  load_weights(str(newest))
  meta = json.loads((newest / "meta" / "metadata").read_text())
  sums = {key: value for key, value in meta["checksums"].items() if key != "meta"}
  return {**sums, **{key: meta[key] for key in ("record", "xi", "split", "step")}}


TRAINING = Work(train_all, compare_training, part_of_training, CHECKPOINTS)


# Detection.


def detect_all(place: pathlib.Path, data: pathlib.Path) -> None:
  """A detection in several tiles and all its files, by `micronet detect`."""
  end_at_once("stopped; the same command goes on from here")
  weights = data.parent / train_all.__name__ / "whole"
  told = ["detect", str(data / "large.png"), "-o", str(place / DETECTED)]
  told += ["-w", str(weights), "--format", "csv,geojson,overlay,density"]
  told += ["--mpp=0.25", "--threshold=0", "--tile=272", "--batch=1", "--devices=1"]
  raise SystemExit(cli.main(told))


def part_of_detection(path: str) -> str:
  """The journal of found points, or results."""
  return "journal" if ".partial" in path else RESULTS


def compare_detection(place: pathlib.Path, whole: pathlib.Path) -> str:
  """How the results of two detections differ, or what else is left."""
  found, wanted = (
    {path.name: path.read_bytes() for path in (each / DETECTED).iterdir()}
    for each in (place, whole)
  )
  if found.keys() != wanted.keys():
    return f"left are {sorted(found)}, not {sorted(wanted)}"
  for each in (found, wanted):
    each.pop("summary.csv")  # like records, it holds seconds
  for name, content in wanted.items():
    if name.endswith(".json"):
      records = (json.loads(each) for each in (found[name], content))
      one, other = ({**record, "seconds": 0} for record in records)
      if one != other:
        return f"the record differs: {name}"
    elif found[name] != content:
      return f"{name} differs"
  return ""


DETECTION = Work(detect_all, compare_detection, part_of_detection, RESULTS)
