"""Everything that the page knows of a folder, in one place.

Made by `annotate.server`, whose routes ask it.
"""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from micronet_jax.annotate.candidates import Candidates, Glance
from micronet_jax.annotate.detecting import Searches
from micronet_jax.annotate.finetuning import FineTuning
from micronet_jax.annotate.folder import KEPT, Folder, Picture
from micronet_jax.annotate.store import Store, as_places
from micronet_jax.annotate.suggestions import (
  NEAR,
  Counted,
  doubtful_windows,
  nuclei_of,
  open_rows,
  own_pixels,
  with_confirmed,
)
from micronet_jax.annotate.tiles import SIDE, Pictures, top_level
from micronet_jax.errors import InputError
from micronet_jax.files import write_json
from micronet_jax.stored import Either, Number, read_stored

SUGGESTED = 5


_SETTINGS = {"weights": str, "threshold?": Either((Number(0, 1), None))}


@dataclasses.dataclass(frozen=True)
class Size:
  """What is known of an image without its pixels.

  Attributes:
    shape: (height, width).
    mpp: microns per pixel, or None.
    origin: where QuPath's frame begins, (x, y).
    stamp: of its file (`Folder.stamp`).
  """

  shape: tuple[int, int]
  mpp: float | None
  origin: tuple[int, int]
  stamp: int


class Site:
  """A folder that is being annotated.

  Attributes:
    folder, pictures, store, searches, tuning: its parts.
    weights: of the network in use.
    threshold: that was stored; None for the network's own.
  """

  def __init__(self, folder: Folder, weights: str | None):
    """Opens a folder where it was left.

    Args:
      folder: the folder.
      weights: of the network; None for that of the last time, at first "base".
    """
    self.folder = folder
    self._settings = folder.place(KEPT, "settings.json")
    stored = read_stored(self._settings, _SETTINGS) or {"weights": "base"}
    last = stored["weights"]
    self.weights: str = weights or last
    self.threshold: float | None = None
    if self.weights == last:
      self.threshold = stored.get("threshold")
    else:
      self._save()  # they are those of the last time, from now on
    self.pictures = Pictures(folder)
    self.store = Store(folder)
    self.searches = Searches(folder, self.pictures, self.weights)
    self.tuning = FineTuning(folder)
    self._lock = threading.Lock()
    self._sizes: dict[str, Size] = {}
    self._counts: dict[str, tuple[Any, dict[str, Any], list[dict[str, int]]]] = {}
    self._counting = ThreadPoolExecutor(1, "count")
    self._pending: set[str] = set()

  def set_threshold(self, threshold: float | None) -> None:
    """Stores a threshold for all images; None for the network's own."""
    self.threshold = threshold
    self._save()

  def use(self, run: str) -> None:
    """Takes the network of a run.

    Raises:
      InputError: there is no such run.
    """
    self.weights = self.tuning.weights_of(run)
    self.threshold = None
    self._save()
    self.searches.use(self.weights)

  def _save(self) -> None:
    write_json(self._settings, {"weights": self.weights, "threshold": self.threshold})

  def size(self, picture: Picture) -> Size:
    """Size and resolution of an image.

    Raises:
      InputError: it cannot be read.
    """
    stamp = self.folder.stamp(picture)
    with self._lock:
      known = self._sizes.get(picture.key)
    if known is None or known.stamp != stamp:
      with self.pictures.opened(picture) as reader:
        known = Size(reader.levels[0], reader.mpp, reader.origin, stamp)
      with self._lock:
        self._sizes[picture.key] = known
    return known

  def threshold_of(self, found: Candidates | Glance | None) -> float:
    """What counts for an image: what was stored, else the network's own."""
    if self.threshold is not None:
      return self.threshold
    return found.threshold if found else 0.5

  def nuclei(self, picture: Picture) -> Counted:
    """All nuclei of an image as they are shown.

    Raises:
      InputError: a file cannot be read.
    """
    size, found = self.size(picture), self.searches.found(picture)
    annotation = self.store.read(picture, size.shape)
    rows = (found or Candidates("")).all_rows()
    return nuclei_of(rows, annotation, size.mpp, self.threshold_of(found))

  def about(self, picture: Picture) -> dict[str, Any]:
    """What the page needs to show the pixels of an image.

    Raises:
      InputError: it cannot be read.
    """
    size = self.size(picture)
    height, width = size.shape
    return {
      "key": picture.key,
      "name": picture.name,
      "file": picture.path.name,
      "width": width,
      "height": height,
      "mpp": size.mpp,
      "stamp": str(size.stamp),
      "side": SIDE,
      "top": top_level(size.shape),
      "near": own_pixels(NEAR, size.mpp),
    }

  def said(self, picture: Picture) -> dict[str, Any]:
    """What people said of an image, for the page; points as x, y, x, y, …

    Raises:
      InputError: a file cannot be read.
    """
    self.store.refresh()
    annotation = self.store.read(picture, self.size(picture).shape)
    return {
      "revision": annotation.revision,
      "points": as_places(annotation.points).ravel().tolist(),
      "hidden": as_places(annotation.hidden).ravel().tolist(),
      "regions": annotation.regions,
      "foreign": annotation.foreign,
    }

  def state(self) -> dict[str, Any]:
    """What the page looks at again and again."""
    self.store.refresh()
    pictures = self.folder.refresh()
    entries = [self._entry(picture) for picture in pictures]
    return {
      "folder": self.folder.root.name,
      "path": str(self.folder.root),
      "left_out": self.folder.left_out,
      "unlisted": self.folder.unlisted(filter(self.store.annotated, pictures)),
      "weights": self.weights,
      "threshold": self.threshold,
      "images": entries,
      "suggestions": self._suggestions(entries),
      "detection": self.searches.status(),
      "tuning": self.tuning.status(),
    }

  def _entry(self, picture: Picture) -> dict[str, Any]:
    """One line of the list of images; what is not counted yet is as it was."""
    said: dict[str, Any] = {
      "key": picture.key, "name": picture.name, "file": picture.path.name,
      "state": "new", "nuclei": None, "regions": 0, "partial": False,
    }  # fmt: skip
    found = self.searches.glance(picture)
    try:
      if fault := self.pictures.fault(picture):
        return {**said, "state": "error", "error": fault}
      if found is None and not self.store.knows(picture):
        return said
      key = (self.store.revision(picture), found, self.threshold)
    except (InputError, OSError) as error:
      return {**said, "state": "error", "error": str(error)}
    with self._lock:
      known, counted, _ = self._counts.get(picture.key, (None, {"pending": True}, []))
      if known != key and picture.key not in self._pending:
        self._pending.add(picture.key)
        self._counting.submit(self._count, picture, key)
    return {**said, **counted}

  def _count(self, picture: Picture, key: Any) -> None:
    """Counts the nuclei of an image, as its revision, found and threshold are now."""
    windows: list[dict[str, int]] = []
    try:
      size, found = self.size(picture), self.searches.found(picture)
      annotation = self.store.read(picture, size.shape)
      rows = (found or Candidates("")).all_rows()
      free, threshold = open_rows(rows, annotation, size.mpp), self.threshold_of(found)
      counted = {
        "state": "corrected" if annotation.regions else "detected" if found else "new",
        "nuclei": len(with_confirmed(free, annotation, threshold).centers),
        "regions": len(annotation.regions),
        "partial": found is not None and not found.complete,
      }
      windows = doubtful_windows(free, threshold, size.mpp, size.shape)
    except (InputError, OSError) as error:
      counted = {"state": "error", "error": str(error)}
    with self._lock:
      self._counts[picture.key] = key, counted, windows
      self._pending.discard(picture.key)

  def _suggestions(self, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The windows of what was counted so far in which a correction teaches most."""
    with self._lock:
      held: list[dict[str, Any]] = [
        {"key": entry["key"], "name": entry["name"], **window}
        for entry in entries
        if entry["nuclei"] is not None  # else it is of what counts no more
        for window in self._counts[entry["key"]][2]
      ]
    return sorted(held, key=lambda window: -window["doubtful"])[:SUGGESTED]

  def close(self) -> bool:
    """Ends what runs in the background; whether a fine-tuning was stopped."""
    self._counting.shutdown(cancel_futures=True)
    self.searches.end()
    return self.tuning.end()
