"""Training a detector, from data to report: `train_and_evaluate(config, workdir)`.

Reads from top to bottom: the job, the run, the loop, validation.
"""

import dataclasses
import functools
import math
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from micronet_jax import checkpoints, evaluation, models, reports
from micronet_jax import train_step as steps
from micronet_jax.augmentation import Images, Warp
from micronet_jax.compilation import compiler_options
from micronet_jax.configuration import as_dict, check_config, claim_workdir
from micronet_jax.datasets.sample import Sample
from micronet_jax.errors import InputError
from micronet_jax.inference import Detector
from micronet_jax.input_pipeline import (
  WORKING_MPP,
  Data,
  images_seen,
  load_data,
  to_device,
)
from micronet_jax.progress import Progress
from micronet_jax.version import __version__


class Stopped(Exception):
  """The run was asked to stop and saved where it was."""


class Diverged(InputError):
  """The loss or a gradient is not finite any more."""


def train_and_evaluate(config: Any, workdir: str | pathlib.Path) -> dict[str, Any]:
  """Trains, or resumes, and reports on held-out images.

  Args:
    config: the fields of configs/common.py.
    workdir: of the run. The same config continues the run that is there.

  Returns:
    What `report.json` holds.

  Raises:
    InputError: a field, file or checkpoint that cannot be used, or a loss that is
      not finite.
    Stopped: on SIGINT or SIGTERM, after saving.
  """
  began = time.monotonic()
  workdir = pathlib.Path(workdir)
  check_config(config)
  start = checkpoints.load_weights(config.init_from) if config.init_from else None
  prepared = prepare(config, start=start)
  data = load_data(config, trained_on=images_seen(start[1]) if start else ())
  claim_workdir(config, workdir)
  rows: dict[str, Detector] = {}
  if start and "base" in config.compare:
    base = Detector(*start)
    rows["base"] = base
    choice = choose_threshold(config, base, data.validation)
    rows["base, threshold re-chosen"] = base.with_threshold(
      xi=choice.xi, min_distance=choice.min_distance
    )
  with stop_signals() as stop:
    if "scratch" in config.compare:
      scratch = prepare(config) if start else prepared
      scratch = scratch._replace(recipe=scratch.recipe._replace(frozen=0))
      rows["from scratch"] = fit(
        config, data, workdir / "scratch", scratch, label="from scratch", stop=stop
      )
    name = "fine-tuned" if start else "trained"
    rows[name] = fit(config, data, workdir, prepared, label=name, stop=stop)
  return reports.write(
    workdir,
    rows,
    data.test or data.validation,
    job=config.job,
    dataset=data.name,
    part="test" if data.test else "validation",
    began=began,
  )


def fit(
  config: Any,
  data: Data,
  workdir: pathlib.Path,
  prepared: "Prepared",
  *,
  label: str,
  stop: threading.Event,
) -> Detector:
  """Trains one network, or resumes, and returns the best of its validations.

  Args:
    config: the fields of configs/common.py.
    data: to train and validate on.
    workdir: gets `checkpoints/`, `log.jsonl` and `tensorboard/`.
    prepared: the compiled step's constants and the initial weights.
    label: what progress lines begin with.
    stop: when set, the run saves and raises `Stopped`.

  Raises:
    InputError: a loss that is not finite, or no checkpoint that is whole.
  """
  recipe = prepared.recipe
  state = steps.create_state(recipe, prepared.weights)
  saved = checkpoints.Checkpoints(workdir / "checkpoints")
  run = Run(config=config, data=data, recipe=recipe, saved=saved)
  try:
    found = saved.restore("latest", *_as_saved(state))
    if found:
      state = _from_saved(found, state)
      run.record = Record(**found["meta"]["record"])
    if not run.record.finished:
      with Progress(
        workdir, label=label, start=int(state.step), num_steps=config.num_steps
      ) as progress:
        if found:
          progress.line(f"{label}  resumed at step {int(state.step)}")
        first = found is None and prepared.transferred
        loop(run, state, progress, stop, first=first)
    saved.wait()
    best = saved.restore("best", *_as_saved(state))
  finally:
    saved.close()
  if best is None:
    raise InputError(f"{workdir} holds no whole checkpoint; remove it and train again")
  return Detector(best["weights"], best["meta"])


@dataclasses.dataclass
class Record:
  """What a run remembers besides arrays; saved with every checkpoint.

  Attributes:
    best_f1: highest validation F1 so far.
    best_step: where it was.
    waiting_since: step of the last improvement or fall of the rate.
    xi, min_distance: as last chosen on the validation part.
    finished: whether the run ended.
  """

  best_f1: float = -1.0
  best_step: int = 0
  waiting_since: int = 0
  xi: float = 0.5
  min_distance: int = 7
  finished: bool = False


@dataclasses.dataclass
class Run:
  """One training run: what stays the same, and its record."""

  config: Any
  data: Data
  recipe: steps.Recipe
  saved: checkpoints.Checkpoints
  record: Record = dataclasses.field(default_factory=Record)

  def meta(self, step: int) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    config = as_dict(self.config)
    return {
      "version": __version__,
      "job": config["job"],
      "step": step,
      "model": config["model"],
      "proximity": config["proximity"],
      "normalisation": "mean and standard deviation of each channel of the image",
      "mpp": WORKING_MPP,
      "xi": self.record.xi,
      "min_distance": self.record.min_distance,
      "split": dataclasses.asdict(self.data.split),
      "record": dataclasses.asdict(self.record),
      "config": config,
    }

  def save(self, kind: str, state: steps.TrainState) -> None:
    """Saves the state as one kind of checkpoint."""
    step = int(state.step)
    self.saved.save(kind, step, *_as_saved(state), self.meta(step))


class Prepared(NamedTuple):
  """What training begins with.

  Attributes:
    recipe: the constants of the compiled step.
    weights: `{"params", "batch_stats"}`.
    transferred: whether they come from a checkpoint.
  """

  recipe: steps.Recipe
  weights: Any
  transferred: bool


def prepare(
  config: Any, *, start: tuple[Any, dict[str, Any]] | None = None
) -> Prepared:
  """Makes sure that model, checkpoint and devices fit together.

  Args:
    config: the fields of configs/common.py.
    start: weights and meta to begin from, or None for random weights.

  Raises:
    InputError: they do not.
  """
  create = functools.partial(
    models.create, config.model, axis_name=steps.AXIS, seed=config.seed
  )
  # Random weights take seconds to draw: only if they are needed.
  needed = start is None or config.init_partial
  graph, weights = steps.split_model(create() if needed else nnx.eval_shape(create))
  if start:
    weights = checkpoints.transfer(start[0], weights, partial=config.init_partial)
  devices = config.num_devices or math.gcd(config.batch_size, jax.device_count())
  steps.check_devices(config.batch_size, devices)
  balanced = bool(config.auxiliary.name) and not config.naive_pooling
  optimizer = config.optimizer
  recipe = steps.Recipe(
    model=models.find(config.model.name),
    graph=graph,
    warp=Warp(**config.warp),
    batch=config.batch_size,
    devices=devices,
    seed=config.seed,
    frozen=config.freeze_blocks,
    alpha=config.proximity.alpha,
    radius=config.proximity.radius,
    scale=config.proximity.scale,
    lam=config.loss_lambda,
    disk_radius=config.disk_radius,
    gamma=config.gamma if balanced else None,
    learning_rate=optimizer.learning_rate,
    momentum=optimizer.momentum,
    weight_decay=optimizer.weight_decay,
    decay_steps=config.num_steps if optimizer.schedule == "cosine" else None,
  )
  weights = jax.tree.map(jnp.asarray, weights)
  return Prepared(recipe, weights, transferred=start is not None)


def pool_images(data: Data, *, balanced: bool) -> tuple[Images, jax.Array, list[str]]:
  """Training images on the accelerator, the pools that batches read, and names."""
  samples = [*data.train, *data.auxiliary]
  ranges = [(0, len(samples))]
  if balanced:
    ranges = [(0, len(data.train)), (len(data.train), len(data.auxiliary))]
  images = to_device(samples, coarse=True)
  return images, jnp.asarray(ranges, jnp.int32), [s.name for s in samples]


VARYING = ("seed", "lam", "gamma", "learning_rate")
"""Numbers of a recipe that are arguments of the compiled step, not constants in it."""


def compile_shared(
  recipe: steps.Recipe, *, size: int, unroll: bool
) -> Callable[[steps.TrainState, Images, jax.Array], tuple[Any, steps.Metrics]]:
  """`steps.compile_steps`, compiled once for all recipes that differ in `VARYING`.

  Args:
    recipe: the constants.
    size: steps in one call.
    unroll: write the steps out instead of looping over them.
  """
  numbers = {name: getattr(recipe, name) for name in VARYING}
  numbers = {name: value for name, value in numbers.items() if value is not None}
  zeros: dict[str, Any] = dict.fromkeys(numbers, 0)
  compiled = _compile_shared(recipe._replace(**zeros), size, unroll)
  arrays = {name: np.asarray(value, np.float32) for name, value in numbers.items()}
  arrays["seed"] = np.asarray(recipe.seed).astype(np.int32)
  on_devices = steps.replicate(arrays, recipe.devices)
  return lambda state, images, pools: compiled(state, images, pools, on_devices)


@functools.cache
def _compile_shared(recipe: steps.Recipe, size: int, unroll: bool) -> Callable:
  def take(state: steps.TrainState, images: Images, pools: jax.Array, numbers: Any):
    mapped = steps.map_steps(
      recipe._replace(**numbers), steps_per_call=size, unroll=unroll
    )
    return mapped(state, images, pools)

  return jax.jit(take, donate_argnums=0, compiler_options=compiler_options())


def loop(
  run: Run,
  state: steps.TrainState,
  progress: Progress,
  stop: threading.Event,
  *,
  first: bool,
) -> None:
  """Takes steps until the end, validating and saving on the way.

  Args:
    run: constants and record; the record is updated.
    state: to begin with; donated.
    progress: gets the reports.
    stop: when set, saves and raises `Stopped`.
    first: validate before the first step too.
  """
  config, recipe = run.config, run.recipe
  images, pools, names = pool_images(run.data, balanced=recipe.gamma is not None)
  pauses = [config.num_steps, config.eval_every, config.snapshot_every]
  size, unroll = steps.steps_per_call(config.steps_per_call, pauses=pauses)
  take = compile_shared(recipe, size=size, unroll=unroll)
  state, images, pools = steps.replicate((state, images, pools), recipe.devices)
  losses: list[float] = []
  step = int(state.step)
  if first:
    validate(run, state, progress)
  while not run.record.finished:
    state, metrics = take(state, images, pools)
    step += size
    check_finite(run, step - size, metrics, names)
    losses.extend(np.asarray(metrics.loss).tolist())
    if step % config.log_every < size or step >= config.num_steps:
      rate = float(steps.learning_rate(recipe, state))
      progress.train(step, loss=float(np.mean(losses)), learning_rate=rate)
      losses.clear()
    # "< size", not "== 0": a resumed run may have another number of steps a call.
    if config.snapshot_every and step % config.snapshot_every < size:
      run.save("snapshots", state)
    if step % config.eval_every < size or step >= config.num_steps:
      state = validate(run, state, progress)
    elif stop.is_set():
      run.save("latest", state)
    if stop.is_set() and not run.record.finished:
      run.saved.wait()
      raise Stopped(f"stopped at step {step}; run the same command again to go on")


def validate(run: Run, state: steps.TrainState, progress: Progress) -> steps.TrainState:
  """Validates, lowers the rate on a plateau, and saves latest and best.

  Returns:
    The state with the rate of the coming steps.
  """
  began, step = time.monotonic(), int(state.step)
  config, record = run.config, run.record
  detector = Detector(jax.device_get(state.weights), run.meta(step))
  choice = choose_threshold(config, detector, run.data.validation)
  record.xi, record.min_distance = choice.xi, choice.min_distance
  improved = choice.f1 > record.best_f1
  if improved:
    record.best_f1, record.best_step, record.waiting_since = choice.f1, step, step
  elif (
    config.optimizer.schedule == "plateau"
    and step - record.waiting_since >= config.optimizer.plateau_patience
  ):
    state = state._replace(rate_scale=state.rate_scale / 10)
    record.waiting_since = step
  lowest = config.optimizer.min_learning_rate * (1 - 1e-6)
  plateaued = (
    config.optimizer.schedule == "plateau"
    and config.optimizer.learning_rate * float(state.rate_scale) < lowest
  )
  record.finished = step >= config.num_steps or plateaued
  if improved:
    run.save("best", state)
  run.save("latest", state)
  progress.validation(
    step,
    seconds=time.monotonic() - began,
    f1=choice.f1,
    xi=choice.xi,
    min_distance=choice.min_distance,
  )
  return state


def choose_threshold(
  config: Any, detector: Detector, samples: Sequence[Sample]
) -> evaluation.Choice:
  """ξ and min_distance with the highest F1 over samples."""
  peaks = detector.peaks((s.image for s in samples), config.min_distances)
  return evaluation.select_threshold(
    peaks, [s.centers for s in samples], radius=config.select_radius
  )


def check_finite(
  run: Run, step: int, metrics: steps.Metrics, names: Sequence[str]
) -> None:
  """Stops a run whose loss or gradients are not finite any more.

  Raises:
    Diverged: with the step, the batch's images and the last good checkpoint.
  """
  finite = np.asarray(metrics.finite)
  if finite.all():
    return
  bad = int(np.argmin(finite))
  batch = [names[i] for i in np.asarray(metrics.images)[bad]]
  run.saved.wait()
  last = run.saved.newest("latest") or "none"
  raise Diverged(
    f"the loss or a gradient is not finite at step {step + bad + 1} "
    f"(loss {float(np.asarray(metrics.loss)[bad])}); its batch was drawn from "
    f"{', '.join(batch)}; last good checkpoint: {last}; a lower "
    "config.optimizer.learning_rate or config.loss_lambda usually helps"
  )


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
  """An event that SIGINT and SIGTERM set, instead of ending the process at once."""
  stop = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield stop
    return
  caught = (signal.SIGINT, signal.SIGTERM)
  before = [signal.signal(each, lambda *_: stop.set()) for each in caught]
  try:
    yield stop
  finally:
    for each, handler in zip(caught, before, strict=True):
      signal.signal(each, handler)


def _as_saved(state: steps.TrainState) -> tuple[Any, Any]:
  training = {
    "step": state.step,
    "optimizer": state.optimizer,
    "rate_scale": state.rate_scale,
  }
  return state.weights, training


def _from_saved(found: dict[str, Any], like: steps.TrainState) -> steps.TrainState:
  restored = steps.TrainState(weights=found["weights"], **found["training"])
  return jax.tree.map(lambda x, y: jnp.asarray(x, y.dtype), restored, like)
