"""Table 1: six models on every data set."""

import collections
import inspect
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from micronet_jax import models
from micronet_jax.studies import drawing
from micronet_jax.studies.drawing import Table
from micronet_jax.studies.findings import Finding, contrast, largest, selected, weigh
from micronet_jax.studies.recipe import MICRONET, NAMES
from micronet_jax.studies.results import METRICS
from micronet_jax.studies.runs import Evaluation
from micronet_jax.studies.setting import Cell, Known, Setting, single

TARGETS = ()
TITLE = "Table 1: nucleus detection by model"
HEADS = ("Precision (%)", "Recall (%)", "F1 score (%)", "Euclidean distance (px)")


def cells(setting: Setting, known: Known) -> list[Cell]:
  """Every model asked for, trained and tested on every organ."""
  del known
  return [
    Cell(organ.label, NAMES[model], 0, seed, Evaluation(run, organ))
    for model in setting.models
    for seed in setting.seeds
    for organ in setting.organs
    for run in [single(setting, organ, seed, model=model)]
  ]


def summary(table: Table) -> dict[str, list[tuple[float, float]]]:
  """(mean, standard deviation) over data sets of each metric, by model.

  Scores are averaged over seeds first; what diverged is left out, and so are, of the
  distance, data sets without a single pair.
  """
  rows = {}
  for model in dict.fromkeys(cell.series for cell, _ in table):
    row = []
    for metric in METRICS:
      by_organ: dict[str, list[float]] = {}
      for cell, outcome in table:
        if cell.series == model:
          by_organ.setdefault(cell.panel, []).append(outcome.score(metric))
      means = np.array([_mean(scores) for scores in by_organ.values()])
      means = means[np.isfinite(means)]
      if not len(means):
        row.append((float("nan"), float("nan")))
      else:
        row.append((float(means.mean()), float(means.std(ddof=len(means) > 1))))
    rows[model] = row
  return rows


def _mean(scores: Sequence[float]) -> float:
  finite = [score for score in scores if np.isfinite(score)]
  return float(np.mean(finite)) if finite else float("nan")


def _entries(row: Sequence[tuple[float, float]]) -> list[str]:
  shares = [f"{100 * mean:.1f} ± {100 * sd:.1f}" for mean, sd in row[:3]]
  return [*shares, f"{row[3][0]:.2f} ± {row[3][1]:.2f}"]


def draw(table: Table, setting: Setting) -> dict[str, Figure]:
  """The table, as the paper prints it."""
  rows = summary(table)
  figure, axes = drawing.grid(1, 1, width=9.0, height=0.36 * len(rows) + 0.8)
  axes[0, 0].set_axis_off()
  seeds = f", mean of {len(setting.seeds)} seeds" if len(setting.seeds) > 1 else ""
  axes[0, 0].set_title(
    f"Mean ± standard deviation over {len(setting.organs)} data sets{seeds}",
    fontsize=11,
  )
  drawn = axes[0, 0].table(
    cellText=[_entries(row) for row in rows.values()],
    rowLabels=list(rows),
    colLabels=HEADS,
    cellLoc="center",
    bbox=(0.09, 0.0, 0.91, 1.0),
  )
  drawn.auto_set_font_size(False)
  drawn.set_fontsize(10)
  return {"table1": figure}


def judge(table: Table, setting: Setting) -> list[Finding]:
  """MicroNet against the others, and the kinds of models against each other.

  Only what the models that were asked for can decide.
  """
  names = [NAMES[model] for model in setting.models]
  ours = NAMES[MICRONET]

  def against(other: str, metric: str, *, reverse: bool = False):
    pair = [lambda c: c.series == ours, lambda c: c.series == other]
    return contrast(table, *(reversed(pair) if reverse else pair), metric=metric)

  others = [name for name in names if name != ours]
  found = []
  if len(others) > 1:
    of = "" if len(names) == len(NAMES) else f" of {', '.join(names)}"
    found.append(
      Finding(
        f"MicroNet has the highest F1 score{of}",
        "mean F1 of MicroNet less the highest mean F1 of the others",
        selected(table, _lead),
      )
    )
  found += [
    Finding(
      f"MicroNet has a higher F1 score than {other}",
      f"mean F1 of MicroNet less that of {other}",
      against(other, "f1"),
    )
    for other in others
  ]
  found += [
    Finding(
      f"MicroNet has a lower Euclidean distance than {other}",
      f"mean distance (px) of {other} less that of MicroNet",
      against(other, "ed", reverse=True),
    )
    for other in others
  ]
  return [*found, *_judge_kinds(table, names)]


def _judge_kinds(table: Table, names: Sequence[str]) -> list[Finding]:
  """Pixel classifiers against regression, then the two FCRNs against the other four."""
  found = []
  classifiers = ("U-Net", "FCN")

  def above_classifiers(name: str) -> Finding:
    return Finding(
      f"the pixel classifiers U-Net and FCN have a lower recall than {name}",
      f"mean recall of {name} less that of the two",
      contrast(
        table,
        lambda c: c.series == name,
        lambda c: c.series in classifiers,
        metric="recall",
      ),
    )

  if all(name in names for name in classifiers):
    found += [above_classifiers(name) for name in names if name not in classifiers]
  if len(names) < len(NAMES):
    return found
  old = ("FCRNA", "FCRNB")
  for metric, better in (("recall", "better"), ("precision", "lower")):
    pair = [lambda c: c.series in old, lambda c: c.series not in old]
    found.append(
      Finding(
        f"FCRNA and FCRNB have a {better} {metric}",
        f"mean {metric} of the two less that of the other four"
        if better == "better"
        else f"mean {metric} of the other four less that of the two",
        contrast(
          table, *(pair if better == "better" else reversed(pair)), metric=metric
        ),
      )
    )
  return found


def _lead(means: np.ndarray, cells: Sequence[Cell]) -> np.ndarray | None:
  """MicroNet's mean less the highest of the others', where none diverged."""
  names = dict.fromkeys(cell.series for cell in cells)
  entered = collections.Counter(cell.panel for cell in cells)

  def of(name: str) -> list[bool]:
    return [c.series == name and entered[c.panel] == len(names) for c in cells]

  return largest(
    -means,
    (weigh(of(NAMES[MICRONET]), of(name)) for name in names if name != NAMES[MICRONET]),
  )


def notes(table: Table, setting: Setting) -> list[str]:
  """The table in Markdown, and what each model was trained with."""
  rows = summary(table)
  heads = [*HEADS, "width", "dropout", "rate"]
  lines = ["", f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
  for model, row in rows.items():
    config = next(c for c, _ in table if c.series == model).evaluation.run.config
    takes = inspect.signature(models.find_model(config.model.name).__init__).parameters
    dropout = f"{config.model.dropout:g}" if "dropout" in takes else "none"
    rate = f"{config.optimizer.learning_rate:g}"
    entries = [*_entries(row), f"{config.model.width}", dropout, rate]
    lines.append(f"| {model} | {' | '.join(entries)} |")
  lines = ["Mean ± standard deviation over the data sets:", *lines]
  lost = [f"{c.series} on {c.panel}, seed {c.seed}" for c, o in table if o.diverged]
  if lost:
    lines += ["", f"Diverged, and left out: {'; '.join(lost)}."]
  poor = _poor(table)
  if poor:
    lines += ["", f"Learned little, with less than half of the median F1: {poor}."]
  rates = {c.evaluation.run.config.optimizer.learning_rate for c, _ in table}
  if len(rates) > 1:
    lines += [
      "",
      f"Rates other than {setting.numbers.learning_rate:g} are of models that diverge "
      "with it, or are of their kind; in few iterations a lower rate costs accuracy.",
    ]
  return lines


def _poor(table: Table) -> str:
  """Networks with less than half of the median F1 on their data set."""
  found = []
  for panel in drawing.panels(table):
    here = [(c, o.score("f1")) for c, o in drawing.of_panel(table, panel)]
    half = np.nanmedian([f1 for _, f1 in here]) / 2
    found += [
      f"{c.series} on {panel}, seed {c.seed} (F1 {f1:.3f})"
      for c, f1 in here
      if f1 < half
    ]
  return "; ".join(found)
