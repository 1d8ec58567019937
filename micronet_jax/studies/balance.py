"""Figures 7 and 8: target and auxiliary data balanced by γ."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from micronet_jax.studies import drawing
from micronet_jax.studies.drawing import Table
from micronet_jax.studies.findings import (
  Finding,
  by_panel,
  contrast,
  largest,
  selected,
  weigh,
)
from micronet_jax.studies.organs import Organ
from micronet_jax.studies.runs import Evaluation
from micronet_jax.studies.setting import (
  Cell,
  Known,
  Setting,
  bases_of,
  column,
  mixed,
  single,
)

TARGETS = ("cervix", "colorectum", "kidney")
TITLE = "Figures 7 and 8: balancing target and auxiliary data"
ALONE = "target only"


def cells(setting: Setting, known: Known) -> list[Cell]:
  """The columns of Fig. 4 that choose single sources, then every γ on every source."""
  found = []
  for target in setting.targets:
    bases = bases_of(setting, target, known)
    if bases is None:
      found += column(setting, target, setting.seeds[:1])
    sources = _sources(setting, target, bases and (bases.worst, bases.best))
    for seed in setting.seeds:
      for source, (organs, percent) in sources.items():
        panel = f"{target.label} + {source}"
        alone = single(setting, target, seed)
        found.append(Cell(panel, ALONE, 1, seed, Evaluation(alone, target)))
        for gamma in setting.numbers.gammas:
          run = mixed(setting, target, organs, seed, percent=percent, gamma=gamma)
          found.append(
            Cell(panel, f"γ = {gamma:g}", gamma, seed, Evaluation(run, target))
          )
  return found


def _sources(
  setting: Setting, target: Organ, ends: Sequence[str] | None
) -> dict[str, tuple[list[Organ], float]]:
  """Auxiliary organs and percentage, by name; the last two are the worst and best."""
  sources: dict[str, tuple[list[Organ], float]] = {
    f"{percent:g} % of all others": (setting.others(target), percent)
    for percent in setting.numbers.mixed
  }
  by_name = {organ.name: organ for organ in setting.organs}
  for kind, name in zip(("worst", "best"), ends or (), strict=False):
    sources[f"{by_name[name].label} ({kind})"] = [by_name[name]], 100
  return sources


def _rows(table: Table, target: Organ) -> list[str]:
  """The panels of one target, in the figure's order."""
  panels = [p for p in drawing.panels(table) if p.startswith(f"{target.label} + ")]
  return [p for p in panels if _is_alone(drawing.of_panel(table, p)[0][0])]


def draw(table: Table, setting: Setting) -> dict[str, Figure]:
  """Fig. 7: precision and recall; Fig. 8: best F1 over log γ."""
  rows = max(len(_rows(table, target)) for target in setting.targets)
  figure, axes = drawing.grid(rows, len(setting.targets), legend=2)
  gammas = [f"γ = {gamma:g}" for gamma in setting.numbers.gammas]
  alone = {"color": "black", "linestyle": "-", "marker": ""}
  looks = {ALONE: alone, **drawing.ordered_styles(gammas)}
  for column_, target in enumerate(setting.targets):
    for row, name in enumerate(_rows(table, target)):
      drawing.curves(axes[row, column_], drawing.of_panel(table, name), looks)
      axes[row, column_].set_title(name, fontsize=10)
  drawing.same_limits(axes.ravel())
  drawing.legend_below(figure, axes.ravel(), columns=5)
  return {"fig7": figure, "fig8": _draw_f1(table, setting)}


def _draw_f1(table: Table, setting: Setting) -> Figure:
  figure, axes = drawing.grid(1, len(setting.targets), height=4.4)
  for panel, target in zip(axes.ravel(), setting.targets, strict=True):
    names = _rows(table, target)
    # The target alone is the same network in every panel of Fig. 7.
    points = {ALONE: drawing.series(drawing.of_panel(table, names[0]))[ALONE]}
    for name in names:
      here = [
        (cell._replace(series=name, x=float(np.log10(cell.x))), outcome)
        for cell, outcome in drawing.of_panel(table, name)
        if not _is_alone(cell)
      ]
      points |= drawing.series(here)
    drawing.lines(panel, points, drawing.styles([ALONE, *names]), level=(ALONE,))
    panel.set(title=target.label, xlabel="log₁₀ γ", ylabel="F1 score")
    panel.legend(
      loc="upper center",
      bbox_to_anchor=(0.5, -0.17),
      frameon=False,
      fontsize=9,
      handlelength=3,
    )
  return figure


def _is_alone(cell: Cell) -> bool:
  return cell.series == ALONE


def _is_gamma(least: float, most: float) -> Callable[[Cell], bool]:
  return lambda cell: not _is_alone(cell) and least <= cell.x <= most


def judge(table: Table, setting: Setting) -> list[Finding]:
  """γ below and above 1, the best γ against the target only, best and worst source."""
  del setting
  multiple = [(c, o) for c, o in table if "of all others" in c.panel]
  alone = [(c, o) for c, o in table if "of all others" not in c.panel]
  return [
    *_judge_weights("several sources", multiple),
    *_judge_weights("a single source", alone),
    *_judge_sources(alone),
  ]


def _judge_weights(name: str, table: Table) -> list[Finding]:
  small, naive, large = _is_gamma(0, 0.999), _is_gamma(1, 1), _is_gamma(1.001, np.inf)
  return [
    Finding(
      f"with {name}, more weight on the auxiliary data (γ < 1) is worse than naive "
      "balance",
      "F1 with γ = 1 less mean F1 with γ < 1",
      contrast(table, naive, small),
    ),
    Finding(
      f"with {name}, γ < 1 is worse than the target alone",
      "F1 with the target alone less mean F1 with γ < 1",
      contrast(table, _is_alone, small),
    ),
    Finding(
      f"with {name}, more weight on the target (γ > 1) is better than γ = 1",
      "mean F1 with γ > 1 less that with γ = 1",
      contrast(table, large, naive),
    ),
    Finding(
      f"with {name}, a proper γ is on a par with the target alone or better",
      "F1 with the best γ >= 1 less F1 with the target alone, mean over panels",
      selected(table, _best_gamma),
      least=-0.01,
    ),
  ]


def _best_gamma(means: np.ndarray, cells: Sequence[Cell]) -> np.ndarray | None:
  """Mean over panels of one γ >= 1 less the target alone."""
  weights = []
  for panel in dict.fromkeys(cell.panel for cell in cells):
    gammas = {c.x for c in cells if c.panel == panel and _is_gamma(1, np.inf)(c)}
    found = largest(
      means,
      (
        weigh(
          [c.panel == panel and _is_gamma(x, x)(c) for c in cells],
          [c.panel == panel and _is_alone(c) for c in cells],
        )
        for x in sorted(gammas)
      ),
    )
    if found is not None:
      weights.append(found)
  return np.mean(weights, axis=0) if weights else None


def _judge_sources(table: Table) -> list[Finding]:
  """The best single source against the worst, within each target."""

  def is_best(cell: Cell) -> bool:
    return cell.series.endswith("(best)")

  by_target = []
  for cell, outcome in table:
    target, _, source = cell.panel.partition(" + ")
    if not _is_alone(cell):
      by_target.append((cell._replace(panel=target, series=source), outcome))
  found = []
  for claim, most in (
    ("the best auxiliary source is better than the worst", np.inf),
    ("especially so when γ < 1", 0.999),
  ):
    part = [(c, o) for c, o in by_target if c.x <= most]
    gammas = sorted({c.x for c, _ in part})
    found.append(
      Finding(
        claim,
        "F1 with the best source of Fig. 4 less F1 with the worst, mean over γ = "
        + ", ".join(f"{x:g}" for x in gammas),
        contrast(part, is_best, lambda c: not is_best(c)),
      )
    )
  return found


def notes(table: Table, setting: Setting) -> list[str]:
  """How γ is meant here, and what a large one gains in each panel."""
  del setting
  most = max((c.x for c, _ in table if not _is_alone(c)), default=1.0)
  gains = by_panel(table, _is_gamma(most, most), _is_alone)
  return [
    "Each half of a batch is target and auxiliary, and L = γ·L_target + L_auxiliary, "
    "each the mean over its half. So a larger γ is also a larger gradient at the same "
    "rate, which by itself can help a short run; Fig. 9 shows what a larger λ, which "
    "does the same, gains without auxiliary data. The best γ is chosen on the test "
    "images that it is reported on, as when reading it off the figure, which favours "
    "it; F1 is that at ξ of the validation images. Worst and best sources are those of "
    "Fig. 4's matrix, by its first seed.",
    "",
    f"F1 with γ = {most:g} less F1 with the target alone: {gains}.",
  ]
