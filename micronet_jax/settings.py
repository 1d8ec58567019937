"""How a schema's fields are declared, checked, and made of what people write.

Called by `config`, which has the fields of a run, by `studies.schema`, and by whoever
takes a config from JSON or the command line.
"""

import dataclasses
import difflib
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from micronet_jax.errors import InputError

T = TypeVar("T")


def setting(
  default: Any,
  *,
  low: float | None = None,
  above: float | None = None,
  high: float | None = None,
  choices: Sequence[str] = (),
  unit: str = "",
  source: str = "",
  free: bool = False,
) -> Any:
  """Declares a field.

  Args:
    default: its value unless somebody says otherwise; None if something else decides.
    low: the least value, of a tuple that of each entry.
    above: what the value must exceed, instead of `low`.
    high: the largest value.
    choices: all values there are.
    unit: of the number.
    source: section or figure of the paper that has the default, or names the field.
    free: it cannot change a result beyond rounding, so a run may be resumed with
      another value, and its folder is the same.
  """
  kept = {
    **{"low": low, "above": above, "high": high, "choices": tuple(choices)},
    **{"unit": unit, "source": source, "free": free},
  }
  return dataclasses.field(default=default, metadata=kept)


def check_ranges(config: Any, prefix: str = "config") -> None:
  """Checks every field of a schema, and of those in it, against what it declares.

  Args:
    config: a dataclass whose fields are `setting`s or dataclasses.
    prefix: what its fields are called in messages; may be empty.

  Raises:
    InputError: naming the field, its value and what would be right.
  """
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    name = _below(prefix, field.name)
    if dataclasses.is_dataclass(value):
      check_ranges(value, name)
      continue
    for entry in value if isinstance(value, tuple) else (value,):
      if entry is not None:
        _check_value(name, entry, field.metadata)


def _check_value(name: str, value: Any, rules: Mapping[str, Any]) -> None:
  choices = rules.get("choices")
  if choices and value not in choices:
    raise InputError(f"{name} is {value!r}; use {' or '.join(map(repr, choices))}")
  low, above, high = (rules.get(rule) for rule in ("low", "above", "high"))
  if low is None and above is None and high is None:
    return
  # Written so that NaN fails.
  fits = (
    (low is None or value >= low)
    and (above is None or value > above)
    and (high is None or value <= high)
    and math.isfinite(value)
  )
  if fits:
    return
  least = f"at least {low}" if above is None else f"above {above}"
  if high is None:
    wanted = least
  else:
    wanted = f"from {low} to {high}" if above is None else f"{least} and at most {high}"
  raise InputError(f"{name} is {value}; it must be {wanted}")


def from_dict(kind: type[T], values: Mapping[str, Any], prefix: str = "config") -> T:
  """Makes a schema of a dict, as JSON or ml_collections give it; what lacks is default.

  Args:
    kind: `Config`, or another dataclass of settings.
    values: by field; lists for tuples, whole numbers for fractions are welcome.
    prefix: what the fields are called in messages.

  Raises:
    InputError: an unknown field, or a value of another type.
  """
  wanted = typing.get_type_hints(kind)
  unknown = sorted(set(values) - set(wanted))
  if unknown:
    raise InputError(
      f"there is no field {_below(prefix, unknown[0])}; the fields are "
      f"{', '.join(wanted)}"
    )
  made = {
    name: _typed(wanted[name], value, _below(prefix, name))
    for name, value in values.items()
  }
  return kind(**made)


def _below(prefix: str, name: str) -> str:
  return f"{prefix}.{name}" if prefix else name


def _typed(kind: Any, value: Any, name: str) -> Any:
  """A value in the type that a field declares."""
  if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
    return from_dict(typing.cast(type, kind), value, name)
  if isinstance(kind, types.UnionType):
    (inner,) = (part for part in kind.__args__ if part is not types.NoneType)
    return None if value is None else _typed(inner, value, name)
  if typing.get_origin(kind) is tuple and isinstance(value, list | tuple):
    inner, *more = typing.get_args(kind)
    if ... not in more and len(value) != 1 + len(more):
      raise InputError(f"{name} is {value!r}; it must be {1 + len(more)} numbers")
    if inner is str and len(value) == 1 and isinstance(value[0], str):
      # As the shell gives them: names with commas between.
      value = [part for part in value[0].split(",") if part]
    if inner is str:  # and names that look like numbers, as numbers
      value = [str(each) if type(each) is int else each for each in value]
    return tuple(_typed(inner, entry, name) for entry in value)
  whole = isinstance(value, int) and not isinstance(value, bool)
  if kind is float and (whole or isinstance(value, float)):
    return float(value)
  if (kind is int and whole) or (kind in (bool, str) and isinstance(value, kind)):
    return value
  raise InputError(f"{name} is {value!r}; it must be {_in_words(kind)}")


def _in_words(kind: Any) -> str:
  """What a value of a type is, to people."""
  if typing.get_origin(kind) is tuple:
    inner, *more = typing.get_args(kind)
    if ... not in more:
      return f"{1 + len(more)} numbers"
    return "a list, each " + _in_words(inner)
  words = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
  return words.get(kind, getattr(kind, "__name__", str(kind)))


def as_python(value: Any) -> Any:
  """As JSON has it: NumPy's and JAX's numbers as Python's, paths as text."""
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  if isinstance(value, Mapping):
    return {name: as_python(each) for name, each in value.items()}
  if isinstance(value, list | tuple):
    return [as_python(each) for each in value]
  return value.tolist() if hasattr(value, "tolist") else value


def as_dict(config: Any) -> dict[str, Any]:
  """A schema as JSON would give it back: nested dicts, lists, numbers, strings."""
  return as_python(dataclasses.asdict(config))


def determining(config: Any) -> dict[str, Any]:
  """`as_dict` without the fields that cannot change a result."""
  kept = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      kept[field.name] = determining(value)
    elif not field.metadata.get("free"):
      kept[field.name] = as_python(value)
  return kept


def changed(config: T, values: Mapping[str, Any]) -> T:
  """A copy with other values, by field: `{"model.width": 8, "gamma": 5.0}`.

  Raises:
    InputError: as `from_dict`.
  """
  nested = as_dict(config)
  for path, value in values.items():
    *homes, name = path.split(".")
    place = nested
    for home in homes:
      if not isinstance(place.get(home), dict):
        place[home] = {}  # which `from_dict` refuses
      place = place[home]
    place[name] = as_python(value)
  return from_dict(type(config), nested)


def with_texts(config: T, texts: Sequence[str]) -> T:
  """A copy with other values, as a command line gives them: `["model.width=8"]`.

  Args:
    config: a schema.
    texts: FIELD=VALUE, the value as its type is written: True or False; None where the
      field may have none; several with commas between.

  Raises:
    InputError: a text of another form, an unknown field, or a value of another type.
  """
  kinds = _leaves(type(config))
  values = {}
  for text in texts:
    field, equals, value = text.partition("=")
    field = field.strip()
    if not equals:
      raise InputError(f"{text!r} is not FIELD=VALUE, such as num_steps=600")
    if field not in kinds:
      near = _near(field, list(kinds))
      hint = f"; near it there are {', '.join(near)}" if near else ""
      raise InputError(f"there is no field config.{field}{hint}")
    values[field] = _from_text(kinds[field], value.strip())
  return changed(config, values)


def _leaves(kind: Any) -> dict[str, Any]:
  """The types of all fields, by the names with dots."""
  found: dict[str, Any] = {}
  for name, inner in typing.get_type_hints(kind).items():
    if dataclasses.is_dataclass(inner):
      found |= {f"{name}.{below}": each for below, each in _leaves(inner).items()}
    else:
      found[name] = inner
  return found


def _near(field: str, fields: Sequence[str]) -> list[str]:
  """Fields that are written alike, at least in their last part, or that lie in it."""
  within = [each for each in fields if each.startswith(f"{field}.")]
  last = {each: each.rpartition(".")[2] for each in fields}
  like = difflib.get_close_matches(field.rpartition(".")[2], last.values(), 3)
  same = [each for each in fields if last[each] in like]
  return within or list(
    dict.fromkeys([*difflib.get_close_matches(field, fields, 3), *same])
  )


def _from_text(kind: Any, text: str) -> Any:
  """A value as its type is written; what is not so written, as it is."""
  if isinstance(kind, types.UnionType):
    (inner,) = (part for part in kind.__args__ if part is not types.NoneType)
    return None if text.lower() == "none" else _from_text(inner, text)
  if typing.get_origin(kind) is tuple:
    inner = typing.get_args(kind)[0]
    parts = text.removeprefix("(").removesuffix(")").split(",")
    return [_from_text(inner, part.strip()) for part in parts if part.strip()]
  if kind is bool:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
  try:
    return kind(text)
  except ValueError:
    return text
