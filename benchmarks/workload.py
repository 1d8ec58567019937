"""What the benchmarks of training run: the paper's recipe on synthetic tissue.

Called by all benchmarks that take training steps; the step is the one that training
takes.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from micronet_jax.config import Config
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.synthetic_he.generator import generate
from micronet_jax.devices import replicate
from micronet_jax.lengths import resolution_of
from micronet_jax.settings import changed
from micronet_jax.training import step as steps
from micronet_jax.training.pool import Images, to_device
from micronet_jax.training.run import prepare_training


class Workload(NamedTuple):
  """The arguments of compiled steps, and what compiles them.

  Attributes:
    recipe: constants of the step.
    numbers: its scalars.
    weights: initial ones.
    images, pools: one pool of synthetic tissue.
  """

  recipe: steps.Recipe
  numbers: steps.Numbers
  weights: Any
  images: Images
  pools: jax.Array

  def place(self) -> tuple[steps.TrainState, Images, jax.Array, steps.Numbers]:
    """A state of its own (a step donates it) and the rest, on the devices."""
    state = steps.create_state(self.recipe, jax.tree.map(jnp.array, self.weights))
    arguments = state, self.images, self.pools, self.numbers
    return replicate(arguments, self.recipe.devices)


class Chain:
  """Compiled steps, each call going on from the state that the last one left.

  Attributes:
    compiled: the executable; `memory_analysis()` says what it needs.
    compile_s: seconds that compiling took.
  """

  def __init__(self, work: Workload, *, size: int = 1, unroll: bool = True):
    """Compiles so many steps a call."""
    take = steps.compile_steps(work.recipe, size=size, unroll=unroll)
    self.state, *self._others = work.place()
    began = time.perf_counter()
    self.compiled = take.lower(self.state, *self._others).compile()
    self.compile_s = time.perf_counter() - began

  def __call__(self) -> tuple[steps.TrainState, steps.Metrics]:
    """Takes one call's steps, without waiting for them."""
    self.state, metrics = self.compiled(self.state, *self._others)
    return self.state, metrics


QUICK = {"name": "fcrna"}
"""The network that is compiled fastest: enough to see whether a benchmark runs."""


def configure(
  *, width: int, patch: int, batch: int, devices: int = 1, **model: Any
) -> Config:
  """The paper's recipe with these sizes; `model` sets other fields of the network."""
  sizes = {"warp.patch": patch, "batch_size": batch, "num_devices": devices}
  network = {f"model.{name}": value for name, value in model.items()}
  return changed(Config(), {"model.width": width, **network, **sizes})


def tissue(*, count: int = 4, size: int = 500) -> list[Sample]:
  """Synthetic breast tissue, annotated."""
  made = [generate("breast", index, size=size) for index in range(count)]
  return [Sample(str(i), "breast", str(i), 0.25, *m) for i, m in enumerate(made)]


def prepare(config: Config, samples: Sequence[Sample]) -> Workload:
  """Makes the workload of a configuration, with all samples in one pool."""
  prepared = prepare_training(config)
  recipe, pools = prepared.recipe, jnp.asarray([[0, len(samples)]], jnp.int32)
  mpp = resolution_of(config)
  images = to_device(samples, mpp=mpp, reach=steps.reach_of(recipe))
  return Workload(recipe, prepared.numbers, prepared.weights, images, pools)


def count_operations(work: Workload) -> float:
  """Floating-point operations of one step, as XLA counts them before it optimises.

  Afterwards it does not know what the libraries of a GPU do when it calls them.
  """
  lowered = steps.compile_steps(work.recipe).lower(*work.place())
  return lowered.cost_analysis()["flops"]
