"""What a search has found so far, on disk: bounded memory, and a place to resume.

A folder holds `settings.json`, all that determines the points; `points.bin`, the
points as they come; and `tiles.jsonl`, a line for each finished tile with the number
of points there are after it. Points are written before their tile's line, and what
follows the last whole line is cut off when the journal is opened again.
"""

import contextlib
import errno
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from micronet_jax.errors import InputError

POINT = np.dtype([("y", "<f8"), ("x", "<f8"), ("score", "<f4")])
CHUNK = 100_000
"""Points in memory at once."""


class CannotWrite(InputError):
  """The journal's folder cannot be written; what it holds stays."""


class Journal:
  """The points of one image; a context manager.

  Attributes:
    done: indices of the finished tiles.
    count: points written.
    best: the highest score that any tile reported.
  """

  def __init__(self, folder: pathlib.Path, settings: Mapping[str, Any]):
    """Opens a journal; one of other settings is begun anew.

    Args:
      folder: of the journal, made if it is not there.
      settings: what determines the points, as JSON.

    Raises:
      CannotWrite: the folder cannot be written.
    """
    self.folder = folder
    self.done: set[int] = set()
    self.count = 0
    self.best = 0.0
    text = json.dumps(dict(settings), sort_keys=True)
    try:
      if not self._resume(text):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "settings.json").write_text(text)
      self._points = (folder / "points.bin").open("ab")
      self._points.truncate(self.count * POINT.itemsize)
      self._tiles = (folder / "tiles.jsonl").open("a")
    except OSError as error:
      raise self._cannot_write(error) from error

  def _resume(self, settings: str) -> bool:
    """Reads what an interrupted search left, if it is of the same settings."""
    try:
      if (self.folder / "settings.json").read_text() != settings:
        return False
      size = (self.folder / "points.bin").stat().st_size
      lines = (self.folder / "tiles.jsonl").read_text().splitlines(keepends=True)
    except (OSError, UnicodeDecodeError):
      return False
    whole = []
    for line in lines:
      try:
        entry = json.loads(line)
      except ValueError:
        break
      if not line.endswith("\n") or entry["count"] * POINT.itemsize > size:
        break
      whole.append(line)
      self.done.add(entry["tile"])
      self.count = entry["count"]
      self.best = max(self.best, entry["best"])
    (self.folder / "tiles.jsonl").write_text("".join(whole))
    return True

  def __enter__(self) -> "Journal":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def close(self) -> None:
    """Closes the files; what could not be written is reported by `add`."""
    for file in (self._points, self._tiles):
      with contextlib.suppress(OSError):  # a full disk, again
        file.close()

  def add(
    self, tile: int, centers: np.ndarray, scores: np.ndarray, *, best: float
  ) -> None:
    """Writes one tile's points.

    Args:
      tile: its index.
      centers: `[N, 2]` (y, x).
      scores: `[N]`.
      best: the tile's highest score.

    Raises:
      CannotWrite: they cannot be written; the tiles before stay.
    """
    points = np.empty(len(scores), POINT)
    points["y"], points["x"], points["score"] = centers[:, 0], centers[:, 1], scores
    entry = {"tile": tile, "count": self.count + len(scores), "best": best}
    try:
      self._points.write(points.tobytes())
      self._points.flush()
      self._tiles.write(json.dumps(entry) + "\n")
      self._tiles.flush()
    except OSError as error:
      raise self._cannot_write(error) from error
    self.done.add(tile)
    self.count += len(scores)
    self.best = max(self.best, best)

  def chunks(self, *, lowest: float = 0.0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reads the points back, in the order they came.

    Args:
      lowest: scores below are left out.

    Yields:
      centers float64 `[N, 2]` (y, x) and scores float32 `[N]`, N <= 100,000.
    """
    with (self.folder / "points.bin").open("rb") as file:
      left = self.count
      while left:
        points = np.fromfile(file, POINT, min(left, CHUNK))
        left -= len(points)
        points = points[points["score"] >= np.float32(lowest)]
        yield np.stack([points["y"], points["x"]], -1), points["score"]

  def remove(self) -> None:
    """Deletes the journal: its points are where they belong."""
    self.close()
    shutil.rmtree(self.folder, ignore_errors=True)

  def _cannot_write(self, error: OSError) -> CannotWrite:
    kept = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and self.done:
      kept = (
        f"; the {len(self.done)} tiles done so far are kept there, and the same "
        "command goes on with the next"
      )
    reason = os.strerror(error.errno) if error.errno else str(error)
    return CannotWrite(f"{self.folder} cannot be written ({reason.lower()}){kept}")
