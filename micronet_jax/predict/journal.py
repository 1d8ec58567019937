"""What a search has found so far, on disk: bounded memory, and a place to resume.

A folder holds `settings.json`, all that determines the points; `points.bin`, the points
as they come; and `tiles.jsonl`, a line for each finished tile with the number of points
there are after it and the checksum of its own. Points are written before their tile's
line. When the journal is opened again, what follows the last whole line is cut off, as
is what a power cut left of points that never reached the disk. Several processes that
search one image have a journal each, and who writes the results takes all of them over.
Called by `predict.image`.
"""

import contextlib
import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from micronet_jax.errors import InputError
from micronet_jax.locks import locked

POINT = np.dtype([("y", "<f8"), ("x", "<f8"), ("score", "<f4")])


CHUNK = 100_000
"""Points handed on at once."""


SORTED = 1_000_000
"""Points that are put in order at once."""


class CannotWrite(InputError):
  """The journal's folder cannot be written; what it holds stays."""


class Journal:
  """The points of one image; a context manager.

  Attributes:
    done: indices of the finished tiles.
    count: points written.
  """

  def __init__(self, folder: pathlib.Path, settings: Mapping[str, Any]):
    """Opens a journal; one of other settings is begun anew.

    Args:
      folder: of the journal, made if it is not there.
      settings: what determines the points, as JSON.

    Raises:
      CannotWrite: the folder cannot be written.
      InputError: another process is writing it.
    """
    self.folder = folder
    self.done: set[int] = set()
    self.count = 0
    self._decisive: list[np.ndarray] = []
    self._text = json.dumps(dict(settings), sort_keys=True)
    try:
      folder.mkdir(parents=True, exist_ok=True)
      with contextlib.ExitStack() as stack:
        stack.enter_context(locked(folder))
        self._points, self._tiles = (
          stack.enter_context((folder / name).open("ab"))
          for name in ("points.bin", "tiles.jsonl")
        )
        # Only cut, never written again: a full disk or a kill here loses nothing.
        self._tiles.truncate(self._resume())
        self._points.truncate(self.count * POINT.itemsize)
        if not self.done:
          (folder / "settings.json").write_text(self._text)
        self._open = stack.pop_all()
    except OSError as error:
      with contextlib.suppress(OSError):
        if sum(each.stat().st_size for each in folder.glob("tiles.jsonl")) == 0:
          shutil.rmtree(folder, ignore_errors=True)  # nothing is lost
      raise self._cannot_write(error) from error

  def _resume(self) -> int:
    """Counts what an interrupted search of the same settings left as done.

    Returns:
      The bytes of `tiles.jsonl` that are lines of finished tiles.
    """
    whole = 0
    for line, entry, _ in _finished(self.folder, self._text):
      whole += len(line)
      self._note(entry)
    return whole

  def _note(self, entry: Mapping[str, Any]) -> None:
    """Counts a tile that is on disk."""
    self.done.add(int(entry["tile"]))
    self.count = int(entry["count"])
    self._decisive.append(np.asarray(entry["decisive"], np.float32).reshape(-1))

  @property
  def decisive(self) -> np.ndarray:
    """The scores of all tiles that the threshold follows from, float32 `[M]`."""
    return np.concatenate([np.zeros(0, np.float32), *self._decisive])

  def __enter__(self) -> "Journal":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def close(self) -> None:
    """Closes the files; what could not be written is reported by `add`."""
    for file in (self._points, self._tiles):
      with contextlib.suppress(OSError):  # a full disk, again
        file.close()
    self._open.close()

  def add(
    self, tile: int, centers: np.ndarray, scores: np.ndarray, decisive: np.ndarray
  ) -> None:
    """Writes one tile's points.

    Args:
      tile: its index.
      centers: `[N, 2]` (y, x).
      scores: `[N]`.
      decisive: `[M]`, of the tile's scores those that the threshold follows from.

    Raises:
      CannotWrite: they cannot be written; the tiles before stay.
    """
    points = np.empty(len(scores), POINT)
    points["y"], points["x"], points["score"] = centers[:, 0], centers[:, 1], scores
    self._append({"tile": tile, "decisive": decisive.tolist()}, points.tobytes())

  def _append(self, entry: Mapping[str, Any], points: bytes) -> None:
    count = self.count + len(points) // POINT.itemsize
    entry = {**entry, "count": count, "crc": zlib.crc32(points)}
    try:
      self._points.write(points)
      self._points.flush()
      self._tiles.write(json.dumps(entry).encode() + b"\n")
      self._tiles.flush()
    except OSError as error:
      raise self._cannot_write(error) from error
    self._note(entry)

  def take_over(self, folders: Iterable[pathlib.Path]) -> None:
    """Adds the tiles that journals of the same settings hold, each once.

    Args:
      folders: of the journals, in the order of the image.

    Raises:
      CannotWrite: as `add` raises it.
    """
    for folder in folders:
      for _, entry, points in _finished(folder, self._text):
        if int(entry["tile"]) not in self.done:
          self._append(entry, points)

  def chunks(self, *, lowest: float = 0.0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reads the points back from top to bottom and left to right.

    So their order is that of the image, not that of the tiles; what counts is a centre
    rounded to 0.01 pixels, as it is written. Only `SORTED` points are in memory; those
    of a stretch of the file are read again for each band of rows that they lie in,
    which are few, since tiles came row by row.

    Args:
      lowest: scores below are left out.

    Yields:
      centers float64 `[N, 2]` (y, x) and scores float32 `[N]`, N <= 100,000.

    Raises:
      InputError: the file was cut meanwhile, by another program.
    """
    bands, ends = self._survey()
    for first, end in bands:
      parts = []
      near = np.flatnonzero((ends[:, 0] < end) & (ends[:, 1] >= first))
      for points in self._stored(near.tolist()):
        rows = _row(points)
        kept = (rows >= first) & (rows < end) & (points["score"] >= np.float32(lowest))
        parts.append(points[kept])
      band = np.concatenate(parts)
      band = band[np.lexsort([np.round(band[axis], 2) for axis in ("x", "y")])]
      for start in range(0, len(band), CHUNK):
        points = band[start : start + CHUNK]
        yield np.stack([points["y"], points["x"]], -1), points["score"]

  def _survey(self) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Goes through the points once.

    Returns:
      Bands of the image's rows, from and to, with up to `SORTED` points, or one row;
      and int64 `[stretches, 2]`, the first and last row of each stretch of the file.
    """
    stretches = range(-(-self.count // CHUNK))
    ends = np.zeros((len(stretches), 2), np.int64)
    held = np.zeros(1, np.int64)
    for number, points in enumerate(self._stored(stretches)):
      rows = _row(points)
      ends[number] = rows.min(), rows.max()
      more = np.bincount(rows)
      held = np.pad(held, (0, max(0, len(more) - len(held))))
      held[: len(more)] += more
    bands: list[tuple[int, int]] = []
    first = count = 0
    for row in np.flatnonzero(held).tolist():
      if count and count + held[row] > SORTED:
        bands.append((first, row))
        first, count = row, 0
      count += held[row]
    if count:
      bands.append((first, len(held)))
    return bands, ends

  def _stored(self, stretches: Iterable[int]) -> Iterator[np.ndarray]:
    """The points of stretches of `CHUNK` of the file, in the order they came."""
    with (self.folder / "points.bin").open("rb") as file:
      for number in stretches:
        start = number * CHUNK
        file.seek(start * POINT.itemsize)
        points = np.fromfile(file, POINT, min(self.count - start, CHUNK))
        there = start + len(points)
        if there < min(self.count, start + CHUNK):
          lost = self.count - there
          raise InputError(f"{file.name} has lost {lost} of {self.count} points")
        yield points

  def remove(self) -> None:
    """Deletes the journal: its points are where they belong, or worth nothing."""
    self.close()
    shutil.rmtree(self.folder, ignore_errors=True)

  def _cannot_write(self, error: OSError) -> CannotWrite:
    kept = ""
    if self.done:
      kept = (
        f"; the {len(self.done)} tiles done so far are kept there, and the same "
        "command goes on with the next"
      )
    reason = (error.strerror or str(error)).lower()
    return CannotWrite(f"{self.folder} cannot be written ({reason}){kept}")


def _finished(
  folder: pathlib.Path, settings: str
) -> Iterator[tuple[bytes, dict[str, Any], bytes]]:
  """The finished tiles of a journal, as far as its points are there too.

  Yields:
    Each line of `tiles.jsonl`, what it says, and its tile's points as they were
    written; none of a journal of other settings.
  """
  with contextlib.ExitStack() as stack:
    try:
      if (folder / "settings.json").read_text() != settings:
        return
      lines, written = (
        stack.enter_context((folder / name).open("rb"))
        for name in ("tiles.jsonl", "points.bin")
      )
    except (FileNotFoundError, UnicodeDecodeError):
      return
    before, left = 0, os.fstat(written.fileno()).st_size
    for line in lines:
      try:
        entry = json.loads(line)
        count, crc = int(entry["count"]), int(entry["crc"])
        _ = int(entry["tile"]), np.asarray(entry["decisive"], np.float32)
        size = max(0, count - before) * POINT.itemsize
        points = written.read(min(size, left))
      except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return
      there = len(points) == size and zlib.crc32(points) == crc
      if not (there and before <= count and line.endswith(b"\n")):
        return
      before, left = count, left - size
      yield line, entry, points


def finished_tiles(
  folders: Iterable[pathlib.Path], settings: Mapping[str, Any]
) -> set[int]:
  """The tiles that any of several journals of these settings holds, here or elsewhere.

  Args:
    folders: of journals, which need not be there, and which others may be writing.
    settings: as `Journal` takes them.
  """
  text = json.dumps(dict(settings), sort_keys=True)
  found = (entry for folder in folders for _, entry, _ in _finished(folder, text))
  return {int(entry["tile"]) for entry in found}


def remove_left(folder: pathlib.Path) -> None:
  """Removes a journal whose process was killed when all was written.

  One that another process works in stays.
  """
  if folder.is_dir():
    with contextlib.suppress(InputError), locked(folder):
      shutil.rmtree(folder, ignore_errors=True)


def _row(points: np.ndarray) -> np.ndarray:
  """The row of the image that each point is written in, from 0 on; int64 `[N]`."""
  return np.maximum(np.round(points["y"], 2) + 1, 0).astype(np.int64)
