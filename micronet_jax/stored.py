"""What the JSON files of this program hold: their schemas, and the check of all.

Files are copied, cut short by full disks and edited by hand. What is read of one is
checked here first, so that what is wrong is said in one sentence, with file and field.
Called by whoever reads one: `checkpoints`, `training`, `predict`, `studies` and
`annotate`.
"""

import json
import logging
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from micronet_jax.errors import InputError
from micronet_jax.files import read_json

log = logging.getLogger("micronet_jax")


class Number(NamedTuple):
  """A finite number, from `low` to `high`."""

  low: float = -math.inf
  high: float = math.inf
  whole: bool = False


class Either(NamedTuple):
  """One of several schemas; None stands for null."""

  schemas: tuple[Any, ...]


class Each(NamedTuple):
  """An object of any names, whose values are alike."""

  schema: Any


COUNT = Number(0, 2**53, whole=True)

MPP = Number(1e-3, 1e3)

_SEEN = [
  {"name": str, "patient": str, "part": str, "pixels?": str, "points?": str},
]

META = {
  "model": {"name": str},
  "proximity": {"scale": Number(1e-9, 1e9)},
  "xi": Number(0, 1),
  "min_distance": Number(1, 10_000, whole=True),
  "mpp?": Either((MPP, None)),
  "threshold_rule?": str,
  "smoothing?": Number(0, 20),
  "step?": COUNT,
  "note?": str,
  "split?": Each(Either(([str], str, Number(), None))),
  "provenance?": {"own": _SEEN, "inherited": _SEEN},
}
"""Of a checkpoint; there is more in it, which nothing reads."""


TRAINING = {
  "step": COUNT,
  "record": {
    "best_f1": Number(-1, 1),
    "best_step": COUNT,
    "waiting_since": COUNT,
    "xi": Number(0, 1),
    "min_distance": Number(1, 10_000, whole=True),
    "finished": bool,
    "losses?": [Number()],
  },
}
"""Of a checkpoint that training goes on from, besides."""


LOGGED = {
  "step": COUNT,
  "loss?": Either((int, float, None)),
  "val_f1?": Number(0, 1),
}
"""A line of a run's log."""


DIVERGED = {"diverged": str}
"""The note of a run that is not tried again."""


DETECTED = {
  "image": str,
  "nuclei": COUNT,
  "nuclei_per_mm2": Either((Number(0), None)),
  "per": str,
  "files": [str],
  "written?": [str],
  "place?": str,
  "settings": Each(object),
}
"""The file of an image that was searched."""


ENDED = {
  "step": COUNT,
  "diverged": Either((str, None)),
  "device?": str,
  "program?": str,
  "seconds_per_step?": Number(0),
}
"""Of a run of a study that has ended."""


EVALUATED = {
  "organ": str,
  "by_patient": Each([Number(0)]),
  "images": COUNT,
  "f1_12px": Either((Number(0, 1), None)),
  "f1_chance": Either((Number(0, 1), None)),
  "xi": Either((Number(0, 1), None)),
  "min_distance": COUNT,
  "step": COUNT,
  "curve": Each([Number(0, 1)]),
  "example": [object],
  "diverged": str,
}
"""Of a checkpoint of a study's run on the test part of an organ."""


TIMES = Each(Each(Number(0)))
"""Seconds of a step, by device and program."""


def read_stored(path: pathlib.Path, schema: Any) -> dict[str, Any] | None:
  """What a JSON file holds; None if there is no such file.

  Raises:
    InputError: it cannot be read, or does not hold what the schema says.
  """
  values = read_json(path)
  return None if values is None else check_stored(values, schema, str(path))


def read_log(path: pathlib.Path) -> list[dict[str, Any]]:
  """The records of a log, oldest first.

  Lines that are none are left out, and counted in a note; but for a last one that was
  cut short, as a run that is killed leaves it.

  Raises:
    InputError: it cannot be read.
  """
  try:
    text = path.read_bytes().decode(errors="replace") if path.exists() else ""
  except OSError as error:
    raise InputError(f"{path} cannot be read ({error.strerror})") from error
  records, bad = [], []
  for number, line in enumerate(text.split("\n"), start=1):
    try:
      records.append(check_stored(json.loads(line), LOGGED, f"{path}, line {number}"))
    except (ValueError, RecursionError):
      bad.append(number)
  last = text.count("\n") + 1
  if lines := [number for number in bad if number != last]:
    log.warning(
      "%s: %d line(s) are no records and are left out, first line %d",
      *(path, len(lines), lines[0]),
    )
  return records


def check_stored(values: Any, schema: Any, where: str) -> Any:
  """Makes sure that values of JSON are what a schema says.

  Args:
    values: as `json` gives them.
    schema: a type, `Number`, `Either` or `Each`; a list of one schema; or a dict of
      schemas by name, where "name?" may lack, and other names are not looked at.
    where: they are from; begins the message.

  Returns:
    `values`.

  Raises:
    InputError: naming the first field that is wrong, and what would be right.
  """
  fault = _fault(values, schema, "")
  if fault:
    raise InputError(f"{where} {fault}; it is damaged, or was changed")
  return values


def _fault(value: Any, schema: Any, name: str) -> str:
  """What is wrong, or ""."""
  if isinstance(schema, Either):
    if any(not _fault(value, each, name) for each in schema.schemas):
      return ""
  elif isinstance(schema, Mapping | Each):
    if isinstance(value, Mapping):
      return _fault_of_fields(value, schema, name)
  elif isinstance(schema, list):
    if isinstance(value, list | tuple):
      faults = (_fault(e, schema[0], f"{name}[{i}]") for i, e in enumerate(value))
      return next(filter(None, faults), "")
  elif isinstance(schema, Number):
    number = isinstance(value, int if schema.whole else int | float)
    # Written so that NaN fails, and a whole number of any length does not.
    if (
      number
      and not isinstance(value, bool)
      and schema.low <= value <= schema.high
      and value not in (math.inf, -math.inf)
    ):
      return ""
  elif schema is None:
    if value is None:
      return ""
  elif isinstance(value, schema):
    return ""
  shown = repr(value)
  shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
  return f"has {name or 'no object'} = {shown}, where {_wanted(schema)} is needed"


def _fault_of_fields(
  value: Mapping[str, Any], schema: Mapping[str, Any] | Each, name: str
) -> str:
  if isinstance(schema, Each):
    schema = {f"{key}?": schema.schema for key in value}
  for field, inner in schema.items():
    key = field.removesuffix("?")
    path = f"{name}.{key}" if name else key
    if key in value:
      fault = _fault(value[key], inner, path)
      if fault:
        return fault
    elif key == field:
      return f"lacks {path}"
  return ""


def _wanted(schema: Any) -> str:
  if isinstance(schema, Either):
    return " or ".join(_wanted(each) for each in schema.schemas)
  if isinstance(schema, Mapping | Each):
    return "an object"
  if isinstance(schema, list):
    return "a list"
  if isinstance(schema, Number):
    text = "a whole number" if schema.whole else "a number"
    if schema.low > -math.inf:
      text += f" from {schema.low:g}"
    return text + (f" to {schema.high:g}" if schema.high < math.inf else "")
  words = {str: "text", bool: "true or false", int: "a number", float: "a number"}
  return "null" if schema is None else words.get(schema, "something")
