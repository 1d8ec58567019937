"""The paper's claims as rows of data, and the one function that decides them.

A figure's module lists its `Claim`s; `judge_claim` is called by `studies.findings`.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from micronet_jax.evaluation.intervals import Estimate, estimate_statistic
from micronet_jax.studies.results import Outcome, Row

NOTHING = Estimate(float("nan"), None, None, "nothing to compare")


class Where(NamedTuple):
  """Which rows are meant: those that meet every condition given.

  Attributes:
    panel: what the panel ends in.
    series: the series is one of these; () for any.
    other_than: and none of these.
    x: one of these; None for any.
    low, high: x lies between these, ends included.
    at: or x is the one that stands here for the panel.
  """

  panel: str | tuple[str, ...] = ""
  series: Sequence[str] = ()
  other_than: Sequence[str] = ()
  x: Sequence[float] | None = None
  low: float = -np.inf
  high: float = np.inf
  at: Mapping[str, float] | None = None

  def holds(self, row: Row) -> bool:
    """Whether a row is meant."""
    return (
      row.panel.endswith(self.panel)
      and (not self.series or row.series in self.series)
      and row.series not in self.other_than
      and (self.x is None or row.x in self.x)
      and self.low <= row.x <= self.high
      and (self.at is None or row.x == self.at.get(row.panel))
    )


class Choice(NamedTuple):
  """A difference that is chosen by its size, as one reads it off a figure.

  It is chosen once, by the means over seeds; the interval is of what was chosen, and
  does not know of the choice.

  Attributes:
    extreme: "largest" or "least".
    among: fields of a row in which the candidates differ; a candidate is compared
      within its panel if "panel" is one of them.
    side: whose rows they are, "plus" or "minus".
    within: one is chosen for each value of this field, and their mean taken; "" for
      one over all.
    whole: only of panels that have every series.
  """

  extreme: str
  among: tuple[str, ...]
  side: str = "plus"
  within: str = ""
  whole: bool = False


class Claim(NamedTuple):
  """A claim of the paper, and what decides it.

  Attributes:
    text: in the paper's sense, one sentence.
    number: what decides it, in words.
    plus: rows whose mean score is compared...
    minus: ... with that of these; each panel weighs the same, and panels without
      either kind are left out. None only with other measures.
    least: the claim holds if the whole interval is above this.
    metric: of the scores.
    choose: the difference is one of several; None for all.
    per: the field of a row that takes a panel's part.
    measure: "difference" of means; "share" of panels where the highest of `plus` is
      at least that of `minus`; "above chance", less F1 of random points; "diverged",
      the share of `plus` that did.
  """

  text: str
  number: str
  plus: Where = Where()
  minus: Where | None = None
  least: float = 0.0
  metric: str = "f1"
  choose: Choice | None = None
  per: str = "panel"
  measure: str = "difference"


class Finding(NamedTuple):
  """A claim and what was found.

  Attributes:
    claim: of the paper.
    estimate: the number that decides, with its interval.
    verdict: "holds", "does not hold" or "cannot tell".
  """

  claim: Claim
  estimate: Estimate
  verdict: str


def judge_claim(claim: Claim, rows: Sequence[Row]) -> Finding:
  """Decides a claim from the rows of its study; what diverged is left out."""
  if claim.measure == "diverged":
    return _judge_divergence(claim, rows)
  kept, by_seed = align_seeds([row for row in rows if _kind(claim, row)])
  kinds = np.array([_kind(claim, row) for row in kept])
  found = NOTHING
  if claim.measure == "above chance":
    chance = np.array([row.outcome.chance for row in kept])
    found = estimate_statistic(by_seed, lambda scores: (scores - chance).mean(-1))
  elif claim.measure == "share":
    found = _estimate_share(kept, kinds, by_seed)
  else:
    weights = _choose_weights(claim, kept, kinds, by_seed)
    if weights is not None:
      (used,) = np.nonzero(weights)  # whose patients count
      by_seed = [[row[i] for i in used] for row in by_seed]
      found = estimate_statistic(
        by_seed, lambda scores: scores @ weights[used], metric=claim.metric
      )
  return Finding(claim, found, found.verdict(claim.least))


def _kind(claim: Claim, row: Row) -> int:
  """1 for what is compared, -1 for what it is compared with, 0 for neither."""
  return int(claim.plus.holds(row)) - int(bool(claim.minus) and claim.minus.holds(row))


def _estimate_share(
  rows: Sequence[Row], kinds: np.ndarray, by_seed: Sequence[Sequence[Outcome]]
) -> Estimate:
  """The share of panels where plus has the highest score, ties included."""
  names = np.array([row.panel for row in rows])
  both = {p for p in names if {1, -1} <= set(kinds[names == p].tolist())}
  (used,) = np.nonzero([name in both for name in names])
  if not both:
    return NOTHING
  names, kinds = names[used], kinds[used]

  def share(scores: np.ndarray) -> np.ndarray:
    highest = [
      [scores[..., (names == panel) & (kinds == kind)].max(-1) for kind in (1, -1)]
      for panel in dict.fromkeys(names)
    ]
    return np.mean([plus >= minus for plus, minus in highest], axis=0)

  return estimate_statistic([[row[i] for i in used] for row in by_seed], share)


def _choose_weights(
  claim: Claim,
  rows: Sequence[Row],
  kinds: np.ndarray,
  by_seed: Sequence[Sequence[Outcome]],
) -> np.ndarray | None:
  """Weights `[rows]` that make the number of their scores; None for nothing."""
  per = [getattr(row, claim.per) for row in rows]
  if claim.choose is None:
    return _weigh(kinds, per)
  extreme, among, side, within, whole = claim.choose
  if whole:
    series = {row.series for row in rows}
    have = {p: {r.series for r in rows if r.panel == p} for p in list_panels(rows)}
    kinds = kinds * [have[row.panel] == series for row in rows]
  varies = kinds == (1 if side == "plus" else -1)
  sign = 1 if extreme == "largest" else -1
  means = np.mean([[o.score(claim.metric) for o in row] for row in by_seed], axis=0)
  best: dict[object, tuple[float, np.ndarray]] = {}
  keys = [tuple(getattr(row, field) for field in among) for row in rows]
  for first, key in enumerate(keys):
    if not varies[first] or key in keys[:first]:
      continue
    here = [not moves or each == key for each, moves in zip(keys, varies, strict=True)]
    if "panel" in among:
      panel = rows[first].panel
      here = [h and row.panel == panel for h, row in zip(here, rows, strict=True)]
    weights = _weigh(kinds * here, per)
    if weights is None:
      continue
    place = getattr(rows[first], within) if within else ""
    size = sign * float(means @ weights)
    if place not in best or size > best[place][0]:
      best[place] = size, weights
  if not best:
    return None
  return np.mean([weights for _, weights in best.values()], axis=0)


def _weigh(kinds: np.ndarray, panels: Sequence[str]) -> np.ndarray | None:
  """Weights of the mean of plus less that of minus, each panel weighing the same."""
  names = np.array(panels)
  weights, count = np.zeros(len(kinds)), 0
  for panel in dict.fromkeys(panels):
    sides = [(names == panel) & (kinds == kind) for kind in (1, -1)]
    if all(side.any() for side in sides):
      count += 1
      for side, sign in zip(sides, (1, -1), strict=True):
        weights[side] = sign / side.sum()
  return weights / count if count else None


def _judge_divergence(claim: Claim, rows: Iterable[Row]) -> Finding:
  """All, none or some of the rows; the interval is Clopper and Pearson's."""
  meant = [row for row in rows if claim.plus.holds(row)]
  lost = sum(row.diverged is not None for row in meant)
  share, low, high = float("nan"), None, None
  if meant:
    counted = stats.binomtest(lost, len(meant))
    share, (low, high) = counted.statistic, counted.proportion_ci()
  verdict = "cannot tell"
  if meant and lost in (0, len(meant)):
    verdict = "holds" if lost else "does not hold"
  return Finding(claim, Estimate(share, low, high, f"{len(meant)} runs"), verdict)


def list_panels(rows: Iterable[Row]) -> list[str]:
  """The panels of rows, in order."""
  return list(dict.fromkeys(row.panel for row in rows))


def rows_of_panel(rows: Iterable[Row], panel: str) -> list[Row]:
  """The rows of one panel."""
  return [row for row in rows if row.panel == panel]


def describe_by_panel(rows: Sequence[Row], plus: Where, minus: Where) -> str:
  """A difference in each panel by itself, in words: the mean may rest on one of them."""
  parts = []
  for panel in list_panels(rows):
    found = judge_claim(Claim("", "", plus, minus), rows_of_panel(rows, panel)).estimate
    if found is not NOTHING:
      parts.append(f"{panel} {found.value:+.3f}")
  return ", ".join(parts)


def align_seeds(rows: Iterable[Row]) -> tuple[list[Row], list[list[Outcome]]]:
  """The rows that every seed has and none lost, and their outcomes by seed.

  Courses may end at different steps, or diverge, with different seeds.
  """
  by_seed: dict[int, dict[tuple, Row]] = {}
  for row in rows:
    place = by_seed.setdefault(row.seed, {})
    # A series may have several rows at one place.
    key = next(
      key
      for count in itertools.count()
      if (key := (row.panel, row.series, row.x, row.trained_on, count)) not in place
    )
    place[key] = row
  lost = {
    key for place in by_seed.values() for key, row in place.items() if row.diverged
  }
  seeds = [by_seed[seed] for seed in sorted(by_seed)]
  keys = [
    key
    for key in (seeds[0] if seeds else ())
    if key not in lost and all(key in place for place in seeds)
  ]
  rows = [seeds[0][key] for key in keys]
  return rows, [[place[key].outcome for key in keys] for place in seeds]
