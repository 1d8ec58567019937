"""Small random networks, and how tests run and compare them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend.core import Literal

from micronet_jax import models
from micronet_jax.models import graphs
from micronet_jax.models.graphs import merge_model, split_model
from micronet_jax.training.losses import (
  cross_entropy_per_example,
  weighted_mse_per_example,
)

NETWORK = {"name": "micronet", "width": 2, "context": ["up4", "up3"], "dropout": 0.5}
META = {"model": NETWORK, "proximity": {"scale": 5.0}, "xi": 0.4, "min_distance": 5}
QUICK = {"name": "fcrna", "width": 2}
"""The network that is compiled fastest, for tests that ask nothing of the network."""


def random_weights(network=NETWORK):
  """Quicker than the network's own initialisers, which are compiled one by one."""
  generator = np.random.default_rng(0)

  def draw(path, leaf):
    name = jax.tree_util.keystr(path)
    if "var" in name or "scale" in name:
      return np.ones(leaf.shape, np.float32)
    spread = 1 / np.sqrt(max(np.prod(leaf.shape[:-1]), 1))
    return generator.normal(0, spread, leaf.shape).astype(np.float32)

  template = graphs.abstract_model(network)[1]
  return jax.tree_util.tree_map_with_path(draw, template)


def compiled(function):
  """Jitted, for little compile time rather than speed."""
  options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
  return jax.jit(function, compiler_options=options)


def random_network(create):
  """A graph and weights that are nothing like their initial values.

  Args:
    create: makes the network.
  """
  graph, shapes = split_model(nnx.eval_shape(create))
  rng = np.random.default_rng(0)

  def fill(path, leaf):
    name = path[-1].key
    if name == "kernel":
      value = rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape)
    elif name in ("scale", "var"):
      value = rng.uniform(0.5, 1.5, leaf.shape)
    else:
      value = rng.normal(0, 0.3, leaf.shape)
    return jnp.array(value, jnp.float32)

  return graph, jax.tree_util.tree_map_with_path(fill, shapes)


@functools.cache
def network(name, *, axis_name=None, **options):
  """A graph and weights that are nothing like their initial values; width 2."""
  options = {"name": name, "width": 2, **options}
  return random_network(lambda: models.create_model(options, axis_name=axis_name))


def labels(name, maps):
  """Maps as the network learns them."""
  disks = models.find_model(name).TARGET == "disks"
  return (maps > 0.1).astype(np.float32) if disks else maps


def learn(name, graph, weights, images, maps, **options):
  """Gradient of the loss in training; predictions; the statistics afterwards."""
  disks = models.find_model(name).TARGET == "disks"
  losses = cross_entropy_per_example if disks else weighted_mse_per_example

  def loss(params):
    model = merge_model(graph, {**weights, "params": params})
    prediction = model(images, train=True, **options)
    stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    return losses(prediction, maps).mean(), (prediction, stats)

  return jax.grad(loss, has_aux=True)(weights["params"])


def batch(*shape, seed=0):
  """Images and maps."""
  rng = np.random.default_rng(seed)
  images = rng.normal(size=(*shape, 3)).astype(np.float32)
  return images, rng.uniform(0, 1, shape).astype(np.float32) ** 4


def flat(tree):
  """Path -> array."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {"/".join(key.key for key in path): np.asarray(x) for path, x in leaves}


def changed(before, after):
  """Which arrays differ."""
  before, after = flat(before), flat(after)
  return {path for path in before if not np.array_equal(before[path], after[path])}


def predict(graph, weights, images, **options):
  return merge_model(graph, weights)(images, **options)


def assert_near(actual, expected, name=""):
  """Within 1e-4 of the largest value."""
  assert actual.shape == expected.shape, name
  error = np.abs(actual - expected).max() / np.abs(expected).max()
  assert error < 1e-4, (name, error)


def within(tree, blocks):
  """The paths of a tree that lie in some blocks."""
  return {path for path in flat(tree) if path.split("/")[0] in blocks}


def dependent(function, weights, images, maps):
  """Which arrays that a function returns are computed from the images, by its jaxpr.

  What tests of freezing find by numbers, but without compiling.
  """
  closed, shapes = jax.make_jaxpr(function, return_shape=True)(weights, images, maps)
  reached = {closed.jaxpr.invars[-2]}  # the images
  for equation in closed.jaxpr.eqns:
    inputs = {v for v in equation.invars if not isinstance(v, Literal)}
    if inputs & reached:
      reached.update(equation.outvars)
  flags = [not isinstance(v, Literal) and v in reached for v in closed.jaxpr.outvars]
  return jax.tree.unflatten(jax.tree.structure(shapes), flags)
