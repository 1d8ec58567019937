"""Where an image ends within an array, every network sees it end."""

import jax.numpy as jnp
import numpy as np
import pytest
from networks import assert_near, batch, compiled, network, predict

from micronet_jax import models
from micronet_jax.models import bounds


@pytest.mark.parametrize("name", models.MODELS)
def test_a_network_sees_an_image_end_where_it_ends(name):
  graph, weights = network(name)
  stride = models.find_model(name).STRIDE
  images, _ = batch(2, 4 * stride, 3 * stride)
  sides = np.array([[2, 3], [3, 1]], np.int32) * stride
  for image, (height, width) in zip(images, sides, strict=True):
    image[height:] = 0
    image[:, width:] = 0

  @compiled
  def bounded(images, sides):
    with bounds.image_ends(sides, images.shape[1:3]):
      return predict(graph, weights, images)

  found = np.asarray(bounded(images, sides))
  plain = compiled(lambda images: predict(graph, weights, images))
  for i, (height, width) in enumerate(sides):
    expected = np.asarray(plain(images[i : i + 1, :height, :width]))[0]
    assert_near(found[i, :height, :width], expected, name)
    if name != "fcn":  # whose scores begin with zeros
      naive = np.asarray(plain(images[i : i + 1]))[0, :height, :width]
      assert np.abs(naive - expected).max() > 1e-3 * np.abs(expected).max()


def test_without_ends_nothing_is_done():
  x = jnp.ones((1, 4, 4, 2))
  assert bounds.zero_beyond(x) is x
  assert bounds.repeat_edges(x) is x


def test_ends_at_another_resolution():
  x = jnp.arange(1, 17.0).reshape(1, 4, 4, 1)
  with bounds.image_ends(jnp.array([[16, 8]]), (32, 16)):
    zeroed = bounds.zero_beyond(x)[0, ..., 0]
    repeated = bounds.repeat_edges(x)[0, ..., 0]
  np.testing.assert_array_equal(zeroed[:2, :2], [[1, 2], [5, 6]])
  assert zeroed.sum() == 14
  np.testing.assert_array_equal(repeated[:, 3], [2, 6, 6, 6])
