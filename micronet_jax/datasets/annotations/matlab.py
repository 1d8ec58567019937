"""Annotation files of MATLAB, read without trusting a byte of them.

scipy's reader, which is compiled, crashes the process on some broken files. This one
knows only what holds points: one numeric matrix, of the formats 4 and 5 (which MATLAB
calls versions 4 to 7). Called by `annotations.read_centers`.
"""

import pathlib
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from micronet_jax.datasets.annotations.mark import Mark, Reading, Subject
from micronet_jax.errors import InputError

_NAME = "detection"
_HEADER = 128  # bytes
_LARGEST = 1 << 28  # bytes of an array

# Kinds of data elements.
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_TYPES = {
  1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
  13: "u8",
}  # fmt: skip
_NUMERIC_CLASSES = range(6, 16)  # of arrays: double, single, whole numbers
_COMPLEX = 0x08
_OLD_TYPES = "f8", "f4", "i4", "i2", "u2", "u1"


class _Element(NamedTuple):
  kind: int
  data: bytes


def read_mat(path: pathlib.Path, _: Subject) -> Reading:
  """Reads the array `detection` of a MATLAB file, in MATLAB's 1-based x, y.

  Args:
    path: a MATLAB file up to version 7, as CRCHistoPhenotypes has them.
    _: the image, of which these files need nothing.

  Returns:
    One mark a row, with (0, 0) the centre of the top-left pixel.

  Raises:
    InputError: the file cannot be read or has no such array of two columns.
  """
  try:
    rows = _array(path.read_bytes())
  except (OSError, ValueError, OverflowError, struct.error, zlib.error) as error:
    raise InputError(
      f"{path} cannot be read as a MATLAB file (version 7 or older) with a numeric"
      f" array named {_NAME} ({getattr(error, 'strerror', None) or error})."
    ) from error
  if rows.size and (rows.ndim != 2 or rows.shape[1] != 2):
    raise InputError(
      f"{path}: the array {_NAME} must have two columns, x and y, but its shape is"
      f" {rows.shape}."
    )
  return Reading(
    [
      Mark(y=y - 1, x=x - 1, place=f"row {number}")
      for number, (x, y) in enumerate(rows.reshape(-1, 2).tolist(), start=1)
    ]
  )


def _array(content: bytes) -> np.ndarray:
  """The array of our name, float64."""
  mark = content[_HEADER - 2 : _HEADER]
  if mark in (b"IM", b"MI"):
    order = "<" if mark == b"IM" else ">"
    arrays = _new_arrays(content, order)
  else:
    arrays = _old_arrays(content)
  for name, array in arrays:
    if name == _NAME:
      if array is None:
        raise ValueError("the array is not of real numbers")
      return array
  raise ValueError("there is no such array")


def _new_arrays(content: bytes, order: str) -> Iterator[tuple[str, np.ndarray | None]]:
  """Names and values, None for what is no matrix of numbers, of format 5."""
  for element in _elements(content[_HEADER:], order):
    if element.kind == _COMPRESSED:
      unpacker = zlib.decompressobj()
      data = unpacker.decompress(element.data, _LARGEST)
      if unpacker.unconsumed_tail:
        raise ValueError("an array is too large")
      element = next(_elements(data, order), element)
    if element.kind == _MATRIX:
      yield _matrix(element.data, order)


def _elements(content: bytes, order: str) -> Iterator[_Element]:
  """Data elements one after the other; a cut one ends in a ValueError."""
  at = 0
  while at + 8 <= len(content):
    kind, size = struct.unpack_from(f"{order}II", content, at)
    if kind >> 16:  # small: four bytes of data within the tag
      kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, 8
      if size > 4:
        raise ValueError("a damaged element")
    else:
      start = at + 8
      padded = size if kind == _COMPRESSED else -(-size // 8) * 8
      step = 8 + padded
    if start + size > len(content):
      raise ValueError("the file is cut short, or damaged")
    yield _Element(kind, content[start : start + size])
    at += step


def _matrix(content: bytes, order: str) -> tuple[str, np.ndarray | None]:
  elements = _elements(content, order)
  flags, sizes, name = (next(elements, _Element(0, b"")) for _ in range(3))
  if flags.kind != _UINT32 or len(flags.data) < 8 or sizes.kind != _INT32:
    return "", None  # an object of a kind that holds no numbers
  label = name.data.decode("latin-1") if name.kind == _INT8 else ""
  (word,) = struct.unpack_from(f"{order}I", flags.data)
  if label != _NAME:
    return label, None
  if word & 0xFF not in _NUMERIC_CLASSES or (word >> 8) & _COMPLEX:
    return label, None
  shape = np.frombuffer(sizes.data, f"{order}i4").tolist()
  values = next(elements, _Element(0, b""))
  if values.kind not in _TYPES:
    raise ValueError("values of an unknown type")
  return label, _shaped(values.data, order + _TYPES[values.kind], shape)


def _old_arrays(content: bytes) -> Iterator[tuple[str, np.ndarray | None]]:
  """The same of format 4, whose headers are five numbers and a name."""
  at = 0
  while at + 20 <= len(content):
    little, big = (struct.unpack_from(f"{o}I", content, at)[0] for o in "<>")
    order = "<" if little < 5000 else ">"
    code = min(little, big)
    kind, kind_of_array = code // 10 % 10, code % 10
    rows, columns, imaginary, length = struct.unpack_from(
      f"{order}iiii", content, at + 4
    )
    if code >= 5000 or kind >= len(_OLD_TYPES) or kind_of_array > 2:
      raise ValueError("it is none")
    if min(rows, columns) < 0 or not 0 < length <= 64:
      raise ValueError("a damaged array")
    dtype = order + _OLD_TYPES[kind]
    start = at + 20 + length
    size = rows * columns * np.dtype(dtype).itemsize
    name = content[at + 20 : start].rstrip(b"\0").decode("latin-1")
    usable = kind_of_array == 0 and not imaginary
    data = content[start : start + size]
    wanted = usable and name == _NAME
    yield name, _shaped(data, dtype, [rows, columns]) if wanted else None
    at = start + size * (2 if imaginary else 1)


def _shaped(data: bytes, dtype: str, shape: list[int]) -> np.ndarray:
  """Values by columns, as MATLAB stores them, as float64."""
  values = np.frombuffer(data, dtype).astype(np.float64)
  if min(shape, default=-1) < 0 or np.prod(shape, dtype=object) != values.size:
    raise ValueError("the array is cut short, or damaged")
  return values.reshape(shape, order="F")
