"""The compiled part of training: state, one step, many steps, many devices.

`train_step` is written for one device of a mapped axis named `data`; `compile_steps`
maps it with `jax.shard_map`, for `training.loop`, the studies, tests and benchmarks
alike. Every random number comes from fold_in(seed, step) and the place of the patch in
the whole batch, so neither resuming nor the number of devices changes a run.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import PartitionSpec

from micronet_jax import models
from micronet_jax.config import AppearanceConfig, ProximityConfig, WarpConfig
from micronet_jax.devices import (
  AXIS,
  check_devices,
  compiler_options,
  make_mesh,
)
from micronet_jax.models.graphs import merge_model
from micronet_jax.training.augmentation import draw_patches
from micronet_jax.training.losses import (
  balance_weights,
  cross_entropy_per_example,
  weighted_mse_per_example,
)
from micronet_jax.training.pool import Images, choose_images
from micronet_jax.training.targets import disk, proximity

LONG_RUN = 1000  # steps from which unrolling repays its compile time on the CPU


class TrainState(NamedTuple):
  """Everything that a step changes; the same on all devices.

  Attributes:
    step: int32, steps taken.
    weights: `{"params", "batch_stats"}`, nested dicts.
    optimizer: state of the optimiser; empty where blocks are frozen.
    rate_scale: float32 that multiplies the learning rate; the plateau lowers it.
  """

  step: Any
  weights: Any
  optimizer: Any
  rate_scale: Any


class Recipe(NamedTuple):
  """What a step is compiled for; hashable. Runs with equal recipes share a program.

  Attributes:
    model: class of the network, one of `models.MODELS`.
    graph: its `nnx.GraphDef`, with `axis_name=AXIS`.
    warp: how patches are drawn; its lengths, as the others here, are in pixels of the
      network (`lengths`).
    appearance: how their colours vary.
    batch: patches in the whole batch, over all devices.
    devices: how many share it.
    frozen: how many of the first blocks are frozen.
    proximity: α, d and scale of Eq. 1.
    loss_floor: least ȳ of Eq. 2.
    disk_radius: of the disks that pixel classifiers learn, in pixels.
    balanced: whether target and auxiliary pool take turns, balanced by γ.
    momentum, weight_decay: of SGD.
    decay_steps: length of a cosine decay to zero; None for a constant rate.
  """

  model: type[models.Model]
  graph: Any
  warp: WarpConfig
  appearance: AppearanceConfig
  batch: int
  devices: int
  frozen: int
  proximity: ProximityConfig
  loss_floor: float
  disk_radius: float
  balanced: bool
  momentum: float
  weight_decay: float
  decay_steps: int | None


class Numbers(NamedTuple):
  """What else a step depends on: arguments of the compiled step, scalars on the device.

  Attributes:
    seed: int32, of patches and dropout; the bits of a seed below 2^32.
    lam: float32, λ of Eq. 2.
    gamma: float32, γ; without effect unless the recipe is balanced.
    learning_rate: float32, of the first step.
    divisor: float32, of the loss.
  """

  seed: Any
  lam: Any
  gamma: Any
  learning_rate: Any
  divisor: Any


def as_numbers(
  *, seed: int, lam: float, gamma: float, learning_rate: float, divisor: float = 1.0
) -> Numbers:
  """The numbers of a step as host arrays; `devices.replicate` brings them there."""
  each = (lam, gamma, learning_rate, divisor)
  floats = (np.asarray(value, np.float32) for value in each)
  return Numbers(np.asarray(seed, np.uint32).astype(np.int32), *floats)


class Metrics(NamedTuple):
  """What a step reports.

  Attributes:
    loss: float32, of the whole batch.
    finite: bool, whether the loss and all gradients are finite.
    images: int32 `[batch]`, indices of the images that the batch was drawn from.
  """

  loss: Any
  finite: Any
  images: Any


def trainable_mask(params: Any, fixed: Sequence[str]) -> Any:
  """True for each parameter that trains: all but those of the blocks `fixed`."""
  trains = {block: block not in fixed for block in params}
  return jax.tree.map(
    lambda flag, tree: jax.tree.map(lambda _: flag, tree), trains, dict(params)
  )


def make_optimizer(recipe: Recipe, params: Any) -> optax.GradientTransformation:
  """SGD with Nesterov momentum and weight decay, without the learning rate.

  Frozen parameters have no optimiser state and no update. The order of terms is
  PyTorch's: v = μ v + (g + decay · p), update = g + decay · p + μ v.
  """
  mask = trainable_mask(params, recipe.model.BLOCKS[: recipe.frozen])
  sgd = optax.chain(
    optax.add_decayed_weights(recipe.weight_decay),
    optax.trace(recipe.momentum, nesterov=True),
  )
  return optax.chain(
    optax.masked(sgd, mask),
    optax.masked(optax.set_to_zero(), jax.tree.map(lambda m: not m, mask)),
  )


def create_state(recipe: Recipe, weights: dict[str, Any]) -> TrainState:
  """The state before the first step."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    weights=weights,
    optimizer=make_optimizer(recipe, weights["params"]).init(weights["params"]),
    rate_scale=jnp.ones((), jnp.float32),
  )


def learning_rate(recipe: Recipe, numbers: Numbers, state: TrainState) -> jax.Array:
  """The rate of the coming step: base · plateau factor · cosine decay."""
  rate = numbers.learning_rate * state.rate_scale
  if recipe.decay_steps:
    rate *= optax.cosine_decay_schedule(1.0, recipe.decay_steps)(state.step)
  return rate


def reach_of(recipe: Recipe) -> float:
  """The distance from a centre, in an image's pixels, up to which a map is not zero."""
  disks = recipe.model.TARGET == "disks"
  radius = recipe.disk_radius if disks else recipe.proximity.radius
  return radius * recipe.warp.zoom


def make_objective(
  recipe: Recipe, lam: float | jax.Array
) -> tuple[Callable[..., jax.Array], Callable[..., jax.Array]]:
  """What the network learns, and how far it is from it.

  Returns:
    A function from distances to the nearest centre to maps, and one from predictions
    and maps, `[B, P, P]` both, to the losses of the patches `[B]`.
  """
  if recipe.model.TARGET == "disks":
    label = functools.partial(disk, radius=recipe.disk_radius)
    return label, cross_entropy_per_example
  settings = recipe.proximity
  label = functools.partial(proximity, alpha=settings.alpha, radius=settings.radius)
  return label, functools.partial(
    weighted_mse_per_example,
    lam=lam,
    scale=settings.scale,
    floor=recipe.loss_floor,
  )


def train_step(
  state: TrainState,
  images: Images,
  pools: jax.Array,
  numbers: Numbers,
  *,
  recipe: Recipe,
) -> tuple[TrainState, Metrics]:
  """One step on one device of the mapped axis `data`.

  Draws this device's share of the batch, makes its patches and maps, and takes one
  SGD step on the loss of the whole batch: gradients are summed over the devices,
  statistics of batch normalisation averaged.

  Args:
    state: replicated.
    images: replicated.
    pools: int32 `[P, 2]`, first image and number of images of each pool: one, or
      target and auxiliary.
    numbers: replicated.
    recipe: the constants.

  Returns:
    The new state and the metrics, the same on all devices.
  """
  share = recipe.batch // recipe.devices
  positions = jax.lax.axis_index(AXIS) * share + jnp.arange(share)
  key = jax.random.fold_in(jax.random.key(numbers.seed), state.step)
  keys = jax.vmap(lambda position: jax.random.fold_in(key, position))(positions)
  pick, draw, drop = jax.vmap(lambda k: jax.random.split(k, 3), out_axes=1)(keys)
  index = jax.vmap(choose_images, in_axes=(0, 0, None))(pick, positions, pools)
  label, losses_of = make_objective(recipe, numbers.lam)
  patches, maps = draw_patches(
    images, index, draw, warp=recipe.warp, label=label, appearance=recipe.appearance
  )
  share_of_loss = jnp.full(recipe.batch, 1.0 / recipe.batch)
  if recipe.balanced:
    is_target = jnp.arange(recipe.batch) % 2 == 0
    share_of_loss = balance_weights(is_target, gamma=numbers.gamma)
  share_of_loss /= numbers.divisor

  def loss_of(params: Any) -> tuple[jax.Array, Any]:
    model = merge_model(recipe.graph, {**state.weights, "params": params})
    predictions = model(patches, train=True, keys=drop, frozen=recipe.frozen)
    losses = losses_of(predictions, maps)
    stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    return jnp.sum(share_of_loss[positions] * losses), stats

  params = state.weights["params"]
  (loss, stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
  loss, gradients = jax.lax.psum((loss, gradients), AXIS)
  updates, optimizer = make_optimizer(recipe, params).update(
    gradients, state.optimizer, params
  )
  rate = learning_rate(recipe, numbers, state)
  params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
  finite = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradients))
  metrics = Metrics(loss, finite, jax.lax.all_gather(index, AXIS, tiled=True))
  weights = {"params": params, "batch_stats": stats}
  return TrainState(state.step + 1, weights, optimizer, state.rate_scale), metrics


@functools.cache
def compile_steps(
  recipe: Recipe, *, size: int = 1, unroll: bool = True
) -> Callable[[TrainState, Images, jax.Array, Numbers], tuple[TrainState, Metrics]]:
  """Maps `train_step` over devices, runs several steps a call, compiled once.

  Args:
    recipe: the constants; `recipe.devices` of all processes' devices are used.
    size: steps in one call; the metrics have a leading axis of this size.
    unroll: write the steps out instead of looping over them.

  Returns:
    A jitted function of replicated (state, which is donated; images; pools; numbers).

  Raises:
    InputError: more devices than there are, or a batch they cannot share evenly.
  """
  check_devices(recipe.batch, recipe.devices)
  step = functools.partial(train_step, recipe=recipe)

  def take(state: TrainState, images: Images, pools: jax.Array, numbers: Numbers):
    if not unroll:
      return jax.lax.scan(
        lambda carry, _: step(carry, images, pools, numbers), state, length=size
      )
    metrics = []
    for _ in range(size):  # not a scan: its loop stays, and is slow
      state, each = step(state, images, pools, numbers)
      metrics.append(each)
    return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *metrics)

  spec = PartitionSpec()
  mapped = jax.shard_map(
    take,
    mesh=make_mesh(recipe.devices, shared=True),
    in_specs=spec,
    out_specs=spec,
    check_vma=False,
  )
  return jax.jit(mapped, donate_argnums=0, compiler_options=compiler_options())


def steps_per_call(wanted: int, *, pauses: Sequence[int]) -> tuple[int, bool]:
  """Decides how many steps one call runs, and whether they are written out.

  On the CPU XLA runs convolutions inside a loop many times slower than outside
  (benchmarks/RESULTS.md), so steps there are single or unrolled; accelerators loop.

  Args:
    wanted: `config.steps_per_call`; 0 leaves the choice here: on the CPU 4 for runs
      that are long enough to repay four times the compile time, else 1; elsewhere
      the largest divisor of all pauses up to 64.
    pauses: steps of the run, then those between returns to the host; zeros do not
      count.

  Returns:
    Steps a call, and `unroll`.
  """
  cpu = jax.default_backend() == "cpu"
  if wanted:
    return wanted, cpu
  common = math.gcd(*pauses)
  if cpu:
    return (4 if common % 4 == 0 and pauses[0] >= LONG_RUN else 1), True
  return max(n for n in range(1, 65) if common % n == 0), False
