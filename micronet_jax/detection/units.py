"""What ξ is a share of in an image, by the rule that a network follows.

"relative": the highest score of the image, as in the paper. "absolute": 1, the score of
a clear centre. "median": the median score of the image's maxima that are not faint, as
all scores of an image are lower where it is pale or blurred, and one odd maximum moves
it by nothing; at least `PALEST`, or an image without nuclei would be full of them.
Called by `detection.detector`, which sees the scores tile by tile.
"""

import dataclasses
from typing import Any

import numpy as np

from micronet_jax.config import ABSOLUTE, MEDIAN
from micronet_jax.settings import as_python, check_ranges, from_dict, setting

FAINT = 0.1
"""Scores below are left out of the median: in all tissue there are many."""


PALEST = 0.2
"""Least unit, about that of the palest tissue that was tried."""


@dataclasses.dataclass(frozen=True)
class _Threshold:
  """What a checkpoint's meta may say (`stored.META`)."""

  xi: float = setting(0.0, low=0, high=1)
  min_distance: int = setting(1, low=1, high=10_000)


def check_threshold(xi: float, min_distance: int) -> dict[str, Any]:
  """ξ and min_distance as meta holds them.

  Args:
    xi: ξ, 0 to 1.
    min_distance: in whole pixels at 0.25 microns, at least 1.

  Raises:
    InputError: one is another.
  """
  given = {"xi": as_python(xi), "min_distance": as_python(min_distance)}
  checked = from_dict(_Threshold, given, "")
  check_ranges(checked, "")
  return dataclasses.asdict(checked)


def decisive_scores(rule: str, scores: np.ndarray) -> np.ndarray:
  """Of the scores of a part of an image, those that the unit follows from.

  Args:
    rule: of the network.
    scores: float32 `[N]`, of all its maxima of at least `FAINT`, in any order.

  Returns:
    float32 `[M]`: what `unit_of` asks for, put together over the parts.
  """
  if rule == ABSOLUTE:
    return scores[:0]
  if rule == MEDIAN:
    return scores[scores >= np.float32(FAINT)]
  return scores[scores == scores.max(initial=0)][:1]


def unit_of(rule: str, decisive: np.ndarray) -> float:
  """What ξ is a share of.

  Args:
    rule: of the network.
    decisive: float32 `[M]`, of all parts of an image.

  Returns:
    A score.
  """
  if rule == MEDIAN:
    middle = float(np.median(decisive)) if len(decisive) else 0.0
    return max(round(middle, 5), PALEST)  # machines differ in the digits beyond
  return 1.0 if rule == ABSOLUTE else float(decisive.max(initial=0))


def least_that_counts(rule: str, xi: float) -> float:
  """A score below which none counts, whatever the unit turns out to be."""
  return min(xi * PALEST, FAINT) if rule == MEDIAN else 0.0
