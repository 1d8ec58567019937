"""Figure 3: what MicroNet finds, on one image of several organs."""

import numpy as np
from matplotlib.figure import Figure

from micronet_jax.studies import drawing
from micronet_jax.studies.drawing import Table
from micronet_jax.studies.execution import part_of
from micronet_jax.studies.findings import Finding, statistic
from micronet_jax.studies.results import metric_of
from micronet_jax.studies.runs import Evaluation
from micronet_jax.studies.setting import Cell, Known, Setting, single

TARGETS = ()
TITLE = "Figure 3: qualitative results"
MOST = 12
"""Images in the figure."""


def cells(setting: Setting, known: Known) -> list[Cell]:
  """The MicroNet of each organ on its own test images."""
  del known
  seed = setting.seeds[0]
  return [
    Cell(
      organ.label, "MicroNet", 0, seed, Evaluation(single(setting, organ, seed), organ)
    )
    for organ in setting.organs[:MOST]
  ]


def draw(table: Table, setting: Setting) -> dict[str, Figure]:
  """The test image with the median F1 of each organ, with a dot on each detection."""
  del setting
  columns = min(4, len(table))
  rows = -(-len(table) // columns)
  figure, axes = drawing.grid(rows, columns, width=3.0, height=3.25)
  for panel in axes.ravel():
    panel.set_axis_off()
  for panel, (cell, outcome) in zip(axes.ravel(), table, strict=False):
    samples = part_of(cell.evaluation.run, cell.evaluation.organ)
    ranked = np.argsort(metric_of(outcome.counts, "f1"), kind="stable")
    chosen = int(ranked[len(ranked) // 2])
    points = outcome.detected[chosen]
    panel.imshow(samples[chosen].image)
    panel.plot(points[:, 1], points[:, 0], ".", color="#00E000", markersize=3.5)
    f1 = metric_of(outcome.counts[chosen], "f1")
    panel.set_title(f"{cell.panel}: F1 {f1:.2f}", fontsize=10)
  return {"fig3": figure}


def judge(table: Table, setting: Setting) -> list[Finding]:
  """A picture decides nothing; F1 against that of random points does."""
  del setting
  chance = np.array([outcome.chance for _, outcome in table])
  return [
    Finding(
      "MicroNet finds nuclei in difficult images of many organs",
      "mean F1 over the organs less that of as many random points",
      statistic(table, lambda scores, cells: (scores - chance).mean(-1)),
    )
  ]


def notes(table: Table, setting: Setting) -> list[str]:
  """Which organs, and the F1 of each."""
  del setting
  scores = ", ".join(f"{c.panel} {o.score('f1'):.3f}" for c, o in table)
  return [
    f"Networks of {len(table)} organs, at most the first {MOST} by name, are trained "
    "and scored. Drawn is each one's test image with the median F1. F1 over all test "
    f"images: {scores}."
  ]
