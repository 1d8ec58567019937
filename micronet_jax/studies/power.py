"""What it would take to decide a claim: the spread of what was run, and how many more.

A claim's number is the mean over organs of a difference. It would come out otherwise
for other organs, seeds and test images: the three spreads are told apart here, and so
many of each are worked out that the 95 % interval would clear the claim's margin, were
the difference what it was found to be. Called by `studies.answers`.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from micronet_jax.evaluation.intervals import LEVEL, Estimate
from micronet_jax.studies.claims import Claim, Weighed, estimate_share, weigh_claim
from micronet_jax.studies.results import Line, Row

LEAST_ORGANS = 3  # fewer say nothing of organs in general
MOST = 1000  # organs or seeds beyond which none is named
NORMAL = float(stats.norm.ppf((1 + LEVEL) / 2))


class Spread(NamedTuple):
  """How a claim's number varies; variances are of one organ's difference.

  Attributes:
    value: mean over organs and seeds.
    gap: how far it is from the claim's margin.
    organs, seeds: that it was found with.
    between: variance of the true difference between organs; NaN of one organ. Of one
      seed it holds what training again would change, too.
    trained: variance by training again with another seed; NaN of one seed.
    tested: variance by other test patients or images, as many as there were.
  """

  value: float
  gap: float
  organs: int
  seeds: int
  between: float
  trained: float
  tested: float

  def half(self, organs: int, seeds: int) -> float:
    """Half of the 95 % interval over organs in general, with so many of each."""
    trained = self.trained / seeds if np.isfinite(self.trained) else 0.0
    variance = (self.between + trained + self.tested) / organs
    return float(stats.t.ppf((1 + LEVEL) / 2, organs - 1) * np.sqrt(variance))

  def half_here(self, seeds: int, share: float = 1.0) -> float:
    """The same for these organs alone, of `share` times as many test images."""
    trained = stats.t.ppf((1 + LEVEL) / 2, seeds - 1) ** 2 * self.trained / seeds
    return float(np.sqrt((trained + NORMAL**2 * self.tested / share) / self.organs))


def measure_spread(
  claim: Claim, rows: Sequence[Row], line: Line | None
) -> Spread | None:
  """Takes apart what a claim's number varies by.

  Args:
    claim: of a difference.
    rows: of its study.
    line: what was found of it: what its interval has beyond the seeds' part is of the
      test patients.

  Returns:
    The spread; None for a share, where nothing is compared, or without an interval.
  """
  weighed = weigh_claim(claim, rows) if claim.measure == "difference" else None
  if weighed is None or line is None or line.low is None or line.high is None:
    return None
  apart = _by_organ(claim, weighed)
  seeds, organs = apart.shape
  nan = float("nan")
  trained = float(apart.var(0, ddof=1).mean()) if seeds > 1 else nan
  half, value = max(line.value - line.low, line.high - line.value), float(apart.mean())
  if seeds >= 3:
    own = stats.t.ppf((1 + LEVEL) / 2, seeds - 1) * stats.sem(apart.mean(1))
    half = np.sqrt(max(half**2 - own**2, 0.0))
  tested = organs * (half / NORMAL) ** 2
  between = nan
  if organs > 1:
    known = tested + (trained / seeds if seeds > 1 else 0.0)
    between = max(float(apart.mean(0).var(ddof=1)) - known, 0.0)
  gap = abs(value - claim.least)
  return Spread(value, gap, organs, seeds, between, trained, tested)


def _by_organ(claim: Claim, weighed: Weighed) -> np.ndarray:
  """A claim's difference of each organ that is tested on, float64 `[seeds, organs]`."""
  owner = np.array([row.organ for row in weighed.rows])
  names = list(dict.fromkeys(owner.tolist()))
  parts = weighed.scores(claim.metric) * weighed.weights * len(names)
  return np.stack([parts[:, owner == name].sum(1) for name in names], axis=1)


def over_organs(claim: Claim, rows: Sequence[Row]) -> Estimate | None:
  """A claim's number, and its 95 % interval over organs in general.

  Student's, over what each organ gives (the mean over its seeds), as if organs were
  drawn by chance; of a share, Clopper and Pearson's. None for fewer than
  `LEAST_ORGANS`, and for a claim about one organ or one that averages no differences.
  """
  comparable = claim.measure in ("difference", "share")
  weighed = weigh_claim(claim, rows) if comparable else None
  if weighed is None:
    return None
  if claim.measure == "share":
    return estimate_share(claim, weighed)
  each = _by_organ(claim, weighed).mean(0)
  if len(each) < LEAST_ORGANS or not np.isfinite(each).all():
    return None
  half = float(stats.t.ppf((1 + LEVEL) / 2, len(each) - 1) * stats.sem(each))
  value = float(each.mean())
  return Estimate(value, value - half, value + half, f"{len(each)} organs")


def _first(counts: range, clears: Callable[[int], bool]) -> int | None:
  """The least count that is enough, or None."""
  return next(itertools.filterfalse(lambda n: not clears(n), counts), None)


def organs_needed(spread: Spread, *, seeds: int) -> int | None:
  """How many organs, of so many seeds each, decide the claim for organs in general.

  From a spread of one seed they are of one seed each.
  """
  if not np.isfinite(spread.between):
    return None
  return _first(range(2, MOST + 1), lambda n: spread.half(n, seeds) < spread.gap)


def seeds_needed(spread: Spread) -> int | None:
  """How many seeds decide it for these organs and test images."""
  if not np.isfinite(spread.trained):
    return None
  return _first(range(3, MOST + 1), lambda n: spread.half_here(n) < spread.gap)


def images_needed(spread: Spread) -> float | None:
  """How many times the test images decide it for these organs and seeds; None: none."""
  if not np.isfinite(spread.trained) or spread.seeds < 3:
    return None
  left = spread.gap**2 - spread.half_here(spread.seeds, np.inf) ** 2
  return NORMAL**2 * spread.tested / spread.organs / left if left > 0 else None


def organs_for_share(value: float, margin: float) -> int | None:
  """Of how many organs a share would clear a margin, by the normal approximation."""
  gap = abs(value - margin)
  enough = NORMAL**2 * value * (1 - value) / gap**2 if gap else np.inf
  return int(np.ceil(enough)) if enough <= MOST else None


def needs(claim: Claim, rows: Sequence[Row], line: Line) -> str:
  """What would decide a claim, in words; "" where nothing tells."""
  if claim.measure == "share":
    number = organs_for_share(line.value, claim.least)
    return f"it would take {_count(number)} organs, were the share {line.value:.2f}"
  spread = measure_spread(claim, rows, line)
  if spread is None:
    return ""
  if spread.organs == 1 and spread.seeds == 1:
    return "it would take a second and a third seed of that organ"
  counted, seeds = "seeds of that organ", min(spread.seeds, 3)
  number = seeds_needed(spread)
  if spread.organs > 1:
    number = organs_needed(spread, seeds=seeds)
    counted = f"organs of {seeds} seed{'s' if seeds > 1 else ''} each"
  if number is None:
    return f"{spread.value:+.3f} is too little for {MOST:,} {counted} to tell"
  return f"{number} {counted} would have an even chance, were it {spread.value:+.3f}"


def organs_of_claim(claim: Claim, rows: Sequence[Row], line: Line) -> int | None:
  """How many organs of 3 seeds each decide a claim about organs in general.

  None for more than `MOST`, or where nothing tells.
  """
  if claim.measure == "share":
    return organs_for_share(line.value, claim.least)
  spread = measure_spread(claim, rows, line)
  general = spread is not None and spread.organs > 1
  return organs_needed(spread, seeds=3) if spread and general else None


HEADS = (
  "claim | found | margin | SD organs | SD seeds | SD test images | organs (3 seeds) |"
  " organs (5 seeds) | seeds, these organs | test images, these organs"
)
"""Of `describe_power`'s cells."""


def describe_power(claim: Claim, rows: Sequence[Row], line: Line) -> list[str]:
  """One line of the page: what was found, its spreads, and what would decide it."""
  found = [claim.text, f"{line.value:+.3f}", f"{claim.least:g}"]
  if claim.measure == "share":
    needed = organs_for_share(line.value, claim.least)
    return [*found, "–", "–", "–", *[_count(needed)] * 2, "–", "–"]
  spread = measure_spread(claim, rows, line)
  if spread is None:
    return [*found, *["–"] * 7]
  squares = spread.between, spread.trained, spread.tested
  spreads = [f"{v**0.5:.3f}" if np.isfinite(v) else "–" for v in squares]
  cells = ["chosen", "chosen"]  # by its size, among the organs
  if spread.organs > 1:
    cells = [_count(organs_needed(spread, seeds=seeds)) for seeds in (3, 5)]
  if spread.seeds == 1:
    return [*found, *spreads, *cells, "–", "–"]
  times = images_needed(spread)
  images = f"{max(times, 0.1):.1f} ×" if times is not None else "not by images"
  return [*found, *spreads, *cells, _count(seeds_needed(spread)), images]


def _count(number: int | None) -> str:
  return f"> {MOST:,}" if number is None else str(number)
