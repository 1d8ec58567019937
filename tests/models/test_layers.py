"""Rearrangements against real convolutions, normalisation by hand, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from micronet_jax.models import layers

LAYOUT = ("NHWC", "HWIO", "NHWC")
OPTIONS = {"dtype": jnp.float32, "test_norm": "running", "axis_name": None}


def normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def elu(x):
  return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def test_space_to_depth_by_hand():
  x = np.arange(2 * 3 * 2).reshape(1, 2, 3, 2)  # the third column is dropped
  # (row, column, channel): 0 1 | 2 3 above, 6 7 | 8 9 below
  expected = [[[[0, 1, 2, 3, 6, 7, 8, 9]]]]
  np.testing.assert_array_equal(layers.space_to_depth(jnp.array(x)), expected)
  np.testing.assert_array_equal(
    layers.depth_to_space(jnp.array(expected), 2), x[:, :, :2]
  )


sizes = st.integers(1, 5)


@settings(max_examples=25, deadline=None)
@given(b=st.integers(1, 2), h=sizes, w=sizes, c=st.integers(1, 3), factor=sizes)
def test_depth_to_space_sends_every_value_to_its_place(b, h, w, c, factor):
  x = normal(0, b, h, w, factor * factor * c)
  y = np.asarray(layers.depth_to_space(x, factor))  # NumPy compiles nothing
  assert y.shape == (b, h * factor, w * factor, c)
  for i, j in np.ndindex(factor, factor):
    part = x[..., (i * factor + j) * c : (i * factor + j + 1) * c]
    np.testing.assert_array_equal(y[:, i::factor, j::factor], part)


@settings(max_examples=25, deadline=None)
@given(b=st.integers(1, 2), h=st.integers(2, 9), w=st.integers(2, 9))
def test_space_to_depth_and_back(b, h, w):
  x = normal(1, b, h, w, 3)
  there = layers.space_to_depth(x)
  assert there.shape == (b, h // 2, w // 2, 12)
  back = layers.depth_to_space(there, 2)
  np.testing.assert_array_equal(back, x[:, : h // 2 * 2, : w // 2 * 2])
  np.testing.assert_array_equal(layers.space_to_depth(back), there)


@pytest.mark.parametrize("shape", [(8, 6), (9, 7)])
def test_dense_over_space_to_depth_is_a_strided_convolution(shape):
  x, kernel = normal(2, 2, *shape, 3), normal(3, 2, 2, 3, 5)
  expected = lax.conv_general_dilated(
    x, kernel, (2, 2), "VALID", dimension_numbers=LAYOUT
  )
  actual = layers.space_to_depth(jnp.array(x)) @ kernel.reshape(12, 5)
  np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_depth_to_space_of_dense_is_a_transposed_convolution(factor):
  x, kernel = normal(4, 2, 3, 4, 5), normal(5, factor, factor, 5, 2)
  dense = kernel.transpose(2, 0, 1, 3).reshape(5, -1)
  actual = layers.depth_to_space(jnp.array(x @ dense), factor)
  # each pixel is stamped with the kernel: out[fi + a, fj + b] = x[i, j] · kernel[a, b]
  stamped = np.einsum("nijc,abco->niajbo", x, kernel)
  expected = stamped.reshape(2, 3 * factor, 4 * factor, 2)
  np.testing.assert_allclose(actual, expected, atol=1e-5)
  # lax slides the kernel over the spread input, which turns it around
  expected = lax.conv_transpose(
    x, kernel[::-1, ::-1], (factor, factor), "VALID", dimension_numbers=LAYOUT
  )
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_pad_to():
  x = jnp.array(normal(6, 2, 3, 4, 2))
  y = layers.pad_to(x, 5, 5)
  assert y.shape == (2, 5, 5, 2)
  np.testing.assert_array_equal(y[:, :3, :4], x)
  assert not np.any(y[:, 3:])
  assert not np.any(y[:, :, 4:])
  np.testing.assert_array_equal(layers.pad_to(x, 3, 4), x)


@pytest.fixture
def norm():
  """One channel: 3 times the normalised value, plus 1."""
  norm = layers.Norm(1, rngs=nnx.Rngs(0), **OPTIONS)
  norm.norm.scale[...], norm.norm.bias[...] = jnp.array([3.0]), jnp.array([1.0])
  return norm


VALUES = jnp.array([0.0, 4.0]).reshape(2, 1, 1, 1)


def test_norm_by_hand_in_training(norm):
  # mean 2, variance 4: -1 and 1, so -2 and 4 before the ELU
  y = norm(VALUES, train=True).ravel()
  np.testing.assert_allclose(y, [np.exp(-2) - 1, 4], atol=1e-5)
  # 0.9 · 0 + 0.1 · 2 and 0.9 · 1 + 0.1 · 4
  np.testing.assert_allclose(norm.norm.mean[...], [0.2], atol=1e-6)
  np.testing.assert_allclose(norm.norm.var[...], [1.3], atol=1e-6)


def test_norm_by_hand_in_inference(norm):
  norm.norm.mean[...], norm.norm.var[...] = jnp.array([1.0]), jnp.array([9.0])
  y = norm(VALUES, train=False).ravel()  # -1/3 and 1, so 0 and 4 before the ELU
  np.testing.assert_allclose(y, [0, 4], atol=1e-5)
  assert (norm.norm.mean[...], norm.norm.var[...]) == (1, 9)


def test_norm_by_batch_in_inference_leaves_the_statistics(norm):
  trained = norm(VALUES, train=True)
  kept = norm.norm.mean[...], norm.norm.var[...]
  norm.test_norm = "batch"
  np.testing.assert_array_equal(norm(VALUES + 7, train=False), trained)
  assert (norm.norm.mean[...], norm.norm.var[...]) == kept


@pytest.mark.parametrize(
  ("layer", "shape"),
  [
    (lambda rngs: layers.ConvNorm(3, 4, 5, rngs=rngs, **OPTIONS), (5, 7)),
    (lambda rngs: layers.DownNorm(3, 4, rngs=rngs, **OPTIONS), (2, 3)),
    (lambda rngs: layers.UpNorm(3, 4, 4, rngs=rngs, **OPTIONS), (20, 28)),
  ],
)
def test_sizes(layer, shape):
  y = nnx.eval_shape(lambda: layer(nnx.Rngs(0))(jnp.zeros((2, 5, 7, 3)), train=True))
  assert y.shape == (2, *shape, 4)


def test_residual_by_hand():
  residual = nnx.eval_shape(
    lambda: layers.Residual(2, 2, rate=0.5, rngs=nnx.Rngs(0), **OPTIONS)
  )
  for path, value in nnx.to_flat_state(nnx.state(residual)):
    fill = jnp.ones if path[-1] in ("scale", "var") else jnp.zeros
    value.set_value(fill(value.shape, value.dtype))
  for op in residual.ops.values():  # kernels are zero: ops give ELU(bias)
    op.norm.norm.bias[...] = jnp.array([0.5, -1.0])
  x = normal(7, 1, 3, 3, 2)
  y = np.array([0.5, np.expm1(-1.0)])
  np.testing.assert_allclose(residual(x, train=False), elu(y + x), atol=1e-5)
  # dropout comes after the ops and leaves the shortcut alone, in training only
  seen = []

  def drop(y, rate):
    seen.append(rate)
    return 0 * y

  np.testing.assert_allclose(residual(x, train=True, drop=drop), elu(x), atol=1e-5)
  residual(x, train=False, drop=drop)
  assert seen == [0.5]


KEYS = jax.random.split(jax.random.key(0), 3)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_its_rate(rate):
  x = 1 + np.abs(normal(8, 3, 40, 50, 4))
  y = np.asarray(layers.dropout(jnp.array(x), rate, KEYS))
  kept = y != 0
  np.testing.assert_allclose(y[kept], x[kept] / (1 - rate), rtol=1e-5)
  for one in kept:  # of 8000, to four standard deviations
    assert abs(one.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / one.size)
  assert abs(y.mean() / x.mean() - 1) < 0.05 / (1 - rate)
  # Examples are independent of each other: both keep with the probabilities' product.
  both, share = (kept[0] & kept[1]).mean(), (1 - rate) ** 2
  assert abs(both - share) < 4 * np.sqrt(share * (1 - share) / kept[0].size)


def test_dropout_of_an_example_is_its_own():
  x = jnp.array(normal(9, 3, 6, 5, 2))
  together = layers.dropout(x, 0.5, KEYS)
  for i in range(3):
    alone = layers.dropout(x[i : i + 1], 0.5, KEYS[i : i + 1])
    np.testing.assert_array_equal(alone[0], together[i])
  order = np.array([2, 0, 1])
  np.testing.assert_array_equal(
    layers.dropout(x[order], 0.5, KEYS[order]), together[order]
  )


def test_dropout_keeps_the_type():
  x = jnp.ones((3, 4, 4, 1), jnp.bfloat16)
  assert layers.dropout(x, 0.5, KEYS).dtype == jnp.bfloat16
  np.testing.assert_array_equal(layers.dropout(x, 0.0, KEYS), x)


def test_running_statistics_stay_float32_in_bfloat16():
  norm = layers.Norm(
    4,
    dtype=jnp.bfloat16,
    test_norm="running",
    axis_name=None,
    activation=lambda x: x,
    rngs=nnx.Rngs(0),
  )
  mean, deviation = np.array([2.0, 4.1, 6.3, 8.7]), 0.25
  norm.norm.mean[...], norm.norm.var[...] = mean, np.full(4, deviation**2)
  x = jnp.asarray(mean + deviation * normal(3, 2, 9, 9, 4), jnp.bfloat16)
  y = norm(x, train=False)
  assert y.dtype == jnp.bfloat16
  expected = (np.asarray(x, np.float64) - mean) / np.sqrt(deviation**2 + 1e-5)
  # Within the rounding of what comes out.
  np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=0.005, atol=1e-4)
