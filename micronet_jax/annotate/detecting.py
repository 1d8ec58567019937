"""Detection in the background: what is in view first, kept on disk, resumed.

One thread searches a few tiles at a time and then looks again what is wanted most. All
maxima over a low score are kept, so that the page can move the threshold by itself.
Called by `annotate.server`.
"""

import collections
import contextlib
import dataclasses
import logging
import pathlib
import threading
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from micronet_jax.annotate.folder import KEPT, Folder, Picture
from micronet_jax.annotate.tiles import Pictures
from micronet_jax.detection.units import decisive_scores
from micronet_jax.errors import InputError
from micronet_jax.files import digest, replacing
from micronet_jax.recipes import PACKAGED

if TYPE_CHECKING:
  from micronet_jax.detection.detector import Detector
  from micronet_jax.detection.scan import Scan

LEAST = 0.05
"""Score from which on maxima are kept."""


AT_ONCE = 4
"""Tiles that are searched before the view is looked at again."""


SAVED_EVERY = 20  # such turns


log = logging.getLogger("micronet_jax")


@dataclasses.dataclass
class Candidates:
  """What is known of one image.

  Attributes:
    weights: digest of the network that found it.
    rows: float32 `[N, 3]` of x, y in the image's own pixels and score, in pieces, in
      the order in which they were found; x and y with two decimals.
    done: tiles that were searched, by their index.
    total: tiles there are.
    threshold: the network's own, for this image.
    stamp: of the image that was searched (`Folder.stamp`).
  """

  weights: str
  rows: list[np.ndarray] = dataclasses.field(default_factory=list)
  done: set[int] = dataclasses.field(default_factory=set)
  total: int = 0
  threshold: float = 0.5
  stamp: int = 0

  @property
  def complete(self) -> bool:
    """Whether the whole image was searched."""
    return len(self.done) >= self.total

  def all_rows(self) -> np.ndarray:
    """All pieces as one array."""
    return np.concatenate([np.zeros((0, 3), np.float32), *list(self.rows)])


class Searches:
  """The thread that detects, and what it found; other methods may be called by any.

  Attributes:
    error: one sentence on what stopped it last, or "".
  """

  def __init__(self, folder: Folder, pictures: Pictures, weights: str):
    """Begins the thread, which waits for `want`.

    Args:
      folder: of the images.
      pictures: that opens them.
      weights: as `load` takes them.
    """
    self.error = ""
    self._folder, self._pictures = folder, pictures
    self._weights = weights
    self._detector: Detector | None = None
    self._identity = identity_of(weights)
    self._found: dict[str, Candidates] = {}
    self._view: tuple[Picture, tuple[float, float]] | None = None
    self._queue: collections.deque[Picture] = collections.deque()
    self._failed: set[str] = set()
    self._changed = threading.Condition()
    self._busy: str | None = None
    self._ended = False
    self._thread = threading.Thread(target=self._work, name="detect", daemon=True)
    self._thread.start()

  def want(self, picture: Picture, center: tuple[float, float]) -> None:
    """Asks for an image before all others, from a place (x, y) outwards."""
    with self._changed:
      self._view = (picture, center)
      self._changed.notify()

  def want_all(self, pictures: Sequence[Picture]) -> None:
    """Asks for images, one after the other."""
    with self._changed:
      self._queue = collections.deque(pictures)
      self._failed.clear()
      self.error = ""
      self._changed.notify()

  def stop(self) -> None:
    """Wants nothing more; what was found is kept."""
    with self._changed:
      self._view, self._queue = None, collections.deque()

  def use(self, weights: str) -> None:
    """Takes another network; what others found no longer counts."""
    with self._changed:
      self._weights, self._detector = weights, None
      self._identity = identity_of(weights)
      self._found.clear()
      self._failed.clear()
      self.error = ""
      self._changed.notify()

  def end(self) -> None:
    """Ends the thread after the tiles under way."""
    with self._changed:
      self._ended = True
      self._changed.notify()
    self._thread.join(30)

  def found(self, picture: Picture) -> Candidates | None:
    """What is known of an image, of the network in use; None if nothing is."""
    with self._changed:
      found = self._found.get(picture.key)
    if found is None:
      found = self._read(picture)
    try:
      stamp = self._folder.stamp(picture)
    except FileNotFoundError:
      return None
    with self._changed:
      if found is None or found.weights != self._identity or found.stamp != stamp:
        self._found.pop(picture.key, None)
        return None
      return self._found.setdefault(picture.key, found)

  def status(self) -> dict[str, Any]:
    """What the thread does, for the page."""
    with self._changed:
      waiting = sum(picture.key != self._busy for picture in self._queue)
      return {
        "busy": self._busy,
        "waiting": waiting,
        "error": self.error,
        "failed": sorted(self._failed),
      }

  def _work(self) -> None:
    search: _Search | None = None
    while not self._ended:
      try:
        picture, center = self._next()
        if picture is None:
          break
        stamp = self._folder.stamp(picture)
        if search and not search.is_of(picture, self._detector, stamp):
          self._leave(search)
          search = None
        if search is None:
          search = self._begin(picture)
        search.turn(center)
        if search.found.complete or search.turns % SAVED_EVERY == 0:
          self._write(picture, search.found)
      except Exception as error:
        if not isinstance(error, InputError):
          log.warning("detection failed", exc_info=True)
        self.error = str(error)
        with self._changed:
          self._failed.add(self._busy or "")
        if search:
          search.close()
          search = None
    if search:
      self._leave(search)

  def _leave(self, search: "_Search") -> None:
    """Keeps what was found so far, if the disk has room."""
    try:
      self._write(search.picture, search.found)
    except InputError as error:
      log.warning("what was found in %s is not kept: %s", search.picture.name, error)
    finally:
      search.close()

  def _next(self) -> tuple[Picture | None, tuple[float, float] | None]:
    """Waits for an image that is wanted and not complete."""
    while not self._ended:
      with self._changed:
        view, queue = self._view, self._queue
        waiting = [(picture, None) for picture in queue]
      wanted = [view] if view else []
      for picture, center in [*wanted, *waiting]:
        if picture.key not in self._failed and not self._is_done(picture):
          self._busy = picture.key
          return picture, center
        with self._changed, contextlib.suppress(ValueError):
          queue.remove(picture)
      with self._changed:
        self._busy = None
        if view is self._view and queue is self._queue and not self._ended:
          self._changed.wait()
    return None, None

  def _is_done(self, picture: Picture) -> bool:
    """Whether all of an image was searched with the network in use."""
    found = self.found(picture)
    return found is not None and found.complete

  def _begin(self, picture: Picture) -> "_Search":
    """Loads the network if it is another, and prepares the search of an image."""
    with self._changed:
      weights, identity, detector = self._weights, self._identity, self._detector
    if detector is None:
      from micronet_jax import devices  # JAX takes seconds to import
      from micronet_jax.detection.detector import load

      devices.check_platform()
      devices.use_compilation_cache()
      detector = load(weights)
    stamp = self._folder.stamp(picture)
    found = self.found(picture) or Candidates(identity, stamp=stamp)
    search = _Search(detector, self._pictures, picture, found)
    with self._changed:
      if self._identity == identity:  # nobody chose another meanwhile
        self._detector = detector
        self._found[picture.key] = found
    return search

  def _path(self, picture: Picture) -> pathlib.Path:
    return self._folder.place(KEPT, "detections", f"{picture.name}.npz")

  def _write(self, picture: Picture, found: Candidates) -> None:
    with replacing(self._path(picture)) as beside:
      np.savez(
        beside,
        rows=found.all_rows(),
        done=np.array(sorted(found.done), np.int32),
        total=found.total,
        threshold=found.threshold,
        weights=found.weights,
        stamp=found.stamp,
      )

  def _read(self, picture: Picture) -> Candidates | None:
    """What is on disk; None if there is nothing that can be used."""
    try:
      with np.load(self._path(picture), allow_pickle=False) as held:
        rows = held["rows"].astype(np.float32).reshape(-1, 3)
        return Candidates(
          str(held["weights"]),
          [rows],
          set(held["done"].tolist()),
          int(held["total"]),
          float(held["threshold"]),
          int(held["stamp"]),
        )
    except FileNotFoundError:
      return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
      return None  # damaged: found again


def identity_of(weights: str) -> str:
  """Tells networks apart without loading them, by name and time of their folder."""
  for folder in (pathlib.Path(weights), PACKAGED / weights):
    with contextlib.suppress(OSError):
      return digest([weights, folder.stat().st_mtime_ns])
  return digest([weights])  # whoever loads it says that it is not there


class _Search:
  """One image under way."""

  def __init__(
    self, detector: "Detector", pictures: Pictures, picture: Picture, found: Candidates
  ):
    self.detector, self.picture, self.found = detector, picture, found
    self.turns = 0
    self._open = contextlib.ExitStack()
    with contextlib.ExitStack() as opening:
      reader = opening.enter_context(pictures.opened(picture))
      self._scan: Scan = detector.scan(reader)
      self._open = opening.pop_all()
    found.total = len(self._scan.tiles)
    self._set_threshold()

  def is_of(self, picture: Picture, detector: "Detector | None", stamp: int) -> bool:
    """Whether it searches this image as it is now, with this network."""
    same = self.picture == picture and self.found.stamp == stamp
    return same and self.detector == detector

  def turn(self, center: tuple[float, float] | None) -> None:
    """Searches the tiles that are nearest to a place, or the next."""
    left = [tile for tile in self._scan.tiles if tile.index not in self.found.done]
    if center is not None:
      scale = self._scan.canvas.shape[0] / self._scan.shape[0]
      x, y = center[0] * scale, center[1] * scale
      left.sort(
        key=lambda tile: (
          (max(tile.core.x0 - x, 0, x - tile.core.x1)) ** 2
          + (max(tile.core.y0 - y, 0, y - tile.core.y1)) ** 2
        )
      )
    part = dataclasses.replace(self._scan, tiles=tuple(left[:AT_ONCE]))
    for held in self.detector.run(part, threshold=LEAST):
      rows = np.column_stack([held.centers[:, ::-1], held.scores])
      rows[:, :2] = np.round(rows[:, :2], 2)
      self.found.rows.append(rows.astype(np.float32))
      self.found.done.add(held.tile.index)
    self._set_threshold()
    self.turns += 1

  def _set_threshold(self) -> None:
    """From what is found so far: all scores that decide are above `LEAST`."""
    scores = [np.zeros(0, np.float32)]
    if self._scan.unit is None:  # else none decides, and a slide has very many
      scores += [rows[:, 2] for rows in self.found.rows]
    decisive = decisive_scores(self.detector.rule, np.concatenate(scores))
    self.found.threshold = self.detector.lowest_score(self._scan, decisive)

  def close(self) -> None:
    """Lets go of the image."""
    self._open.close()
