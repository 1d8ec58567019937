"""What people said of an image: points, regions, and detections that are none.

Three small files for an image, each written beside and renamed at every edit. The
revision tells their state on disk, whoever wrote them: an edit that was made to an
older one is refused. Called by `annotate.server`.
"""

import collections
import dataclasses
import itertools
import pathlib
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from micronet_jax.annotate.folder import KEPT, Folder, Picture
from micronet_jax.datasets.annotations import read_centers
from micronet_jax.datasets.annotations.regions import (
  read_marked_regions,
  read_regions,
  write_regions,
)
from micronet_jax.datasets.folder.pairing import (
  REGION_FOLDER,
  Claims,
  Files,
  find_claims,
)
from micronet_jax.errors import InputError
from micronet_jax.files import digest, replacing
from micronet_jax.stored import Number, check_stored

Point = tuple[int, int]
"""(x, y) in hundredths of a pixel, so that equal points are equal."""


UNIT = 100


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


_HEADERS = b"x,y", b"x,y,width,height"
"""Of the files of points and regions that are edited; what else has more is not."""


_NONE = np.zeros((0, 2), np.float32)
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
    foreign: the files that this is from, of which one is not of the page's own form,
      so that nothing is edited.
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
    self._claims: dict[pathlib.Path, tuple[str, Claims]] = {}
    self.refresh()

  def refresh(self) -> None:
    """Looks which files there are besides the page's own."""
    claims = find_claims(self._folder.root)
    self._claims = {each.image: (name, each) for name, each in claims.items()}

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
    self.refresh()
    with self._lock:
      old = self._read(picture, shape)
      if old.foreign:
        raise InputError(
          f"{picture.name} has its annotations in {old.foreign}, of another form than"
          " the page's; move that away to annotate here"
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
    _, files = self._files(picture)
    return any((*files[1:], self._hidden(picture).exists()))

  def annotated(self, picture: Picture) -> bool:
    """Whether training reads a file about an image, or would refuse what is there."""
    try:
      return any(self._files(picture)[1][1:])
    except InputError:
      return True

  def _own(self, picture: Picture) -> tuple[pathlib.Path, pathlib.Path]:
    """Where points and regions are written."""
    file = f"{picture.name}.csv"
    return self._folder.place("points", file), self._folder.place(REGION_FOLDER, file)

  def _hidden(self, picture: Picture) -> pathlib.Path:
    return self._folder.place(KEPT, "hidden", f"{picture.name}.csv")

  def _files(self, picture: Picture) -> tuple[str, Files]:
    """The files that the data set reads of an image, and its name in them.

    Raises:
      InputError: there are two of a kind, or one leads out of the folder.
    """
    name, claims = self._claims.get(
      picture.path, (picture.name, Claims(picture.path, [], []))
    )
    kinds = []
    for own, listed in zip(self._own(picture), claims[1:], strict=True):
      # Whether one's own is there changes with every edit.
      others = [path for path in listed if path != own]
      kinds.append([*([own] if own.exists() else []), *others])
    files = Claims(picture.path, *kinds).single()
    for path in filter(None, files[1:]):
      self._folder.place(*path.relative_to(self._folder.root).parts)
    return name, files

  def revision(self, picture: Picture) -> str:
    """Tells states on disk apart: one of the files was replaced, or changed.

    Raises:
      InputError: as `read`, of files that cannot be told apart.
    """
    said = []
    for path in (*self._files(picture)[1][1:], self._hidden(picture)):
      try:
        at = path.stat() if path else None
      except FileNotFoundError:
        at = None
      said.append([str(path), at.st_mtime_ns, at.st_size, at.st_ino] if at else [])
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
    name, files = self._files(picture)
    hidden = self._hidden(picture)
    removed = read_centers(hidden, shape=shape) if hidden.exists() else _NONE
    marked, boxes = _NONE, None
    if files.annotation:
      mpp = self._folder.stated_mpp(picture)
      marked = read_centers(
        files.annotation, shape=shape, mpp=mpp, image=picture.path, name=name
      )
      boxes = read_marked_regions(files.annotation, shape=shape, image=picture.path)
      if boxes is None:
        boxes = np.array([(0, 0, *shape[::-1])])
    if files.regions:
      boxes = read_regions(files.regions, shape=shape, image=picture.path)
    return Annotation(
      revision,
      dict.fromkeys(as_keys(marked[:, ::-1])),
      dict.fromkeys(as_keys(removed[:, ::-1])),
      () if boxes is None else tuple(map(tuple, boxes.tolist())),
      self._foreign(picture, files),
    )

  def _foreign(self, picture: Picture, files: Files) -> str | None:
    """The files, if one would lose something when it is written by the page."""
    kinds = zip(files[1:], self._own(picture), _HEADERS, strict=True)
    if all(path in (None, own) and _starts(path, head) for path, own, head in kinds):
      return None
    root = self._folder.root
    return " and ".join(str(p.relative_to(root)) for p in files[1:] if p)

  def _write(self, picture: Picture, old: Annotation, new: Annotation) -> None:
    """In an order in which the end of the process can do no harm.

    Points without a file of regions would be a whole image that is annotated; and at
    every moment the points of a region must be there.
    """
    points, regions = self._own(picture)
    kept = tuple(region for region in old.regions if region in new.regions)
    if kept != old.regions or not regions.exists():
      write_regions(regions, np.array(kept, np.int64).reshape(-1, 4))
    if new.points != old.points or not points.exists():
      _write_points(points, new.points)
    if new.hidden != old.hidden:
      _write_points(self._hidden(picture), new.hidden)
    if new.regions != kept:
      write_regions(regions, np.array(new.regions, np.int64).reshape(-1, 4))


def _starts(path: pathlib.Path | None, header: bytes) -> bool:
  """Whether a table has exactly this header; also if there is none."""
  if path is None:
    return True
  with path.open("rb") as file:
    return file.readline(100).rstrip(b"\r\n") == header


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
