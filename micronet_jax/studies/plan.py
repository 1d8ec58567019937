"""What a study will do: its runs, which are done, and how long the others take."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from micronet_jax import devices
from micronet_jax.datasets.sample import Sample
from micronet_jax.files import write_json
from micronet_jax.studies import runs
from micronet_jax.studies.execution import Results, timings
from micronet_jax.studies.results import Outcome
from micronet_jax.studies.runs import Evaluation, Run
from micronet_jax.studies.setting import Cell, Setting
from micronet_jax.training import step as steps
from micronet_jax.training.pool import to_device
from micronet_jax.training.run import prepare_training

MEASURED_STEPS = 3


class Guessed:
  """As if all evaluations had been made, so that later runs can be counted."""

  def __init__(self, known: Results):
    self._known = known

  def outcome(self, evaluation: Evaluation) -> Outcome | None:
    """What was found, or a made-up score."""
    found = self._known.outcome(evaluation)
    if found:
      return found
    score = int(evaluation.run.key, 16) % 1000
    counts = np.array([[score, 1000, 1000, 0.0]])
    nothing: dict[str, Sequence[float]] = {}
    return Outcome(evaluation.organ.name, ("",), counts, nothing, 0, 0, 0, 0, 0)

  def last_step(self, run: Run) -> int | None:
    """Where a run ended, or would at the latest."""
    return self._known.last_step(run) or run.config.num_steps


def describe(
  cells: Callable[..., list[Cell]], setting: Setting, known: Results, *, measure: bool
) -> str:
  """The table that `--config.plan_only=True` prints.

  Args:
    cells: of the study.
    setting: budget and data.
    known: what has been found.
    measure: take a few steps of programs that no finished run timed.
  """
  wanted = cells(setting, known)
  certain = _runs_of(wanted)
  guessed = _runs_of(cells(setting, Guessed(known)))
  later = [run for key, run in guessed.items() if key not in certain]
  seconds = _step_seconds({**certain, **guessed}.values(), known, measure=measure)
  width = max((len(run.label) for run in certain.values()), default=3)
  lines = [f"{'run':{width}}  hash          state               minutes left"]
  total, unknown = 0.0, 0
  for run in certain.values():
    state = runs.state_of(run, known.place)
    text, left = _left(run, state, seconds)
    total, unknown = total + (left or 0), unknown + (left is None)
    minutes = "not measured yet" if left is None else f"{left:.1f}"
    lines.append(f"{run.label:{width}}  {run.key}  {text:18}  {minutes}")
  for run in later:
    _, left = _left(run, runs.State(False, 0), seconds)
    total, unknown = total + (left or 0), unknown + (left is None)
  done = sum(runs.state_of(run, known.place).done for run in certain.values())
  lines.append(f"{len(certain)} runs, {done} done")
  if later:
    lines.append(
      f"and about {len(later)} more, from bases or sources that these results choose"
    )
  to_score = {
    each.evaluation.path(known.place)
    for each in wanted
    if known.outcome(each.evaluation) is None
  }
  lines.append(f"{len(to_score)} test sets to detect in, not counted in the time")
  text = f"{total / 60:.1f} hours left on this machine, one run after the other"
  lines.append(text + (f", and {unknown} runs not measured yet" if unknown else ""))
  return "\n".join(lines)


def _runs_of(cells: Sequence[Cell]) -> dict[str, Run]:
  ordered = runs.in_order(cell.evaluation.run for cell in cells)
  return {run.key: run for run in ordered}


def _left(
  run: Run, state: runs.State, seconds: Mapping[str, float]
) -> tuple[str, float | None]:
  """The state in words, and the minutes left; None if no step was measured."""
  if state.done:
    return "diverged" if state.diverged else "done", 0.0
  text = f"stopped at {state.step}" if state.step else "to do"
  step = seconds.get(run.program())
  left = run.config.num_steps - state.step
  return text, None if step is None else left * step / 60


def _step_seconds(wanted: Any, known: Results, *, measure: bool) -> dict[str, float]:
  """Seconds a step by program: of finished runs, all included; else measured."""
  finished = timings(known.place)
  seconds = {
    program: statistics.median(record["seconds_per_step"] for record in records)
    for program, records in finished.items()
  }
  path = known.place / "step_times.json"
  stored = runs.read_json(path) or {}
  device = jax.devices()[0].device_kind
  measured = stored.setdefault(device, {})
  for run in wanted:
    program = run.program()
    if program in seconds:
      continue
    if measure and program not in measured:
      print(f"timing {MEASURED_STEPS} steps for: {run.title}", flush=True)
      measured[program] = measure_step(run)
      write_json(path, stored)
    if program in measured:
      seconds[program] = measured[program]
  return seconds


def measure_step(run: Run) -> float:
  """Times a step of a run's network on made-up images, without compiling."""
  config = run.config.copy_and_resolve_references()
  config.freeze_blocks = 0
  recipe, weights, _ = prepare_training(config)
  side = 2 * config.warp.patch
  pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
  sample = Sample("noise", "", "noise", None, pixels, np.zeros((1, 2), np.float32))
  pools = jnp.asarray([[0, 1]], jnp.int32)
  arguments = steps.create_state(recipe, weights), to_device([sample]), pools
  state, images, pools = devices.replicate(arguments, recipe.devices)
  take = steps.compile_steps(recipe, steps_per_call=1, unroll=True)
  state, _ = jax.block_until_ready(take(state, images, pools))
  began = time.monotonic()
  for _ in range(MEASURED_STEPS):
    state, _ = take(state, images, pools)
  jax.block_until_ready(state)
  return (time.monotonic() - began) / MEASURED_STEPS
