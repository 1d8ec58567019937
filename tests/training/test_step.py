"""One compiled step: the optimiser, devices, freezing, γ."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tissue
import torch

from benchmarks.compiling import QUICKLY
from micronet_jax import devices, models
from micronet_jax.errors import InputError
from micronet_jax.training import pool
from micronet_jax.training import step as steps
from micronet_jax.training.run import prepare_training


def _start(prepared):
  weights = jax.tree.map(jnp.array, prepared.weights)
  return steps.create_state(prepared.recipe, weights)


def _run(config, data=None, *, calls=2, frozen=0, numbers=(), size=1, unroll=True):
  """States before and after, and the metrics of each call."""
  prepared = prepare_training(config)
  recipe = prepared.recipe._replace(frozen=frozen)
  data = data or tissue.data()
  images, pools, _ = pool.pool_images(
    data, balanced=recipe.balanced, mpp=0.25, reach=steps.reach_of(recipe)
  )
  before = jax.device_get(_start(prepared._replace(recipe=recipe)))
  arguments = before, images, pools, prepared.numbers._replace(**dict(numbers))
  state, *fixed = devices.replicate(arguments, recipe.devices)
  take = steps.compile_steps(recipe, size=size, unroll=unroll)
  metrics = []
  for _ in range(calls):
    state, each = take(state, *fixed)
    metrics.append(jax.device_get(each))
  return before, jax.device_get(state), metrics


def _assert_close(one, other, tolerance=2e-5):
  for path, value in jax.tree_util.tree_leaves_with_path(one):
    reference = dict(jax.tree_util.tree_leaves_with_path(other))[path]
    np.testing.assert_allclose(
      value, reference, rtol=tolerance, atol=tolerance, err_msg=str(path)
    )


BALANCED = {"auxiliary__name": "folder", "gamma": 3.0}


@pytest.mark.parametrize("changes", [{}, BALANCED])
def test_eight_devices_with_one_patch_equal_one_device_with_eight(changes):
  config = tissue.config(batch_size=8, **changes)
  data = tissue.data(auxiliary=3 if changes else 0)
  _, one, metrics_one = _run(config, data)
  eight_devices = dataclasses.replace(config, num_devices=8)
  _, eight, metrics_eight = _run(eight_devices, data)
  _assert_close(one, eight)
  for a, b in zip(metrics_one, metrics_eight, strict=True):
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_allclose(a.loss, b.loss, rtol=1e-5)


def test_the_step_under_pmap_is_the_step_under_shard_map():
  config = tissue.config(batch_size=8, num_devices=8)
  prepared = prepare_training(config)
  images, pools, _ = pool.pool_images(
    tissue.data(), balanced=False, mpp=0.25, reach=15.0
  )
  mapped = jax.pmap(
    functools.partial(steps.train_step, recipe=prepared.recipe),
    axis_name=devices.AXIS,
    devices=jax.devices()[:8],
  )
  arguments = _start(prepared), images, pools, prepared.numbers
  state, metrics = mapped(*jax.tree.map(lambda x: jnp.stack([x] * 8), arguments))
  _, expected, (expected_metrics,) = _run(config, calls=1)
  first = jax.tree.map(lambda x: np.asarray(x[0]), state)
  _assert_close(first, expected, 1e-6)
  np.testing.assert_allclose(metrics.loss[0], expected_metrics.loss[0], rtol=1e-6)
  for leaf in jax.tree.leaves(jax.device_get(state)):
    np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))


def test_a_loop_and_an_unrolled_call_take_the_same_steps():
  config = tissue.config()
  _, single, _ = _run(config, calls=2)
  _, unrolled, metrics = _run(config, calls=1, size=2, unroll=True)
  _, looped, _ = _run(config, calls=1, size=2, unroll=False)
  assert metrics[0].loss.shape == (2,)
  assert single.step == unrolled.step == looped.step == 2
  _assert_close(single, unrolled)
  _assert_close(single, looped)


def test_users_programs_take_the_steps_of_tests():
  """Which are compiled with what JAX does by default, not in the least time."""
  as_users = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}
  as_users |= {"xla_llvm_disable_expensive_passes": False}
  as_users |= {"xla_cpu_parallel_codegen_split_count": 32}
  assert as_users.keys() == set(re.findall(r"--(\w+)=", QUICKLY))
  config = tissue.quick_config()
  _, expected, (metrics,) = _run(config, calls=1)
  prepared = prepare_training(config)
  images, pools, _ = pool.pool_images(
    tissue.data(), balanced=False, mpp=0.25, reach=steps.reach_of(prepared.recipe)
  )
  arguments = devices.replicate((_start(prepared), images, pools, prepared.numbers), 1)
  lowered = steps.compile_steps(prepared.recipe).lower(*arguments)
  state, (loss, *_) = lowered.compile(compiler_options=as_users)(*arguments)
  _assert_close(jax.device_get(state), expected)
  np.testing.assert_allclose(loss, metrics.loss, rtol=1e-5)


def test_steps_differ_from_one_another_and_repeat_bit_for_bit():
  _, one, metrics = _run(tissue.config())
  _, two, repeated = _run(tissue.config())
  assert metrics[0].loss != metrics[1].loss
  assert metrics[1].loss == repeated[1].loss
  jax.tree.map(np.testing.assert_array_equal, one, two)


@pytest.mark.parametrize("frozen", [3])
def test_frozen_means_frozen(frozen):
  before, after, _ = _run(tissue.config(), frozen=frozen)
  names = models.MicroNet.BLOCKS[:frozen]
  for kind in ("params", "batch_stats"):
    for block in before.weights[kind]:
      old = jax.tree.leaves(before.weights[kind][block])
      new = jax.tree.leaves(after.weights[kind][block])
      same = [np.array_equal(a, b) for a, b in zip(old, new, strict=True)]
      assert all(same) if block in names else not any(same), (kind, block)
  # Frozen blocks have no optimiser state at all, before and after.
  for state in (before, after):
    (trace,) = [
      leaf.trace
      for leaf in jax.tree.leaves(
        state.optimizer, is_leaf=lambda x: isinstance(x, optax.TraceState)
      )
      if isinstance(leaf, optax.TraceState)
    ]
    held = {b for b, tree in trace.items() if jax.tree.leaves(tree)}
    assert held == set(before.weights["params"]) - set(names)


def test_the_loss_is_linear_in_gamma():
  config = tissue.quick_config(auxiliary__name="folder", batch_size=4)
  data = tissue.data(auxiliary=2)
  losses = {}
  for gamma in (1.0, 3.0, 5.0):
    _, _, metrics = _run(config, data, calls=1, numbers={"gamma": np.float32(gamma)})
    losses[gamma] = metrics[0].loss[0]
    images = metrics[0].images[0]
    assert (images[::2] < 3).all()  # target
    assert (images[1::2] >= 3).all()  # auxiliary
  assert losses[3.0] > losses[1.0]
  np.testing.assert_allclose(
    losses[5.0] - losses[1.0], 2 * (losses[3.0] - losses[1.0]), rtol=1e-4
  )


def test_the_optimiser_is_pytorchs_sgd_with_nesterov_momentum():
  recipe = prepare_training(tissue.config(optimizer__weight_decay=0.01)).recipe
  generator = np.random.default_rng(0)
  value = generator.normal(size=(4, 3)).astype(np.float32)
  tensor = torch.nn.Parameter(torch.tensor(value.copy()))
  theirs = torch.optim.SGD(
    [tensor], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01
  )
  params = {"input": jnp.asarray(value)}
  ours = steps.make_optimizer(recipe, params)
  state = ours.init(params)
  for _ in range(4):
    gradient = generator.normal(size=(4, 3)).astype(np.float32)
    tensor.grad = torch.tensor(gradient)
    theirs.step()
    updates, state = ours.update({"input": jnp.asarray(gradient)}, state, params)
    params = jax.tree.map(lambda p, u: p - 0.1 * u, params, updates)
  np.testing.assert_allclose(params["input"], tensor.detach().numpy(), atol=1e-6)


def test_the_rate_follows_plateau_factor_and_cosine():
  prepared = prepare_training(tissue.config(num_steps=100))
  recipe, numbers, state = prepared.recipe, prepared.numbers, _start(prepared)
  assert steps.learning_rate(recipe, numbers, state) == pytest.approx(0.01)
  lower = state._replace(rate_scale=state.rate_scale / 10)
  assert steps.learning_rate(recipe, numbers, lower) == pytest.approx(0.001)
  cosine = recipe._replace(decay_steps=100)
  half = state._replace(step=jnp.asarray(50))
  assert steps.learning_rate(cosine, numbers, half) == pytest.approx(0.005)
  end = state._replace(step=jnp.asarray(100))
  assert steps.learning_rate(cosine, numbers, end) == pytest.approx(0, abs=1e-9)


def test_runs_that_differ_in_numbers_share_one_program():
  one, other = (
    prepare_training(tissue.config(**changes))
    for changes in (
      {},
      {"seed": 7, "loss_lambda": 0.5, "gamma": 3.0, "optimizer__learning_rate": 0.1},
    )
  )
  assert steps.compile_steps(one.recipe) is steps.compile_steps(other.recipe)
  assert one.numbers != other.numbers


def test_even_steps_divide_the_loss_and_nothing_else():
  usual = {"loss_lambda": 3.0, "optimizer__weight_decay": 0.0}
  before, after, (plain,) = _run(tissue.config(**usual), calls=1)
  even = {**usual, "even_steps": True, "optimizer__learning_rate": 0.04}  # 4 times
  _, same, (divided,) = _run(tissue.config(**even), calls=1)
  np.testing.assert_allclose(divided.loss, plain.loss / 4, rtol=1e-6)
  _assert_close(same.weights, after.weights)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after).weights
  assert max(jax.tree.leaves(moved["params"])) > 1e-3

  def divisor(**changes):
    config = tissue.config(even_steps=True, loss_lambda=3.0, gamma=4.0, **changes)
    return prepare_training(config).numbers.divisor

  assert divisor() == 4  # nothing is balanced by γ
  assert divisor(auxiliary__name="folder") == 4 * 5
  assert divisor(auxiliary__name="folder", naive_pooling=True) == 4
  assert divisor(model__name="unet") == 1  # cross-entropy has no λ
  assert prepare_training(tissue.config(gamma=4.0)).numbers.divisor == 1


def test_the_floor_of_the_loss_is_the_configs():
  recipe = prepare_training(tissue.config(loss_floor=0.125)).recipe
  _, losses_of = steps.make_objective(recipe, 5.0)
  ones = jnp.ones((1, 4, 4))
  assert losses_of(ones, 0 * ones).item() == 0.5 * 5 * 0.125


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_every_seed_is_one_of_its_own(seed):
  """The keys are those of the unsigned number, up to the largest that there is."""
  numbers = steps.as_numbers(seed=seed, lam=5.0, gamma=1.0, learning_rate=0.1)
  key = jax.random.key_data(jax.random.key(jnp.asarray(numbers.seed)))
  assert key.tolist() == [0, seed]


def test_devices_must_share_the_batch_evenly():
  with pytest.raises(InputError, match=r"batch_size 4 cannot be shared evenly by 8"):
    devices.check_devices(4, 8)
  with pytest.raises(InputError, match="num_devices is 9, but JAX sees 8"):
    devices.check_devices(9, 9)
  with pytest.raises(InputError, match="batch_size 2 cannot"):
    prepare_training(tissue.config(num_devices=8))
  shared = prepare_training(tissue.config(num_devices=0, batch_size=12))
  assert shared.recipe.devices == 4


def test_on_the_cpu_steps_are_single_or_unrolled():
  assert steps.steps_per_call(0, pauses=[100, 50, 0]) == (1, True)
  assert steps.steps_per_call(4, pauses=[100, 50, 0]) == (4, True)
  assert steps.steps_per_call(0, pauses=[2000, 500, 0]) == (4, True)
  assert steps.steps_per_call(0, pauses=[2000, 250, 0]) == (1, True)
  assert steps.steps_per_call(0, pauses=[100, 1000, 0]) == (1, True)  # a short run


def test_on_accelerators_calls_divide_all_pauses(monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert steps.steps_per_call(0, pauses=[1000, 50, 0]) == (50, False)
  assert steps.steps_per_call(0, pauses=[1024, 640]) == (64, False)
