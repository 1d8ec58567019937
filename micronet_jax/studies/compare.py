"""Table 1, six models on every organ; Figures 4 and 10, every organ's on every organ.

Also Figures 3 and 12, what MicroNet finds in images, and the maps that it learns.
Called by `studies.study`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from scipy import spatial

from micronet_jax import figures
from micronet_jax.datasets.organs import Organ, load_organ
from micronet_jax.datasets.sample import to_resolution
from micronet_jax.errors import InputError
from micronet_jax.evaluation.metrics import METRICS
from micronet_jax.lengths import proximity_at, resolution_of
from micronet_jax.models import complete_options
from micronet_jax.settings import as_dict
from micronet_jax.studies.claims import group_panels
from micronet_jax.studies.execution import Archive
from micronet_jax.studies.results import Row
from micronet_jax.studies.runs import make_run
from micronet_jax.studies.schema import MICRONET, NAMES
from micronet_jax.studies.setting import Setting
from micronet_jax.studies.traits import (
  TRAITS,
  Predictor,
  draw_transfer,
  predict_transfer,
)
from micronet_jax.training.targets import proximity_map

HEADS = ["Precision (%)", "Recall (%)", "F1 score (%)", "Euclidean distance (px)"]
MOST = 12  # images in Fig. 3
LEAST_ORGANS = 5  # fewer say nothing of what predicts transfer
# Dark blue at zero, light blue at the centres, as in the paper.
BLUES = LinearSegmentedColormap.from_list("blues", ["#04084a", "#1f6fd0", "#9fe4ff"])


def table_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """Every model asked for, trained and tested on every organ."""
  for model in setting.models:
    for seed in setting.config.seeds:
      for organ in setting.organs:
        run = make_run(setting, organ, seed, model=model)
        yield from archive.rows(organ.label, NAMES[model], 0, run, organ)


def summarise_table(rows: Sequence[Row]) -> dict[str, list[str]]:
  """By model, mean ± standard deviation over data sets of each metric, seeds averaged.

  What diverged is left out, and so are, of the distance, data sets without a pair.
  """
  summary: dict[str, list[str]] = {}
  for model in dict.fromkeys(row.series for row in rows):
    panels = group_panels(row for row in rows if row.series == model)
    for metric in METRICS:
      scores = [[row.score(metric) for row in here] for here in panels.values()]
      finite = [[score for score in here if np.isfinite(score)] for here in scores]
      means = [float(np.mean(here)) for here in finite if here] or [np.nan]
      mean, sd = np.mean(means), np.std(means, ddof=len(means) > 1)
      text = f"{mean:.2f} ± {sd:.2f}"
      if metric != "ed":
        text = f"{100 * mean:.1f} ± {100 * sd:.1f}"
      summary.setdefault(model, []).append(text)
  return summary


def draw_summary(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """The table, as the paper prints it."""
  summary, seeds = summarise_table(rows), setting.config.seeds
  over = f"Mean ± standard deviation over {len(setting.organs)} data sets"
  over += f", mean of {len(seeds)} seeds" if len(seeds) > 1 else ""
  return {"table1": figures.draw_table(summary, HEADS, title=over)}


def table_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """The table in Markdown, what each model was trained with, and who is compared."""
  names = [NAMES[model] for model in setting.models]
  summary, rates, heads = summarise_table(rows), set(), [*HEADS, "width", "dropout"]
  lines = [f"| | {' | '.join(heads)} | rate |", "|---|" + "---|" * (len(heads) + 1)]
  for model, name in zip(setting.models, names, strict=True):
    config = setting.recipe(model)
    options, rate = complete_options(as_dict(config.model)), config.optimizer
    rates.add(rate.learning_rate)
    dropout = f"{options['dropout']:g}" if "dropout" in options else "none"
    cells = [*summary[name], f"{options['width']}", dropout, f"{rate.learning_rate:g}"]
    lines.append(f"| {name} | {' | '.join(cells)} |")
  poor = [
    f"{row.series} on {panel}, seed {row.seed} (F1 {row.score():.3f})"
    for panel, here in group_panels(rows).items()
    for row in here
    if row.score() < np.nanmedian([each.score() for each in here]) / 2
  ]
  others = [{"other": name} for name in names if name != NAMES[MICRONET]]
  regression = [{"name": name} for name in names if name not in ("U-Net", "FCN")]
  complete = len(names) == len(NAMES)
  lost = [f"{r.series} on {r.panel}, seed {r.seed}" for r in rows if r.diverged]
  return {
    **{"others": others, "nearer": others, "several": [{}] if len(others) > 1 else []},
    "of": "" if complete else f" of {', '.join(names)}",
    "regression": regression if len(regression) == len(names) - 2 else [],
    "all": [{}] if complete else [],
    **{"table": "\n".join(lines), "lost": "; ".join(lost), "poor": "; ".join(poor)},
    **{"rates": len(rates) > 1, "rate": setting.numbers.learning_rate},
    "steps": setting.numbers.num_steps,
  }


def column_rows(
  setting: Setting, target: Organ, seeds: Sequence[int], archive: Archive
) -> Iterable[Row]:
  """Every organ's network on one organ: a column of Figs. 4 and 10."""
  for seed in seeds:
    for organ in setting.organs:
      run = make_run(setting, organ, seed, model=setting.model)
      series = "same" if organ == target else "diff"
      yield from archive.rows(target.label, series, 0, run, target)


def matrix_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """The whole matrix, target by target."""
  for organ in setting.organs:
    yield from column_rows(setting, organ, setting.config.seeds, archive)


def average_matrix(rows: Sequence[Row]) -> tuple[list[str], np.ndarray]:
  """Organs, and F1 `[T, T]` of the network of the row on the organ of the column.

  Averaged over seeds, without organs whose network diverged with any of them.
  """
  lost = {row.trained_on for row in rows if row.diverged}
  panels = group_panels(r for r in rows if not lost & {r.trained_on, r.panel})
  if len(panels) < 2:
    raise InputError("fewer than two organs have a network: the others diverged")
  scores: dict[tuple[str, str], list[float]] = {}
  for target, here in panels.items():
    for row in here:
      scores.setdefault((row.trained_on, target), []).append(row.score())
  names = list(panels)
  means = [[np.mean(scores[source, target]) for target in names] for source in names]
  return names, np.array(means)


def summarise_matrix(rows: Sequence[Row]) -> tuple[list[str], np.ndarray, np.ndarray]:
  """Targets, F1 of the same organ `[T]`, and of the different ones `[T, T - 1]`."""
  names, matrix = average_matrix(rows)
  off = ~np.eye(len(names), dtype=bool)
  different = matrix.T[off].reshape(len(names), -1)
  return names, np.diag(matrix), different


def _predictors(rows: Sequence[Row], setting: Setting) -> dict[str, Predictor]:
  """What predicts transfer, where the tissue is known of enough organs to tell."""
  names, matrix = average_matrix(rows)
  known = set(names) <= set(setting.tissue) and len(names) >= LEAST_ORGANS
  return predict_transfer(names, matrix, setting.tissue) if known else {}


def draw_matrix(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """Boxes of the different, a star for the same, a triangle for the average; a map."""
  targets, same, different = summarise_matrix(rows)
  width = max(0.3 * len(targets) + 1.6, 6.4)  # inches: legible on a page
  figure, axes = figures.new_grid(1, 1, width=width, height=4.6, legend=1)
  panel, at, gray = axes[0, 0], np.arange(len(targets)), {"color": "0.25"}
  marks = {"marker": "+", "markersize": 5, "markeredgecolor": "0.4"}
  boxes = {"medianprops": gray, "boxprops": gray, "flierprops": marks}
  panel.boxplot(list(different), positions=at, widths=0.55, **boxes)
  for values, mark, color, size, label in (
    (np.full(len(at), np.nan), "s", "white", 11, "diff"),  # for the legend
    (different.mean(1), "^", "#E69F00", 7, "diff, average"),
    (same, "*", "#0072B2", 10, "same"),
  ):
    look = {"color": color, "markersize": size, "markeredgecolor": "0.25", "zorder": 3}
    panel.plot(at, values, mark, label=f"{NAMES[setting.model]} {label}", **look)
  low = min(0.95, float(np.floor(10 * min(same.min(), different.min())) / 10))
  panel.set(ylabel="F1 score", xlabel="tested on", ylim=(max(low - 0.02, -0.02), 1.0))
  panel.set_xticks(at, targets, rotation=45, ha="right", rotation_mode="anchor")
  panel.yaxis.grid(color="0.9")
  figures.add_legend(figure, [panel], columns=3)
  names, matrix = average_matrix(rows)
  heat = draw_transfer(names, matrix, _predictors(rows, setting))
  return {setting.config.study: figure, f"{setting.config.study}_map": heat}


def matrix_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """Which organs are best served by another one."""
  targets, same, different = summarise_matrix(rows)
  best = different.max(1)
  beaten = [
    f"{targets[i]} ({same[i]:.3f}, best other {best[i]:.3f})"
    for i in np.flatnonzero(best > same)
  ]
  own = [row for row in rows if row.series == "same" and row.diverged]
  transfer = [
    f"{TRAITS[name]} {each.rho:+.2f} ({each.low:+.2f} to {each.high:+.2f})"
    for name, each in _predictors(rows, setting).items()
  ]
  more = "the paper says: better than many of the different ones; here: "
  return {
    "model": NAMES[setting.model],
    "best": "" if setting.model == MICRONET else more,
    "higher": int((same > different.mean(1)).sum()),
    **{"count": len(targets), "beaten": len(beaten)},
    "names": ", ".join(beaten) or "none",
    "lost": ", ".join(f"{row.run_title}, seed {row.seed}" for row in own),
    "transfer": "; ".join(transfer),
  }


def example_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """The MicroNet of each organ on its own test images."""
  for organ in setting.organs[:MOST]:
    run = make_run(setting, organ, setting.config.seeds[0])
    yield from archive.rows(organ.label, "MicroNet", 0, run, organ)


def draw_examples(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """The test image with the median F1 of each organ, with a dot on each detection."""
  columns = min(4, len(rows))
  shape = -(-len(rows) // columns), columns
  figure, axes = figures.new_grid(*shape, width=3.0, height=3.25)
  for panel in axes.ravel():
    panel.set_axis_off()
  for panel, row in zip(axes.ravel(), rows, strict=False):
    organ = setting.organ(row.organ)
    samples = make_run(setting, organ, row.seed).part(organ, "test")
    index, f1, points = row.example
    title = f"{row.panel}: F1 {f1:.2f}"
    figures.show_points(panel, samples[index].image, points, title=title)
  return {"fig3": figure}


def example_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """Which organs, and the F1 of each."""
  del setting
  scores = ", ".join(f"{row.panel} {row.score():.3f}" for row in rows)
  return {"count": len(rows), "most": MOST, "scores": scores}


def _first_map(setting: Setting) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Image, centres and map of the first image of the first organ."""
  recipe = setting.config.recipe
  mpp = resolution_of(recipe)
  sample = to_resolution(load_organ(setting.organs[0])[0], mpp)
  options = proximity_at(recipe.proximity, mpp)
  settings = {"alpha": options.alpha, "radius": options.radius}
  made = proximity_map(sample.centers, sample.image.shape[:2], **settings)
  return sample.image, sample.centers, np.asarray(made)


def draw_map(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """From left to right: image, green dots on it, map."""
  del rows
  image, centers, made = _first_map(setting)
  figure, axes = figures.new_grid(1, 3, width=3.6, height=3.6)
  left, middle, right = axes.ravel()
  figures.show_points(left, image, title=setting.organs[0].label)
  title = f"annotation: {len(centers)} nuclei"
  figures.show_points(middle, image, centers, title=title)
  shown = right.imshow(made, cmap=BLUES, vmin=0, vmax=1)
  right.set_title("proximity map", fontsize=10)
  for panel in axes.ravel():
    panel.set_axis_off()
  figure.colorbar(shown, ax=right, shrink=0.75)
  return {"fig12": figure}


def map_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """The definition is checked pixel by pixel: nothing is estimated."""
  del rows
  _, centers, made = _first_map(setting)
  places = np.moveaxis(np.indices(made.shape), 0, -1)
  distance, _ = spatial.KDTree(np.asarray(centers, float)).query(places)
  radius = setting.config.recipe.proximity.radius
  # A distance of exactly d gives 0 on both sides of the definition.
  kept = ((made > 0) == (distance < radius))[np.abs(distance - radius) > 1e-3]
  return {"radius": radius, "share": float(kept.mean())}
