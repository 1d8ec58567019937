"""Pooling and enlargement equal PyTorch's, forwards and backwards."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from networks import (
  assert_near,
  batch,
  compiled,
)
from torch.nn import functional

from micronet_jax.models import resizing


def channels_first(x):
  return torch.tensor(x).permute(0, 3, 1, 2).double().requires_grad_()


def assert_equal_to_torch(ours, theirs, x):
  """Values and, for a random cotangent, gradients."""
  pixels = channels_first(x)
  expected = theirs(pixels)
  size = [expected.shape[i] for i in (0, 2, 3, 1)]
  cotangent = np.random.default_rng(1).normal(size=size).astype(np.float32)
  expected.backward(channels_first(cotangent).detach())

  @compiled
  def both_ways(x):
    values, pull = jax.vjp(ours, x)
    return values, *pull(jnp.asarray(cotangent))

  for array, tensor in zip(both_ways(x), (expected, pixels.grad), strict=True):
    assert_near(np.asarray(array), tensor.detach().permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("shape", [(4, 6), (5, 6), (7, 3)])
def test_max_pool_equals_torch(shape, ceil):
  x = batch(2, *shape)[0]
  assert_equal_to_torch(
    functools.partial(resizing.max_pool, ceil=ceil),
    functools.partial(functional.max_pool2d, kernel_size=2, ceil_mode=ceil),
    x,
  )


@pytest.mark.parametrize("factor", [2, 8])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 5)])
def test_enlargement_equals_torch(shape, factor):
  x = batch(2, *shape)[0]
  assert_equal_to_torch(
    lambda x: resizing.enlarge(x, factor),
    functools.partial(
      functional.interpolate, scale_factor=factor, mode="bilinear", align_corners=False
    ),
    x,
  )
