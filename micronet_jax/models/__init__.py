"""The networks; each maps normalised images `[B, H, W, 3]` to maps `[B, H, W]`."""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import jax
from flax import nnx

from micronet_jax.errors import InputError
from micronet_jax.models.fcn import FCN
from micronet_jax.models.fcrna import FCRNA
from micronet_jax.models.fcrnb import FCRNB
from micronet_jax.models.frcn import FRCN
from micronet_jax.models.micronet import CONTEXT_FACTORS, MicroNet
from micronet_jax.models.unet import UNet


class Model(Protocol):
  """What every network says of itself.

  Attributes:
    BLOCKS: names of its blocks, in order, which freezing counts in.
    TARGET: what it learns: "proximity" (Eq. 1), or "disks" around the centres, of
      which it gives the log odds.
    STRIDE: images cut at multiples of it are read alike.
    REACH: how many rows or columns away a pixel can change the output.
  """

  BLOCKS: ClassVar[tuple[str, ...]]
  TARGET: ClassVar[str]
  STRIDE: ClassVar[int]
  REACH: ClassVar[int]

  def __call__(
    self,
    images: jax.Array,
    *,
    train: bool = False,
    keys: jax.Array | None = None,
    frozen: int = 0,
  ) -> jax.Array:
    """Predicts maps.

    Args:
      images: `[B, H, W, 3]`, normalised; sides from `STRIDE` on, odd ones included.
      train: statistics of the batch, which move the running ones, and dropout.
      keys: `[B]` random keys, one an example, for dropout; no dropout without.
      frozen: the first so many blocks run as in inference and pass no gradient.

    Returns:
      float32 `[B, H, W]`: of a network that learns "proximity" about `scale` at centres
      and 0 far from them; of one that learns "disks" log odds, positive near a centre.

    Raises:
      ValueError: an image smaller than `STRIDE` pixels.
    """


MODELS: Mapping[str, type[Model]] = {
  "micronet": MicroNet,
  "frcn": FRCN,
  "fcrna": FCRNA,
  "fcrnb": FCRNB,
  "unet": UNet,
  "fcn": FCN,
}
"""The paper's network, and those that it is compared with."""


def find_model(name: str) -> type[Model]:
  """The class of a network.

  Raises:
    InputError: an unknown name.
  """
  if name not in MODELS:
    raise InputError(f"config.model.name is {name!r}; the models are {sorted(MODELS)}")
  return MODELS[name]


def complete_options(
  options: Mapping[str, Any], *, like: Mapping[str, Any] | None = None
) -> dict[str, Any]:
  """The arguments of a network, its own defaults filled in.

  Args:
    options: the fields of `config.model`; None where nobody chose. Arguments that only
      MicroNet takes may be there as long as they have its default values, so that
      changing the name is all that it takes to change the model.
    like: options of a checkpoint, which come before the defaults if it is of the same
      network.

  Returns:
    `name` and every argument that the network takes.

  Raises:
    InputError: an unknown name, or arguments that the network does not take.
  """
  name = options["name"]
  taken, defaults = _arguments(find_model(name)), _arguments(MicroNet)
  given = {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in options.items()
    if value is not None and key != "name"
  }
  for field in given.keys() - taken.keys():
    value = given.pop(field)
    if field not in defaults or value != defaults[field]:
      raise InputError(
        f"config.model.{field} is {value!r}, but {name} has no such argument; it takes "
        f"{', '.join(taken)}"
      )
  followed = dict(like or {}) if like and like["name"] == name else {}
  for key, value in followed.items():
    if key in taken and value is not None:
      taken[key] = tuple(value) if isinstance(value, list) else value
  return {"name": name, **taken, **given}


def create_model(
  options: Mapping[str, Any], *, axis_name: str | None = None, seed: int = 0
) -> nnx.Module:
  """Builds a network from the fields of `config.model`.

  Args:
    options: as `complete_options` takes them.
    axis_name: mapped axis that training statistics are averaged over.
    seed: of the initial parameters.

  Raises:
    InputError: an unknown name, or arguments that the model does not take or refuses.
  """
  arguments = complete_options(options)
  name = arguments.pop("name")
  model: Any = find_model(name)
  try:
    return model(**arguments, axis_name=axis_name, rngs=nnx.Rngs(seed))
  except (TypeError, ValueError) as error:
    raise InputError(f"config.model does not fit {name}: {error}") from error


def _arguments(model: type[Model]) -> dict[str, Any]:
  """The arguments of a network that a config may set, and their defaults."""
  parameters = inspect.signature(model.__init__).parameters
  own = {"self", "axis_name", "rngs"}
  return {name: each.default for name, each in parameters.items() if name not in own}


def score_map(
  model: Model | type[Model], output: jax.Array, scale: float | jax.Array
) -> jax.Array:
  """Makes the map that centres are detected in from a network's output.

  Args:
    model: the network or its class.
    output: its predictions, any shape.
    scale: what proximity was multiplied by for training.

  Returns:
    Proximity, in which training aims at 1 at centres; of a pixel classifier, the
    probability of being near one.
  """
  return jax.nn.sigmoid(output) if model.TARGET == "disks" else output / scale


__all__ = [
  "CONTEXT_FACTORS",
  "FCN",
  "FCRNA",
  "FCRNB",
  "FRCN",
  "MODELS",
  "MicroNet",
  "Model",
  "UNet",
  "complete_options",
  "create_model",
  "find_model",
  "score_map",
]
