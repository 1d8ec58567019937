"""The operations written out for XLA's CPU against the plain ones, and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.sharding import PartitionSpec

from micronet_jax import devices
from micronet_jax.models import operations


def _normal(*shape, seed=0, mean=0.0):
  random = np.random.default_rng(seed)
  return jnp.asarray(random.normal(mean, 1, shape).astype(np.float32))


@pytest.mark.parametrize("shape", [(8, 16, 64, 3), (3, 5, 7, 2), (1, 4), (512, 1)])
def test_sums_of_columns(shape):
  x = _normal(*shape, mean=0.3)
  expected = np.asarray(x, np.float64).reshape(-1, shape[-1]).sum(0)
  np.testing.assert_allclose(operations.column_sums(x), expected, rtol=1e-4, atol=1e-5)


def test_elu_and_its_gradient_are_torchs():
  x = np.array([-80, -3, -1, -1e-4, 0, 1e-4, 2, 100], np.float32)
  theirs = torch.tensor(x, requires_grad=True)
  y = torch.nn.functional.elu(theirs)
  y.sum().backward()
  np.testing.assert_allclose(operations.elu(x), y.detach(), atol=1e-6)
  slope = jax.grad(lambda x: operations.elu(x).sum())(x)
  # At 0 the two one-sided slopes are equal.
  np.testing.assert_allclose(slope, theirs.grad, atol=1e-6)


def test_batch_norm_and_its_gradients_are_torchs():
  x, scale, bias = _normal(4, 6, 5, 3, mean=2.0), _normal(3, seed=1), _normal(3, seed=2)
  weight = _normal(4, 6, 5, 3, seed=3)

  def loss(x, scale, bias):
    y, mean, variance = operations.batch_norm(x, scale, bias, 1e-5, None)
    return (y * weight).sum(), (y, mean, variance)

  gradients, (y, mean, variance) = jax.grad(loss, (0, 1, 2), has_aux=True)(
    x, scale, bias
  )
  arrays = [torch.tensor(np.asarray(a), requires_grad=True) for a in (x, scale, bias)]
  running = torch.zeros(3), torch.zeros(3)
  theirs = torch.nn.functional.batch_norm(
    arrays[0].permute(0, 3, 1, 2), *running, *arrays[1:], training=True, momentum=1.0
  ).permute(0, 2, 3, 1)
  (theirs * torch.tensor(np.asarray(weight))).sum().backward()
  np.testing.assert_allclose(y, theirs.detach(), atol=1e-5)
  np.testing.assert_allclose(mean, running[0], atol=1e-5)
  count = x.size / 3
  np.testing.assert_allclose(variance * count / (count - 1), running[1], atol=1e-5)
  for ours, array in zip(gradients, arrays, strict=True):
    np.testing.assert_allclose(ours, array.grad, atol=2e-4)


def test_batch_norm_over_devices_is_that_of_the_whole_batch():
  x, scale, bias = _normal(4, 3, 3, 2), _normal(2, seed=1), _normal(2, seed=2)
  weight = _normal(4, 3, 3, 2, seed=3)

  def step(axis_name, x, weight):
    def loss(x, scale, bias):
      y, *statistics = operations.batch_norm(x, scale, bias, 1e-5, axis_name)
      return (y * weight).sum(), (y, *statistics)

    (dx, *others), found = jax.grad(loss, (0, 1, 2), has_aux=True)(x, scale, bias)
    others = jax.lax.psum(others, axis_name) if axis_name else others
    return dx, found[0], others, found[1:]

  each, all = PartitionSpec(devices.AXIS), PartitionSpec()
  mapped = jax.shard_map(
    functools.partial(step, devices.AXIS),
    mesh=devices.make_mesh(2),
    in_specs=(each, each),
    out_specs=(each, each, all, all),
    check_vma=False,
  )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, atol=1e-5),
    jax.jit(mapped)(x, weight),
    step(None, x, weight),
  )


@pytest.mark.parametrize(
  ("kernel", "inputs", "outputs"), [(3, 2, 5), (5, 6, 2), (1, 3, 2)]
)
def test_convolution_and_its_gradients_are_torchs(kernel, inputs, outputs):
  x = _normal(2, 9, 7, inputs)
  w = _normal(kernel, kernel, inputs, outputs, seed=1)
  weight = _normal(2, 9, 7, outputs, seed=2)
  y = operations.conv(x, w)
  gradients = jax.grad(lambda x, w: (operations.conv(x, w) * weight).sum(), (0, 1))(
    x, w
  )
  image = torch.tensor(np.asarray(x)).permute(0, 3, 1, 2).requires_grad_()
  filters = torch.tensor(np.asarray(w)).permute(3, 2, 0, 1).requires_grad_()
  theirs = torch.nn.functional.conv2d(image, filters, padding=kernel // 2)
  (theirs.permute(0, 2, 3, 1) * torch.tensor(np.asarray(weight))).sum().backward()
  np.testing.assert_allclose(y, theirs.detach().permute(0, 2, 3, 1), atol=1e-4)
  np.testing.assert_allclose(gradients[0], image.grad.permute(0, 2, 3, 1), atol=1e-4)
  np.testing.assert_allclose(gradients[1], filters.grad.permute(2, 3, 1, 0), atol=1e-4)
