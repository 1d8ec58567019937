"""What the readers of formats are told of an image, and what they find in its file.

Made by `annotations.read_centers` and by the readers.
"""

import collections
import dataclasses
import functools
import logging
import pathlib
from typing import NamedTuple

from micronet_jax.imaging.opening import open_image
from micronet_jax.imaging.slides import SLIDE_ENDINGS, open_slide

_TIFF_ENDINGS = (".tif", ".tiff")

log = logging.getLogger("micronet_jax")


class Mark(NamedTuple):
  """A centre as a reader found it.

  Attributes:
    y: row, 0 at the centre of the topmost pixels.
    x: column, 0 at the centre of the leftmost pixels.
    place: where the file says so, for messages: `line 3`, `feature 7`.
  """

  y: float
  x: float
  place: str


@dataclasses.dataclass(frozen=True)
class Subject:
  """The image that a file annotates, as far as it is known.

  Attributes:
    path: the image's file, or None.
    name: the image's name without ending, or None; for files about several images.
    shape: (height, width), or None.
    given_mpp: microns per pixel that somebody wrote down; None to ask the image.
    given_origin: (x, y) in pixels where the frame begins in which QuPath shows it;
      None to ask the image.
  """

  path: pathlib.Path | None = None
  name: str | None = None
  shape: tuple[int, int] | None = None
  given_mpp: float | None = None
  given_origin: tuple[int, int] | None = None

  @functools.cached_property
  def mpp(self) -> float | None:
    """Microns per pixel, None if nobody says."""
    if self.given_mpp is not None or self.path is None:
      return self.given_mpp
    with open_image(self.path) as reader:
      return reader.mpp

  @functools.cached_property
  def origin(self) -> tuple[int, int]:
    """(x, y) of the first pixel that QuPath shows; only slides have another than 0."""
    if self.given_origin is not None:
      return self.given_origin
    ending = self.path.suffix.lower() if self.path is not None else ""
    if self.path is None or ending not in (*_TIFF_ENDINGS, *SLIDE_ENDINGS):
      return (0, 0)
    slide = open_slide(self.path, str(self.path), tiff=ending in _TIFF_ENDINGS)
    if slide is None:
      return (0, 0)
    with slide:
      return slide.origin


@dataclasses.dataclass
class Reading:
  """What a reader found.

  Attributes:
    marks: the nuclei, in the order of the file.
    left_out: how many objects are no nuclei, by what they are (a plural).
    remarks: what was assumed or converted, each part of a sentence.
  """

  marks: list[Mark] = dataclasses.field(default_factory=list)
  left_out: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )
  remarks: list[str] = dataclasses.field(default_factory=list)

  def moved(self, origin: tuple[int, int]) -> "Reading":
    """The same with its marks moved from the frame of QuPath to the whole image."""
    dx, dy = origin
    if not (dx or dy):
      return self
    marks = [Mark(y=m.y + dy, x=m.x + dx, place=m.place) for m in self.marks]
    remark = f"moved by ({dx}, {dy}) from the part of the slide that QuPath shows"
    return Reading(marks, self.left_out, [*self.remarks, remark])

  def distinct(self) -> "Reading":
    """The same with marks that repeat an earlier one left out."""
    first: dict[tuple[float, float], Mark] = {}
    for mark in self.marks:
      first.setdefault((mark.y, mark.x), mark)
    kept = list(first.values())
    left_out = self.left_out + collections.Counter()
    if len(kept) < len(self.marks):
      left_out["that repeat another to the last digit"] = len(self.marks) - len(kept)
    return Reading(kept, left_out, self.remarks)

  def say(self, path: pathlib.Path) -> None:
    """Logs one line if something was left out or assumed."""
    parts = list(self.remarks)
    if self.left_out:
      what = ", ".join(f"{count} {why}" for why, count in self.left_out.items())
      parts.append(f"nuclei read: {len(self.marks)}; left out: {what}")
    if parts:
      log.warning("%s: %s", path, "; ".join(parts))


def commonest_plane(
  planes: list[tuple[int, int]],
) -> tuple[tuple[int, int], str | None]:
  """Chooses one focal plane and time point, since the image is one.

  Args:
    planes: (z, t) of every object; not empty.

  Returns:
    The plane with the most objects, the first of those, and a remark if there are
    others.
  """
  counts = collections.Counter(planes)
  chosen = min(counts, key=lambda plane: (-counts[plane], plane[::-1]))
  if len(counts) == 1:
    return chosen, None
  return chosen, f"of {len(counts)} planes, the one of z={chosen[0]}, t={chosen[1]}"


OTHER_PLANE = "on other planes"
"""What objects are that `commonest_plane` did not choose."""
