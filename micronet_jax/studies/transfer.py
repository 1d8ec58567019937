"""Figures 5 to 9 and 11: other organs as a start, or as auxiliary data; γ and λ.

Called by `studies.study`.
"""

import dataclasses
import itertools
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from micronet_jax import figures
from micronet_jax.datasets.organs import Organ
from micronet_jax.studies.claims import (
  Where,
  describe_by_panel,
  group_panels,
  mostly_lost,
  read_paper,
)
from micronet_jax.studies.compare import column_rows
from micronet_jax.studies.execution import Archive
from micronet_jax.studies.results import Row
from micronet_jax.studies.runs import BEST, Evaluation, Run, make_run
from micronet_jax.studies.schema import MICRONET, NAMES
from micronet_jax.studies.setting import Setting, draw_names

# What the panels of each row of Figs. 5, 6 and 11 end in; paper.toml has their x axes.
COURSE, DATA, STAGE = "iterations", "target data", "stage of the base"
FROZEN, ADDED = "frozen blocks", "percentage of auxiliary data"
SHARED = "percentage of target data"
SCRATCH, ALONE, MIXTURE = "from scratch", "target only", "target + {:g} % auxiliary"
CURVES = 3  # targets that are drawn one by one, as the paper's
EXTREME = 500  # from this λ on the paper's networks had exploding gradients


def choose_bases(
  scores: Mapping[str, float], *, random: int, seed: int
) -> dict[str, str]:
  """Organs to fine-tune from by "best", "worst", "random 1", … by F1 on the target."""
  names = sorted(scores)
  bases = {"best": max(names, key=scores.__getitem__)}
  rest = [name for name in names if name not in bases.values()]
  bases["worst"] = min(rest or names, key=scores.__getitem__)
  rest = [name for name in rest if name not in bases.values()]
  drawn = draw_names(rest, min(random, len(rest)), seed)
  return bases | {f"random {i}": name for i, name in enumerate(drawn, 1)}


def bases_of(setting: Setting, target: Organ, archive: Archive) -> dict[str, str]:
  """Bases from Fig. 4's column of the first seed; none while it is incomplete."""
  column = list(column_rows(setting, target, setting.config.seeds[:1], archive))
  if len(column) < len(setting.organs):
    return {}
  pairs = zip(setting.organs, column, strict=True)
  scores = {o.name: row.score() for o, row in pairs if o != target and not row.diverged}
  seed = zlib.crc32(target.name.encode())
  return choose_bases(scores, random=setting.numbers.random_bases, seed=seed)


def tuning_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """The four rows of each target whose bases Fig. 4's columns have chosen."""
  for target in setting.targets:
    bases = bases_of(setting, target, archive).items()
    for seed in setting.config.seeds if bases else ():
      starts = {k: make_run(setting, setting.organ(name), seed) for k, name in bases}
      yield from _rows_of_target(setting, target, seed, starts, archive)


def _rows_of_target(
  setting: Setting, target: Organ, seed: int, starts: dict[str, Run], archive: Archive
) -> Iterable[Row]:
  numbers, every = setting.numbers, setting.numbers.snapshot_every
  scratch = make_run(setting, target, seed)

  def tuned(base: Run, at: str = BEST, **changes) -> Run:
    return make_run(setting, target, seed, base=base, at=at, **changes)

  def row(kind: str, series: str, x: float, run: Run, at: str = BEST) -> list[Row]:
    return archive.rows(f"{target.label}: {kind}", series, x, run, target, at)

  def snapshots(run: Run) -> Sequence[int]:
    """Its steps; none, and the run is asked for, while it has not ended."""
    last = archive.last_step(run)
    if last is None:
      archive.outcome(Evaluation(run, target))
    return range(every, (last or 0) + 1, every)

  # Row 1: snapshots of fine-tuning, as far as the runs went.
  courses = [
    (SCRATCH, scratch),
    *((name, tuned(base)) for name, base in starts.items()),
  ]
  for series, run in courses:
    steps = snapshots(run)
    for step in steps:
      if not numbers.course or step in (*numbers.course, steps[-1]):
        yield from row(COURSE, series, step, run, str(step))
  # Row 2: shares of the target's training images.
  for percent in numbers.fractions:
    alone = make_run(setting, target, seed, percent=percent)
    yield from row(DATA, SCRATCH, percent, alone)
    for series, base in starts.items():
      yield from row(DATA, series, percent, tuned(base, percent=percent))
  # Row 3: snapshots of the bases, as far as they went.
  if numbers.stages:
    yield from row(STAGE, SCRATCH, 0, scratch)
    for series, base in starts.items():
      for stage in sorted(set(numbers.stages) & set(snapshots(base))):
        yield from row(STAGE, series, stage, tuned(base, str(stage)))
  # Row 4: the first so many blocks stay as they are.
  if numbers.frozen:
    yield from row(FROZEN, SCRATCH, 0, scratch)
    for frozen in numbers.frozen:
      for series, base in starts.items():
        yield from row(FROZEN, series, frozen, tuned(base, frozen=frozen))


def _series_of(rows: Iterable[Row]) -> dict[str, dict[str, list[tuple]]]:
  """By panel and series, x, mean F1 and its deviation over seeds, by rising x."""
  at: dict[tuple[str, str, float], list[float]] = {}
  for row in rows:
    if not row.diverged:
      at.setdefault((row.panel, row.series, row.x), []).append(row.score())
  panels: dict[str, dict[str, list[tuple]]] = {}
  for (panel, series, x), f1 in sorted(at.items(), key=lambda item: item[0][2]):
    point = x, np.mean(f1), np.std(f1, ddof=len(f1) > 1)
    panels.setdefault(panel, {}).setdefault(series, []).append(point)
  return panels


def _mean_of(panels: Sequence[Mapping[str, Sequence[tuple]]]) -> dict[str, list[tuple]]:
  """The mean panel: of each series the places that it has in all of them."""
  found: dict[str, list[tuple]] = {}
  for name in panels[0]:
    lines = [{x: mean for x, mean, _ in panel.get(name, ())} for panel in panels]
    for x in lines[0]:
      if all(x in line for line in lines):
        point = x, np.mean([line[x] for line in lines]), 0.0
        found.setdefault(name, []).append(point)
  return found


def _curves_of(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
  """By panel and series, precision and recall; of several seeds the first."""
  panels: dict[str, dict[str, Any]] = {row.panel: {} for row in rows}
  for row in [row for row in rows if not row.diverged]:
    panels[row.panel].setdefault(row.series, row.curve)
  return panels


def draw_by_target(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """Figs. 5, 6, 11: a column for each target, a row for each kind of panel there is.

  Of many targets their mean and the first few.
  """
  panels, targets = group_panels(rows), setting.targets
  axes: dict[str, str] = read_paper()[setting.config.study]["axes"]
  kinds = [kind for kind in axes if f"{targets[0].label}: {kind}" in panels]
  drawn, columns = _series_of(rows), [target.label for target in targets]
  if len(columns) > CURVES:
    mean = f"mean of {len(columns)} targets"
    for kind in kinds:
      drawn[f"{mean}: {kind}"] = _mean_of([drawn[f"{t}: {kind}"] for t in columns])
    columns = [mean, *columns[:CURVES]]
  names = [[f"{column}: {kind}" for column in columns] for kind in kinds]
  series = list(dict.fromkeys(row.series for row in rows))
  level = [name for name in series if name == SCRATCH or name.endswith(" target")]
  looks = figures.choose_looks([*level, *series])
  labels: dict[str, Any] = {"xlabels": [axes[kind] for kind in kinds], "level": level}
  figure = figures.draw_panels(drawn, names, looks, height=2.8, **labels)
  return {setting.config.study: figure}


def tuning_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """Table 2, and the steps, shares and blocks that are compared."""
  numbers = setting.numbers
  steps: list[set[int]] = []
  last: dict[str, float] = {}
  stages: set[int] = set()
  for panel, here in group_panels(rows).items():
    courses: dict[tuple, set[int]] = {}
    for row in here:
      courses.setdefault((row.series, row.seed), set()).add(int(row.x))
    if panel.endswith(COURSE):
      steps += courses.values()
    elif panel.endswith(STAGE):
      stages |= {int(row.x) for row in here if row.series != SCRATCH}
      best = [max(c) for (series, _), c in courses.items() if series == "best"]
      last |= {panel: min(best)} if best else {}
  ends = sorted(set.intersection(*steps))  # that all courses reached
  tuned = [r for r in rows if r.panel.endswith(f": {DATA}") and r.series != SCRATCH]
  bases = [f"| {r.panel.split(': ')[0]} | {r.series} | {r.base} |" for r in tuned]
  many = [n for n in numbers.frozen if n in (7, 8)] or [max(numbers.frozen, default=0)]
  first = [n for n in numbers.frozen if n in (1, 2)] or [min(numbers.frozen, default=0)]
  early = [stage for stage in sorted(stages) if stage <= 0.06 * numbers.num_steps]
  return {
    "end": ends[-1],
    "third": [*ends[:1], *(step for step in ends if 3 * step <= ends[-1])][-1],
    "few": [p for p in numbers.fractions if p <= 40] or [numbers.fractions[0]],
    **{"fewest": min(numbers.fractions), "most": max(numbers.fractions)},
    "early": early or sorted(stages)[:1],
    "last": last,  # stage that the best base reached with every seed
    **{"staged": [{}] * bool(stages), "freezing": [{}] * bool(numbers.frozen)},
    **{"many": many, "many_blocks": " or ".join(map(str, many))},
    **{"first": first, "few_blocks": " or ".join(map(str, first))},
    "bases": "\n".join(dict.fromkeys(bases)),
    **{"untouched": sum(r.step == 0 for r in tuned), "courses": len(tuned)},
  }


def auxiliary_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """Row 1: all of the target, shares of the others; row 2 (Fig. 6): shares of it."""
  numbers, model = setting.numbers, setting.model
  for target in setting.targets:
    others = [organ for organ in setting.organs if organ != target]
    for seed in setting.config.seeds:
      for share in numbers.percentages:
        run = make_run(setting, target, seed, model=model, others=others, share=share)
        series = f"{NAMES[model]} {'mix' if share else 'target'}"
        yield from archive.rows(f"{target.label}: {ADDED}", series, share, run, target)
      for percent in numbers.fractions if model == MICRONET else ():
        for share in (0, *numbers.mixed):
          mix: dict[str, Any] = {"others": others, "share": share}
          run = make_run(setting, target, seed, percent=percent, **mix)
          series, panel = MIXTURE.format(share), f"{target.label}: {SHARED}"
          series = series if share else ALONE
          yield from archive.rows(panel, series, percent, run, target)


def auxiliary_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """Which shares are compared; row 2 only where there is one."""
  numbers = setting.numbers
  mixed = numbers.mixed if any(row.series == ALONE for row in rows) else ()
  extremes = {"little": min(mixed, default=0), "much": max(mixed, default=0)}
  return {
    "most": max(numbers.percentages),
    "few": [p for p in numbers.fractions if p <= 40] or [numbers.fractions[0]],
    "mixtures": [{"percent": percent} for percent in mixed],
    "extremes": [extremes] if len(mixed) > 1 else [],
    "others": len(setting.organs) - 1,
  }


def balance_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """Every γ on every source; single ones once Fig. 4's columns have chosen them."""
  for target in setting.targets:
    others = [organ for organ in setting.organs if organ != target]
    sources = {f"{p:g} % of all others": (others, p) for p in setting.numbers.mixed}
    bases = bases_of(setting, target, archive)
    for kind in ("worst", "best") if bases else ():
      organ = setting.organ(bases[kind])
      sources[f"{organ.label} ({kind})"] = [organ], 100
    for seed in setting.config.seeds:
      for source, (organs, share) in sources.items():
        panel, alone = f"{target.label} + {source}", make_run(setting, target, seed)
        yield from archive.rows(panel, ALONE, 1, alone, target)
        for gamma in setting.numbers.gammas:
          mix: dict[str, Any] = {"others": organs, "share": share, "gamma": gamma}
          run = make_run(setting, target, seed, **mix)
          yield from archive.rows(panel, f"γ = {gamma:g}", gamma, run, target)


def draw_balance(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """Fig. 7: precision and recall of a few targets; Fig. 8: best F1 over log γ."""
  panels, targets = group_panels(rows), [target.label for target in setting.targets]
  found = [[name for name in panels if name.startswith(f"{t} + ")] for t in targets]
  names = [[*row] for row in itertools.zip_longest(*found, fillvalue="")]
  gammas = [f"γ = {gamma:g}" for gamma in setting.numbers.gammas]
  alone = {"color": "black", "linestyle": "-", "marker": ""}
  looks = figures.choose_looks(gammas, ordered=True) | {ALONE: alone}
  shown = [[*row[:CURVES]] for row in names]
  fig7 = figures.draw_panels(_curves_of(rows), shown, looks)
  sources: dict[str, list[str]] = {}
  for row, *_ in panels.values():
    own = sources.setdefault(row.target, [])
    own += [f"{row.single[1]} {row.single[0]}"] if row.single else []
  titles = {t: f"{t}\n({', '.join(s)})" if s else t for t, s in sources.items()}
  turned = []
  for row in rows:
    # The target alone is the same network in every panel of Fig. 7.
    if row.series != ALONE or row.panel in names[0]:
      # By its part, not by the organ's name, which differs from target to target.
      part = f"the {row.single[1]} one" if row.single else row.source
      series, x = ALONE if row.series == ALONE else part, math.log10(row.x)
      place: dict[str, Any] = {"panel": titles[row.target], "series": series, "x": x}
      turned.append(dataclasses.replace(row, **place))
  looks = figures.choose_looks([ALONE, *(row.series for row in turned)])
  labels: dict[str, Any] = {"xlabels": ["log₁₀ γ"], "level": [ALONE]}
  drawn = [titles.get(target, target) for target in targets]
  fig8 = figures.draw_panels(_series_of(turned), [drawn], looks, **labels)
  lost = describe_lost(rows)
  more = f"The first {CURVES} of {len(targets)} targets. " * (len(targets) > CURVES)
  for figure, words in ((fig7, more), (fig8, "")):
    words += f"Not drawn, since it diverged: {lost}" * bool(lost)
    if words:
      figures.add_caption(figure, words)
  return {"fig7": fig7, "fig8": fig8}


def describe_lost(rows: Iterable[Row]) -> str:
  """How many runs of each series diverged, without those of which none did."""
  lost: dict[str, dict[str, bool]] = {}
  for row in rows:
    lost.setdefault(row.series, {})[row.run] = bool(row.diverged)
  counts = ((name, sum(runs.values()), len(runs)) for name, runs in lost.items())
  return ", ".join(f"{name} ({n} of {of} runs)" for name, n, of in counts if n)


def balance_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """The sources and γ that are compared, and what a large γ gains in each panel."""
  few, single = mostly_lost(rows), ("(worst)", "(best)")
  mixed = [row for row in rows if row.series not in {ALONE, *few}]
  gammas = sorted({row.x for row in mixed if row.panel.endswith(single)})
  most = max((row.x for row in mixed), default=1.0)
  large, alone = Where(but=(ALONE,), x=(most,)), Where(series=(ALONE,))
  return {
    "lost": describe_lost(rows),
    **{"gammas": gammas, "small_gammas": [gamma for gamma in gammas if gamma <= 0.999]},
    **{"most": most, "gains": describe_by_panel(rows, large, alone)},
    **_steps_facts(setting),
  }


def _steps_facts(setting: Setting) -> dict[str, Any]:
  """Whether γ and λ make steps longer, as in the paper, or the loss makes up for it."""
  even = setting.config.even_steps
  by_steps = ", in steps of one length" if even else ", by longer steps or by weight"
  return {"longer": not even, "even": even, "by_steps": by_steps}


def lambda_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """Every λ on every target."""
  for target in setting.targets:
    for lam in setting.numbers.lambdas:
      for seed in setting.config.seeds:
        run = make_run(setting, target, seed, lam=lam)
        yield from archive.rows(target.label, f"λ = {lam:g}", lam, run, target)


def draw_lambdas(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """Precision against recall, a panel for each target."""
  looks = figures.choose_looks((r.series for r in rows if not r.diverged), ordered=True)
  names = [[target.label for target in setting.targets]]
  figure = figures.draw_panels(_curves_of(rows), names, looks, height=3.7)
  if lost := describe_lost(rows):
    figures.add_caption(figure, f"Not drawn, since it diverged: {lost}")
  return {"fig9": figure}


def lambda_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """What else λ changes, which runs diverged, and what the others with it scored."""
  lines = []
  for row in rows:
    if row.diverged or row.x >= EXTREME:
      what = (row.diverged or f"stayed finite, F1 {row.score():.3f}").partition(" (")[0]
      lines.append(f"- {row.run_title}, seed {row.seed}: {what}")
  gains = describe_by_panel(rows, Where(low=5, high=50), Where(high=0.5))
  facts = {"rate": setting.numbers.learning_rate, "extreme": EXTREME, "gains": gains}
  return {**facts, **_steps_facts(setting), "runs": "\n".join(lines or ["- none"])}
