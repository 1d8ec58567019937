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
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from micronet_jax.annotate.candidates import Candidates, Glance, Shelf
from micronet_jax.annotate.folder import Folder, Picture
from micronet_jax.annotate.tiles import Pictures
from micronet_jax.detection.units import decisive_scores
from micronet_jax.errors import InputError
from micronet_jax.files import digest
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
    self._shelf = Shelf(folder)
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
      self._shelf.clear()
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
    if self.glance(picture) is None:
      return None
    found = self._shelf.get(picture)
    return found if found and self._counts(picture, found.glance) else None

  def glance(self, picture: Picture) -> Glance | None:
    """As `found`, without reading what was found."""
    glance = self._shelf.glance(picture)
    return glance if glance and self._counts(picture, glance) else None

  def searched(
    self,
    picture: Picture,
    box: tuple[float, float, float, float],
    *,
    threshold: float | None = None,
  ) -> tuple[bool, str]:
    """Whether nothing more will be found in a part of an image (x, y, w, h).

    Args:
      picture: the image.
      box: the part, in its own pixels.
      threshold: that was stored; None for the network's own, which may follow from
        all of the image.

    Returns:
      That, also true where the search failed; and by which network, "" for none.
    """
    found = self.found(picture)
    with self._changed:
      done = picture.key in self._failed
    if found is None:
      return done, ""
    whole = found.follows and threshold is None
    return done or (found.complete if whole else found.covers(box)), found.weights

  def _counts(self, picture: Picture, glance: Glance) -> bool:
    """Whether it is of the network in use, and of the image as it is now."""
    try:
      stamp = self._folder.stamp(picture)
    except FileNotFoundError:
      return False
    return glance.weights == self._identity and glance.stamp == stamp

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
        self._keep(search)
        if search.found.complete or search.turns % SAVED_EVERY == 0:
          self._shelf.write(picture, search.found)
      except Exception as error:
        if not isinstance(error, InputError | OSError):
          log.warning("detection failed", exc_info=True)
        self.error = str(error)
        with self._changed:
          self._failed.add(self._busy or "")
        if search:
          self._leave(search)
          search = None
    if search:
      self._leave(search)

  def _leave(self, search: "_Search") -> None:
    """Keeps what was found so far, if the disk has room."""
    try:
      self._shelf.write(search.picture, search.found)
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
    glance = self.glance(picture)
    return glance is not None and glance.complete

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
    found = self.found(picture)
    if found is None or found.weights != identity:
      found = Candidates(identity, stamp=stamp)
    search = _Search(detector, self._pictures, picture, found)
    with self._changed:
      if self._identity == identity:  # nobody chose another meanwhile
        self._detector = detector
    self._keep(search)
    return search

  def _keep(self, search: "_Search") -> None:
    """Lets others see what was found, unless another network was chosen meanwhile."""
    with self._changed:
      if search.found.weights == self._identity:
        self._shelf.put(search.picture, search.found)


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
    self.detector, self.picture = detector, picture
    self.turns = 0
    self._open = contextlib.ExitStack()
    with contextlib.ExitStack() as opening:
      reader = opening.enter_context(pictures.opened(picture))
      self._scan: Scan = detector.scan(reader)
      self._open = opening.pop_all()
    tiles = _parts(self._scan)
    if not np.array_equal(found.tiles, tiles):  # new, or another device's
      found = Candidates(found.weights, tiles=tiles, stamp=found.stamp)
    self.found = found
    found.follows = self._scan.unit is None
    self._set_threshold()

  def is_of(self, picture: Picture, detector: "Detector | None", stamp: int) -> bool:
    """Whether it searches this image as it is now, with this network."""
    same = self.picture == picture and self.found.stamp == stamp
    return same and self.detector == detector

  def turn(self, center: tuple[float, float] | None) -> None:
    """Searches the tiles that are nearest to a place, or the next."""
    tiles = self._scan.tiles
    left = [place for place in range(len(tiles)) if place not in self.found.done]
    if center is not None:
      x0, y0, x1, y1 = self.found.tiles.T
      x, y = center
      away = np.maximum(np.maximum(x0 - x, x - x1), 0) ** 2
      away += np.maximum(np.maximum(y0 - y, y - y1), 0) ** 2
      left.sort(key=lambda place: away[place])
    places = {tiles[place].index: place for place in left[:AT_ONCE]}
    chosen = tuple(tiles[place] for place in places.values())
    part = dataclasses.replace(self._scan, tiles=chosen)
    for held in self.detector.run(part, threshold=LEAST):
      rows = np.column_stack([held.centers[:, ::-1], held.scores])
      rows[:, :2] = np.round(rows[:, :2], 2)
      self.found.rows.append(rows.astype(np.float32))
      self.found.done.add(places[held.tile.index])
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


def _parts(scan: "Scan") -> np.ndarray:
  """What each tile of a scan answers for, as `Candidates.tiles`."""
  scale = scan.shape[0] / scan.canvas.shape[0], scan.shape[1] / scan.canvas.shape[1]
  cores = np.array([tile.core for tile in scan.tiles], np.float64).reshape(-1, 4)
  return (cores * (*scale, *scale))[:, [1, 0, 3, 2]]
