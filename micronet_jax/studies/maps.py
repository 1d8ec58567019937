"""Figure 12: an image, its annotation, and the proximity map made of it."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from micronet_jax.studies import drawing, organs
from micronet_jax.studies.drawing import Table
from micronet_jax.studies.findings import Finding
from micronet_jax.studies.results import Estimate
from micronet_jax.studies.setting import Cell, Known, Setting
from micronet_jax.training.targets import proximity_map

TARGETS = ()
TITLE = "Figure 12: proximity maps"
# Dark blue at zero, light blue at the centres, as in the paper.
BLUES = LinearSegmentedColormap.from_list("blues", ["#04084a", "#1f6fd0", "#9fe4ff"])


def cells(setting: Setting, known: Known) -> list[Cell]:
  """Nothing is trained."""
  del setting, known
  return []


def _example(setting: Setting) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
  """Organ, image, centres and map of the first image of the first organ."""
  sample = organs.load(setting.organs[0])[0]
  options = setting.recipe.proximity
  made = proximity_map(
    sample.centers,
    sample.image.shape[:2],
    alpha=options.alpha,
    radius=options.radius,
  )
  return setting.organs[0].label, sample.image, sample.centers, np.asarray(made)


def draw(table: Table, setting: Setting) -> dict[str, Figure]:
  """From left to right: image, green dots on it, map."""
  del table
  name, image, centers, made = _example(setting)
  figure, axes = drawing.grid(1, 3, width=3.6, height=3.6)
  left, middle, right = axes.ravel()
  left.imshow(image)
  left.set_title(name)
  middle.imshow(image)
  middle.plot(centers[:, 1], centers[:, 0], ".", color="#00E000", markersize=4)
  middle.set_title(f"annotation: {len(centers)} nuclei")
  shown = right.imshow(made, cmap=BLUES, vmin=0, vmax=1)
  right.set_title("proximity map")
  for panel in (left, middle, right):
    panel.set_axis_off()
  figure.colorbar(shown, ax=right, shrink=0.75)
  return {"fig12": figure}


def judge(table: Table, setting: Setting) -> list[Finding]:
  """Nothing is estimated: the definition is checked pixel by pixel."""
  del table
  _, _, centers, made = _example(setting)
  distance = np.full(made.shape, np.inf)
  y, x = np.indices(made.shape)
  for cy, cx in centers:
    distance = np.minimum(distance, np.hypot(y - cy, x - cx))
  radius = setting.recipe.proximity.radius
  # A distance of exactly d gives 0 on both sides of the definition.
  kept = (made > 0) == (distance < radius)
  share = float(kept[np.abs(distance - radius) > 1e-3].mean())
  return [
    Finding(
      "central regions of nuclei have values above zero, all other regions zero",
      f"share of pixels above zero exactly if a centre is within {radius:g} px",
      Estimate(share, None, None, "every pixel of the image"),
      verdict="holds" if share == 1.0 else "does not hold",
    )
  ]


def notes(table: Table, setting: Setting) -> list[str]:
  """Why there is no interval."""
  del table, setting
  return ["Nothing was trained or drawn by chance, so there is no interval."]
