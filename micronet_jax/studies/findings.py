"""What a study leaves behind: results.csv and findings.md."""

import csv
import itertools
import json
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from micronet_jax.config import as_dict
from micronet_jax.files import replacing
from micronet_jax.studies import drawing
from micronet_jax.studies.drawing import Table
from micronet_jax.studies.results import METRICS, Estimate, Outcome, estimate, interval
from micronet_jax.studies.setting import Cell, Setting

COLUMNS = (
  *("study", "panel", "series", "x", "seed", "organ", "run", "run_title", "checkpoint"),
  *("step", "images", "patients", "nuclei", *METRICS, "f1_low", "f1_high", "f1_12px"),
  *("f1_chance", "xi", "min_distance", "diverged"),
)


NOTHING = Estimate(float("nan"), None, None, "nothing to compare")


class Finding(NamedTuple):
  """A claim of the paper and what is found here.

  Attributes:
    claim: in the paper's sense, one sentence.
    number: what decides it, in words.
    estimate: that number with its interval.
    least: the claim holds if the whole interval is above this.
    verdict: given where it is not the interval that decides.
  """

  claim: str
  number: str
  estimate: Estimate
  least: float = 0.0
  verdict: str = ""

  @property
  def decided(self) -> str:
    """holds, does not hold or cannot tell."""
    return self.verdict or self.estimate.verdict(self.least)


def contrast(
  table: Table,
  plus: Callable[[Cell], bool],
  minus: Callable[[Cell], bool],
  *,
  metric: str = "f1",
) -> Estimate:
  """The mean of some cells less the mean of others, each panel weighing the same.

  Args:
    table: cells with outcomes.
    plus: which cells; panels without either kind are left out, and so is what
      diverged.
    minus: likewise.
    metric: of the outcomes.
  """

  def kind(cell: Cell) -> int:
    return int(plus(cell)) - int(minus(cell))

  cells, by_seed = aligned([(c, o) for c, o in table if kind(c)])
  kinds: dict[str, set[int]] = {}
  for cell in cells:
    kinds.setdefault(cell.panel, set()).add(kind(cell))
  keep = [i for i, cell in enumerate(cells) if len(kinds[cell.panel]) == 2]
  if not keep:
    return NOTHING
  cells = [cells[i] for i in keep]
  count: dict[tuple[str, int], int] = {}
  for cell in cells:
    place = cell.panel, kind(cell)
    count[place] = count.get(place, 0) + 1
  panels = len({cell.panel for cell in cells})
  weights = np.array([kind(c) / count[c.panel, kind(c)] / panels for c in cells])
  outcomes = [[row[i] for i in keep] for row in by_seed]
  return estimate(outcomes, lambda scores: scores @ weights, metric=metric)


def by_panel(
  table: Table, plus: Callable[[Cell], bool], minus: Callable[[Cell], bool]
) -> str:
  """`contrast` of each panel by itself, in words: the mean may rest on one of them."""
  parts = []
  for panel in drawing.panels(table):
    found = contrast(drawing.of_panel(table, panel), plus, minus)
    if found is not NOTHING:
      parts.append(f"{panel} {found.value:+.3f}")
  return ", ".join(parts)


def statistic(
  table: Table,
  function: Callable[[np.ndarray, Sequence[Cell]], np.ndarray],
  *,
  metric: str = "f1",
) -> Estimate:
  """Any number made of the cells' scores, `function(scores [..., cells], cells)`."""
  cells, by_seed = aligned(table)
  if not cells:
    return NOTHING
  return estimate(by_seed, lambda scores: function(scores, cells), metric=metric)


def selected(
  table: Table,
  choose: Callable[[np.ndarray, Sequence[Cell]], np.ndarray | None],
  *,
  metric: str = "f1",
) -> Estimate:
  """A difference that is chosen by its size, as one reads it off a figure.

  It is chosen once, by the means over seeds; the interval is of what was chosen, and
  does not know of the choice.

  Args:
    table: cells with outcomes; what diverged is left out.
    choose: gives weights `[cells]` for the cells' mean scores `[cells]`, or None if
      there is nothing to choose from.
    metric: one of `METRICS`.
  """
  cells, by_seed = aligned(table)
  if not cells:
    return NOTHING
  means = np.mean([[o.score(metric) for o in row] for row in by_seed], axis=0)
  weights = choose(means, cells)
  if weights is None:
    return NOTHING
  (used,) = np.nonzero(weights)  # whose patients count
  by_seed = [[row[i] for i in used] for row in by_seed]
  return estimate(by_seed, lambda scores: scores @ weights[used], metric=metric)


def weigh(plus: Sequence[bool], minus: Sequence[bool]) -> np.ndarray | None:
  """Weights that make the mean of some cells less that of others; None without any."""
  masks = [np.array(each, float) for each in (plus, minus)]
  if not all(mask.any() for mask in masks):
    return None
  return masks[0] / masks[0].sum() - masks[1] / masks[1].sum()


def largest(
  means: np.ndarray, candidates: Iterable[np.ndarray | None]
) -> np.ndarray | None:
  """Of several weights those with the largest number; None if there are none."""
  usable = [weights for weights in candidates if weights is not None]
  return max(usable, key=lambda weights: float(means @ weights), default=None)


def aligned(table: Table) -> tuple[list[Cell], list[list[Outcome]]]:
  """The cells that every seed has and none lost, and their outcomes by seed.

  Courses may end at different steps, or diverge, with different seeds.
  """
  by_seed: dict[int, dict[tuple, tuple[Cell, Outcome]]] = {}
  for cell, outcome in table:
    place = by_seed.setdefault(cell.seed, {})
    trained_on = cell.evaluation.run.target.name
    # A series may have several cells at one place.
    key = next(
      key
      for count in itertools.count()
      if (key := (cell.panel, cell.series, cell.x, trained_on, count)) not in place
    )
    place[key] = cell, outcome
  lost = {
    key
    for place in by_seed.values()
    for key, (_, outcome) in place.items()
    if outcome.diverged
  }
  seeds = [by_seed[seed] for seed in sorted(by_seed)]
  keys = [
    key
    for key in (seeds[0] if seeds else ())
    if key not in lost and all(key in place for place in seeds)
  ]
  cells = [seeds[0][key][0] for key in keys]
  return cells, [[place[key][1] for key in keys] for place in seeds]


def write_csv(path: pathlib.Path, setting: Setting, table: Table) -> None:
  """One line a cell; numbers with six digits."""
  with (
    replacing(path) as beside,
    beside.open("w", newline="", encoding="utf-8") as file,
  ):
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for cell, outcome in table:
      writer.writerow(_row(setting, cell, outcome))


def _row(setting: Setting, cell: Cell, outcome: Outcome) -> list[object]:
  wanted = cell.evaluation
  begin = [setting.study, cell.panel, cell.series, f"{cell.x:g}", cell.seed]
  begin += [wanted.organ.name, wanted.run.key, wanted.run.title, wanted.checkpoint]
  if outcome.diverged:
    return [*begin, *[""] * (len(COLUMNS) - len(begin) - 1), outcome.diverged]
  low, high = interval(outcome) or ("", "")
  tp, _, fn, _ = outcome.counts.sum(0)
  scores = [outcome.score(metric) for metric in METRICS]
  numbers = [*scores, low, high, outcome.f1_12, outcome.chance]
  return [
    *begin,
    *(outcome.step, len(outcome.counts), len(set(outcome.patients)), int(tp + fn)),
    *(f"{value:.6f}" if isinstance(value, float) else value for value in numbers),
    *(f"{outcome.xi:g}", outcome.min_distance, ""),
  ]


def write_findings(
  path: pathlib.Path,
  setting: Setting,
  title: str,
  table: Table,
  findings: Sequence[Finding],
  notes: Sequence[str],
) -> None:
  """The claims in a table, and what they rest on."""
  lines = [
    f"# {title}",
    "",
    *_basis(setting, sorted({cell.seed for cell, _ in table})),
    "",
    "| The paper's claim | What decides it | Found | 95 % interval | Over | Verdict |",
    "|---|---|---|---|---|---|",
  ]
  for each in findings:
    found = each.estimate
    ends = "none"
    if found.low is not None and found.high is not None:
      ends = f"{found.low:+.3f} to {found.high:+.3f}"
    number = each.number if not each.least else f"{each.number}; above {each.least:g}"
    cells = [each.claim, number, f"{found.value:+.3f}", ends, found.source]
    lines.append(f"| {' | '.join([*cells, f'**{each.decided}**'])} |")
  lines += ["", *notes]
  if table:
    numbers = json.dumps(as_dict(setting.numbers))
    lines += ["", f"All numbers of the budget: `{numbers}`"]
  with replacing(path) as beside:
    beside.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _basis(setting: Setting, seeds: Sequence[int]) -> list[str]:
  """Budget, data and how to read the table; `seeds` are those of the runs, if any."""
  if not seeds:
    return ["Nothing is trained for it."]
  numbers = setting.numbers
  organs = ", ".join(organ.label for organ in setting.organs)
  images = f"at most {numbers.images}" if numbers.images else "all"
  if setting.budget == "smoke":
    yield_ = "**A smoke run: the machinery is proved, the numbers mean nothing.**"
  elif setting.budget == "paper":
    yield_ = "The paper's recipe."
  else:
    yield_ = "A reduced budget: directions may be compared with the paper, not numbers."
  return [
    f"{yield_} Budget `{setting.budget}`: width {numbers.width}, patches of "
    f"{numbers.patch}², batches of {numbers.batch_size}, {numbers.num_steps:,} "
    f"iterations, rate {numbers.learning_rate:g} ({numbers.schedule}); seeds "
    f"{', '.join(map(str, seeds))}.",
    "",
    f"Data: {setting.data}, {images} images an organ, split by patient: {organs}.",
    "",
    "F1 is pooled over the test images, matched within 16 px. A claim holds if the "
    "whole interval is above zero (or above the margin that is given), does not hold "
    "if all of it is below, and else cannot be told. "
    + (
      "Intervals are over seeds and test patients. Lines of F1 are means over seeds, "
      "bars and bands the standard deviation; curves of precision and recall are the "
      "first seed's."
      if len(seeds) >= 3
      else "Intervals are over test patients, for these trained networks; training "
      "again with another seed would move the numbers too (`--config.seeds=0,1,2`)."
    ),
  ]
