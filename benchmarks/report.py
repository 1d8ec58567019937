"""What every benchmark prints and writes: a table, and JSON with the machine."""

import importlib.metadata
import json
import pathlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax


def machine() -> dict[str, Any]:
  """Device and versions, for a table's heading."""
  packages = ("jax", "flax", "numpy", "tifffile", "torch")
  versions = {}
  for package in packages:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  return {
    "device": jax.devices()[0].device_kind,
    "devices": jax.device_count(),
    "processor": _processor(),
    "python": platform.python_version(),
    **versions,
  }


def _processor() -> str:
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return platform.processor()
  names = [
    line.split(":")[1].strip() for line in lines if line.startswith("model name")
  ]
  return f"{len(names)} x {names[0]}" if names else platform.processor()


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
  """Prints rows as Markdown, so that they can stand in RESULTS.md as they are."""
  columns = list(rows[0])
  print("| " + " | ".join(columns) + " |")
  print("|" + "---|" * len(columns))
  for row in rows:
    print("| " + " | ".join(str(row[column]) for column in columns) + " |", flush=True)


def write_json(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
  """Writes rows and machine, if a path is given."""
  if path:
    content = {"machine": machine(), "rows": list(rows)}
    pathlib.Path(path).write_text(json.dumps(content, indent=2) + "\n")
