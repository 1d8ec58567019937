"""The files of points after detection: CSV, Parquet, and GeoJSON for QuPath.

Centres come as chunks, so that a slide with ten million nuclei needs no more memory
than one with ten. Every file is whole or not there. Called by `predict.outputs` and
`Detections`.
"""

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

import numpy as np

from micronet_jax.errors import InputError, how_to_install
from micronet_jax.figures import NUCLEUS_COLOR
from micronet_jax.files import replacing

Chunks = Iterable[tuple[np.ndarray, np.ndarray]]
"""Centres `[N, 2]` (y, x) in the image's own pixels, and scores `[N]`, again and
again; (0, 0) is the centre of the top-left pixel."""


GEOJSON_OBJECTS = 100_000
"""The most nuclei that are objects of their own in GeoJSON, and the most points in
one annotation beyond that."""


_SLICE = 10_000  # rows that are text at one time


_ROW_GROUP = 250_000  # rows of Parquet that are packed, and read, together


_CORNER = 0.5  # where QuPath has the centre of the top-left pixel


_NAMESPACE = uuid.UUID("6d1cf3c5-9a3e-5b0e-8a2f-1f0f5d7a9c11")  # of our nuclei


_CLASS = f'"classification":{{"name":"Nucleus","color":{list(NUCLEUS_COLOR)}}}'


def write_csv(path: str | os.PathLike[str], chunks: Chunks) -> None:
  """Writes a table with the header x,y,score, in the order of the chunks.

  Args:
    path: the file; its folder is made if missing. A folder data set reads it back.
    chunks: the nuclei. x and y get 2 decimals, (0, 0) being the centre of the
      top-left pixel, and the score 4.

  Raises:
    InputError: `path` cannot be written, or a chunk is not made of finite numbers.
  """
  with replacing(path) as beside, beside.open("w", newline="\n") as file:
    file.write("x,y,score\n")
    for _, rows in _slices(path, chunks):
      file.write("%.2f,%.2f,%.4f\n" * len(rows) % tuple(rows.ravel().tolist()))


def write_parquet(
  path: str | os.PathLike[str], chunks: Chunks, *, about: Mapping[str, str]
) -> None:
  """Writes the same table as Parquet, for very many nuclei.

  Args:
    path: the file; its folder is made if missing.
    chunks: the nuclei. x and y have 2 decimals and the score 4, as in CSV, and all are
      float32, which holds x and y to 0.01 up to 100,000 pixels.
    about: what is said of the table in its schema.

  Raises:
    InputError: `path` cannot be written, a chunk is not made of finite numbers, or
      PyArrow is not installed.
  """
  try:
    import pyarrow
    from pyarrow import parquet
  except ImportError as error:
    raise InputError(
      f"Parquet needs PyArrow, which is not installed: {how_to_install('parquet')}"
    ) from error
  fields = [(name, pyarrow.float32()) for name in ("x", "y", "score")]
  schema = pyarrow.schema(fields, metadata=dict(about))
  options = {"compression": "zstd", "use_dictionary": False}
  with (
    replacing(path) as beside,
    beside.open("wb") as file,
    parquet.ParquetWriter(
      file, schema, use_byte_stream_split=True, **options
    ) as writer,
  ):
    for rows in _groups(path, chunks):
      columns = [*rows.T.astype(np.float32, order="C")]
      writer.write_table(pyarrow.table(columns, schema=schema))


def _groups(path: str | os.PathLike[str], chunks: Chunks) -> Iterator[np.ndarray]:
  """Rows `[n, 3]` of x, y, score, many at once, which Parquet packs better."""
  held: list[np.ndarray] = []
  for _, rows in _slices(path, chunks):
    held.append(rows)
    if sum(map(len, held)) >= _ROW_GROUP:
      yield np.concatenate(held)
      held = []
  if held:
    yield np.concatenate(held)


def write_geojson(
  path: str | os.PathLike[str],
  chunks: Chunks,
  *,
  count: int,
  origin: tuple[int, int] = (0, 0),
) -> None:
  """Writes objects that QuPath imports (File, Import objects), class "Nucleus".

  Up to 100,000 nuclei, each is a detection: a point, with its score as measurement
  (which QuPath reads since 0.4; 0.3 reads the points alone). More would make QuPath
  slow, so beyond that they are point annotations of at most 100,000 nuclei each, in
  the order of the chunks and WITHOUT scores; those are in the CSV file.

  QuPath has (0, 0) at the corner of the top-left pixel that it shows; so has this
  file. Equal chunks give equal files: ids are made from number and place.

  Args:
    path: the file, which should end in .geojson; its folder is made if missing.
    chunks: the nuclei.
    count: how many they are, >= 0, since the form depends on it.
    origin: (x, y) in the image of the first pixel that QuPath shows, `Reader.origin`.

  Raises:
    InputError: `path` cannot be written, a chunk is not made of finite numbers, or
      there are not `count` nuclei.
  """
  write = _write_detections if count <= GEOJSON_OBJECTS else _write_annotations
  with replacing(path) as beside, beside.open("w", newline="\n") as file:
    file.write('{"type":"FeatureCollection","features":[')
    found = write(file, _moved(_slices(path, chunks), origin), count)
    if found != count:
      raise InputError(f"{path}: expected {count} nuclei, but the chunks hold {found}.")
    file.write("\n]}\n")


def _moved(
  slices: Iterator[tuple[int, np.ndarray]], origin: tuple[int, int]
) -> Iterator[tuple[int, np.ndarray]]:
  """Slices in QuPath's frame."""
  for first, rows in slices:
    rows[:, :2] += _CORNER - np.array(origin)
    yield first, rows


def _write_detections(
  file: IO[str], slices: Iterator[tuple[int, np.ndarray]], _: int
) -> int:
  end = 0
  for first, rows in slices:
    lines = []
    for number, (x, y, score) in enumerate(rows.tolist(), first):
      place = f"{x:.2f},{y:.2f}"
      lines.append(
        f'\n{{"type":"Feature","id":"{_id(number, place)}","geometry":'
        f'{{"type":"Point","coordinates":[{place}]}},"properties":'
        f'{{"objectType":"detection",{_CLASS},"measurements":{{"score":{score:.4f}}}}}}}'
      )
    file.write(("," if first else "") + ",".join(lines))
    end = first + len(rows)
  return end


def _write_annotations(
  file: IO[str], slices: Iterator[tuple[int, np.ndarray]], count: int
) -> int:
  end = 0
  for first, rows in slices:
    places = rows[:, :2].ravel().tolist()
    points = ",".join(["[%.2f,%.2f]"] * len(rows)) % tuple(places)
    if first % GEOJSON_OBJECTS == 0:  # slices never go across
      name = f"nuclei {first + 1} to {min(first + GEOJSON_OBJECTS, count)}"
      file.write(
        ("]}}," if first else "")
        + f'\n{{"type":"Feature","id":"{_id(first, points)}","properties":'
        f'{{"objectType":"annotation","name":"{name}",{_CLASS}}},"geometry":'
        '{"type":"MultiPoint","coordinates":['
      )
    else:
      file.write(",")
    file.write(points)
    end = first + len(rows)
  if end:
    file.write("]}}")
  return end


def _id(number: int, places: str) -> uuid.UUID:
  return uuid.uuid5(_NAMESPACE, f"{number} {places}")


def _slices(
  path: str | os.PathLike[str], chunks: Chunks
) -> Iterator[tuple[int, np.ndarray]]:
  """Cuts chunks into slices that have few rows and do not go across annotations.

  Yields:
    The number of the first nucleus, and float64 `[n, 3]` of x, y, score, 0 < n; x and
    y rounded, so that -0.001 is not written as -0.00.
  """
  number = 0
  for centers, scores in chunks:
    _check_chunk(path, number, centers, scores)
    start = 0
    while start < len(centers):
      room = GEOJSON_OBJECTS - number % GEOJSON_OBJECTS
      part = slice(start, start + min(_SLICE, room))
      rows = np.empty((len(scores[part]), 3))
      rows[:, :2] = centers[part, ::-1]
      rows[:, 2] = scores[part]
      if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise InputError(
          f"{path}: nucleus {number + bad + 1} has x, y, score"
          f" {', '.join(map(str, rows[bad]))}, where finite numbers are needed."
        )
      yield number, _rounded(rows)
      start += len(rows)
      number += len(rows)


def _rounded(rows: np.ndarray) -> np.ndarray:
  return np.stack([*np.round(rows[:, :2].T, 2), np.round(rows[:, 2], 4)], 1) + 0.0


def _check_chunk(
  path: str | os.PathLike[str], number: int, centers: np.ndarray, scores: np.ndarray
) -> None:
  expected = (len(scores), 2) if scores.ndim == 1 else None
  if centers.shape != expected:
    raise InputError(
      f"{path}: from nucleus {number + 1} on, centres of shape {centers.shape} and"
      f" scores of shape {scores.shape} were given, where [N, 2] and [N] are needed."
    )
