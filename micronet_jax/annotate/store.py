"""What people said of an image: points, regions, and detections that are none.

Three small files for an image, each written beside and renamed at every edit. The
revision tells their state on disk, whoever wrote them: an edit that was made to an
older one is refused. Called by `annotate.server`.
"""

import collections
import dataclasses
import itertools
import pathlib
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from micronet_jax.annotate.folder import KEPT, Folder, Picture
from micronet_jax.datasets.annotations import (
  ANNOTATION_ENDINGS,
  annotation_ending,
  read_centers,
)
from micronet_jax.datasets.annotations.regions import (
  REGION_ENDINGS,
  read_marked_regions,
  read_regions,
  write_regions,
)
from micronet_jax.datasets.entries import same_name
from micronet_jax.datasets.folder.pairing import (
  ANNOTATION_FOLDERS,
  REGION_FOLDER,
  names_of_images,
)
from micronet_jax.errors import InputError
from micronet_jax.files import digest, replacing
from micronet_jax.stored import Number, check_stored

Point = tuple[int, int]
"""(x, y) in hundredths of a pixel, so that equal points are equal."""


UNIT = 100

_OME = re.compile(r"\.ome$", re.IGNORECASE)

_PAIR = [Number(-1e7, 1e7)]
CHANGE = {
  "revision": str,
  "add": [_PAIR],
  "remove": [_PAIR],
  "hide": [_PAIR],
  "show": [_PAIR],
  "regions?": [[Number(0, 1e7, whole=True)]],
}
"""An edit as the page sends it: points (x, y) and regions (x, y, width, height)."""


_REMEMBERED = 4  # images whose files are not read again at every click


class Outdated(Exception):
  """An edit was made to a state that is no longer the newest."""


@dataclasses.dataclass(frozen=True)
class Annotation:
  """What people said of one image.

  Attributes:
    revision: of the files.
    points: nuclei that a person marked, moved or confirmed; a set that keeps order.
    hidden: where a person removed a detection.
    regions: (x, y, width, height) in pixels of what is annotated completely.
    foreign: a file that the page did not write and all this is from, so that nothing
      is edited.
  """

  revision: str
  points: Mapping[Point, None]
  hidden: Mapping[Point, None]
  regions: tuple[tuple[int, int, int, int], ...]
  foreign: str | None = None


class Store:
  """Reads and edits the annotations of a folder; safe to call from threads."""

  def __init__(self, folder: Folder):
    self._folder = folder
    self._lock = threading.Lock()
    self._known: collections.OrderedDict[str, Annotation] = collections.OrderedDict()
    self._listed: dict[str, tuple[int, dict[str, list[pathlib.Path]]]] = {}

  def read(self, picture: Picture, shape: tuple[int, int]) -> Annotation:
    """What is on disk.

    Args:
      picture: the image.
      shape: its (height, width).

    Raises:
      InputError: a file cannot be read.
    """
    with self._lock:
      return self._read(picture, shape)

  def edit(self, picture: Picture, shape: tuple[int, int], change: Any) -> Annotation:
    """Applies one edit, and has written it when it returns.

    Args:
      picture: the image.
      shape: its (height, width).
      change: of the form `CHANGE`.

    Raises:
      Outdated: it was made to another revision, or removes what is not there.
      InputError: it is malformed, lies outside the image, or cannot be written.
    """
    check_stored(change, CHANGE, "the edit")
    regions = change.get("regions")
    _check_regions(regions or [], shape)
    add, remove = _keys(change["add"], shape), _keys(change["remove"], None)
    hide, show = _keys(change["hide"], shape), _keys(change["show"], None)
    with self._lock:
      old = self._read(picture, shape)
      if old.foreign:
        raise InputError(
          f"{picture.name} has its annotations in {old.foreign}; move that file away"
          " to annotate here"
        )
      missing = any(point not in old.points for point in remove)
      if change["revision"] != old.revision or missing:
        raise Outdated
      new = Annotation(
        "",
        _changed(old.points, add, remove),
        _changed(old.hidden, hide, show),
        old.regions if regions is None else tuple(map(tuple, regions)),
      )
      self._write(picture, old, new)
      new = dataclasses.replace(new, revision=self.revision(picture))
      self._remember(picture, new)
      return new

  def knows(self, picture: Picture) -> bool:
    """Whether there is any file about an image."""
    paths = self._paths(picture)
    return any(path.exists() for path in paths) or bool(self._foreign(picture))

  def _paths(self, picture: Picture) -> tuple[pathlib.Path, ...]:
    file = f"{picture.name}.csv"
    place = self._folder.place
    named = place("points", file), place(REGION_FOLDER, file)
    return (*named, place(KEPT, "hidden", file))

  def revision(self, picture: Picture) -> str:
    """Tells states on disk apart: one of the files was replaced, or changed."""
    said = []
    foreign = self._foreign(picture)
    for path in (*self._paths(picture), *([foreign] if foreign else [])):
      try:
        at = path.stat()
        said.append([at.st_mtime_ns, at.st_size, at.st_ino])
      except FileNotFoundError:
        said.append([])
    return digest(said)

  def _read(self, picture: Picture, shape: tuple[int, int]) -> Annotation:
    revision = self.revision(picture)
    known = self._known.get(picture.key)
    if known is None or known.revision != revision:
      known = self._load(picture, shape, revision)
      self._remember(picture, known)
    return known

  def _remember(self, picture: Picture, annotation: Annotation) -> None:
    self._known[picture.key] = annotation
    self._known.move_to_end(picture.key)
    while len(self._known) > _REMEMBERED:
      self._known.popitem(last=False)

  def _load(
    self, picture: Picture, shape: tuple[int, int], revision: str
  ) -> Annotation:
    _, _, hidden = self._paths(picture)
    points, regions = self._sources(picture)
    boxes: Iterable[Any] = ((0, 0, shape[1], shape[0]),) if points else ()
    if regions:
      boxes = read_regions(regions, shape=shape, image=picture.path).tolist()
    elif points:
      marked = read_marked_regions(points, shape=shape, image=picture.path)
      boxes = boxes if marked is None else marked.tolist()
    foreign = self._foreign(picture)
    return Annotation(
      revision,
      _points_of(points, shape, picture) if points else {},
      _points_of(hidden, shape, picture) if hidden.exists() else {},
      tuple(map(tuple, boxes)),
      str(foreign.relative_to(self._folder.root)) if foreign else None,
    )

  def _foreign(self, picture: Picture) -> pathlib.Path | None:
    """A file about the image that the page did not write, and would spoil."""
    own_points, own_regions, _ = self._paths(picture)
    points, regions = self._sources(picture)
    if points and (points != own_points or not _has_points_alone(points)):
      return points
    return regions if regions != own_regions else None

  def _sources(
    self, picture: Picture
  ) -> tuple[pathlib.Path | None, pathlib.Path | None]:
    """The files of points and of regions that the data set would read."""
    own_points, own_regions, _ = self._paths(picture)
    points = [p for name in ANNOTATION_FOLDERS for p in self._files(name, picture)]
    regions = self._files(REGION_FOLDER, picture)
    # Those that the page did not write come first: it must not write beside them.
    points.sort(key=lambda path: path == own_points)
    regions.sort(key=lambda path: path == own_regions)
    return next(iter(points), None), next(iter(regions), None)

  def _files(self, folder: str, picture: Picture) -> list[pathlib.Path]:
    """What one of the folders has about an image; each is listed when it changes."""
    place = self._folder.place(folder)
    try:
      changed = place.stat().st_mtime_ns
    except FileNotFoundError:
      return []
    if folder not in self._listed or self._listed[folder][0] != changed:
      endings = REGION_ENDINGS if folder == REGION_FOLDER else ANNOTATION_ENDINGS
      by_name: dict[str, list[pathlib.Path]] = {}
      for path in sorted(place.iterdir()):
        fits = annotation_ending(path) in endings and not path.name.startswith(".")
        for name in names_of_images(path) if fits and self._folder.holds(path) else ():
          by_name.setdefault(name, []).append(path)
      self._listed[folder] = changed, by_name
    listed = self._listed[folder][1]
    name = same_name(picture.name)
    # A file of `a` is for `a.ome.tif` as well.
    return listed.get(name) or listed.get(_OME.sub("", name), [])

  def _write(self, picture: Picture, old: Annotation, new: Annotation) -> None:
    """In an order in which the end of the process can do no harm.

    Points without a file of regions would be a whole image that is annotated; and in a
    new region its points must be there, as in one that goes.
    """
    points, regions, hidden = self._paths(picture)
    kept = [each for each in old.regions if each in new.regions]
    if not regions.exists() or len(kept) < len(old.regions):
      write_regions(regions, np.array(kept, np.int64).reshape(-1, 4))
    if new.points != old.points or not points.exists():
      _write_points(points, new.points)
    if new.hidden != old.hidden:
      _write_points(hidden, new.hidden)
    if new.regions != old.regions:
      write_regions(regions, np.array(new.regions, np.int64).reshape(-1, 4))


def _has_points_alone(path: pathlib.Path) -> bool:
  """Whether a CSV has nothing that would be lost if the page wrote it."""
  with path.open("rb") as file:
    return file.readline(100).removeprefix(b"\xef\xbb\xbf").strip() == b"x,y"


def _points_of(
  path: pathlib.Path, shape: tuple[int, int], picture: Picture
) -> Mapping[Point, None]:
  centers = read_centers(path, shape=shape, image=picture.path, name=picture.name)
  return dict.fromkeys(as_keys(centers[:, ::-1]))


def as_keys(places: np.ndarray) -> list[Point]:
  """Points `[N, 2]` (x, y) in pixels as they are kept."""
  return list(
    map(tuple, np.rint(places.astype(np.float64) * UNIT).astype(int).tolist())
  )


def as_places(points: Iterable[Point]) -> np.ndarray:
  """The inverse of `as_keys`; float64 `[N, 2]`."""
  return np.array(list(points), np.float64).reshape(-1, 2) / UNIT


def _keys(pairs: list[list[float]], shape: tuple[int, int] | None) -> list[Point]:
  """Points of an edit.

  Raises:
    InputError: one is no pair, or lies outside the image.
  """
  if any(len(pair) != 2 for pair in pairs):
    raise InputError("the edit has a point that is not (x, y)")
  places = np.array(pairs, np.float64).reshape(-1, 2)
  if shape is not None:
    beyond = (places < -0.5) | (places > np.array(shape[::-1]) - 0.5)
    for x, y in places[beyond.any(1)][:1]:
      raise InputError(f"the point x={x:g}, y={y:g} lies outside the image")
  return as_keys(places)


def _check_regions(regions: list[list[int]], shape: tuple[int, int]) -> None:
  height, width = shape
  for region in regions:
    if len(region) != 4:
      raise InputError("a region is x, y, width and height")
    x, y, w, h = region
    if not (w > 0 < h and x + w <= width and y + h <= height):
      raise InputError(f"the region {x}, {y}, {w}, {h} does not lie on the image")
  for (x, y, w, h), (left, top, width, height) in itertools.combinations(regions, 2):
    if x < left + width and left < x + w and y < top + height and top < y + h:
      raise InputError("two regions overlap; they must lie apart, or be one")


def _changed(
  points: Mapping[Point, None], add: Iterable[Point], remove: Iterable[Point]
) -> Mapping[Point, None]:
  kept = dict(points)
  for point in remove:
    kept.pop(point, None)
  kept.update(dict.fromkeys(add))
  return kept


def _write_points(path: pathlib.Path, points: Iterable[Point]) -> None:
  values = as_places(points).ravel().tolist()
  with replacing(path) as beside:
    text = "x,y\n" + "%.2f,%.2f\n" * (len(values) // 2) % tuple(values)
    beside.write_text(text, encoding="utf-8", newline="\n")
