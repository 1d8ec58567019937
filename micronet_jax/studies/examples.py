"""Figures 3 and 12: what MicroNet finds in images, and the maps that it learns.

Called by `studies.study`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from micronet_jax.evaluation.scores import form_metric
from micronet_jax.studies import drawing
from micronet_jax.studies.execution import Archive, part_of_organ
from micronet_jax.studies.organs import load_organ
from micronet_jax.studies.results import Row
from micronet_jax.studies.runs import make_run
from micronet_jax.studies.setting import Setting
from micronet_jax.training.targets import proximity_map

MOST = 12
"""Images in Fig. 3."""

# Dark blue at zero, light blue at the centres, as in the paper.
BLUES = LinearSegmentedColormap.from_list("blues", ["#04084a", "#1f6fd0", "#9fe4ff"])


def example_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """The MicroNet of each organ on its own test images."""
  for organ in setting.organs[:MOST]:
    run = make_run(setting, organ, setting.seeds[0])
    yield from archive.rows(organ.label, "MicroNet", 0, run, organ)


def draw_examples(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """The test image with the median F1 of each organ, with a dot on each detection."""
  columns = min(4, len(rows))
  shape = -(-len(rows) // columns), columns
  figure, axes = drawing.new_grid(*shape, width=3.0, height=3.25)
  for panel in axes.ravel():
    panel.set_axis_off()
  for panel, row in zip(axes.ravel(), rows, strict=False):
    organ = setting.organ(row.outcome.organ)
    samples = part_of_organ(setting.config.recipe, organ)
    f1 = form_metric(row.outcome.counts, "f1")
    chosen = int(np.argsort(f1, kind="stable")[len(f1) // 2])
    detected, title = row.outcome.detected[chosen], f"{row.panel}: F1 {f1[chosen]:.2f}"
    drawing.draw_image(panel, samples[chosen].image, detected, title)
  return {"fig3": figure}


def example_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """Which organs, and the F1 of each."""
  del setting
  scores = ", ".join(f"{row.panel} {row.score():.3f}" for row in rows)
  return {"count": len(rows), "most": MOST, "scores": scores}


def map_rows(setting: Setting, archive: Archive) -> Iterable[Row]:
  """Nothing is trained."""
  del setting, archive
  return ()


def _first_map(setting: Setting) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Image, centres and map of the first image of the first organ."""
  sample, options = load_organ(setting.organs[0])[0], setting.config.recipe.proximity
  shape, steep = sample.image.shape[:2], options.alpha
  made = proximity_map(sample.centers, shape, alpha=steep, radius=options.radius)
  return sample.image, sample.centers, np.asarray(made)


def draw_map(rows: Sequence[Row], setting: Setting) -> dict[str, Figure]:
  """From left to right: image, green dots on it, map."""
  del rows
  image, centers, made = _first_map(setting)
  figure, axes = drawing.new_grid(1, 3, width=3.6, height=3.6)
  left, middle, right = axes.ravel()
  drawing.draw_image(left, image, centers[:0], setting.organs[0].label)
  title = f"annotation: {len(centers)} nuclei"
  drawing.draw_image(middle, image, centers, title)
  shown = right.imshow(made, cmap=BLUES, vmin=0, vmax=1)
  right.set_title("proximity map", fontsize=10)
  for panel in (left, middle, right):
    panel.set_axis_off()
  figure.colorbar(shown, ax=right, shrink=0.75)
  return {"fig12": figure}


def map_facts(rows: Sequence[Row], setting: Setting) -> dict[str, Any]:
  """The definition is checked pixel by pixel: nothing is estimated."""
  del rows
  _, centers, made = _first_map(setting)
  distance = np.full(made.shape, np.inf)
  y, x = np.indices(made.shape)
  for cy, cx in centers:
    distance = np.minimum(distance, np.hypot(y - cy, x - cx))
  radius = setting.config.recipe.proximity.radius
  # A distance of exactly d gives 0 on both sides of the definition.
  kept = ((made > 0) == (distance < radius))[np.abs(distance - radius) > 1e-3]
  return {"radius": radius, "share": float(kept.mean())}
