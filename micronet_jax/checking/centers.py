"""What may be wrong with centres: off their nuclei, too close, none.

Called by `job`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from micronet_jax.checking.stain import swap_axes, turn_over
from micronet_jax.checking.trouble import Examined, Suspect, Trouble, counted, listed
from micronet_jax.datasets.sample import Sample
from micronet_jax.lengths import REFERENCE_MPP

CLEAR = 7.0
"""Deviations by which the stain at places stands out, if nuclei lie there."""

MARGIN = 3.0
"""By how many deviations another place must be better than the centres' own."""

CHANCE = 5.0
"""Deviations that places without nuclei stay below."""

SHARE = 0.01
"""Of all centres; so many that are wrong change a number that people print."""

_FEWEST = 5  # centres that tell where they belong
_ENOUGH = 30  # centres that tell that they belong nowhere in their image
_MOVED = 5.0  # microns; a shorter shift may be that of a rim, not of centres


def lies_right(image: Examined) -> bool:
  """Whether the stain of an image shows that its centres are on nuclei."""
  found = image.evidence
  return found is not None and found.score >= CLEAR and not _misplaced(image)


def find_misplaced(images: Sequence[Examined]) -> list[Trouble]:
  """Images most of whose centres are not on nuclei, by what would put them there."""
  kinds: dict[str, list[Examined]] = {}
  for image in images:
    kind = _misplaced(image)
    if kind:
      kinds.setdefault(kind, []).append(image)
  troubles = []
  for kind, concerned in kinds.items():
    what = _KINDS[kind]
    names = listed([image.sample.name for image in concerned])
    share = f"in {len(concerned):,} of {counted(len(images), 'image')} ({names})"
    suspects = [
      Suspect(
        image.sample.name, what.caption + _shift_of(image, kind), what.belong(image)
      )
      for image in concerned
    ]
    text = f"{share} {what.text}{_shift_of(concerned[0], kind)}"
    troubles.append(Trouble(True, what.title, text, suspects))
  return troubles


def _misplaced(image: Examined) -> str:
  """What is wrong with all centres of an image, a key of `_KINDS`, or ""."""
  found, count = image.evidence, len(image.sample.centers)
  if found is None or count < _FEWEST:
    return ""
  far = np.hypot(*found.shift) * image.sample.resolution > _MOVED
  scores = {
    "swapped": found.swapped,
    "upturned": found.upturned,
    "shifted": found.shifted if far else -np.inf,
  }
  best = max(scores, key=lambda kind: scores[kind])
  if scores[best] >= max(CLEAR, found.score + MARGIN):
    return best
  return "beside" if count >= _ENOUGH and found.score < CHANCE else ""


def _shift_of(image: Examined, kind: str) -> str:
  """By how much all centres would have to be moved."""
  if kind != "shifted" or image.evidence is None:
    return ""
  dy, dx = image.evidence.shift
  return f": x {dx:+d}, y {dy:+d} px"


def _shifted(image: Examined) -> np.ndarray:
  assert image.evidence is not None
  return image.sample.centers + np.array(image.evidence.shift)


class _Kind(NamedTuple):
  """What may be wrong with all centres of an image, and where they would belong."""

  title: str
  text: str
  caption: str
  belong: Callable[[Examined], np.ndarray]


_KINDS = {
  "swapped": _Kind(
    "x and y swapped",
    "the centres lie on nuclei only with x and y swapped; x is the column, y the row",
    "Rings: x and y swapped",
    lambda image: swap_axes(image.sample),
  ),
  "upturned": _Kind(
    "y from the bottom",
    "the centres lie on nuclei only with y counted from the bottom; it counts from"
    " the top",
    "Rings: y counted from the bottom",
    lambda image: turn_over(image.sample),
  ),
  "shifted": _Kind(
    "centres shifted",
    "the centres lie on nuclei only when all are moved by one distance, in the first",
    "Rings: moved to where the stain is",
    _shifted,
  ),
  "beside": _Kind(
    "centres beside nuclei",
    "the centres lie on nuclei no more often than by chance; are these the points of"
    " another image?",
    "",
    lambda image: np.zeros((0, 2)),
  ),
}


def find_on_background(images: Sequence[Examined]) -> list[Trouble]:
  """Single centres with nothing but background around, where the others are right."""
  suspects, count = [], 0
  for image in images:
    if image.evidence is None or not lies_right(image):
      continue
    marked = image.sample.centers[image.evidence.background]
    count += len(marked)
    if len(marked):
      text = f"{counted(len(marked), 'centre')} of {len(image.sample.centers):,}."
      suspects.append(Suspect(image.sample.name, text, marked, close=True))
  if not count:
    return []
  where = listed([suspect.name for suspect in suspects])
  text = f"{counted(count, 'centre')} in {where} with nothing but background around"
  return [Trouble(_many(count, images), "centres on background", text, suspects)]


def find_too_close(images: Sequence[Examined], min_distance: int) -> list[Trouble]:
  """Pairs of centres of which a detector can find one only.

  Args:
    images: all.
    min_distance: the least that training chooses from, in pixels at 0.25 microns;
      maxima are one more apart.
  """
  suspects, count = [], 0
  for image in images:
    pairs = close_pairs(image.sample, min_distance + 1)
    count += len(pairs)
    if len(pairs):
      marked = image.sample.centers[pairs].mean(axis=1)
      text = f"{counted(len(pairs), 'pair')} of {len(image.sample.centers):,} centres."
      suspects.append(Suspect(image.sample.name, text, marked, close=True))
  if not count:
    return []
  where = listed([suspect.name for suspect in suspects])
  text = (
    f"{counted(count, 'pair')} of centres in {where} nearer than {min_distance + 1} px"
    f" at {REFERENCE_MPP:g} microns, as two detections never are: one of each pair will"
    " be missed"
  )
  return [Trouble(_many(count, images), "centres too close", text, suspects)]


def close_pairs(sample: Sample, distance: float) -> np.ndarray:
  """Indices `[K, 2]` of centres nearer than a distance in pixels at 0.25 microns."""
  points = sample.in_reference(sample.centers.astype(np.float64))
  if len(points) < 2:
    return np.zeros((0, 2), np.int64)
  return cKDTree(points).query_pairs(distance * (1 - 1e-6), output_type="ndarray")


def _many(count: int, images: Sequence[Examined]) -> bool:
  return count > SHARE * sum(len(image.sample.centers) for image in images)


def find_empty(images: Sequence[Examined]) -> list[Trouble]:
  """Images without centres, which may be right or forgotten."""
  names = [image.sample.name for image in images if not len(image.sample.centers)]
  if not names:
    return []
  if len(names) == len(images):
    return [Trouble(True, "no nuclei", "no image has a centre; nothing can be learned")]
  text = f"{counted(len(names), 'image')} without a centre ({listed(names)}), which is"
  text += " right only where there is no nucleus"
  return [Trouble(False, "no nuclei", text, [Suspect(name) for name in names])]


def find_untold(images: Sequence[Examined]) -> list[Trouble]:
  """Images with centres whose colours cannot tell whether these are on nuclei."""
  names = [
    image.sample.name
    for image in images
    if len(image.sample.centers) >= _FEWEST
    and image.evidence is None
    and image.hashes is not None
  ]
  if not names:
    return []
  text = (
    f"whether centres lie on nuclei cannot be told for {counted(len(names), 'image')}"
    f" ({listed(names)}), whose colours are not those of H&E: look at the pictures"
  )
  return [Trouble(False, "no H&E", text, [Suspect(name) for name in names])]
