"""What the benchmarks of training run: the packaged recipe on synthetic tissue."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from configs import common
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.synthetic_he.generator import generate
from micronet_jax.devices import replicate
from micronet_jax.training import step as steps
from micronet_jax.training.pool import Images, to_device
from micronet_jax.training.run import prepare_training


class Workload(NamedTuple):
  """The arguments of compiled steps, and what compiles them.

  Attributes:
    recipe: constants of the step.
    weights: initial ones.
    images, pools: one pool of synthetic tissue.
  """

  recipe: steps.Recipe
  weights: Any
  images: Images
  pools: jax.Array

  def place(self) -> tuple[steps.TrainState, Images, jax.Array]:
    """A state of its own (a step donates it), images and pools on the devices."""
    state = steps.create_state(self.recipe, jax.tree.map(jnp.array, self.weights))
    return replicate((state, self.images, self.pools), self.recipe.devices)


class Chain:
  """Compiled steps, each call going on from the state that the last one left.

  Attributes:
    compiled: the executable; `memory_analysis()` says what it needs.
    compile_s: seconds that compiling took.
  """

  def __init__(self, work: Workload, *, size: int = 1, unroll: bool = True):
    """Compiles so many steps a call."""
    take = steps.compile_steps(work.recipe, steps_per_call=size, unroll=unroll)
    self.state, *self._data = work.place()
    began = time.perf_counter()
    self.compiled = take.lower(self.state, *self._data).compile()
    self.compile_s = time.perf_counter() - began

  def __call__(self) -> tuple[steps.TrainState, steps.Metrics]:
    """Takes one call's steps, without waiting for them."""
    self.state, metrics = self.compiled(self.state, *self._data)
    return self.state, metrics


QUICK = {"name": "fcrna"}
"""The network that is compiled fastest: enough to see whether a benchmark runs."""


def configure(
  *, width: int, patch: int, batch: int, devices: int = 1, **model: Any
) -> Any:
  """configs/common.py with these sizes; `model` sets other fields of config.model."""
  config = common.get_config()
  config.model.update({"width": width, **model})
  config.warp.patch = patch
  config.batch_size = batch
  config.num_devices = devices
  return config


def tissue(*, count: int = 4, size: int = 500) -> list[Sample]:
  """Synthetic breast tissue, annotated."""
  made = [generate("breast", index, size=size) for index in range(count)]
  return [Sample(str(i), "breast", str(i), 0.25, *m) for i, m in enumerate(made)]


def prepare(config: Any, samples: Sequence[Sample]) -> Workload:
  """Makes the workload of a configuration, with all samples in one pool."""
  recipe, weights, _ = prepare_training(config)
  pools = jnp.asarray([[0, len(samples)]], jnp.int32)
  return Workload(recipe, weights, to_device(samples), pools)
