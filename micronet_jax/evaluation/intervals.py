"""How far numbers would move with other patients: the one bootstrap, with one rule.

Called by `evaluation.scoring` for reports and by `studies.claims` for differences.
Fewer than five patients say nothing about others, and then there is no interval.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from micronet_jax.evaluation.matching import check_same_length
from micronet_jax.evaluation.metrics import form_metric

LEVEL = 0.95
DRAWS = 10_000

LEAST_PATIENTS = 5
"""Fewer, over all test sets, say nothing about other patients: there is no interval."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tally:
  """What one detector found and missed in one test set.

  Attributes:
    organ: names the test set; patients of one set are drawn alike for all detectors.
    patients: whose each image is.
    counts: float64 `[images, 4]`: pairs, false detections, missed nuclei, and the sum
      of the pairs' distances in pixels.
  """

  organ: str
  patients: tuple[str, ...]
  counts: np.ndarray

  def score(self, metric: str) -> float:
    """One of `metrics.METRICS`, pooled over the images."""
    return float(form_metric(self.counts.sum(0), metric))


class Estimate(NamedTuple):
  """A number and its 95 % interval.

  Attributes:
    value: of the data as they are.
    low, high: ends of the interval, or None where there is nothing to tell it from.
    source: what the interval is over.
  """

  value: float
  low: float | None
  high: float | None
  source: str

  def verdict(self, least: float = 0.0) -> str:
    """Whether the number is above `least`: holds, does not hold, or cannot tell."""
    if self.low is None or self.high is None:
      return "cannot tell"
    if self.low > least:
      return "holds"
    return "does not hold" if self.high < least else "cannot tell"


def interval_over_patients(
  counts: np.ndarray, patients: Sequence[str], metric: str = "f1"
) -> tuple[float, float] | None:
  """The 95 % interval of one pooled score over the patients.

  Args:
    counts: float64 `[images, 4]`, as in `Tally`.
    patients: whose each image is.
    metric: one of `metrics.METRICS`.

  Returns:
    Its ends, within what the metric can be; None for fewer than `LEAST_PATIENTS`.

  Raises:
    InputError: the lists differ in length.
  """
  check_same_length(counts=counts, patients=patients)  # type: ignore[arg-type]
  tested = Tally("", tuple(patients), np.asarray(counts, float).reshape(-1, 4))
  found = estimate_statistic([[tested]], lambda drawn: drawn[..., 0], metric=metric)
  if found.low is None or found.high is None:
    return None
  low, high = max(found.low, 0.0), found.high
  return low, high if metric == "ed" else min(high, 1.0)


def estimate_statistic(
  by_seed: Sequence[Sequence[Tally]],
  statistic: Callable[[np.ndarray], np.ndarray],
  *,
  metric: str = "f1",
  seed: int = 0,
  unit: str = "patients",
  drawn: np.ndarray | None = None,
) -> Estimate:
  """Estimates a number made of the scores of several detectors.

  A bootstrap over the patients of each test set, the same patients for all detectors
  that share a test set, says what other patients would change, for these networks.
  From three seeds on, Student's interval over the seeds says what training again would
  change, for these patients; the two are independent, so that distances from the value
  to the ends add in squares.

  Args:
    by_seed: for each seed, what was found, in the same order.
    statistic: maps scores `[..., detectors]` to numbers `[...]`.
    metric: one of `metrics.METRICS`.
    seed: of the bootstrap.
    unit: what patients are called; images, where each counts as one.
    drawn: what `draw_scores` gave of all these, seed after seed; None to draw it.
  """
  values = statistic(np.array([[t.score(metric) for t in row] for row in by_seed]))
  value = float(np.mean(values))
  every = [tested for row in by_seed for tested in row]
  patients = {(tested.organ, p) for tested in every for p in tested.patients}
  source = f"{len(patients)} test {unit}"
  if len(by_seed) >= 3:
    source = f"{len(by_seed)} seeds, {source}"
  if drawn is None:
    drawn = draw_scores(every, metric, seed=seed)
  if drawn is None or len(patients) < LEAST_PATIENTS or not np.isfinite(values).all():
    return Estimate(value, None, None, source)
  numbers = statistic(drawn.reshape(DRAWS, len(by_seed), -1)).mean(-1)
  numbers = numbers[np.isfinite(numbers)]  # no pair, no distance
  if not len(numbers):
    return Estimate(value, None, None, source)
  low, high = np.quantile(numbers, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
  if len(by_seed) >= 3:
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * stats.sem(values)
    # A maximum over draws can leave the value on one side of all of them.
    low = value - np.hypot(half, max(value - low, 0.0))
    high = value + np.hypot(half, max(high - value, 0.0))
  return Estimate(value, float(low), float(high), source)


def draw_scores(every: Sequence[Tally], metric: str, *, seed: int) -> np.ndarray | None:
  """Scores of drawn sets of patients, `[DRAWS, detectors]`.

  Whole patients are drawn with replacement, since the images of one resemble each
  other; detectors on the same patients get the same draws. Drawn from n patients, they
  vary too little by √(n/(n - 1)), which matters where n is 3; their distances from the
  score are enlarged by it. None if a test set is of one patient.
  """
  generator = np.random.default_rng(seed)
  draws: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}
  columns = []
  for tested in every:
    names, owner = np.unique(np.asarray(tested.patients, str), return_inverse=True)
    if len(names) < 2:
      return None
    test_set = tested.organ, tuple(names.tolist())
    if test_set not in draws:
      chances = np.full(len(names), 1 / len(names))
      draws[test_set] = generator.multinomial(len(names), chances, DRAWS)
    counts = np.zeros((len(names), 4))
    np.add.at(counts, owner, tested.counts)
    score = tested.score(metric)
    drawn = form_metric(draws[test_set] @ counts, metric)
    enlarged = (len(names) / (len(names) - 1)) ** 0.5
    columns.append(score + enlarged * (drawn - score))
  return np.stack(columns, axis=-1)


def weigh_difference(sides: np.ndarray, groups: np.ndarray) -> np.ndarray | None:
  """Weights that make the mean of some scores less that of others.

  Args:
    sides: `[N]`, 1 for what is compared, -1 for what it is compared with, else 0.
    groups: `[N]` names; each group weighs the same, and is left out without either.

  Returns:
    float64 `[N]`, or None if no group has both.
  """
  weights, count = np.zeros(len(sides)), 0
  for name in dict.fromkeys(groups.tolist()):
    plus, minus = ((groups == name) & (sides == side) for side in (1, -1))
    if plus.any() and minus.any():
      count += 1
      weights[plus], weights[minus] = 1 / plus.sum(), -1 / minus.sum()
  return weights / count if count else None


def share_won(scores: np.ndarray, sides: np.ndarray, groups: np.ndarray) -> np.ndarray:
  """The share of groups whose highest score is of side 1, ties included.

  Args:
    scores: `[..., N]`.
    sides: `[N]`, 1 or -1.
    groups: `[N]` names, each with both sides.
  """
  wins = []
  for name in dict.fromkeys(groups.tolist()):
    plus, minus = (
      scores[..., (groups == name) & (sides == side)].max(-1) for side in (1, -1)
    )
    wins.append(plus >= minus)
  return np.mean(wins, axis=0)
