"""Equation 2 by hand, by a loop, by finite differences; cross-entropy against torch's;
target against auxiliary."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from micronet_jax.errors import InputError
from micronet_jax.training.losses import (
  balance_weights,
  cross_entropy_per_example,
  loss_divisor,
  weighted_mse,
  weighted_mse_per_example,
)

SHAPE = (3, 4, 5)


def batch(seed, shape=SHAPE):
  """Predictions and maps of random patches."""
  rng = np.random.default_rng(seed)
  prediction = rng.normal(2, 2, shape).astype(np.float32)
  return prediction, rng.uniform(0, 1, shape).astype(np.float32)


def equation_2(prediction, target, lam, scale):
  """As the paper prints it, one pixel after another."""
  losses = []
  for o, y in zip(prediction.astype(float), target.astype(float), strict=True):
    mean = sum(y.ravel()) / y.size
    terms = [
      (y[i, j] + lam * mean) * (o[i, j] - scale * y[i, j]) ** 2
      for i in range(y.shape[0])
      for j in range(y.shape[1])
    ]
    losses.append(0.5 * sum(terms) / len(terms))
  return np.array(losses)


def test_by_hand():
  target = jnp.array([[[1.0, 0.0], [0.5, 0.0]]])
  prediction = jnp.array([[[4.0, 1.0], [2.0, 0.0]]])
  # mean of y = 0.375, times 5 = 1.875; weights 2.875, 1.875, 2.375, 1.875;
  # errors (4 - 5)² = 1, 1, (2 - 2.5)² = 0.25, 0:
  # ½ · (2.875 + 1.875 + 0.59375 + 0) / 4 = 0.66796875, exact in binary
  assert weighted_mse(prediction, target) == 0.66796875
  # without the second term of the weight: ½ · (1 + 0 + 0.125 + 0) / 4
  assert weighted_mse(prediction, target, lam=0.0) == 0.140625


def test_with_a_floor_patches_without_nuclei_teach_too():
  empty, prediction = jnp.zeros((1, 2, 2)), jnp.array([[[4.0, 0.0], [2.0, 0.0]]])
  assert weighted_mse(prediction, empty) == 0
  # weight 5 · 0.125 everywhere: ½ · 0.625 · (16 + 4) / 4
  assert weighted_mse_per_example(prediction, empty, floor=0.125).item() == 1.5625
  dense = jnp.full((1, 2, 2), 0.25)
  assert weighted_mse_per_example(prediction, dense, floor=0.125) == weighted_mse(
    prediction, dense
  )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), lam=st.floats(0, 20), scale=st.floats(0.1, 20))
def test_equals_a_loop_over_pixels(seed, lam, scale):
  prediction, target = batch(seed)
  expected = equation_2(prediction, target, lam, scale)
  actual = weighted_mse_per_example(prediction, target, lam=lam, scale=scale)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
  actual = weighted_mse(prediction, target, lam=lam, scale=scale)
  np.testing.assert_allclose(actual, expected.mean(), rtol=1e-5, atol=1e-6)


def test_mean_is_that_of_each_patch():
  prediction, target = batch(1)
  alone = [
    weighted_mse(prediction[i : i + 1], target[i : i + 1]) for i in range(SHAPE[0])
  ]
  together = weighted_mse_per_example(prediction, target)
  np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_gradient_equals_finite_differences():
  prediction, target = batch(2, (2, 3, 3))
  gradient = np.asarray(jax.jit(jax.grad(weighted_mse))(prediction, target))

  def at(place, change):
    moved = prediction.copy()
    moved[place] += change
    return equation_2(moved, target, 5.0, 5.0).mean()

  for place in np.ndindex(prediction.shape):  # quadratic: any step is exact
    expected = (at(place, 1.0) - at(place, -1.0)) / 2
    np.testing.assert_allclose(gradient[place], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 2.0, 8.0])
def test_scaled_target_is_the_optimum_and_the_weight_is_unscaled(scale):
  target = (np.arange(60).reshape(SHAPE) % 8 / 8).astype(np.float32)
  assert weighted_mse(scale * target, target, scale=scale) == 0
  # off by one everywhere: the weights alone, whatever the scale
  expected = 0.5 * np.mean(6.0 * target.mean((1, 2)))
  actual = weighted_mse(scale * target + 1, target, scale=scale)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_patch_without_centres_weighs_nothing():
  prediction, _ = batch(3)
  value, gradient = jax.value_and_grad(weighted_mse)(prediction, np.zeros(SHAPE))
  assert value == 0
  assert not np.any(gradient)


def test_computes_in_float32():
  prediction, target = (jnp.asarray(x, jnp.bfloat16) for x in batch(4))
  actual = weighted_mse(prediction, target)
  assert actual.dtype == jnp.float32
  wide = prediction.astype(jnp.float32), target.astype(jnp.float32)
  assert actual == weighted_mse(*wide)


def test_cross_entropy_and_its_gradient_are_torchs():
  logits, disks = batch(5)
  disks = (disks > 0.7).astype(np.float32)
  logits.ravel()[:4] = -200, -30, 30, 200  # no exponential may overflow
  weight = np.array([1.0, -2.0, 0.5], np.float32)
  theirs = torch.tensor(logits, requires_grad=True)
  expected = functional.binary_cross_entropy_with_logits(
    theirs, torch.tensor(disks), reduction="none"
  ).mean((1, 2))
  (expected * torch.tensor(weight)).sum().backward()
  actual = cross_entropy_per_example(logits, disks)
  np.testing.assert_allclose(actual, expected.detach(), rtol=1e-5)
  gradient = jax.grad(lambda x: (cross_entropy_per_example(x, disks) * weight).sum())
  np.testing.assert_allclose(gradient(logits), theirs.grad, rtol=1e-5, atol=1e-7)


def test_cross_entropy_by_hand():
  # odds of 1, and of 3 for what is there and for what is not: ln 2, ln 4/3, ln 4
  logits = jnp.array([[[0.0, np.log(3.0), np.log(3.0)]]], jnp.float32)
  disks = jnp.array([[[1, 1, 0]]])
  expected = (np.log(2) + np.log(4 / 3) + np.log(4)) / 3
  actual = cross_entropy_per_example(logits, disks)
  np.testing.assert_allclose(actual, [expected], rtol=1e-6)
  assert cross_entropy_per_example(logits.astype(jnp.bfloat16), disks).dtype == (
    jnp.float32
  )


def test_what_losses_are_divided_by_by_hand():
  # Weights of test_by_hand with λ = 5: 2.875 + 1.875 + 2.375 + 1.875, of mean 2.25,
  # which is 6 times the mean of y, 0.375; with γ = 3 as of four batches.
  assert loss_divisor(lam=5.0, gamma=None) == 6 == 2.25 / 0.375
  assert loss_divisor(lam=0.0, gamma=3.0) == 4
  assert loss_divisor(lam=5.0, gamma=3.0) == 24


def test_balance_by_hand():
  # γ = 2 shared by one target patch, 1 shared by two auxiliary ones
  weights = balance_weights(jnp.array([True, False, False]), gamma=2.0)
  assert weights.dtype == jnp.float32
  np.testing.assert_array_equal(weights, [2, 0.5, 0.5])


kinds = st.sampled_from([2, 5, 12]).flatmap(
  lambda size: st.lists(st.booleans(), min_size=size, max_size=size).filter(
    lambda kind: any(kind) and not all(kind)
  )
)


@settings(max_examples=60, deadline=None)
@given(kind=kinds, gamma=st.floats(0.01, 100), seed=st.integers(0, 2**32 - 1))
def test_balance_is_gamma_target_plus_auxiliary(kind, gamma, seed):
  kind = np.array(kind)
  losses = np.random.default_rng(seed).uniform(0, 9, kind.size)
  weights = balance_weights(kind, gamma=gamma)
  np.testing.assert_allclose(weights.sum(), gamma + 1, rtol=1e-5)
  expected = gamma * losses[kind].mean() + losses[~kind].mean()
  np.testing.assert_allclose((weights * losses).sum(), expected, rtol=1e-5)


def test_balance_within_a_compiled_function():
  kind = jnp.arange(4) % 2 == 0
  compiled = jax.jit(lambda kind: balance_weights(kind, gamma=3.0))
  np.testing.assert_array_equal(compiled(kind), balance_weights(kind, gamma=3.0))


def test_shapes_that_would_broadcast_are_refused():
  prediction, target = batch(0)
  with pytest.raises(InputError, match=r"\(3, 1, 4, 5\) and the target \(3, 4, 5\)"):
    weighted_mse(prediction[:, None], target)
