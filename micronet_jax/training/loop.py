"""One network trained, or resumed: steps, validation, saving.

Called by `training.job` and by the studies; reads from top to bottom.
"""

import dataclasses
import pathlib
import threading
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from micronet_jax import devices, processes
from micronet_jax.config import Config
from micronet_jax.datasets.provenance import check_same_data, provenance_of
from micronet_jax.detection.detector import Detector
from micronet_jax.errors import InputError, Stopped
from micronet_jax.evaluation.thresholds import Choice, choose_threshold
from micronet_jax.lengths import resolution_of
from micronet_jax.stored import META, TRAINING, check_stored
from micronet_jax.training import step as steps
from micronet_jax.training.data import Data
from micronet_jax.training.pool import pool_images
from micronet_jax.training.progress import NoProgress, Progress
from micronet_jax.training.run import (
  Prepared,
  Record,
  TrainingRun,
  as_saved,
  from_saved,
)
from micronet_jax.training.shared import SharedCheckpoints


class Diverged(InputError):
  """The loss or a gradient is not finite any more."""


def fit(
  config: Config,
  data: Data,
  workdir: pathlib.Path,
  prepared: Prepared,
  *,
  label: str,
  stop: threading.Event,
) -> Detector:
  """Trains one network, or resumes, and returns the best of its validations.

  Args:
    config: of the run, its network complete (`run.follow_checkpoint`).
    data: to train and validate on.
    workdir: gets `checkpoints/`, `log.jsonl` and `tensorboard/`.
    prepared: the compiled step's constants and the initial weights.
    label: what progress lines begin with.
    stop: when set, the run saves and raises `Stopped`, one that is finished too.

  Raises:
    InputError: data that have changed since the run began, no checkpoint that is
      whole, or too little memory.
    Diverged: a loss that is not finite.
    Stopped: `stop` was set.
  """
  state = steps.create_state(prepared.recipe, prepared.weights)
  saved = SharedCheckpoints(workdir / "checkpoints")
  run = TrainingRun(config, data, prepared.recipe, prepared.numbers, saved)
  try:
    found = saved.restore("latest", *as_saved(state))
    found = found or saved.restore("best", *as_saved(state))
    if found:
      where = f"the meta of the checkpoint in {saved.folder}"
      check_stored(found["meta"], {**META, **TRAINING}, where)
      check_same_data(provenance_of(found["meta"]), data.provenance)
      state = from_saved(found, state)
      run.record = Record(**found["meta"]["record"])
    if not run.record.finished:
      _go_on(run, state, workdir, label, stop, resumed=found is not None, new=prepared)
    saved.wait()
    stop_if_asked(stop)
    return _best(run, state)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise _too_large(config, data) from error
  finally:
    saved.close()


def _too_large(config: Config, data: Data) -> InputError:
  samples = [*data.train, *data.auxiliary]
  pixels = sum(sample.image[..., 0].size for sample in samples)
  side = config.warp.patch
  return InputError(
    f"the memory does not hold {len(samples)} training image(s) of {pixels:,} pixels "
    f"together and the training of {config.batch_size} patches of {side} x {side} "
    "pixels; lower config.batch_size or config.warp.patch, or cut large images and "
    "train on fewer"
  )


def stop_if_asked(stop: threading.Event) -> None:
  """Between the last step and the scores: all processes must ask at the same place.

  Raises:
    Stopped: `stop` is set in any process.
  """
  if processes.any_process(stop.is_set()):
    raise Stopped(
      "stopped when the network was trained; run the same command again to score it"
    )


def _go_on(
  run: TrainingRun,
  state: steps.TrainState,
  workdir: pathlib.Path,
  label: str,
  stop: threading.Event,
  *,
  resumed: bool,
  new: Prepared,
) -> None:
  """Trains from a state to the end."""
  step = int(state.step)
  best = run.saved.newest("best")
  if resumed and (best is None or best.name != str(run.record.best_step)):
    if step == run.record.best_step:  # the kill came between the two saves of one step
      run.save("best", state)
    else:
      # Else nothing would be kept until validation exceeds what is lost.
      run.record.best_f1 = -1.0
  with (Progress if processes.is_first() else NoProgress)(
    workdir, label=label, start=step, num_steps=run.config.num_steps
  ) as progress:
    if resumed:
      progress.line(f"{label}  resumed at step {step}")
    take_steps(run, state, progress, stop, first=not resumed and new.transferred)


def _best(run: TrainingRun, like: steps.TrainState) -> Detector:
  """The best checkpoint of a finished run, else its latest, which then is said.

  Raises:
    InputError: neither is whole.
  """
  wanted = run.record.best_step
  best = run.saved.restore("best", *as_saved(like))
  if best is None or best["meta"]["step"] != wanted:
    found = run.saved.restore("latest", *as_saved(like)) or best
    if found is None:
      raise InputError(
        f"{run.saved.folder} holds no whole checkpoint; remove it and train again"
      )
    best = found
    note = (
      f"the best checkpoint, of step {wanted}, is damaged or missing; this is the "
      f"network after step {best['meta']['step']}"
    )
    print(f"note: {note}", flush=True)
    best["meta"]["note"] = note
  return Detector(best["weights"], best["meta"])


def take_steps(
  run: TrainingRun,
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
    stop: when set, saves and raises `Stopped`; after the last step `fit` does.
    first: validate before the first step too.
  """
  config, recipe = run.config, run.recipe
  images, pools, names = pool_images(
    run.data,
    balanced=recipe.balanced,
    mpp=resolution_of(config),
    reach=steps.reach_of(recipe),
  )
  pauses = [config.num_steps, config.eval_every, config.snapshot_every]
  size, unroll = steps.steps_per_call(config.steps_per_call, pauses=pauses)
  step, take, shapes = int(state.step), {}, jax.tree.map(np.shape, (images, pools))
  # A resumed run may have another number of steps a call: single ones up to the next.
  for count in {size, 1 if step % size else size}:
    devices.make_room_for((recipe, count, shapes))
    take[count] = steps.compile_steps(recipe, size=count, unroll=unroll)
  begin = (state, images, pools, run.numbers)
  state, *fixed = devices.replicate(begin, recipe.devices, shared=True)
  del begin, images, pools  # they are on one device besides, where it copied them
  losses = run.record.losses
  if first:
    validate(run, state, progress)
  while not run.record.finished:
    count = 1 if step % size else size
    state, metrics = take[count](state, *fixed)
    step += count
    check_finite(run, step - count, metrics, names)
    losses.extend(np.asarray(metrics.loss).tolist())
    if step % config.log_every < count or step >= config.num_steps:
      rate = float(steps.learning_rate(recipe, run.numbers, state))
      progress.train(step, loss=float(np.mean(losses)), learning_rate=rate)
      losses.clear()
    kept = bool(config.snapshot_every) and step % config.snapshot_every == 0
    validated = step % config.eval_every == 0 or step >= config.num_steps
    if validated:
      state = validate(run, state, progress, kept=kept)
    elif kept:
      run.save("snapshots", state)
    if processes.any_process(stop.is_set()) and not run.record.finished:
      if not validated:
        run.save("latest", state)
      run.saved.wait()
      raise Stopped(f"stopped at step {step}; run the same command again to go on")


def validate(
  run: TrainingRun, state: steps.TrainState, progress: Progress, *, kept: bool = False
) -> steps.TrainState:
  """Validates, lowers the rate on a plateau, and saves latest and best.

  With `kept` a snapshot too, before them: what goes on from here does not come back.

  Where nothing is held out, ξ and min_distance are chosen on the training images, whose
  F1 is no score: it is not said, and the latest state is the best.

  Returns:
    The state with the rate of the coming steps.
  """
  began, step = time.monotonic(), int(state.step)
  config, record = run.config, run.record
  held_out = run.data.validation

  def choose() -> dict[str, Any]:
    detector = Detector(jax.device_get(state.weights), run.meta(step))
    choice = choose_threshold(config, detector, held_out or run.data.train)
    return dataclasses.asdict(choice)

  choice = Choice(**processes.from_first(choose))
  record.xi, record.min_distance = choice.xi, choice.min_distance
  improved = not held_out or choice.f1 > record.best_f1
  if improved:
    record.best_f1 = choice.f1 if held_out else record.best_f1
    record.best_step, record.waiting_since = step, step
  elif (
    config.optimizer.schedule == "plateau"
    and step - record.waiting_since >= config.optimizer.plateau_patience
  ):
    state = state._replace(rate_scale=state.rate_scale / 10)
    record.waiting_since = step
  lowest = config.optimizer.min_learning_rate * (1 - 1e-6)
  plateaued = (
    config.optimizer.schedule == "plateau"
    and float(state.rate_scale) < 1  # who begins below the minimum trains, too
    and config.optimizer.learning_rate * float(state.rate_scale) < lowest
  )
  record.finished = step >= config.num_steps or plateaued
  # Before it is saved: what goes on from here does not validate here again.
  progress.validation(
    step,
    seconds=time.monotonic() - began,
    f1=choice.f1 if held_out else None,
    xi=choice.xi,
    min_distance=choice.min_distance,
  )
  if kept:
    run.save("snapshots", state)
  if improved:
    run.save("best", state)
  run.save("latest", state)
  return state


def check_finite(
  run: TrainingRun, step: int, metrics: steps.Metrics, names: Sequence[str]
) -> None:
  """Stops a run whose loss or gradients are not finite any more.

  Raises:
    Diverged: with the step, the batch's images and the last good checkpoint.
  """
  finite = np.asarray(metrics.finite)
  if finite.all():
    return
  bad = int(np.argmin(finite))
  drawn = np.asarray(metrics.images)[bad]
  samples = [*run.data.train, *run.data.auxiliary]
  plain = dict.fromkeys(names[i] for i in drawn if samples[i].is_plain)
  advice = "a lower config.optimizer.learning_rate or config.loss_lambda usually helps"
  if plain:
    advice = (
      f"of these, {', '.join(plain)} have one colour all over, from which nothing can "
      "be learned: leave them out (`micronet check` finds all of them)"
    )
  run.saved.wait()
  last = run.saved.newest("latest") or "none"
  raise Diverged(
    f"the loss or a gradient is not finite at step {step + bad + 1} "
    f"(loss {float(np.asarray(metrics.loss)[bad])}); its batch was drawn from "
    f"{', '.join(names[i] for i in drawn)}; last good checkpoint: {last}; {advice}"
  )
