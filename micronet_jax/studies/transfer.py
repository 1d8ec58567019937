"""Figure 5: MicroNets of other organs, fine-tuned, against training from scratch.

Table 2 says from which organs: those whose networks do best and worst on the target in
Fig. 4, and some by chance. Called by `studies.study`.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from micronet_jax.studies import drawing
from micronet_jax.studies.comparisons import column_rows
from micronet_jax.studies.execution import Archive
from micronet_jax.studies.organs import Organ
from micronet_jax.studies.results import Row
from micronet_jax.studies.runs import BEST, Evaluation, Run, Start, make_run
from micronet_jax.studies.setting import Setting, draw_names

AXES = {
  "iterations": "iterations",
  "target data": "target training data (%)",
  "stage of the base": "iterations of the base",
  "frozen blocks": "frozen blocks",
}
"""What the panels of each row end in, and their x axis."""

SCRATCH = "from scratch"


class Bases(NamedTuple):
  """Names of the organs that a target is fine-tuned from [Table 2]."""

  best: str
  worst: str
  random: tuple[str, ...]


def choose_bases(scores: Mapping[str, float], *, random: int, seed: int) -> Bases:
  """Chooses base data sets by what their networks score on the target.

  Args:
    scores: F1 on the target, by base, the target left out; ties go to the first name.
    random: how many of the rest to draw; fewer if there are not so many.
    seed: of the draw.
  """
  names = sorted(scores)
  best = max(names, key=scores.__getitem__)
  rest = [name for name in names if name != best]
  worst = min(rest, key=scores.__getitem__) if rest else best
  rest = [name for name in rest if name != worst]
  return Bases(best, worst, tuple(draw_names(rest, min(random, len(rest)), seed)))


def bases_of(setting: Setting, target: Organ, archive: Archive) -> Bases | None:
  """Bases of a target from Fig. 4's column; None while it is incomplete.

  With several seeds the first one's networks are compared.
  """
  column = list(column_rows(setting, target, setting.seeds[:1], archive))
  if len(column) < len(setting.organs):
    return None
  scores = {
    organ.name: row.score()
    for organ, row in zip(setting.organs, column, strict=True)
    if organ != target and not row.diverged
  }
  seed = zlib.crc32(target.name.encode())
  return choose_bases(scores, random=setting.numbers.random_bases, seed=seed)


def tuning_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """The four rows of each target whose bases Fig. 4's columns have chosen."""
  for target in setting.targets:
    bases = bases_of(setting, target, archive)
    if bases:
      for seed in setting.seeds:
        yield from _rows_of_target(setting, target, seed, bases, archive)


def _rows_of_target(
  setting: Setting, target: Organ, seed: int, bases: Bases, archive: Archive
) -> Iterable[Row]:
  numbers, every = setting.numbers, setting.numbers.snapshot_every
  names = {"best": bases.best, "worst": bases.worst}
  names |= {f"random {i}": name for i, name in enumerate(bases.random, 1)}
  starts = {k: make_run(setting, setting.organ(n), seed) for k, n in names.items()}
  scratch = make_run(setting, target, seed)

  def tuned(base: Run, at: str = BEST, **changes) -> Run:
    return make_run(setting, target, seed, start=Start(base, at), **changes)

  def row(kind: str, series: str, x: float, run: Run, at: str = BEST) -> list[Row]:
    return archive.rows(f"{target.label}: {kind}", series, x, run, target, at)

  def last_step(run: Run) -> int:
    """0, and the run is asked for, while nobody knows."""
    last = archive.last_step(run)
    if last is None:
      archive.outcome(Evaluation(run, target))
    return last or 0

  # Row 1: snapshots of fine-tuning, as far as the runs went.
  courses = {SCRATCH: scratch, **{kind: tuned(base) for kind, base in starts.items()}}
  for series, run in courses.items():
    last = last_step(run)
    for step in range(every, last + 1, every):
      if not numbers.course or step in numbers.course or step == last:
        yield from row("iterations", series, step, run, str(step))
  # Row 2: shares of the target's training images.
  for percent in numbers.fractions:
    alone = make_run(setting, target, seed, percent=percent)
    yield from row("target data", SCRATCH, percent, alone)
    for series, base in starts.items():
      yield from row("target data", series, percent, tuned(base, percent=percent))
  # Row 3: snapshots of the bases, as far as they went.
  if numbers.stages:
    yield from row("stage of the base", SCRATCH, 0, scratch)
    for series, base in starts.items():
      for stage in range(every, last_step(base) + 1, every):
        if stage in numbers.stages:
          run = tuned(base, str(stage))
          yield from row("stage of the base", series, stage, run)
  # Row 4: the first so many blocks stay as they are.
  if numbers.frozen:
    yield from row("frozen blocks", SCRATCH, 0, scratch)
    for frozen in numbers.frozen:
      for series, base in starts.items():
        yield from row("frozen blocks", series, frozen, tuned(base, frozen=frozen))


def _is_of(row: Row, kind: str) -> bool:
  return row.panel.endswith(f": {kind}")


def draw_tuning(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """Four rows (less where the budget has no stages), a column for each target."""
  kinds = [kind for kind in AXES if any(_is_of(row, kind) for row in rows)]
  names = [[f"{target.label}: {kind}" for target in setting.targets] for kind in kinds]
  looks = drawing.choose_looks([SCRATCH, *(row.series for row in rows)])
  labels: dict[str, Any] = {
    "xlabels": [AXES[kind] for kind in kinds],
    "level": [SCRATCH],
  }
  return {"fig5": drawing.draw_panels(rows, names, looks, height=2.7, **labels)}


def tuning_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """Table 2, and the steps, shares and blocks that are compared."""
  numbers = setting.numbers
  courses: dict[tuple, set[int]] = {}
  ends: dict[str, dict[int, float]] = {}
  for row in rows:
    if _is_of(row, "iterations"):
      course = courses.setdefault((row.panel, row.series, row.seed), set())
      course.add(int(row.x))
    elif _is_of(row, "stage of the base") and row.series == "best":
      by_seed = ends.setdefault(row.panel, {})
      by_seed[row.seed] = max(row.x, by_seed.get(row.seed, 0))
  steps = sorted(set.intersection(*courses.values()))  # that all courses reached
  tuned = [row for row in rows if row.series != SCRATCH]
  stages = sorted({int(r.x) for r in tuned if _is_of(r, "stage of the base")})
  early = [stage for stage in stages if stage <= 0.06 * numbers.num_steps]
  many = [count for count in numbers.frozen if count in (7, 8)]
  first = [count for count in numbers.frozen if count in (1, 2)]
  if numbers.frozen:
    many, first = many or [max(numbers.frozen)], first or [min(numbers.frozen)]
  shares = [row for row in tuned if _is_of(row, "target data")]
  bases = [f"| {r.panel.split(': ')[0]} | {r.series} | {r.base} |" for r in shares]
  return {
    "end": steps[-1],
    "third": [*steps[:1], *(step for step in steps if 3 * step <= steps[-1])][-1],
    "few": [p for p in numbers.fractions if p <= 40] or [numbers.fractions[0]],
    "fewest": min(numbers.fractions),
    "most": max(numbers.fractions),
    "early": early or stages[:1],
    # The last stage that the best base reached with every seed.
    "last": {panel: min(by_seed.values()) for panel, by_seed in ends.items()},
    "staged": [{}] if any(_is_of(row, "stage of the base") for row in rows) else [],
    "freezing": [{}] if any(_is_of(row, "frozen blocks") for row in rows) else [],
    **{"many": many, "many_blocks": " or ".join(map(str, many))},
    **{"first": first, "few_blocks": " or ".join(map(str, first))},
    "bases": "\n".join(dict.fromkeys(bases)),
    "untouched": sum(row.outcome.step == 0 for row in shares),
    "courses": len(shares),
  }
