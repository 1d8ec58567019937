"""The networks; each maps normalised images `[B, H, W, 3]` to maps `[B, H, W]`."""

from collections.abc import Mapping
from typing import Any

from flax import nnx

from micronet_jax.errors import InputError
from micronet_jax.models.micronet import BLOCKS, CONTEXT_FACTORS, MicroNet

MODELS = {"micronet": MicroNet}


def create(
  options: Mapping[str, Any], *, axis_name: str | None = None, seed: int = 0
) -> nnx.Module:
  """Builds a network from the fields of `config.model`.

  Args:
    options: `name` (one of `MODELS`) and the model's own arguments.
    axis_name: mapped axis that training statistics are averaged over.
    seed: of the initial parameters.

  Raises:
    InputError: an unknown name, or arguments that the model refuses.
  """
  arguments = dict(options)
  name = arguments.pop("name")
  if name not in MODELS:
    raise InputError(f"config.model.name is {name!r}; the models are {sorted(MODELS)}")
  try:
    return MODELS[name](**arguments, axis_name=axis_name, rngs=nnx.Rngs(seed))
  except (TypeError, ValueError) as error:
    raise InputError(f"config.model does not fit {name}: {error}") from error


__all__ = ["BLOCKS", "CONTEXT_FACTORS", "MODELS", "MicroNet", "create"]
