"""What ξ is a share of in an image, by the rule that a network follows.

"relative": the highest score of the image, as in the paper. "absolute": 1, the score of
a clear centre. "median": the median score of the image's clear maxima, since all scores
of an image are lower where it is pale or blurred; one odd maximum moves it by nothing.
Called by `detection.detector`, which sees the scores tile by tile.
"""

import numpy as np

from micronet_jax.config import ABSOLUTE, MEDIAN

CLEAR = 0.1
"""Least score of a clear maximum: what glass and smooth stroma give is lower."""


def decisive_scores(rule: str, scores: np.ndarray) -> np.ndarray:
  """Of the scores of a part of an image, those that the unit follows from.

  Args:
    rule: of the network.
    scores: float32 `[N]`, of all its maxima of at least `CLEAR`, in any order.

  Returns:
    float32 `[M]`: what `unit_of` asks for, put together over the parts.
  """
  if rule == ABSOLUTE:
    return scores[:0]
  if rule == MEDIAN:
    return scores[scores >= np.float32(CLEAR)]
  return scores[scores == scores.max(initial=0)][:1]


def unit_of(rule: str, decisive: np.ndarray) -> float:
  """What ξ is a share of.

  Args:
    rule: of the network.
    decisive: float32 `[M]`, of all parts of an image.

  Returns:
    A score; 1 where none is decisive, so that an image without a clear maximum has no
    maximum that counts.
  """
  if rule == ABSOLUTE or not len(decisive):
    return 1.0
  return float(np.median(decisive) if rule == MEDIAN else decisive.max())


def least_that_counts(rule: str, xi: float) -> float:
  """A score below which none counts, whatever the unit turns out to be."""
  return float(np.float32(min(xi, 1) * CLEAR)) if rule == MEDIAN else 0.0
