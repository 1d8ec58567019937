"""Figures 6 and 11: a target pooled with images of all other organs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from micronet_jax.studies import drawing
from micronet_jax.studies.drawing import Table
from micronet_jax.studies.findings import Finding, contrast, largest, selected, weigh
from micronet_jax.studies.recipe import MICRONET, NAMES
from micronet_jax.studies.runs import Evaluation
from micronet_jax.studies.setting import Cell, Known, Setting, mixed

TARGETS = ("cervix", "colorectum", "kidney")
MODELS = {"fig6": MICRONET, "fig11": "frcn"}
TITLE = "Figures 6 and 11: training with and without auxiliary data"
ALL_TARGET, SHARES = "percentage of auxiliary data", "percentage of target data"


def cells(setting: Setting, known: Known) -> list[Cell]:
  """Row 1: all of the target, shares of the others; row 2 (Fig. 6): shares of it."""
  del known
  model = MODELS[setting.study]
  numbers = setting.numbers
  found = []
  for target in setting.targets:
    others = setting.others(target)
    for seed in setting.seeds:
      for percent in numbers.percentages:
        run = mixed(setting, target, others, seed, percent=percent, model=model)
        panel = f"{target.label}: {ALL_TARGET}"
        series = _name(setting, "mix" if percent else "target")
        found.append(Cell(panel, series, percent, seed, Evaluation(run, target)))
      for share in numbers.fractions if setting.study == "fig6" else ():
        for percent in (0, *numbers.mixed):
          run = mixed(
            setting, target, others, seed, percent=percent, target_percent=share
          )
          panel = f"{target.label}: {SHARES}"
          series = f"target + {percent:g} % auxiliary" if percent else "target only"
          found.append(Cell(panel, series, share, seed, Evaluation(run, target)))
  return found


def _name(setting: Setting, kind: str) -> str:
  return f"{NAMES[MODELS[setting.study]]} {kind}"


def part(table: Table, row: str) -> Table:
  """The cells of one row of panels."""
  return [(cell, outcome) for cell, outcome in table if cell.panel.endswith(row)]


def draw(table: Table, setting: Setting) -> dict[str, Figure]:
  """A column for each target; the top row has the target alone as a line across."""
  rows = [row for row in (ALL_TARGET, SHARES) if part(table, row)]
  figure, axes = drawing.grid(
    len(rows), len(setting.targets), width=4.0, height=3.0, legend=2
  )
  alone = _name(setting, "target")
  looks = drawing.styles([alone, *dict.fromkeys(c.series for c, _ in table)])
  for row, name in enumerate(rows):
    for place, target in enumerate(setting.targets):
      panel = axes[row, place]
      here = drawing.of_panel(table, f"{target.label}: {name}")
      drawing.lines(panel, drawing.series(here), looks, level=(alone,))
      training = "auxiliary" if row == 0 else "target"
      panel.set(xlabel=f"{training} training data (%)")
      panel.set(ylabel="F1 score" if place == 0 else "")
      if row == 0:
        panel.set_title(target.label)
  drawing.legend_below(figure, axes.ravel(), columns=3)
  return {setting.study: figure}


def judge(table: Table, setting: Setting) -> list[Finding]:
  """Whether pooling always helps, and whether it helps when target data are few."""
  numbers = setting.numbers
  most = max(numbers.percentages)
  top = [(c, o) for c, o in part(table, ALL_TARGET) if c.x in (0, most)]

  def costliest(means: np.ndarray, cells: Sequence[Cell]) -> np.ndarray | None:
    """Target alone less the mixture, for one target."""
    names = dict.fromkeys(cell.panel for cell in cells)
    return largest(
      means,
      (
        weigh(
          [c.panel == name and c.x == 0 for c in cells],
          [c.panel == name and c.x == most for c in cells],
        )
        for name in names
      ),
    )

  found = [
    Finding(
      "pooling target and auxiliary data is not always helpful",
      f"F1 with the target alone less F1 with {most:g} % of the auxiliary data, for "
      "the target where pooling costs most",
      selected(top, costliest),
    )
  ]
  bottom = part(table, SHARES)
  if not bottom:
    return found
  few = [share for share in numbers.fractions if share <= 40]
  few = few or list(numbers.fractions[:1])
  for percent in numbers.mixed:
    series = f"target + {percent:g} % auxiliary"

    def is_mixed(cell: Cell, series: str = series) -> bool:
      return cell.series == series and cell.x in few

    found.append(
      Finding(
        "with little target data, auxiliary data make a significantly better network",
        f"F1 with {percent:g} % of the auxiliary data less F1 without, with "
        f"{', '.join(f'{share:g}' for share in few)} % of the target data",
        contrast(
          bottom,
          is_mixed,
          lambda c: c.series == "target only" and c.x in few,
        ),
      )
    )
  if len(numbers.mixed) > 1:
    found.append(_judge_too_much(bottom, numbers.mixed, few))
  return found


def _judge_too_much(
  table: Table, mixed: Sequence[float], shares: Sequence[float]
) -> Finding:
  little, much = min(mixed), max(mixed)

  def series(percent: float) -> str:
    return f"target + {percent:g} % auxiliary"

  def costliest(means: np.ndarray, cells: Sequence[Cell]) -> np.ndarray | None:
    """Little less much, for one target."""
    names = dict.fromkeys(cell.panel for cell in cells)
    return largest(
      means,
      (
        weigh(
          [c.panel == name and c.series == series(little) for c in cells],
          [c.panel == name and c.series == series(much) for c in cells],
        )
        for name in names
      ),
    )

  kinds = series(little), series(much)
  part = [(c, o) for c, o in table if c.series in kinds and c.x in shares]
  return Finding(
    "too much auxiliary data might overwhelm the target data",
    f"F1 with {little:g} % of the auxiliary data less F1 with {much:g} %, with "
    f"{', '.join(f'{share:g}' for share in shares)} % of the target data, for the "
    "target where it costs most",
    selected(part, costliest),
  )


def notes(table: Table, setting: Setting) -> list[str]:
  """What the percentages are of."""
  del table
  return [
    f"Auxiliary data of a target: the training images of the {len(setting.organs) - 1} "
    "other organs, pooled naively (one loss over patches of the union). Shares of "
    "images, at least one, are drawn once: the same for all seeds. The target "
    "where it costs most is chosen on the test images that it is reported on, which "
    "favours the claim."
  ]
