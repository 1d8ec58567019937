"""Annotation files that hold the centres themselves: CSV and MATLAB.

Called by `annotations.read_centers`.
"""

import pathlib

import numpy as np
import scipy.io

from micronet_jax.datasets.annotations import tables
from micronet_jax.datasets.annotations.mark import Mark
from micronet_jax.errors import InputError


def read_csv(path: pathlib.Path) -> list[Mark]:
  """Reads the columns x and y; (0, 0) is the centre of the top-left pixel.

  Args:
    path: a CSV file with a header; more columns may stand in it, and no lines.

  Returns:
    One mark a line.

  Raises:
    InputError: no table, a column is missing, or a value is no finite number.
  """
  return [
    Mark(
      y=tables.number(path, line, "y", row["y"]),
      x=tables.number(path, line, "x", row["x"]),
      place=f"line {line}",
    )
    for line, row in tables.read_table(path, ("x", "y"))
  ]


def read_mat(path: pathlib.Path) -> list[Mark]:
  """Reads the array `detection` of a MATLAB file, in MATLAB's 1-based x, y.

  Args:
    path: a MATLAB file up to version 7, as CRCHistoPhenotypes has them.

  Returns:
    One mark a row, with (0, 0) the centre of the top-left pixel.

  Raises:
    InputError: the file cannot be read or has no such array of two columns.
  """
  try:
    found = scipy.io.loadmat(path, variable_names=["detection"])["detection"]
    rows = np.asarray(found, np.float64)
  except Exception as error:  # scipy raises anything on broken bytes
    raise InputError(
      f"{path} cannot be read as a MATLAB file (version 7 or older) with a numeric"
      " array named detection."
    ) from error
  if rows.size == 0:
    return []
  if rows.ndim != 2 or rows.shape[1] != 2:
    raise InputError(
      f"{path}: the array detection must have two columns, x and y, but its shape is"
      f" {rows.shape}."
    )
  return [
    Mark(y=y - 1, x=x - 1, place=f"row {number}")
    for number, (x, y) in enumerate(rows.tolist(), start=1)
  ]
