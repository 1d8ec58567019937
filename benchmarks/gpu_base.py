"""Trains the base's recipe for the minutes that `benchmarks.gpu` has left.

Called by `benchmarks.gpu_parts`. How long a step takes is measured first, on the data;
the steps that fit follow from it, so that the cosine ends in time.
"""

import dataclasses
import pathlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import timing, workload
from configs import base
from micronet_jax import checkpoints, models, train_and_evaluate
from micronet_jax.config import Config, SplitConfig
from micronet_jax.detection.detector import Detector
from micronet_jax.evaluation.thresholds import choose_threshold
from micronet_jax.lengths import resolution_of
from micronet_jax.settings import as_dict, changed, from_dict
from micronet_jax.training import step as steps
from micronet_jax.training.data import Data, load_data

VALIDATIONS = 4
REPORT_S = 15.0
"""For the report's pictures, and what is slower than it was when it was measured."""
OF_TIME = 0.9
"""Share for the steps of what validations and the report leave."""
MOST = 50_000
"""Steps of the base on a GPU: nobody needs more."""

Row = dict[str, Any]


def train(
  *, out: pathlib.Path, data: str, smoke: bool, ends: float
) -> Iterator[tuple[Row, Callable[[], list[Row]]]]:
  """The plan, then the training; as `gpu_parts` wants its cases."""
  config = recipe(out=out, data=data, smoke=smoke)
  planned: list[Config] = []

  def plan() -> list[Row]:
    made, row = fit_into(config, ends=ends, most=8 if smoke else MOST)
    planned.append(made)
    return [row]

  yield {"of": "plan"}, plan
  if planned:
    yield {"of": "training"}, lambda: trained(planned[0], out / "base")


def recipe(*, out: pathlib.Path, data: str, smoke: bool) -> Config:
  """configs/base.py at width 32 in bfloat16, on the data or on synthetic tissue."""
  config = from_dict(Config, base.get_config().to_dict())
  fields: Row = {"model.width": 32, "model.dtype": "bfloat16", "num_devices": 1}
  fields["data_dir"] = str(out / "prepared")
  if data:
    fields |= {"target.name": "folder", "target.root": data}
  else:
    organs = "breast,colon,kidney"
    fields |= {"target.name": "synthetic_he", "target.root": ""}
    fields |= {"target.organs": organs}
    config = dataclasses.replace(config, split=SplitConfig(test_fraction=0.16))
  if smoke:
    fields |= {"model.width": 2, "model.dtype": "float32", "warp.patch": 32}
    fields |= {"batch_size": 2, "model.name": workload.QUICK["name"]}
    fields |= {} if data else {"target.organs": "breast", "target.synthetic_images": 4}
  return changed(config, fields)


def fit_into(config: Config, *, ends: float, most: int) -> tuple[Config, Row]:
  """The recipe with as many steps as fit.

  Args:
    config: the recipe.
    ends: time.time() at which all must be done.
    most: steps, at most.

  Returns:
    The config, and a row that says how it came about.

  Raises:
    ValueError: no time for any.
  """
  began = time.time()
  data = load_data(config)
  loading = time.time() - began
  size, unroll = steps.steps_per_call(0, pauses=[64])
  chain = workload.Chain(workload.prepare(config, data.train), size=size, unroll=unroll)
  taken = timing.interleave({"step": chain}, repeats=3, budget_s=10)["step"]
  seconds = statistics.median(taken) / size
  validating = validate(config, data, chain.state.weights)
  reserved = validating * (
    VALIDATIONS + len(data.test or data.validation) / len(data.validation)
  )
  # The program is compiled anew, since the length of the cosine is part of it.
  reserved += loading + chain.compile_s + REPORT_S
  left = ends - time.time() - reserved
  every = size * VALIDATIONS
  count = min(int(left * OF_TIME / seconds), most) // every * every
  if count < every:
    raise ValueError(f"{left:.0f} s are left, too few for {every} steps")
  pauses = {"eval_every": count // VALIDATIONS, "snapshot_every": 0}
  made = changed(config, {"num_steps": count, **pauses})
  row = {
    "images": f"{len(data.train)} train, {len(data.validation)} validate",
    "loading, s": timing.digits(loading),
    "compiling, s": timing.digits(chain.compile_s),
    "validating, s": timing.digits(validating),
    "ms a step": timing.digits(seconds * 1e3),
    "left for steps, s": timing.digits(left),
    "steps": count,
  }
  return made, row


def validate(config: Config, data: Data, weights: Any) -> float:
  """Seconds of one validation, once it is compiled."""
  detector = Detector(weights, describe(config))
  for _ in ("warm", "timed"):
    began = time.perf_counter()
    choose_threshold(config, detector, data.validation)
    seconds = time.perf_counter() - began
  return seconds


def describe(config: Config) -> Row:
  """What a checkpoint must say for a detector to be made of it."""
  fields = as_dict(config)
  return {
    "model": models.complete_options(fields["model"]),
    "proximity": fields["proximity"],
    "mpp": resolution_of(config),
    "xi": 0.4,
    "min_distance": 7,
    "threshold_rule": config.threshold_rule,
    "smoothing": config.smoothing or 0.0,
  }


def trained(config: Config, workdir: pathlib.Path) -> list[Row]:
  """Trains to the end; says where the checkpoint is, and its validation scores."""
  began = time.time()
  train_and_evaluate(config, workdir)
  _, meta = checkpoints.load_weights(str(workdir))
  return [
    {
      "checkpoint": f"{workdir.name}/checkpoints/best",
      "steps": config.num_steps,
      "of step": meta["step"],
      "F1, validation": timing.digits(meta["record"]["best_f1"]),
      "ξ": meta["xi"],
      "min_distance": meta["min_distance"],
      "s in all": timing.digits(time.time() - began),
    }
  ]
