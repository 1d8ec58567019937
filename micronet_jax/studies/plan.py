"""What a study will do: its runs, which are done, and how long the others take.

Called by `studies.study` for `--config.plan_only=True`.
"""

import statistics
import time
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from micronet_jax import devices
from micronet_jax.config import changed
from micronet_jax.datasets.sample import Sample
from micronet_jax.files import read_json, write_json
from micronet_jax.studies.execution import Archive, find_timings
from micronet_jax.studies.runs import Run, state_of
from micronet_jax.training import step as steps
from micronet_jax.training.pool import to_device
from micronet_jax.training.run import prepare_training

MEASURED_STEPS = 3


def describe_plan(archive: Archive, *, measure: bool, chooses: bool = False) -> str:
  """The table that `--config.plan_only=True` prints.

  Args:
    archive: what was asked for, and what is there.
    measure: take a few steps of programs that no finished run timed.
    chooses: whether results of these runs choose further ones.
  """
  wanted = archive.runs()
  seconds = time_programs(wanted, archive, measure=measure)
  width = max((len(run.label) for run in wanted), default=3)
  lines = [f"{'run':{width}}  hash          state               minutes left"]
  total, done, unknown = 0.0, 0, 0
  for run in wanted:
    state, step = state_of(run, archive.place), seconds.get(run.program())
    text = f"stopped at {state.step}" if state.step else "to do"
    left: float | None = 0.0
    if state.done:
      text, done = "diverged" if state.diverged else "done", done + 1
    else:
      remaining = run.config.num_steps - state.step
      left = None if step is None else remaining * step / 60
    total, unknown = total + (left or 0), unknown + (left is None)
    minutes = "not measured yet" if left is None else f"{left:.1f}"
    lines.append(f"{run.label:{width}}  {run.key}  {text:18}  {minutes}")
  lines.append(f"{len(wanted)} runs, {done} done")
  if chooses:
    lines.append("and more, from bases or sources that these results choose")
  to_score = [each for each in archive.wanted.values() if archive.outcome(each) is None]
  lines.append(f"{len(to_score)} test sets to detect in, not counted in the time")
  text = f"{total / 60:.1f} hours left on this machine, one run after the other"
  lines.append(text + (f", and {unknown} runs not measured yet" if unknown else ""))
  return "\n".join(lines)


def time_programs(
  wanted: Iterable[Run], archive: Archive, *, measure: bool
) -> dict[str, float]:
  """Seconds a step by program: of finished runs, all included; else measured."""
  finished = find_timings(archive.place)
  seconds = {program: statistics.median(times) for program, times in finished.items()}
  path = archive.place / "step_times.json"
  stored = read_json(path) or {}
  measured = stored.setdefault(jax.devices()[0].device_kind, {})
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
  config = changed(run.config, {"freeze_blocks": 0})
  recipe, numbers, weights, _ = prepare_training(config)
  side = 2 * config.warp.patch
  pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
  sample = Sample("noise", "", "noise", None, pixels, np.zeros((1, 2), np.float32))
  pools = jnp.asarray([[0, 1]], jnp.int32)
  begin = steps.create_state(recipe, weights), to_device([sample]), pools, numbers
  state, *fixed = devices.replicate(begin, recipe.devices)
  take = steps.compile_steps(recipe)
  state, _ = jax.block_until_ready(take(state, *fixed))
  began = time.monotonic()
  for _ in range(MEASURED_STEPS):
    state, _ = take(state, *fixed)
  jax.block_until_ready(state)
  return (time.monotonic() - began) / MEASURED_STEPS
