"""The folder that is annotated: its images, and every path that may be touched.

Nothing outside of it is read or written. Who asks for an image names it by an id that
is looked up here, so no path is ever made of what a browser sent. Called by all of
`annotate`.
"""

import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Iterable

from micronet_jax.datasets.folder.columns import check_columns
from micronet_jax.datasets.folder.index import INDEX, mpp_of, read_index, stated_mpp
from micronet_jax.datasets.folder.pairing import check_layout, image_folder, plain_name
from micronet_jax.errors import InputError
from micronet_jax.files import digest, same_name
from micronet_jax.imaging.opening import is_image, tell_unread

KEPT = ".micronet"
"""Where the page keeps what is not the user's own: detections, settings."""


RUNS = "runs"


log = logging.getLogger("micronet_jax")


@dataclasses.dataclass(frozen=True)
class Picture:
  """One image of the folder.

  Attributes:
    key: what a browser calls it.
    name: of its annotation files, without ending.
    path: of the image.
  """

  key: str
  name: str
  path: pathlib.Path


class Folder:
  """The images of a folder, and places for files beside them.

  Attributes:
    root: the folder, links resolved.
    left_out: one sentence on each kind of image that is not shown.
  """

  def __init__(self, root: pathlib.Path):
    """Looks through a folder.

    Raises:
      InputError: it is not there, holds no image, has files or columns where training
        would overlook them, a resolution that no microscope has, or one of the folders
        that would be written to leads out of it.
    """
    if not root.is_dir():
      raise InputError(f"there is no folder {root}; give a folder that holds images")
    self.root = root.resolve()
    self.left_out: list[str] = []
    self._pictures: dict[str, Picture] = {}
    check_layout(root)  # so that nothing is marked anew that training would overlook
    for name in ("points", "regions", KEPT, RUNS):
      self.place(name)
    index = self.place(INDEX)
    if index.exists():
      table = read_index(index)
      check_columns(index, table)
      for line, row in table.rows:
        mpp_of(index, line, row)
    if not self.refresh():
      raise InputError(
        f"{root} holds no image, directly or in images/; PNG, JPEG, TIFF, BMP, WebP,"
        " JPEG 2000 and slides are read" + "".join(f"; {t}" for t in self.left_out)
      )
    for text in self.left_out:
      log.warning("%s: %s", root, text)

  def refresh(self) -> list[Picture]:
    """The images there are now, by name."""
    there = sorted(image_folder(self.root).iterdir())
    pictures: dict[str, Picture] = {}
    outside, doubled = 0, 0
    for path in filter(is_image, there):
      name = same_name(path.stem)
      key = digest(name.encode())
      if not self.holds(path):
        outside += os.path.exists(path)  # dead links are told below
      elif key in pictures:
        doubled += 1
      elif path.is_file():
        pictures[key] = Picture(key, path.stem, path)
    self.left_out = []
    if outside:
      self.left_out.append(f"{outside} image(s) lead out of the folder: not shown")
    if doubled:
      self.left_out.append(f"{doubled} image(s) have another's name: not shown")
    if unread := tell_unread(there):
      self.left_out.append(unread)
    self._pictures = pictures
    return list(pictures.values())

  def find(self, key: str) -> Picture | None:
    """The image that a browser means, or None."""
    return self._pictures.get(key)

  def holds(self, path: pathlib.Path) -> bool:
    """Whether a path, all links followed, lies in the folder."""
    try:
      return path.resolve().is_relative_to(self.root)
    except (OSError, RuntimeError):  # links in a circle
      return False

  def place(self, *parts: str) -> pathlib.Path:
    """A path below the folder, for names that this program chose.

    Raises:
      InputError: a link on the way leads out of the folder.
    """
    path = self.root.joinpath(*parts)
    if not self.holds(path):
      raise InputError(
        f"{path} leads out of {self.root} by a link; nothing outside is read or"
        " written, so remove the link"
      )
    return path

  def stamp(self, picture: Picture) -> int:
    """Another whenever the image is, or what index.csv says of its resolution.

    Raises:
      FileNotFoundError: the image is gone.
    """
    stamp = picture.path.stat().st_mtime_ns
    try:
      stated = self.stated_mpp(picture)
    except InputError as error:  # whoever opens the image says so
      return stamp + _number(str(error))
    return stamp if stated is None else stamp + _number(stated)

  def stated_mpp(self, picture: Picture) -> float | None:
    """What index.csv says of microns per pixel; None if it says nothing.

    Raises:
      InputError: it is wrong, or a link to what lies outside.
    """
    return stated_mpp(self.place(INDEX), picture.path)

  def unlisted(self, pictures: Iterable[Picture]) -> str:
    """Why training would refuse index.csv: images that it has no line for; else "".

    Args:
      pictures: those that are trained on.
    """
    try:
      index = self.place(INDEX)
      at = index.stat()
      names = _names(index, at.st_size, at.st_mtime_ns)
    except FileNotFoundError:
      return ""
    except InputError as error:
      return str(error)
    left = [
      picture.name
      for picture in pictures
      if names.isdisjoint((name := same_name(picture.name), plain_name(name)))
    ]
    if not left:
      return ""
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return (
      f"{INDEX} has no line for {left[0]}{more}; every image that is corrected needs"
      " one, or the index must go."
    )


@functools.lru_cache(maxsize=2)  # the page asks every second
def _names(index: pathlib.Path, *_: int) -> frozenset[str]:
  """The images that an index names, while it has this size and time."""
  return frozenset(same_name(row["name"]) for _, row in read_index(index).rows)


def _number(said: float | str) -> int:
  """Another for whatever else is said; small beside what 64 bits hold."""
  return int(digest([said], digits=14), 16)
