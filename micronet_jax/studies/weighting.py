"""Figure 9: λ, the weight of the regions without nuclei."""

import dataclasses

from matplotlib.figure import Figure
from scipy import stats

from micronet_jax.studies import drawing
from micronet_jax.studies.drawing import Table
from micronet_jax.studies.findings import Finding, by_panel, contrast
from micronet_jax.studies.results import Estimate
from micronet_jax.studies.runs import Evaluation
from micronet_jax.studies.setting import Cell, Known, Setting, single

TARGETS = ("lung", "lymph_nodes", "pancreas")
TITLE = "Figure 9: the weight λ"
DIVERGES_FROM = 500
"""The paper's networks with λ from here on had exploding gradients."""


def cells(setting: Setting, known: Known) -> list[Cell]:
  """Every λ on every target."""
  del known
  found = []
  for target in setting.targets:
    for lam in setting.numbers.lambdas:
      for seed in setting.seeds:
        run = single(setting, target, seed, lam=lam)
        run = dataclasses.replace(run, may_diverge=lam > setting.recipe.loss_lambda)
        found.append(
          Cell(target.label, f"λ = {lam:g}", lam, seed, Evaluation(run, target))
        )
  return found


def draw(table: Table, setting: Setting) -> dict[str, Figure]:
  """Precision against recall, a panel for each target."""
  figure, axes = drawing.grid(1, len(setting.targets), height=3.7, legend=2)
  drawn = [(c, o) for c, o in table if not o.diverged]
  looks = drawing.ordered_styles([cell.series for cell, _ in drawn])
  for panel, target in zip(axes.ravel(), setting.targets, strict=True):
    drawing.curves(panel, drawing.of_panel(table, target.label), looks)
    panel.set_title(target.label)
  drawing.same_limits(axes.ravel())
  drawing.legend_below(figure, axes.ravel(), columns=4)
  return {"fig9": figure}


def _is_large(cell: Cell) -> bool:
  return 5 <= cell.x <= 50


def _is_small(cell: Cell) -> bool:
  return cell.x <= 0.5


def judge(table: Table, setting: Setting) -> list[Finding]:
  """Large against small λ, λ = 0 against large, and what diverged."""
  del setting
  extreme = [(c, o) for c, o in table if c.x >= DIVERGES_FROM]
  lost = sum(o.diverged is not None for _, o in extreme)
  share, low, high = float("nan"), None, None
  if extreme:
    counted = stats.binomtest(lost, len(extreme))
    share, (low, high) = counted.statistic, counted.proportion_ci()  # Clopper, Pearson
  return [
    Finding(
      "networks with λ <= 0.5 are outperformed by those with λ >= 5",
      "mean F1 with λ = 5 and 50 less that with λ <= 0.5",
      contrast(table, _is_large, _is_small),
    ),
    Finding(
      "λ = 0 is significantly worse than large λ",
      "mean F1 with λ = 5 and 50 less that with λ = 0",
      contrast(table, _is_large, lambda c: c.x == 0),
    ),
    Finding(
      "λ = 500 and 5000 diverge (exploding gradients)",
      "share of runs whose loss or gradients were not finite any more",
      Estimate(share, low, high, f"{len(extreme)} runs"),
      verdict=_all_or_none(lost, len(extreme)),
    ),
  ]


def _all_or_none(lost: int, count: int) -> str:
  if not count or 0 < lost < count:
    return "cannot tell"
  return "holds" if lost else "does not hold"


def notes(table: Table, setting: Setting) -> list[str]:
  """What else λ changes, which runs diverged, and what the others with it scored."""
  larger = by_panel(table, _is_large, _is_small)
  lines = []
  for cell, outcome in table:
    if outcome.diverged:
      when = outcome.diverged.partition(" (")[0]
      lines.append(f"- {cell.evaluation.run.title}, seed {cell.seed}: {when}")
    elif cell.x >= DIVERGES_FROM:
      lines.append(
        f"- {cell.evaluation.run.title}, seed {cell.seed}: stayed finite, F1 "
        f"{outcome.score('f1'):.3f}"
      )
  return [
    "A larger λ is also a larger gradient at the same rate [Eq. 2], which by itself "
    "can help a short run, and from some λ on makes it diverge. The rate is "
    f"{setting.numbers.learning_rate:g} here, the paper's 0.01.",
    "",
    f"F1 with λ = 5 and 50 less that with λ <= 0.5: {larger}.",
    "",
    f"Runs with λ from {DIVERGES_FROM} on:",
    "",
    *(lines or ["- none"]),
  ]
