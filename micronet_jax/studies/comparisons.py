"""Table 1, six models on every organ; Figures 4 and 10, every organ's on every organ.

Called by `studies.study`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from micronet_jax.config import as_dict
from micronet_jax.errors import InputError
from micronet_jax.evaluation.scores import METRICS
from micronet_jax.models import complete_options
from micronet_jax.studies import drawing
from micronet_jax.studies.claims import list_panels, rows_of_panel
from micronet_jax.studies.execution import Archive
from micronet_jax.studies.organs import Organ
from micronet_jax.studies.results import Row
from micronet_jax.studies.runs import make_run
from micronet_jax.studies.schema import MICRONET, NAMES
from micronet_jax.studies.setting import Setting

HEADS = ("Precision (%)", "Recall (%)", "F1 score (%)", "Euclidean distance (px)")


def table_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """Every model asked for, trained and tested on every organ."""
  for model in setting.models:
    for seed in setting.seeds:
      for organ in setting.organs:
        run = make_run(setting, organ, seed, model=model)
        yield from archive.rows(organ.label, NAMES[model], 0, run, organ)


def summarise_table(rows: Sequence[Row]) -> dict[str, list[tuple[float, float]]]:
  """(mean, standard deviation) over data sets of each metric, by model.

  Scores are averaged over seeds first; what diverged is left out, and so are, of the
  distance, data sets without a single pair.
  """
  summary: dict[str, list[tuple[float, float]]] = {}
  for model in dict.fromkeys(row.series for row in rows):
    mine = [row for row in rows if row.series == model]
    for metric in METRICS:
      means = []
      for panel in list_panels(mine):
        scores = [row.score(metric) for row in rows_of_panel(mine, panel)]
        finite = [score for score in scores if np.isfinite(score)]
        means += [float(np.mean(finite))] if finite else []
      sd = float(np.std(means, ddof=len(means) > 1)) if means else float("nan")
      mean = float(np.mean(means)) if means else float("nan")
      summary.setdefault(model, []).append((mean, sd))
  return summary


def _entries(summary: Sequence[tuple[float, float]]) -> list[str]:
  shares = [f"{100 * mean:.1f} ± {100 * sd:.1f}" for mean, sd in summary[:3]]
  return [*shares, f"{summary[3][0]:.2f} ± {summary[3][1]:.2f}"]


def draw_table(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """The table, as the paper prints it."""
  summary = summarise_table(rows)
  figure, axes = drawing.new_grid(1, 1, width=9.0, height=0.36 * len(summary) + 0.8)
  axes[0, 0].set_axis_off()
  seeds = f", mean of {len(setting.seeds)} seeds" if len(setting.seeds) > 1 else ""
  over = f"Mean ± standard deviation over {len(setting.organs)} data sets"
  axes[0, 0].set_title(over + seeds, fontsize=11)
  cells = [_entries(each) for each in summary.values()]
  names = {"rowLabels": list(summary), "colLabels": HEADS}
  box = (0.09, 0.0, 0.91, 1.0)
  drawn = axes[0, 0].table(cellText=cells, cellLoc="center", bbox=box, **names)
  drawn.auto_set_font_size(False)
  drawn.set_fontsize(10)
  return {"table1": figure}


def table_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """The table in Markdown, what each model was trained with, and who is compared."""
  names = [NAMES[model] for model in setting.models]
  summary, rates = summarise_table(rows), set()
  heads = [*HEADS, "width", "dropout", "rate"]
  lines = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
  for model, name in zip(setting.models, names, strict=True):
    config = setting.recipe(model)
    options = complete_options(as_dict(config.model))
    dropout = f"{options['dropout']:g}" if "dropout" in options else "none"
    rate = config.optimizer.learning_rate
    rates.add(rate)
    if name in summary:
      entries = [*_entries(summary[name]), f"{options['width']}", dropout, f"{rate:g}"]
      lines.append(f"| {name} | {' | '.join(entries)} |")
  poor = []
  for panel in list_panels(rows):
    here = rows_of_panel(rows, panel)
    half = np.nanmedian([row.score() for row in here]) / 2
    poor += [
      f"{row.series} on {panel}, seed {row.seed} (F1 {row.score():.3f})"
      for row in here
      if row.score() < half
    ]
  others = [name for name in names if name != NAMES[MICRONET]]
  regression = [name for name in names if name not in ("U-Net", "FCN")]
  lost = [f"{r.series} on {r.panel}, seed {r.seed}" for r in rows if r.diverged]
  return {
    **dict.fromkeys(("others", "nearer"), [{"other": name} for name in others]),
    "several": [{}] if len(others) > 1 else [],
    "of": "" if len(names) == len(NAMES) else f" of {', '.join(names)}",
    "regression": [{"name": name} for name in regression]
    if len(regression) == len(names) - 2
    else [],
    "all": [{}] if len(names) == len(NAMES) else [],
    "table": "\n".join(lines),
    "lost": "; ".join(lost),
    "poor": "; ".join(poor),
    "rates": len(rates) > 1,
    "rate": setting.numbers.learning_rate,
  }


def column_rows(
  setting: Setting,
  target: Organ,
  seeds: Sequence[int],
  archive: Archive,
  model: str = MICRONET,
) -> Iterable[Row]:
  """Every organ's network on one organ: a column of Figs. 4 and 10."""
  for seed in seeds:
    for organ in setting.organs:
      run = make_run(setting, organ, seed, model=model)
      series = "same" if organ == target else "diff"
      yield from archive.rows(target.label, series, 0, run, target)


def _model_of(setting: Setting) -> str:
  return "frcn" if setting.config.study in ("fig10", "fig11") else MICRONET


def matrix_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """The whole matrix, target by target."""
  for organ in setting.organs:
    yield from column_rows(setting, organ, setting.seeds, archive, _model_of(setting))


def summarise_matrix(rows: Sequence[Row]) -> tuple[list[str], np.ndarray, np.ndarray]:
  """Targets, F1 of the same organ `[T]`, and of the different ones `[T, T - 1]`.

  Averaged over seeds, without organs whose network diverged with any seed; InputError
  if fewer than two are left.
  """
  lost = {row.trained_on for row in rows if row.diverged}
  rows = [row for row in rows if not lost & {row.trained_on, row.panel}]
  targets = list_panels(rows)
  if len(targets) < 2:
    raise InputError("fewer than two organs have a network: the others diverged")
  same, different = [], []
  for target in targets:
    scores: dict[str, list[float]] = {}
    for row in rows_of_panel(rows, target):
      scores.setdefault(row.trained_on, []).append(row.score())
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    same.append(means.pop(target))
    different.append(list(means.values()))
  return targets, np.array(same), np.array(different)


def draw_matrix(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """Boxes of the different, a star for the same, a triangle for the average."""
  name = NAMES[_model_of(setting)]
  targets, same, different = summarise_matrix(rows)
  width = max(0.5 * len(targets) + 2.4, 6.4)
  figure, axes = drawing.new_grid(1, 1, width=width, height=4.6, legend=1)
  panel, at, gray = axes[0, 0], np.arange(len(targets)), {"color": "0.25"}
  marks = {"marker": "+", "markersize": 5, "markeredgecolor": "0.4"}
  boxes = {"medianprops": gray, "boxprops": gray, "flierprops": marks}
  panel.boxplot(list(different), positions=at, widths=0.55, **boxes)
  box = {"markerfacecolor": "white", "markeredgecolor": "0.25", "markersize": 11}
  panel.plot([], [], "s", **box, label=f"{name} diff")
  star = {"color": "#0072B2", "markersize": 12, "markeredgecolor": "white", "zorder": 4}
  panel.plot(at, same, "*", label=f"{name} same", **star)
  mark = {"color": "#E69F00", "markersize": 8, "markeredgecolor": "black", "zorder": 3}
  panel.plot(at, different.mean(1), "^", label=f"{name} diff, average", **mark)
  low = min(0.95, float(np.floor(10 * min(same.min(), different.min())) / 10))
  panel.set(ylabel="F1 score", xlabel="tested on", ylim=(max(low - 0.02, -0.02), 1.0))
  panel.set_xticks(at, targets, rotation=45, ha="right", rotation_mode="anchor")
  panel.yaxis.grid(color="0.9")
  drawing.add_legend(figure, [panel], columns=3)
  return {setting.config.study: figure}


def matrix_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """Which organs are best served by another one."""
  targets, same, different = summarise_matrix(rows)
  beaten = [
    f"{target} ({s:.3f}, best other {d.max():.3f})"
    for target, s, d in zip(targets, same, different, strict=True)
    if d.max() > s
  ]
  own = [row for row in rows if row.series == "same" and row.diverged]
  model = _model_of(setting)
  more = "the paper says: better than many of the different ones; here: "
  return {
    "model": NAMES[model],
    "best": "" if model == MICRONET else more,
    "higher": int((same > different.mean(1)).sum()),
    "count": len(targets),
    "beaten": len(beaten),
    "names": ", ".join(beaten) or "none",
    "lost": ", ".join(f"{row.run_title}, seed {row.seed}" for row in own),
  }
