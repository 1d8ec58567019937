"""What may be wrong with images: copies, patients, resolution, nothing to see.

Called by `job`.
"""

import unicodedata
from collections.abc import Sequence

import imagehash
import numpy as np
import PIL.Image

from micronet_jax.checking.centers import lies_right
from micronet_jax.checking.trouble import Examined, Suspect, Trouble, counted, listed
from micronet_jax.datasets.sample import Sample
from micronet_jax.lengths import REFERENCE_MPP

ALIKE = 40
"""Of 256 bits, so many may differ between copies; by chance half of them do."""

USUAL_WIDTH, POSSIBLE_WIDTH = (3.4, 8.0), (2.8, 9.2)
"""Microns across nuclei at half their stain, as the median of images: beyond the first
it is odd, beyond the second the resolution is wrong. Of 44 organs of six public sets it
is 3.7 to 7.9."""

_HASH_SIDE, _THUMBNAIL = 16, 64
_BLOCK = 1024  # images that are compared with all others at once
_LEAST_SIDE = 4.0  # microns; a smaller image shows no nucleus
_LEAST_IMAGES, _LEAST_CENTERS = 3, 10  # that tell a resolution

_TURNS = (
  *("", ", turned by 90°", ", turned by 180°", ", turned by 270°"),
  *[", mirrored"] * 4,
)


def look_alike_hashes(image: np.ndarray) -> np.ndarray:
  """Perceptual hashes of an image in the eight ways that it can be laid down.

  Args:
    image: uint8 `[H, W, 3]`.

  Returns:
    bool `[8, 256]`: as it is, turned by quarters, and the same of its mirror image.
  """
  small = PIL.Image.fromarray(image).convert("L")
  small = small.resize((_THUMBNAIL, _THUMBNAIL), PIL.Image.Resampling.BOX)
  pixels = np.asarray(small)
  turned = [np.rot90(each, turns) for each in (pixels, pixels.T) for turns in range(4)]
  return np.array(
    [
      imagehash.phash(PIL.Image.fromarray(np.ascontiguousarray(each)), _HASH_SIDE).hash
      for each in turned
    ]
  ).reshape(8, -1)


def find_copies(images: Sequence[Examined], parts: dict[str, str]) -> list[Trouble]:
  """Pairs of images that are nearly the same picture.

  Args:
    images: all.
    parts: the part of the split that each name would be in.
  """
  hashed = [image for image in images if image.hashes is not None]
  apart: list[Suspect] = []
  together: list[Suspect] = []
  for first, second, turn in _alike(hashed):
    a, b = hashed[first].sample, hashed[second].sample
    who = [
      f"patient {each.patient}, {parts.get(each.name, 'no')} part" for each in (a, b)
    ]
    text = f"and {b.name}{_TURNS[turn]}: {' and '.join(who)}."
    found = together if a.patient == b.patient else apart
    found.append(Suspect(a.name, text, beside=b.name))
  troubles = []
  for wrong, suspects, whose in (
    (True, apart, "of different patients, so that what trains may test"),
    (False, together, "of one patient, whose nuclei count twice"),
  ):
    if suspects:
      names = listed([f"{s.name} and {s.beside}" for s in suspects])
      text = f"{counted(len(suspects), 'pair')} of images ({names}) are nearly the same"
      text += f" picture, though {whose}" if wrong else f" picture, {whose}"
      troubles.append(Trouble(wrong, "copies of images", text, suspects))
  return troubles


def _alike(images: Sequence[Examined]) -> list[tuple[int, int, int]]:
  """Pairs of images that look alike, and how the first must be turned."""
  if len(images) < 2:
    return []
  # As ±1 their product is 256 less twice the bits that differ.
  signs = np.array([image.hashes for image in images], np.float32) * 2 - 1
  upright, bits = signs[:, 0], signs.shape[2]
  found: dict[tuple[int, int], int] = {}
  for start in range(0, len(images), _BLOCK):
    for turn in range(len(_TURNS)):
      product = signs[start : start + _BLOCK, turn] @ upright.T
      for first, second in np.argwhere(product >= bits - 2 * ALIKE):
        if start + first < second:
          found.setdefault((int(start + first), int(second)), turn)
  return [(*pair, turn) for pair, turn in sorted(found.items())]


def find_nothing_to_see(images: Sequence[Examined]) -> list[Trouble]:
  """Images of one colour, and those smaller than a nucleus."""
  found = [image.sample for image in images if _shows_nothing(image.sample)]
  if not found:
    return []
  names = [sample.name for sample in found]
  text = (
    f"{counted(len(names), 'image')} of one colour or smaller than a nucleus"
    f" ({listed(names)}): nothing can be learned there, and a batch of these alone"
    " stops training"
  )
  wrong = any(len(sample.centers) for sample in found)
  suspects = [
    Suspect(s.name, f"{s.image.shape[1]} x {s.image.shape[0]} pixels.") for s in found
  ]
  return [Trouble(wrong, "nothing to see", text, suspects)]


def _shows_nothing(sample: Sample) -> bool:
  side = min(sample.image.shape[:2]) * sample.resolution
  return sample.is_plain or side < _LEAST_SIDE


def find_patients(images: Sequence[Examined]) -> list[Trouble]:
  """Patients whose names people would take for the same."""
  spellings: dict[str, set[str]] = {}
  for image in images:
    if image.sample.patient != image.sample.name:  # somebody wrote it
      folded = unicodedata.normalize("NFKC", image.sample.patient).casefold()
      spellings.setdefault("".join(folded.split()), set()).add(image.sample.patient)
  doubtful = [sorted(names) for names in spellings.values() if len(names) > 1]
  if not doubtful:
    return []
  groups = [" and ".join(map(repr, names)) for names in doubtful]
  text = (
    f"{counted(len(groups), 'patient')} under several names, which differ in case,"
    f" blanks or Unicode alone ({listed(groups)}), and may train and test at once"
  )
  return [Trouble(True, "patients under several names", text)]


def find_resolutions(images: Sequence[Examined]) -> list[Trouble]:
  """Resolutions that nobody said, or at which nuclei would have an odd size."""
  groups: dict[float | None, list[Examined]] = {}
  for image in images:
    groups.setdefault(image.sample.mpp, []).append(image)
  troubles = []
  for mpp, group in groups.items():
    names = [image.sample.name for image in group]
    width = _usual_width(group)
    odd = width is not None and not _within(width, USUAL_WIDTH)
    wrong = width is not None and not _within(width, POSSIBLE_WIDTH)
    who = f"{counted(len(names), 'image')} ({listed(names)})"
    if mpp is None:
      text = f"nobody says how many microns a pixel has in {who}, so it is taken as"
      text += f" {REFERENCE_MPP:g}"
    else:
      text = f"{who} said to have {mpp:g} microns a pixel"
    if width is not None and (odd or mpp is None):
      text += f": nuclei would be {width:.1f} microns wide at half their stain, "
      text += (
        f"where {USUAL_WIDTH[0]:g} to {USUAL_WIDTH[1]:g} are usual"
        if odd
        else ("as is usual")
      )
    if odd or mpp is None:
      title = "odd resolution" if odd else "unknown resolution"
      suspects = [Suspect(name) for name in names] if odd else []
      troubles.append(Trouble(wrong, title, text, suspects))
  return troubles


def _within(value: float, bounds: tuple[float, float]) -> bool:
  return bounds[0] <= value <= bounds[1]


def _usual_width(group: Sequence[Examined]) -> float | None:
  """The median width of nuclei, in microns, where enough images tell it."""
  widths = [
    image.evidence.width
    for image in group
    if image.evidence is not None
    and lies_right(image)
    and len(image.sample.centers) >= _LEAST_CENTERS
    and np.isfinite(image.evidence.width)
  ]
  return float(np.median(widths)) if len(widths) >= _LEAST_IMAGES else None
