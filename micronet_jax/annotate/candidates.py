"""What a network found in each image: all on disk, in memory only what was used last.

Called by `annotate.detecting`, whose thread alone writes.
"""

import collections
import dataclasses
import pathlib
import threading
import zipfile
from typing import Any, NamedTuple

import numpy as np

from micronet_jax.annotate.folder import KEPT, Folder, Picture
from micronet_jax.files import replacing

HELD_BYTES = 256 * 2**20
"""Of detections that are kept in memory, besides those of the image under way."""


class Glance(NamedTuple):
  """What is known of an image without its detections.

  Attributes:
    weights: digest of the network that found them.
    done: how many tiles were searched.
    total: tiles there are.
    threshold: the network's own, for this image.
    stamp: of the image that was searched (`Folder.stamp`).
  """

  weights: str
  done: int
  total: int
  threshold: float
  stamp: int

  @property
  def complete(self) -> bool:
    """Whether the whole image was searched."""
    return self.done >= self.total


@dataclasses.dataclass
class Candidates:
  """What was found in one image.

  Attributes:
    weights, threshold, stamp: as in `Glance`.
    rows: float32 `[N, 3]` of x, y in the image's own pixels and score, in pieces, in
      the order in which they were found; x and y with two decimals.
    done: tiles that were searched, by their place in `tiles`.
    follows: whether the threshold follows from the scores, so that it is not known
      before all of the image is searched.
    tiles: float64 `[T, 4]`, which part of the image each tile answers for: x, y of its
      corner, then of the opposite one, in the image's own pixels.
  """

  weights: str
  rows: list[np.ndarray] = dataclasses.field(default_factory=list)
  done: set[int] = dataclasses.field(default_factory=set)
  tiles: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 4)))
  threshold: float = 0.5
  stamp: int = 0
  follows: bool = False

  @property
  def glance(self) -> Glance:
    """All but the detections."""
    done, total = len(self.done), len(self.tiles)
    return Glance(self.weights, done, total, self.threshold, self.stamp)

  @property
  def complete(self) -> bool:
    """Whether the whole image was searched."""
    return self.glance.complete

  def all_rows(self) -> np.ndarray:
    """All pieces as one array."""
    return np.concatenate([np.zeros((0, 3), np.float32), *list(self.rows)])

  def covers(self, box: tuple[float, float, float, float]) -> bool:
    """Whether all that can be found in a part of the image (x, y, w, h) was."""
    x, y, width, height = box
    x0, y0, x1, y1 = self.tiles.T
    # By a pixel more: cores are whole pixels at working resolution.
    meets = (x0 < x + width + 1) & (x - 1 < x1) & (y0 < y + height + 1) & (y - 1 < y1)
    return set(np.flatnonzero(meets).tolist()) <= self.done


class Shelf:
  """The candidates of a folder's images; safe to call from threads."""

  def __init__(self, folder: Folder):
    self._folder = folder
    self._lock = threading.Lock()
    self._held: collections.OrderedDict[str, Candidates] = collections.OrderedDict()
    self._sizes: collections.Counter[str] = collections.Counter()
    self._glances: dict[str, tuple[Any, Glance | None]] = {}
    self._under_way: str | None = None

  def get(self, picture: Picture) -> Candidates | None:
    """What was found in an image, by whatever network; None if nothing was."""
    with self._lock:
      if held := self._held.get(picture.key):
        self._held.move_to_end(picture.key)
        return held
    found = self._read(picture)
    if found is None:
      return None
    with self._lock:
      held = self._held.setdefault(picture.key, found)
      self._weigh(picture.key)
      return held

  def glance(self, picture: Picture) -> Glance | None:
    """As `get`, without the detections: a file that did not change is not read."""
    with self._lock:
      if held := self._held.get(picture.key):
        return held.glance
      known = self._glances.get(picture.key)
    try:
      at = self._path(picture).stat()
    except OSError:
      return None
    state = at.st_mtime_ns, at.st_size, at.st_ino
    if known and known[0] == state:
      return known[1]
    found = self._read(picture, places=False)
    glance = found.glance if found else None
    with self._lock:
      self._glances[picture.key] = state, glance
    return glance

  def put(self, picture: Picture, found: Candidates) -> None:
    """Keeps what is being found; until another is put, it stays in memory."""
    with self._lock:
      self._under_way = picture.key
      self._held[picture.key] = found
      self._weigh(picture.key)

  def clear(self) -> None:
    """Lets go of all that is in memory."""
    with self._lock:
      self._held.clear()
      self._sizes.clear()
      self._under_way = None

  def write(self, picture: Picture, found: Candidates) -> None:
    """Writes what was found.

    Raises:
      InputError: it cannot be written.
    """
    with replacing(self._path(picture)) as beside:
      np.savez(
        beside,
        rows=found.all_rows(),
        done=np.array(sorted(found.done), np.int32),
        tiles=found.tiles,
        threshold=found.threshold,
        weights=found.weights,
        stamp=found.stamp,
        follows=found.follows,
      )

  def _weigh(self, key: str) -> None:
    """Notes how much an image takes; lets go of those that were not used longest."""
    self._held.move_to_end(key)
    found = self._held[key]
    self._sizes[key] = found.tiles.nbytes + sum(
      rows.nbytes for rows in list(found.rows)
    )
    for other in list(self._held):
      if self._sizes.total() - self._sizes[self._under_way or ""] <= HELD_BYTES:
        break
      if other not in (key, self._under_way):
        del self._held[other], self._sizes[other]

  def _path(self, picture: Picture) -> pathlib.Path:
    return self._folder.place(KEPT, "detections", f"{picture.name}.npz")

  def _read(self, picture: Picture, *, places: bool = True) -> Candidates | None:
    """What is on disk; None if there is nothing that can be used."""
    try:
      # Opened here: NumPy leaves a damaged file open.
      with self._path(picture).open("rb") as file, np.load(file) as held:
        rows = held["rows"].astype(np.float32) if places else np.zeros((0, 3))
        return Candidates(
          str(held["weights"]),
          [rows.reshape(-1, 3)],
          set(held["done"].tolist()),
          held["tiles"].reshape(-1, 4),
          float(held["threshold"]),
          int(held["stamp"]),
          bool(held["follows"]),
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
      return None  # nothing is there, or it is damaged: found again
