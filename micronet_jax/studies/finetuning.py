"""Figure 5: MicroNets of other organs, fine-tuned, against training from scratch.

Table 2 says from which organs: those whose networks do best and worst on the target in
Fig. 4, and some by chance.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from micronet_jax.studies import drawing
from micronet_jax.studies.drawing import Table
from micronet_jax.studies.findings import Finding, contrast, largest, selected, weigh
from micronet_jax.studies.organs import Organ
from micronet_jax.studies.runs import BEST, Evaluation, Run, Start
from micronet_jax.studies.setting import (
  Cell,
  Known,
  Setting,
  bases_of,
  column,
  single,
  tuned,
)

TARGETS = ("eye", "soft_tissue", "thymus")
TITLE = "Figure 5: fine-tuning MicroNet"
ROWS = ("iterations", "target data", "stage of the base", "frozen blocks")
AXES = (
  "iterations",
  "target training data (%)",
  "iterations of the base",
  "frozen blocks",
)
SCRATCH = "from scratch"
MARGIN = 0.01
"""What counts as being as good: 0.01 of F1."""


def cells(setting: Setting, known: Known) -> list[Cell]:
  """The columns of Fig. 4 that choose the bases, then the four rows."""
  found = []
  for target in setting.targets:
    bases = bases_of(setting, target, known)
    if bases is None:
      found += column(setting, target, setting.seeds[:1])
      continue
    by_name = {organ.name: organ for organ in setting.organs}
    kinds = {"best": bases.best, "worst": bases.worst}
    kinds |= {f"random {i}": name for i, name in enumerate(bases.random, 1)}
    for seed in setting.seeds:
      starts = {
        kind: single(setting, by_name[name], seed) for kind, name in kinds.items()
      }
      found += _iterations(setting, target, seed, starts, known)
      found += _fractions(setting, target, seed, starts)
      found += _stages(setting, target, seed, starts, known)
      found += _frozen(setting, target, seed, starts)
  return found


def _cell(
  row: int, target: Organ, kind: str, x: float, seed: int, run: Run, at: str = BEST
) -> Cell:
  panel = f"{target.label}: {ROWS[row]}"
  return Cell(panel, kind, x, seed, Evaluation(run, target, at))


def _iterations(
  setting: Setting, target: Organ, seed: int, starts: dict[str, Run], known: Known
) -> Iterator[Cell]:
  """Row 1: snapshots of fine-tuning, as far as the runs went."""
  courses = {
    kind: tuned(setting, target, Start(b, BEST), seed) for kind, b in starts.items()
  }
  every, wanted = setting.numbers.snapshot_every, setting.numbers.course
  for kind, run in {SCRATCH: single(setting, target, seed), **courses}.items():
    last = known.last_step(run)
    if last is None:  # how far is not known yet
      yield _cell(0, target, kind, setting.numbers.num_steps, seed, run)
    for step in range(every, (last or 0) + 1, every):
      if not wanted or step in wanted or step == last:
        yield _cell(0, target, kind, step, seed, run, str(step))


def _fractions(
  setting: Setting, target: Organ, seed: int, starts: dict[str, Run]
) -> Iterator[Cell]:
  """Row 2: shares of the target's training images."""
  for percent in setting.numbers.fractions:
    scratch = single(setting, target, seed, percent=percent)
    yield _cell(1, target, SCRATCH, percent, seed, scratch)
    for kind, base in starts.items():
      run = tuned(setting, target, Start(base, BEST), seed, percent=percent)
      yield _cell(1, target, kind, percent, seed, run)


def _stages(
  setting: Setting, target: Organ, seed: int, starts: dict[str, Run], known: Known
) -> Iterator[Cell]:
  """Row 3: snapshots of the bases, as far as they went."""
  if not setting.numbers.stages:
    return
  yield _cell(2, target, SCRATCH, 0, seed, single(setting, target, seed))
  for kind, base in starts.items():
    last = known.last_step(base)
    if last is None:  # how far is not known yet
      yield _cell(2, target, kind, 0, seed, base)
    for stage in setting.numbers.stages:
      if stage <= (last or 0):
        run = tuned(setting, target, Start(base, str(stage)), seed)
        yield _cell(2, target, kind, stage, seed, run)


def _frozen(
  setting: Setting, target: Organ, seed: int, starts: dict[str, Run]
) -> Iterator[Cell]:
  """Row 4: the first so many blocks stay as they are."""
  if not setting.numbers.frozen:
    return
  yield _cell(3, target, SCRATCH, 0, seed, single(setting, target, seed))
  for frozen in setting.numbers.frozen:
    for kind, base in starts.items():
      run = tuned(setting, target, Start(base, BEST), seed, frozen=frozen)
      yield _cell(3, target, kind, frozen, seed, run)


def row_of(table: Table, row: int) -> Table:
  """The part of a table in one row of the figure."""
  return [(c, o) for c, o in table if c.panel.endswith(f": {ROWS[row]}")]


def draw(table: Table, setting: Setting) -> dict[str, Figure]:
  """Four rows (less where the budget has no stages), a column for each target."""
  rows = [row for row in range(len(ROWS)) if row_of(table, row)]
  figure, axes = drawing.grid(
    len(rows), len(setting.targets), width=4.0, height=2.7, legend=2
  )
  looks = drawing.styles([SCRATCH, *dict.fromkeys(c.series for c, _ in table)])
  for place, target in enumerate(setting.targets):
    for panel, row in zip(axes[:, place], rows, strict=True):
      part = drawing.of_panel(table, f"{target.label}: {ROWS[row]}")
      level = () if row < 2 else (SCRATCH,)
      drawing.lines(panel, drawing.series(part), looks, level=level)
      panel.set(xlabel=AXES[row], ylabel="F1 score" if place == 0 else "")
    axes[0, place].set_title(target.label)
  drawing.legend_below(figure, axes.ravel(), columns=len(looks))
  return {"fig5": figure}


def judge(table: Table, setting: Setting) -> list[Finding]:
  """One or two numbers a row."""
  numbers = setting.numbers
  course, data, stage, frozen = (row_of(table, row) for row in range(4))
  found = [*_judge_course(course), *_judge_fractions(data, numbers.fractions)]
  if stage:
    found += _judge_stages(stage, numbers)
  if frozen:
    found += _judge_frozen(frozen, numbers.frozen)
  return found


def _is_scratch(cell: Cell) -> bool:
  return cell.series == SCRATCH


def _is_scratch_at(xs: Sequence[float]) -> Callable[[Cell], bool]:
  return lambda cell: _is_scratch(cell) and cell.x in xs


def _is_tuned(xs: Sequence[float]) -> Callable[[Cell], bool]:
  return lambda cell: not _is_scratch(cell) and cell.x in xs


def _judge_course(table: Table) -> list[Finding]:
  steps = _ends(table)
  third = [step for step in steps if 3 * step <= steps[-1]][-1:] or steps[:1]
  number = f"F1 fine-tuned for {third[0]:,} iterations less F1 from scratch after "
  number += f"{steps[-1]:,}"

  def least(means: np.ndarray, cells: Sequence[Cell]) -> np.ndarray | None:
    """Fine-tuned less from scratch, for one target and base."""
    tuned = [c for c in cells if c.x == third[0] and not _is_scratch(c)]
    return largest(
      -means,
      (
        weigh(
          [c is one for c in cells],
          [c.panel == one.panel and _is_scratch(c) and c.x == steps[-1] for c in cells],
        )
        for one in tuned
      ),
    )

  return [
    Finding(
      "fine-tuning is as good as learning from scratch with much less training",
      f"{number}, mean over targets and bases",
      contrast(table, _is_tuned(third), _is_scratch_at(steps[-1:])),
      least=-MARGIN,
    ),
    Finding(
      "so it is no matter from which base",
      f"{number}, for the target and base where that is least",
      selected([(c, o) for c, o in table if c.x in (*third, steps[-1])], least),
      least=-MARGIN,
    ),
  ]


def _judge_fractions(table: Table, fractions: Sequence[float]) -> list[Finding]:
  few = [percent for percent in fractions if percent <= 40] or list(fractions[:1])
  least, most = min(fractions), max(fractions)
  return [
    *(
      Finding(
        f"with more target data, {strategy} improves",
        f"F1 with {most:g} % of the target data less F1 with {least:g} %",
        contrast(table, kind([most]), kind([least])),
      )
      for strategy, kind in (
        ("learning from scratch", _is_scratch_at),
        ("fine-tuning", _is_tuned),
      )
    ),
    Finding(
      "fine-tuning reaches an accuracy with less target data",
      f"F1 fine-tuned less F1 from scratch, with "
      f"{', '.join(f'{percent:g}' for percent in few)} % of the target data",
      contrast(table, _is_tuned(few), _is_scratch_at(few)),
    ),
  ]


def _judge_stages(table: Table, numbers: Any) -> list[Finding]:
  stages = sorted({int(c.x) for c, _ in table if not _is_scratch(c)})
  early = [s for s in stages if s <= 0.06 * numbers.num_steps] or stages[:1]
  last = _last_stages(table)
  return [
    Finding(
      "bases from an early stage serve as well as learning from scratch",
      f"F1 fine-tuned from {', '.join(map(str, early))} iterations of the base less F1 "
      "from scratch",
      contrast(table, _is_tuned(early), _is_scratch),
      least=-MARGIN,
    ),
    Finding(
      "early transfer is competitive to late transfer",
      f"F1 fine-tuned from {', '.join(map(str, early))} iterations of the base less F1 "
      "from its last stage",
      contrast(table, _is_tuned(early), lambda c: c.x == last.get(c.panel)),
      least=-MARGIN,
    ),
    Finding(
      "fine-tuning late stages of the best base outperforms learning from scratch",
      "F1 fine-tuned from the best base's last stage less F1 from scratch",
      contrast(
        table,
        lambda c: c.series == "best" and c.x == last.get(c.panel),
        _is_scratch,
      ),
    ),
  ]


def _last_stages(table: Table) -> dict[str, float]:
  """By panel the last stage that the best base reached with every seed."""
  ends: dict[str, dict[int, float]] = {}
  for cell, _ in table:
    if cell.series == "best":
      by_seed = ends.setdefault(cell.panel, {})
      by_seed[cell.seed] = max(cell.x, by_seed.get(cell.seed, 0))
  return {panel: min(by_seed.values()) for panel, by_seed in ends.items()}


def _ends(table: Table) -> Sequence[int]:
  """Steps that all courses of row 1 reached, rising."""
  courses: dict[tuple, set[int]] = {}
  for cell, _ in table:
    courses.setdefault((cell.panel, cell.series, cell.seed), set()).add(int(cell.x))
  return sorted(set.intersection(*courses.values()))


def _judge_frozen(table: Table, counts: Sequence[int]) -> list[Finding]:
  most = [count for count in counts if count in (7, 8)] or [max(counts)]
  few = [count for count in counts if count in (1, 2)] or [min(counts)]
  return [
    Finding(
      "fine-tuning only the last 2 or 3 blocks is worse than learning from scratch",
      f"F1 from scratch less F1 with {' or '.join(map(str, most))} blocks frozen",
      contrast(table, _is_scratch, _is_tuned(most)),
    ),
    Finding(
      "with at most the first 2 blocks frozen it competes with learning from scratch",
      f"F1 with {' or '.join(map(str, few))} blocks frozen less F1 from scratch",
      contrast(table, _is_tuned(few), _is_scratch),
      least=-MARGIN,
    ),
  ]


def notes(table: Table, setting: Setting) -> list[str]:
  """Table 2: which bases were chosen."""
  del setting
  lines = ["| Target | Base | Trained on |", "|---|---|---|"]
  seen = set()
  tuned = [o for c, o in row_of(table, 1) if not _is_scratch(c)]
  untouched = sum(outcome.step == 0 for outcome in tuned)
  for cell, _ in row_of(table, 1):
    run = cell.evaluation.run
    key = cell.panel, cell.series
    if run.start and key not in seen:
      seen.add(key)
      target = cell.panel.partition(":")[0]
      lines.append(f"| {target} | {cell.series} | {run.start.run.target.label} |")
  return [
    "Bases (Table 2), best and worst by F1 of the first seed's networks on the "
    "target's test images in Fig. 4, as in the paper; so test images helped to choose "
    "them:",
    "",
    *lines,
    "",
    f"Row 2 scores the checkpoint that validation prefers, the base itself (step 0) "
    f"among them: it was preferred in {untouched} of {len(tuned)} courses, which only "
    "took a threshold from the target's validation part. Shares of the target's "
    "training images, at least one, are drawn once: the same for all seeds and bases.",
  ]
