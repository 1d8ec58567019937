"""A small random network that several tests share."""

import jax
import numpy as np

from micronet_jax import inference

NETWORK = {"name": "micronet", "width": 2, "context": ["up4", "up3"], "dropout": 0.5}
META = {"model": NETWORK, "proximity": {"scale": 5.0}, "xi": 0.4, "min_distance": 5}


def random_weights():
  """Quicker than the network's own initialisers, which are compiled one by one."""
  generator = np.random.default_rng(0)

  def draw(path, leaf):
    name = jax.tree_util.keystr(path)
    if "var" in name or "scale" in name:
      return np.ones(leaf.shape, np.float32)
    spread = 1 / np.sqrt(max(np.prod(leaf.shape[:-1]), 1))
    return generator.normal(0, spread, leaf.shape).astype(np.float32)

  template = inference.abstract_model(NETWORK)[1]
  return jax.tree_util.tree_map_with_path(draw, template)
