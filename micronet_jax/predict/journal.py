"""What a search has found so far, on disk: bounded memory, and a place to resume.

A folder holds `settings.json`, all that determines the points; `points.bin`, the points
as they come; and `tiles.jsonl`, a line for each finished tile with the number of points
there are after it. Points are written before their tile's line, and what follows the
last whole line is cut off when the journal is opened again. Called by `predict.job`.
"""

import contextlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
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
    decisive: float32 `[M]`, the scores of all tiles that the threshold follows from.
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
    self.decisive = np.zeros(0, np.float32)
    text = json.dumps(dict(settings), sort_keys=True)
    try:
      folder.mkdir(parents=True, exist_ok=True)
      with contextlib.ExitStack() as stack:
        stack.enter_context(locked(folder))
        self._points, self._tiles = (
          stack.enter_context((folder / name).open("ab"))
          for name in ("points.bin", "tiles.jsonl")
        )
        # Only cut, never written again: a full disk or a kill here loses nothing.
        self._tiles.truncate(self._resume(text))
        self._points.truncate(self.count * POINT.itemsize)
        if not self.done:
          (folder / "settings.json").write_text(text)
        self._open = stack.pop_all()
    except OSError as error:
      with contextlib.suppress(OSError):
        if sum(each.stat().st_size for each in folder.glob("tiles.jsonl")) == 0:
          shutil.rmtree(folder, ignore_errors=True)  # nothing is lost
      raise self._cannot_write(error) from error

  def _resume(self, settings: str) -> int:
    """Reads what an interrupted search of the same settings left.

    Returns:
      The bytes of `tiles.jsonl` that are lines of finished tiles.
    """
    try:
      if (self.folder / "settings.json").read_text() != settings:
        return 0
    except (FileNotFoundError, UnicodeDecodeError):
      return 0
    size = (self.folder / "points.bin").stat().st_size
    whole = 0
    parts = [self.decisive]
    for line in (self.folder / "tiles.jsonl").read_bytes().splitlines(keepends=True):
      try:
        entry = json.loads(line)
        tile, count = int(entry["tile"]), int(entry["count"])
        decisive = np.asarray(entry["decisive"], np.float32).reshape(-1)
      except (ValueError, LookupError, TypeError):
        break
      if not line.endswith(b"\n") or count * POINT.itemsize > size:
        break
      whole += len(line)
      self.done.add(tile)
      self.count = count
      parts.append(decisive)
    self.decisive = np.concatenate(parts)
    return whole

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
    entry = {"tile": tile, "count": self.count + len(scores)}
    line = json.dumps({**entry, "decisive": decisive.tolist()})
    try:
      self._points.write(points.tobytes())
      self._points.flush()
      self._tiles.write(line.encode() + b"\n")
      self._tiles.flush()
    except OSError as error:
      raise self._cannot_write(error) from error
    self.done.add(tile)
    self.count += len(scores)
    self.decisive = np.concatenate([self.decisive, decisive])

  def chunks(self, *, lowest: float = 0.0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reads the points back from top to bottom and left to right.

    So their order is that of the image, not that of the tiles; what counts is a centre
    rounded to 0.01 pixels, as it is written. Many points are read several times over,
    so that only `SORTED` are in memory.

    Args:
      lowest: scores below are left out.

    Yields:
      centers float64 `[N, 2]` (y, x) and scores float32 `[N]`, N <= 100,000.

    Raises:
      InputError: the file was cut meanwhile, by another program.
    """
    for first, end in self._bands():
      parts = []
      for points in self._stored():
        rows = _row(points)
        kept = (rows >= first) & (rows < end) & (points["score"] >= np.float32(lowest))
        parts.append(points[kept])
      band = np.concatenate(parts)
      band = band[np.lexsort([np.round(band[axis], 2) for axis in ("x", "y")])]
      for start in range(0, len(band), CHUNK):
        points = band[start : start + CHUNK]
        yield np.stack([points["y"], points["x"]], -1), points["score"]

  def _bands(self) -> Iterator[tuple[int, int]]:
    """Rows of the image, from and to, with up to `SORTED` points, or one row."""
    held = np.zeros(1, np.int64)
    for points in self._stored():
      more = np.bincount(_row(points))
      held = np.pad(held, (0, max(0, len(more) - len(held))))
      held[: len(more)] += more
    first = count = 0
    for row in np.flatnonzero(held).tolist():
      if count and count + held[row] > SORTED:
        yield first, row
        first, count = row, 0
      count += held[row]
    if count:
      yield first, len(held)

  def _stored(self) -> Iterator[np.ndarray]:
    """The points in the order they came."""
    with (self.folder / "points.bin").open("rb") as file:
      left = self.count
      while left:
        points = np.fromfile(file, POINT, min(left, CHUNK))
        if not len(points):
          raise InputError(f"{file.name} has lost {left} of {self.count} points")
        left -= len(points)
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
