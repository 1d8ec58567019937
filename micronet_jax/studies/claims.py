"""The paper's claims, which are rows of paper.toml, and the one function that decides.

Called by `studies.study`; figures' modules work out the facts that claims mention.
"""

import functools
import itertools
import pathlib
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from micronet_jax.evaluation import intervals
from micronet_jax.evaluation.intervals import Estimate, Tally, weigh_difference
from micronet_jax.studies.results import Row

MOST_LOST = 0.5  # of a series that is still compared
OPEN, ALIKE = "cannot tell", "no difference"
LEAST_DIFFERENCE = 0.02
"""Of F1, precision or recall: what lies whole within is not worth a choice. It is ours,
and was chosen when most studies had been seen; seeds alone differ by as much."""

NOTHING = Estimate(float("nan"), None, None, "nothing to compare")


class Where(NamedTuple):
  """Which rows are meant: those that meet every condition given.

  The panel ends in one of `panel`; the series is one of `series` (() for any) and none
  of `but`; x is one of `x`, lies within `low` and `high`, is what `at` has by panel.
  """

  panel: tuple[str, ...] = ("",)
  series: Sequence[str] = ()
  but: Sequence[str] = ()
  x: Sequence[float] | None = None
  low: float = -np.inf
  high: float = np.inf
  at: Mapping[str, float] | None = None

  def holds(self, row: Row) -> bool:
    """Whether a row is meant."""
    return (
      row.panel.endswith(self.panel)
      and (not self.series or row.series in self.series)
      and row.series not in self.but
      and (self.x is None or row.x in self.x)
      and self.low <= row.x <= self.high
      and (self.at is None or row.x == self.at.get(row.panel))
    )


class Extreme(NamedTuple):
  """A difference chosen by its size ("largest", "least"), as one reads it off a figure.

  It is chosen by the means over seeds; the interval does not know of it. Candidates are
  the rows of one `side` that differ in the fields `among`, in their panel if that is
  one; one is chosen for each value of `within`. `whole`: of panels with every series.
  """

  kind: str
  among: Sequence[str]
  side: str = "plus"
  within: str = ""
  whole: bool = False


class Claim(NamedTuple):
  """A claim of the paper, and the number that decides it.

  Attributes:
    plus, minus: rows whose mean scores are compared; what `per` says, usually each
      panel, weighs the same, and is left out without either kind.
    least: the claim holds if the whole interval is above this.
    measure: "difference" of means; "share" of panels where the highest of `plus` is
      at least that of `minus`; "above chance", less F1 of random points; "diverged",
      the share of `plus` that did. Intervals of shares are Clopper and Pearson's: a
      bootstrap of test images favours the highest of many rivals.
    exact: the number itself, where nothing is estimated: 1 if the claim holds.
    told: by "holds" and "does not hold", a sentence for a user.
  """

  text: str
  number: str
  plus: Where = Where()
  minus: Where | None = None
  least: float = 0.0
  metric: str = "f1"
  choose: Extreme | None = None
  per: str = "panel"
  measure: str = "difference"
  exact: float | None = None
  told: Mapping[str, str] = {}


class Weighed(NamedTuple):
  """The rows that decide a claim, of the first seed, and what each counts.

  Attributes:
    by_seed: what was counted, for each seed, in the order of `rows`.
    weights: `[N]`, none of them 0; the scores' sum with them is the difference.
    sides: `[N]`, 1 for what is compared, -1 for what it is compared with.
    per: `[N]`, the group that each is of.
  """

  rows: list[Row]
  by_seed: list[list[Tally]]
  weights: np.ndarray
  sides: np.ndarray
  per: np.ndarray

  @property
  def groups(self) -> int:
    """How many groups are compared."""
    return len(dict.fromkeys(self.per.tolist()))

  def scores(self, metric: str) -> np.ndarray:
    """float64 `[seeds, N]`."""
    return np.array([[t.score(metric) for t in row] for row in self.by_seed])


class Finding(NamedTuple):
  """A claim, its number, and what `decide_claim` says of it."""

  claim: Claim
  estimate: Estimate
  verdict: str


@functools.cache
def read_paper() -> dict[str, Any]:
  """What paper.toml says, by study."""
  text = pathlib.Path(__file__).with_name("paper.toml").read_text(encoding="utf-8")
  paper = tomllib.loads(text)
  return {name: paper[each.get("like", name)] for name, each in paper.items()}


def list_claims(study: str, facts: Mapping[str, Any]) -> list[Claim]:
  """The claims of a study, with its facts in the places that mention them."""
  claims, facts = read_paper()[study]["claims"], {**read_paper()[study], **facts}
  found = []
  for name, group in itertools.groupby(claims, lambda claim: claim.get("for")):
    together = list(group)
    for changed in facts[name] if name else ({},):
      found += [_make_claim(given, {**facts, **changed}) for given in together]
  return found


def _make_claim(given: Mapping[str, Any], facts: Mapping[str, Any]) -> Claim:
  made = {name: value for name, value in given.items() if name != "for"}
  made |= {field: fill(given[field], facts) for field in ("text", "number")}
  made["told"] = {name: fill(text, facts) for name, text in given["told"].items()}
  for field in {"plus", "minus"} & set(given):
    where = {k: _condition(k, value, facts) for k, value in given[field].items()}
    made[field] = Where(**where)
  if "choose" in given:
    made["choose"] = Extreme(**given["choose"])
  if "exact" in given:
    made["exact"] = facts[given["exact"]]
  return Claim(**made)


def fill(text: str, facts: Mapping[str, Any]) -> str:
  """Puts facts where {braces} name them; numbers of a list are separated by commas."""
  listed = {
    name: ", ".join(f"{each:g}" for each in value)
    for name, value in facts.items()
    if isinstance(value, list) and all(isinstance(each, int | float) for each in value)
  }
  return text.format_map({**facts, **listed})


def _condition(field: str, value: Any, facts: Mapping[str, Any]) -> Any:
  """What paper.toml says of a field of `Where`, in the type that it has there."""
  if field in ("panel", "series", "but"):
    names = facts[value] if isinstance(value, str) and value in facts else value
    names = [names] if isinstance(names, str) else names
    return tuple(fill(name, facts) for name in names)
  value = facts[value] if isinstance(value, str) else value
  return (value,) if field == "x" and isinstance(value, int | float) else value


def judge_claim(
  claim: Claim, rows: Iterable[Row], *, unit: str = "patients"
) -> Finding:
  """Decides a claim from the rows of its study; what diverged is left out."""
  if claim.exact is not None:
    estimate = Estimate(claim.exact, None, None, "every pixel of the image")
    return Finding(claim, estimate, "holds" if claim.exact == 1 else "does not hold")
  if claim.measure == "diverged":
    return _judge_divergence(claim, [row for row in rows if claim.plus.holds(row)])
  weighed = weigh_claim(claim, rows)
  if weighed is None:
    return Finding(claim, NOTHING, OPEN)
  found = _estimate(claim, weighed, unit=unit)
  return Finding(claim, found, decide_claim(claim, found))


def decide_claim(claim: Claim, found: Estimate) -> str:
  """Holds, does not hold, cannot tell, or no difference.

  The last is of a difference whose whole interval lies within `LEAST_DIFFERENCE` of
  nothing, on either side, where the claim is neither above its margin nor below.
  """
  verdict = found.verdict(claim.least)
  plain = claim.measure == "difference" and claim.choose is None
  plain &= claim.metric != "ed"
  if verdict != OPEN or not plain or found.low is None or found.high is None:
    return verdict
  within = found.low > -LEAST_DIFFERENCE and found.high < LEAST_DIFFERENCE
  return ALIKE if within else verdict


def _estimate(
  claim: Claim, weighed: Weighed, *, unit: str, drawn: np.ndarray | None = None
) -> Estimate:
  """A claim's number and its interval, from draws of test patients that there are."""
  if claim.measure == "share":
    return estimate_share(claim, weighed)
  statistic = _statistic_of(claim, weighed)
  options: dict[str, Any] = {"metric": claim.metric, "unit": unit, "drawn": drawn}
  return intervals.estimate_statistic(weighed.by_seed, statistic, **options)


def _statistic_of(claim: Claim, weighed: Weighed) -> Callable[[np.ndarray], np.ndarray]:
  """What makes a claim's number of scores `[..., N]`."""
  chance = np.array([row.f1_chance for row in weighed.rows])
  return {
    "difference": lambda scores: scores @ weighed.weights,
    "share": lambda scores: intervals.share_won(scores, weighed.sides, weighed.per),
    "above chance": lambda scores: (scores - chance).mean(-1),
  }[claim.measure]


def value_of(claim: Claim, weighed: Weighed) -> float:
  """A claim's number, averaged over seeds."""
  return float(np.mean(_statistic_of(claim, weighed)(weighed.scores(claim.metric))))


def estimate_parts(
  claim: Claim, rows: Sequence[Row], parts: Iterable[Sequence[Row]], *, unit: str
) -> Iterator[Estimate]:
  """A claim's number and interval of several parts of the rows, by the same draws.

  So an organ after the other is left out in the time that one bootstrap takes.
  """
  kept, by_seed = _comparable(claim, rows)
  every = [tally for row in by_seed for tally in row]
  drawn = None
  if claim.measure != "share" and every:
    drawn = intervals.draw_scores(every, claim.metric, seed=0)
  at = {id(row): column for column, row in enumerate(kept)}
  for part in parts:
    weighed = weigh_claim(claim, part)
    if weighed is None:
      yield NOTHING
      continue
    columns = [at.get(id(row)) for row in weighed.rows]
    mine = None
    if drawn is not None and None not in columns:
      by_draw = drawn.reshape(len(drawn), len(by_seed), -1)
      mine = by_draw[..., np.array(columns, int)].reshape(len(drawn), -1)
    yield _estimate(claim, weighed, unit=unit, drawn=mine)


def weigh_claim(claim: Claim, rows: Iterable[Row]) -> Weighed | None:
  """What a claim compares, without what diverged; None if that is nothing.

  A series of which more than half diverged is left out: its mean over the rest would
  be one of other panels than that of the series it is compared with.
  """
  kept, by_seed = _comparable(claim, rows)
  if not kept:
    return None
  sides = np.array([_side(claim, row) for row in kept])
  per = np.array([getattr(row, claim.per) for row in kept])
  weights: np.ndarray | None = np.ones(len(kept))
  if claim.choose:
    scores = [[tally.score(claim.metric) for tally in row] for row in by_seed]
    weights = _choose(claim.choose, kept, sides, np.mean(scores, axis=0))
  elif claim.minus:
    weights = weigh_difference(sides, per)
  if weights is None or not weights.any():
    return None
  (used,) = np.nonzero(weights)  # whose patients count
  part = [[row[i] for i in used.tolist()] for row in by_seed]
  chosen = [kept[i] for i in used]
  return Weighed(chosen, part, weights[used], sides[used], per[used])


def _comparable(claim: Claim, rows: Iterable[Row]) -> tuple[list, list]:
  """The rows that a claim is about, less what diverged (`align_seeds`)."""
  meant = [row for row in rows if _side(claim, row)]
  few = mostly_lost(meant)
  return align_seeds(row for row in meant if row.series not in few)


def mostly_lost(rows: Iterable[Row]) -> set[str]:
  """The series of which more than `MOST_LOST` diverged."""
  lost: dict[str, list[bool]] = {}
  for row in rows:
    lost.setdefault(row.series, []).append(bool(row.diverged))
  return {name for name, each in lost.items() if np.mean(each) > MOST_LOST}


def _side(claim: Claim, row: Row) -> int:
  """1 for what is compared, -1 for what it is compared with, 0 for neither or both."""
  minus = claim.minus is not None and claim.minus.holds(row)
  return int(claim.plus.holds(row)) - int(minus)


def _choose(
  choice: Extreme, rows: Sequence[Row], sides: np.ndarray, means: np.ndarray
) -> np.ndarray | None:
  """The weights of the candidate whose number is the largest or the least."""
  panels = np.array([row.panel for row in rows])
  if choice.whole:
    every = {row.series for row in rows}
    have = {p: {r.series for r in rows if r.panel == p} for p in panels.tolist()}
    sides = sides * np.array([have[panel] == every for panel in panels])
  varies = sides == (1 if choice.side == "plus" else -1)
  keys = [tuple(getattr(row, field) for field in choice.among) for row in rows]
  best: dict[str, tuple[float, np.ndarray]] = {}
  first = {key: i for i, key in reversed(list(enumerate(keys))) if varies[i]}
  for key, at in sorted(first.items(), key=lambda item: item[1]):
    mine = ~varies | np.array([each == key for each in keys])
    if "panel" in choice.among:
      mine &= panels == panels[at]
    weights = weigh_difference(sides * mine, panels)
    if weights is not None:
      size = float(means @ weights) * (1 if choice.kind == "largest" else -1)
      place = getattr(rows[at], choice.within) if choice.within else ""
      if place not in best or size > best[place][0]:
        best[place] = size, weights
  return np.mean([weights for _, weights in best.values()], axis=0) if best else None


def estimate_share(claim: Claim, weighed: Weighed) -> Estimate:
  """In which share of the groups `plus` won, the mean over seeds."""
  share, count = value_of(claim, weighed), weighed.groups
  return Estimate(share, *share_interval(share, count), f"{count} organs")


def share_interval(share: float, count: int) -> tuple[float, float]:
  """Clopper and Pearson's 95 % interval, also of a share that is a mean over seeds."""
  won, tail = share * count, (1 - intervals.LEVEL) / 2
  low = float(stats.beta.ppf(tail, won, count - won + 1)) if won else 0.0
  high = float(stats.beta.ppf(1 - tail, won + 1, count - won)) if won < count else 1.0
  return low, high


def _judge_divergence(claim: Claim, rows: Sequence[Row]) -> Finding:
  """All, none or some of the rows; the interval is Clopper and Pearson's."""
  if not rows:
    return Finding(claim, NOTHING._replace(source="0 runs"), OPEN)
  lost = sum(bool(row.diverged) for row in rows)
  share = lost / len(rows)
  estimate = Estimate(share, *share_interval(share, len(rows)), f"{len(rows)} runs")
  verdict = {0: "does not hold", len(rows): "holds"}.get(lost, OPEN)
  return Finding(claim, estimate, verdict)


def group_panels(rows: Iterable[Row]) -> dict[str, list[Row]]:
  """The rows by panel, in order."""
  panels: dict[str, list[Row]] = {}
  for row in rows:
    panels.setdefault(row.panel, []).append(row)
  return panels


def describe_by_panel(rows: Sequence[Row], plus: Where, minus: Where) -> str:
  """A difference in each panel by itself: the mean may rest on one of them."""
  claim, panels = Claim("", "", plus, minus), group_panels(rows).items()
  found = [(name, judge_claim(claim, here).estimate) for name, here in panels]
  return ", ".join(f"{p} {e.value:+.3f}" for p, e in found if e is not NOTHING)


def align_seeds(rows: Iterable[Row]) -> tuple[list[Row], list[list[Tally]]]:
  """The rows that every seed has and none lost, and what was counted, by seed.

  Courses may end at different steps, or diverge, with different seeds.
  """
  by_seed: dict[int, dict[tuple, Row]] = {}
  for row in rows:
    place = by_seed.setdefault(row.seed, {})
    key = row.panel, row.series, row.x, row.trained_on
    # A series may have several rows at one place.
    count = next(n for n in itertools.count() if (*key, n) not in place)
    place[*key, count] = row
  seeds = [by_seed[seed] for seed in sorted(by_seed)]
  keys = [
    key
    for key in (seeds[0] if seeds else ())
    if all(key in place and not place[key].diverged for place in seeds)
  ]
  tallies = [[place[key].tally for key in keys] for place in seeds]
  return [seeds[0][key] for key in keys], tallies
