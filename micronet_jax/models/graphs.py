"""Networks taken apart for compilers: a graph, and arrays in plain dicts.

Called by `detection` and `training`.
"""

import functools
from collections.abc import Mapping
from typing import Any

from flax import nnx

from micronet_jax import models


@functools.cache
def _abstract_model(options: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
  return split_model(nnx.eval_shape(lambda: models.create_model(dict(options))))


def abstract_model(options: Mapping[str, Any]) -> tuple[Any, Any]:
  """The graph of a network and the shapes of its weights.

  Args:
    options: the fields of `config.model`.

  Raises:
    InputError: an unknown model or a wrong argument.
  """
  return _abstract_model(tuple(sorted(models.complete_options(options).items())))


def split_model(model: nnx.Module) -> tuple[Any, dict[str, Any]]:
  """Takes a module apart: its graph, and `{"params", "batch_stats"}` as dicts."""
  parts: Any = nnx.split(model, nnx.Param, nnx.BatchStat)
  graph, params, stats = parts
  weights = {
    "params": nnx.to_pure_dict(params),
    "batch_stats": nnx.to_pure_dict(stats),
  }
  return graph, weights


def merge_model(graph: Any, weights: dict[str, Any]) -> nnx.Module:
  """Puts a module together again from its graph and its arrays."""
  return nnx.merge(graph, weights["params"], weights["batch_stats"], copy=True)
