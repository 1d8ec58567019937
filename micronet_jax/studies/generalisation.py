"""Figures 4 and 10: every organ's network on every organ."""

import numpy as np
from matplotlib.figure import Figure

from micronet_jax.studies import drawing
from micronet_jax.studies.drawing import Table
from micronet_jax.studies.findings import Finding, contrast, statistic
from micronet_jax.studies.recipe import MICRONET, NAMES
from micronet_jax.studies.setting import Cell, Known, Setting, column

TARGETS = ()
MODELS = {"fig4": MICRONET, "fig10": "frcn"}
TITLE = "Figures 4 and 10: the same organ against different organs"


def cells(setting: Setting, known: Known) -> list[Cell]:
  """The whole matrix, target by target."""
  del known
  model = MODELS[setting.study]
  return [
    cell
    for organ in setting.organs
    for cell in column(setting, organ, setting.seeds, model=model)
  ]


def usable(table: Table) -> Table:
  """The table without organs whose network diverged with any seed."""
  lost = {c.evaluation.run.target.name for c, o in table if o.diverged}
  return [
    (c, o)
    for c, o in table
    if not lost & {c.evaluation.run.target.name, c.evaluation.organ.name}
  ]


def matrix(table: Table) -> tuple[list[str], np.ndarray, np.ndarray]:
  """Targets, F1 of the same organ `[T]`, and of the different ones `[T, T - 1]`.

  Averaged over seeds.
  """
  table = usable(table)
  targets = drawing.panels(table)
  same, different = [], []
  for target in targets:
    scores: dict[str, list[float]] = {}
    for cell, outcome in drawing.of_panel(table, target):
      trained_on = "" if cell.series == "same" else cell.evaluation.run.target.name
      scores.setdefault(trained_on, []).append(outcome.score("f1"))
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    same.append(means.pop(""))
    different.append(list(means.values()))
  return targets, np.array(same), np.array(different)


def draw(table: Table, setting: Setting) -> dict[str, Figure]:
  """Boxes of the different, a star for the same, a triangle for the average."""
  name = NAMES[MODELS[setting.study]]
  targets, same, different = matrix(table)
  figure, axes = drawing.grid(
    1, 1, width=max(0.5 * len(targets) + 2.4, 6.4), height=4.6, legend=1
  )
  (panel,) = axes.ravel()
  at = np.arange(len(targets))
  panel.boxplot(
    list(different),
    positions=at,
    widths=0.55,
    medianprops={"color": "0.25"},
    boxprops={"color": "0.25"},
    flierprops={"marker": "+", "markersize": 5, "markeredgecolor": "0.4"},
  )
  box = {"markerfacecolor": "white", "markeredgecolor": "0.25", "markersize": 11}
  panel.plot([], [], "s", **box, label=f"{name} diff")
  panel.plot(
    *(at, same, "*"),
    color="#0072B2",
    markersize=12,
    markeredgecolor="white",
    label=f"{name} same",
    zorder=4,
  )
  panel.plot(
    *(at, different.mean(1), "^"),
    color="#E69F00",
    markersize=8,
    markeredgecolor="black",
    label=f"{name} diff, average",
    zorder=3,
  )
  low = min(0.95, float(np.floor(10 * min(same.min(), different.min())) / 10))
  panel.set(ylabel="F1 score", xlabel="tested on", ylim=(max(low - 0.02, -0.02), 1.0))
  panel.set_xticks(at, targets, rotation=45, ha="right", rotation_mode="anchor")
  panel.yaxis.grid(color="0.9")
  drawing.legend_below(figure, [panel], columns=3)
  return {setting.study: figure}


def judge(table: Table, setting: Setting) -> list[Finding]:
  """Same against the mean of different, and against each of them."""
  name = NAMES[MODELS[setting.study]]
  table = usable(table)

  def share(scores: np.ndarray, cells) -> np.ndarray:
    """Of targets, those that no other organ's network beats."""
    wins = []
    for target in dict.fromkeys(cell.panel for cell in cells):
      here = [i for i, cell in enumerate(cells) if cell.panel == target]
      same = [i for i in here if cells[i].series == "same"]
      others = [i for i in here if cells[i].series == "diff"]
      wins.append(scores[..., same].max(-1) >= scores[..., others].max(-1))
    return np.mean(wins, axis=0)

  return [
    Finding(
      f"F1 of {name} trained on the same organ is higher (in the paper: much higher) "
      "than the average of those trained on different ones",
      "mean over organs of F1 same less the average F1 diff",
      contrast(table, lambda c: c.series == "same", lambda c: c.series == "diff"),
    ),
    Finding(
      "for most organs the network of the same organ is the best"
      if setting.study == "fig4"
      else "the paper says: better than many of the different ones; here: for most "
      "organs the network of the same organ is the best",
      "share of organs where no other organ's network has a higher F1",
      statistic(table, share),
      least=0.5,
    ),
  ]


def notes(table: Table, setting: Setting) -> list[str]:
  """Which organs are best served by another one."""
  del setting
  targets, same, different = matrix(table)
  beaten = [
    f"{target} ({s:.3f}, best other {d.max():.3f})"
    for target, s, d in zip(targets, same, different, strict=True)
    if d.max() > s
  ]
  lost = [c.evaluation.run.label for c, o in table if c.series == "same" and o.diverged]
  higher = int((same > different.mean(1)).sum())
  return [
    f"The same organ is above the average of the different ones in {higher} of "
    f"{len(targets)} organs, and below the best different one in {len(beaten)}: "
    f"{', '.join(beaten) or 'none'}.",
    *([f"Diverged, their organs left out: {', '.join(lost)}."] if lost else []),
    "A network is tested with the threshold of its own organ's validation images, on "
    "other organs too.",
  ]
