"""Makes the configs of this folder from the schema, `micronet_jax.config`."""

import dataclasses
import types
import typing
from typing import Any

import ml_collections
from ml_collections import config_dict


def to_config_dict(settings: Any) -> ml_collections.ConfigDict:
  """A ConfigDict of a dataclass of settings: same fields, same defaults.

  What is None may be set to a value of its declared type, and of no other.
  """
  config = ml_collections.ConfigDict()
  declared = typing.get_type_hints(type(settings))
  for field in dataclasses.fields(settings):
    value, kind = getattr(settings, field.name), declared[field.name]
    if dataclasses.is_dataclass(value):
      config[field.name] = to_config_dict(value)
    elif isinstance(kind, types.UnionType):
      (inner,) = (part for part in kind.__args__ if part is not types.NoneType)
      config[field.name] = config_dict.placeholder(typing.get_origin(inner) or inner)
      config[field.name] = value
    else:
      config[field.name] = value
  return config
