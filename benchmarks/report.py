"""What every benchmark prints and writes: a table, and JSON with the machine."""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax


def arguments(doc: str, *, repeats: int) -> argparse.ArgumentParser:
  """The options that all benchmarks share: --repeats, --quick and --json.

  Args:
    doc: the docstring of the script; its first line says what is measured.
    repeats: the default.
  """
  parser = argparse.ArgumentParser(description=doc.split("\n")[0])
  parser.add_argument("--repeats", type=int, default=repeats, help="timed rounds")
  parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
  parser.add_argument("--json", default="", help="file for the numbers")
  return parser


def print_machine() -> None:
  """Prints the machine in one line, and in another that there is no GPU, if so."""
  about = machine()
  print(machine_line(about))
  if about["platform"] == "cpu":
    print("no GPU here: all numbers are of the CPU")
  print(flush=True)


def machine_line(about: Mapping[str, Any]) -> str:
  """What `machine` says, in one line."""
  packages = (name for name in ("jax", "flax", "numpy", "torch") if name in about)
  versions = ", ".join(f"{name} {about[name]}" for name in packages)
  return (
    f"{about['devices']} x {about['device']} ({about['platform']}); "
    f"{about['cores']} cores, {about['processor']}; Python {about['python']}, "
    f"{versions}"
  )


def machine() -> dict[str, Any]:
  """Device and versions, for a table's heading."""
  packages = ("jax", "flax", "numpy", "scipy", "scikit-image", "tifffile", "torch")
  versions = {}
  for package in packages:
    try:
      versions[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  return {
    "device": jax.devices()[0].device_kind,
    "platform": jax.default_backend(),
    "devices": jax.device_count(),
    "processor": _processor(),
    "cores": os.cpu_count(),
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


def print_table(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
  """Prints rows as Markdown, each as soon as it is there, and returns them.

  A row has the columns of the first one; what it lacks is "-".
  """
  columns: list[str] = []
  printed = []
  for row in rows:
    if not columns:
      columns = list(row)
      print("| " + " | ".join(columns) + " |")
      print("|" + "---|" * len(columns))
    cells = (str(row.get(column, "-")) for column in columns)
    print("| " + " | ".join(cells) + " |", flush=True)
    printed.append(row)
  return printed


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
  """A table with the columns of all rows; what a row lacks is "-"."""
  columns = list(dict.fromkeys(column for row in rows for column in row))
  lines = [columns, ["---"] * len(columns)]
  lines += [[str(row.get(column, "-")) for column in columns] for row in rows]
  return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def write_json(path: str, rows: Sequence[Mapping[str, Any]], **others: Any) -> None:
  """Writes machine, rows and anything else, if a path is given."""
  if path:
    content = {"machine": machine(), "rows": list(rows), **others}
    pathlib.Path(path).write_text(json.dumps(content, indent=2) + "\n")
