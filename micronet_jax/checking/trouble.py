"""What the checks say: a sentence, how grave it is, and images to look at.

Made by `centers` and `images`; printed by `job` and drawn by `sheet`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from micronet_jax.checking.stain import Evidence
from micronet_jax.datasets.sample import Sample

_NAMED = 4  # of many images, those that a sentence names


@dataclasses.dataclass(frozen=True, eq=False)
class Examined:
  """An image and what was measured on it.

  Attributes:
    sample: the image and its centres.
    hashes: bool `[8, 256]`, what its turns and mirror images look like
      (`images.look_alike_hashes`); None if it has one colour.
    evidence: whether the centres lie on nuclei; None if the image cannot tell.
  """

  sample: Sample
  hashes: np.ndarray | None
  evidence: Evidence | None


@dataclasses.dataclass(frozen=True, eq=False)
class Suspect:
  """An image to look at.

  Attributes:
    name: of the image.
    caption: what is odd about it; may be empty.
    marked: `[K, 2]` (y, x), where to look, or where centres would belong.
    close: to look at are the surroundings of each mark, not the whole image.
    beside: name of another image to compare it with; "" for none.
  """

  name: str
  caption: str = ""
  marked: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2)))
  close: bool = False
  beside: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Trouble:
  """One thing that was found.

  Attributes:
    wrong: it stops training or makes a number wrong; else it is a remark.
    title: a few words, the same for all of its kind.
    text: one sentence.
    suspects: what to look at.
  """

  wrong: bool
  title: str
  text: str
  suspects: Sequence[Suspect] = ()


def listed(names: Sequence[str]) -> str:
  """Names for a sentence, of many the first."""
  more = len(names) - _NAMED
  shown = ", ".join(names[:_NAMED])
  return f"{shown} and {more} more" if more > 0 else shown


def counted(count: int, noun: str) -> str:
  """A number and its noun: 1 image, 2,000 images."""
  return f"{count:,} {noun}{'' if count == 1 else 's'}"
