"""What an evaluation found, and how sure a number made of several can be."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

METRICS = ("precision", "recall", "f1", "ed")
LEVEL = 0.95
DRAWS = 10_000

LEAST_PATIENTS = 5
"""Fewer, over all test sets, say nothing about other patients: there is no interval."""


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
  """One detector on the test images of one organ.

  Attributes:
    organ: whose images.
    patients: whose each image is.
    counts: float64 `[images, 4]`: pairs, false detections, missed nuclei, and the
      sum of the pairs' distances in pixels, matched within 16 px.
    curve: "xi", "precision", "recall" and "f1" over the thresholds, pooled.
    chance: F1 of as many random points.
    f1_12: F1 within 12 px, which forgives less in dense tissue.
    xi, min_distance: as chosen on the validation part.
    step: of the checkpoint.
    detected: centres `[N, 2]` (y, x) of each image; of the run's own organ only.
    diverged: why there is no network to evaluate, or None; all else is empty then.
  """

  organ: str
  patients: tuple[str, ...]
  counts: np.ndarray
  curve: Mapping[str, Sequence[float]]
  chance: float
  f1_12: float
  xi: float
  min_distance: int
  step: int
  detected: Sequence[np.ndarray] = ()
  diverged: str | None = None

  def score(self, metric: str) -> float:
    """One of `METRICS`, pooled over the images; NaN if the run diverged."""
    if self.diverged:
      return float("nan")
    return float(metric_of(self.counts.sum(0), metric))

  def to_json(self) -> dict[str, Any]:
    """For a file."""
    values = {
      field.name: getattr(self, field.name) for field in dataclasses.fields(self)
    }
    detected = [np.round(points, 1).tolist() for points in self.detected]
    return {**values, "counts": self.counts.tolist(), "detected": detected}


def from_json(values: Mapping[str, Any]) -> Outcome:
  """The inverse of `Outcome.to_json`."""
  counts = np.asarray(values["counts"], float).reshape(-1, 4)
  patients = tuple(values["patients"])
  detected = [np.asarray(points, float).reshape(-1, 2) for points in values["detected"]]
  changed = {"counts": counts, "patients": patients, "detected": detected}
  return Outcome(**{**values, **changed})


def lost(organ: str, reason: str) -> Outcome:
  """The outcome of a run that diverged."""
  names = ("xi", "precision", "recall", "f1")
  nothing: dict[str, Sequence[float]] = dict.fromkeys(names, ())
  none = float("nan")
  return Outcome(
    *(organ, (), np.zeros((0, 4)), nothing, none, none, none, 0, 0, (), reason)
  )


def metric_of(counts: np.ndarray, metric: str) -> np.ndarray:
  """Scores of pooled counts `[..., 4]`; what is 0/0 is as in `evaluation.scores`."""
  tp, fp, fn, distance = np.moveaxis(np.asarray(counts, float), -1, 0)
  if metric == "ed":
    return np.divide(distance, tp, out=np.full(tp.shape, np.nan), where=tp > 0)
  part, whole = {
    "precision": (tp, tp + fp),
    "recall": (tp, tp + fn),
    "f1": (2 * tp, 2 * tp + fp + fn),
  }[metric]
  empty = np.where(tp + fp + fn == 0, 1.0, 0.0)
  return np.where(whole > 0, part / np.maximum(whole, 1), empty)


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
    """Whether the number is above `least`."""
    if self.low is None or self.high is None:
      return "cannot tell"
    if self.low > least:
      return "holds"
    return "does not hold" if self.high < least else "cannot tell"


def estimate(
  by_seed: Sequence[Sequence[Outcome]],
  statistic: Callable[[np.ndarray], np.ndarray],
  *,
  metric: str = "f1",
  seed: int = 0,
) -> Estimate:
  """Estimates a number made of the scores of several detectors.

  A bootstrap over the patients of each test set, the same patients for all detectors
  that share a test set, says what other patients would change, for these networks.
  From three seeds on, Student's interval over the seeds says what training again would
  change, for these patients; the two are independent, so that distances from the value
  to the ends add in squares.

  Args:
    by_seed: for each seed, the outcomes in the same order.
    statistic: maps scores `[..., outcomes]` to numbers `[...]`.
    metric: one of `METRICS`.
    seed: of the bootstrap.
  """
  scores = np.array([[o.score(metric) for o in outcomes] for outcomes in by_seed])
  values = statistic(scores)
  value = float(np.mean(values))
  patients = {
    (o.organ, p) for outcomes in by_seed for o in outcomes for p in o.patients
  }
  source = f"{len(patients)} test patients"
  if len(by_seed) >= 3:
    source = f"{len(by_seed)} seeds, {source}"
  drawn = resample([o for outcomes in by_seed for o in outcomes], metric, seed=seed)
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


def resample(
  outcomes: Sequence[Outcome], metric: str, *, seed: int
) -> np.ndarray | None:
  """Scores of drawn sets of patients, `[DRAWS, outcomes]`.

  Outcomes on the same patients get the same draws. Drawn from n patients, scores vary
  too little by √(n/(n - 1)), which matters where n is 3; their distances from the score
  are enlarged by it. None if an organ has one patient.
  """
  generator = np.random.default_rng(seed)
  draws: dict[tuple[str, tuple[str, ...]], np.ndarray] = {}
  columns = []
  for outcome in outcomes:
    names, owner = np.unique(np.asarray(outcome.patients, str), return_inverse=True)
    if len(names) < 2:
      return None
    test_set = outcome.organ, tuple(names.tolist())
    if test_set not in draws:
      chances = np.full(len(names), 1 / len(names))
      draws[test_set] = generator.multinomial(len(names), chances, DRAWS)
    counts = np.zeros((len(names), 4))
    np.add.at(counts, owner, outcome.counts)
    score = outcome.score(metric)
    drawn = metric_of(draws[test_set] @ counts, metric)
    enlarged = (len(names) / (len(names) - 1)) ** 0.5
    columns.append(score + enlarged * (drawn - score))
  return np.stack(columns, axis=-1)


def interval(outcome: Outcome, metric: str = "f1") -> tuple[float, float] | None:
  """The 95 % interval of one score over the patients."""
  found = estimate([[outcome]], lambda scores: scores[..., 0], metric=metric)
  if found.low is None or found.high is None:
    return None
  low, high = max(found.low, 0.0), found.high
  return low, high if metric == "ed" else min(high, 1.0)
