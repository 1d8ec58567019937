"""How long a training step takes on this machine.

Called by `studies.execution` for the plan of a study.
"""

import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

from micronet_jax import devices
from micronet_jax.config import Config
from micronet_jax.datasets.sample import Sample
from micronet_jax.files import write_json
from micronet_jax.lengths import REFERENCE_MPP
from micronet_jax.settings import changed
from micronet_jax.stored import TIMES, read_stored
from micronet_jax.training import step as steps
from micronet_jax.training.pool import to_device
from micronet_jax.training.run import prepare_training


def remembered_step(
  config: Config, program: str, path: pathlib.Path, *, measure: bool
) -> float | None:
  """Seconds of a step, measured once for each program and kind of device.

  Args:
    config: of a run.
    program: what the time depends on.
    path: of the file that remembers.
    measure: take a few steps if it does not; else None.
  """
  stored = read_stored(path, TIMES) or {}
  measured = stored.setdefault(jax.devices()[0].device_kind, {})
  if measure and program not in measured:
    print(f"timing steps of {config.model.name} of width {config.model.width}")
    measured[program] = measure_step(config)
    write_json(path, stored)
  return measured.get(program)


def measure_step(config: Config, *, count: int = 3) -> float:
  """Seconds of a step on a made-up image, without compiling and reading.

  Args:
    config: of a run; what it starts from and freezes does not matter.
    count: steps that are timed.
  """
  config = changed(config, {"freeze_blocks": 0, "init_from": ""})
  recipe, numbers, weights, _ = prepare_training(config)
  side = 2 * config.warp.patch
  pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
  sample = Sample("noise", "", "noise", None, pixels, np.zeros((1, 2), np.float32))
  pools = jnp.asarray([[0, 1]], jnp.int32)
  begin = (
    steps.create_state(recipe, weights),
    to_device([sample], mpp=REFERENCE_MPP, reach=steps.reach_of(recipe)),
    pools,
    numbers,
  )
  state, *fixed = devices.replicate(begin, recipe.devices, shared=True)
  take = steps.compile_steps(recipe)
  state, _ = jax.block_until_ready(take(state, *fixed))
  began = time.monotonic()
  for _ in range(count):
    state, _ = take(state, *fixed)
  jax.block_until_ready(state)
  return (time.monotonic() - began) / count
