"""Which organs can stand in for which, and what of their tissue predicts it.

Called by `studies.study` for the tissue, and by `compare` for the matrices of Figs. 4
and 10.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage, stats
from scipy.cluster import hierarchy

from micronet_jax import figures
from micronet_jax.datasets.sample import Sample
from micronet_jax.evaluation.intervals import LEVEL

TRAITS = {
  "stain": "difference in stain (optical density)",
  "size": "ratio of nuclear diameters",
  "density": "ratio of nuclei per area",
}
"""What organs differ in, and what the axis of that difference is called."""

_FAR, _APART = 8.0, 0.25  # microns: how far profiles of nuclei go, and in which steps
_ANGLES = 16


class Predictor(NamedTuple):
  """How F1 goes with one difference between organs.

  Attributes:
    apart: `[P]`, the difference for each pair of organs (trained on, tested on).
    gain: `[P]`, F1 less the mean of the organ tested on, over networks of others.
    rho: Spearman's rank correlation of the two.
    low, high: its 95 % interval, a jackknife over the organs.
  """

  apart: np.ndarray
  gain: np.ndarray
  rho: float
  low: float
  high: float


def describe_traits(samples: Iterable[Sample]) -> dict[str, Any]:
  """Mean stain, width of nuclei and their density, of one organ's images.

  Returns:
    "stain": mean optical density of red, green and blue; "size": the diameter in
    microns at which the mean red optical density around the centres, which haematoxylin
    makes, has fallen half way to its least within 8 microns; "density": nuclei a mm².
  """
  stain, profiles, nuclei, area = [], [], 0, 0.0
  radii = np.arange(0.0, _FAR + _APART / 2, _APART)
  angles = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)
  ring = np.stack([np.sin(angles), np.cos(angles)])
  for sample in samples:
    density = -np.log10((sample.image.astype(np.float32) + 1) / 256)
    stain.append(density.mean((0, 1)))
    nuclei += len(sample.centers)
    area += sample.image.shape[0] * sample.image.shape[1] * sample.resolution**2 / 1e6
    steps = (radii / sample.resolution)[:, None] * ring[:, None]  # [2, radii, angles]
    places = sample.centers.T[:, :, None, None] + steps[:, None]
    red = ndimage.map_coordinates(density[..., 0], places, order=1, mode="nearest")
    profiles.append(red.mean(-1))
  profile = np.concatenate(profiles).mean(0)
  top = int(np.argmax(profile[: int(2 / _APART)]))
  half = (profile[top] + profile.min()) / 2
  edge = top + int(np.argmax(profile[top:] < half))
  size = 2 * float(radii[edge])
  found = {"stain": np.mean(stain, axis=0).round(4).tolist(), "size": size}
  return found | {"density": round(nuclei / area, 1)}


def measure_apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
  """How far two organs are apart in each of `TRAITS`; ratios are of larger to less."""
  stain = np.linalg.norm(np.subtract(one["stain"], other["stain"]))
  ratios = {name: np.log2(one[name] / other[name]) for name in ("size", "density")}
  return {"stain": float(stain)} | {n: float(2 ** abs(r)) for n, r in ratios.items()}


def predict_transfer(
  names: list[str], matrix: np.ndarray, tissue: Mapping[str, Mapping[str, Any]]
) -> dict[str, Predictor]:
  """Whether networks of like tissue do better, for each of `TRAITS`.

  Args:
    names: of the organs.
    matrix: `[N, N]` F1, trained on the row, tested on the column.
    tissue: of each organ, from `describe_traits`.
  """
  off = ~np.eye(len(names), dtype=bool)
  others = np.where(off, matrix, np.nan)
  gain = others - np.nanmean(others, axis=0)
  pairs = [[measure_apart(tissue[a], tissue[b]) for b in names] for a in names]
  found = {}
  for trait in TRAITS:
    apart = np.array([[pair[trait] for pair in row] for row in pairs])

    def correlate(keep: np.ndarray, apart: np.ndarray = apart) -> float:
      here = off & keep[:, None] & keep
      return float(stats.spearmanr(apart[here], gain[here]).statistic)

    every = np.ones(len(names), bool)
    rho = correlate(every)
    without = [correlate(every & (np.arange(len(names)) != i)) for i in range(len(off))]
    error = np.sqrt((len(off) - 1) * np.var(without))
    half = stats.t.ppf((1 + LEVEL) / 2, len(off) - 1) * error
    ends = max(rho - half, -1.0), min(rho + half, 1.0)
    found[trait] = Predictor(apart[off], gain[off], rho, *map(float, ends))
  return found


def order_alike(matrix: np.ndarray) -> np.ndarray:
  """An order in which organs whose rows and columns of F1 are alike are neighbours."""
  profiles = np.concatenate([matrix, matrix.T], axis=1)
  profiles = profiles - profiles.mean(axis=0)
  tree = hierarchy.linkage(profiles, "average", optimal_ordering=True)
  return hierarchy.leaves_list(tree)


def draw_transfer(
  names: list[str], matrix: np.ndarray, predictors: Mapping[str, Predictor]
) -> Figure:
  """The matrix as a heat map, organs that are alike side by side; what predicts it.

  Args:
    names: of the organs.
    matrix: `[N, N]` F1, trained on the row, tested on the column.
    predictors: from `predict_transfer`; none, and there is the heat map alone.
  """
  order, count = order_alike(matrix), len(names)
  side = 0.21 * count + 2.2
  width = side + 0.8 + 2.9 * bool(predictors)
  figure, _ = figures.new_figure((width, side), 1)
  figure.clear()
  ratios = [side + 0.8, 2.9] if predictors else [1]
  grid = figure.add_gridspec(max(len(predictors), 1), len(ratios), width_ratios=ratios)
  panel = figure.add_subplot(grid[:, 0])
  # Not of fixed shape, which a layout may move beyond the border; cells are squares
  # but for a tenth.
  shown = panel.imshow(matrix[np.ix_(order, order)], cmap="viridis", aspect="auto")
  labels, places = [names[i] for i in order], np.arange(count)
  turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
  panel.set_xticks(places, labels, fontsize=9, **turned)
  panel.set_yticks(places, labels, fontsize=9)
  panel.set(xlabel="tested on", ylabel="trained on")
  panel.plot(places, places, "*", color="white", markersize=9, markeredgecolor="black")
  figure.colorbar(shown, ax=panel, shrink=0.8, label="F1 score (star: same organ)")
  for row, (trait, found) in enumerate(predictors.items()):
    axes = figure.add_subplot(grid[row, 1])
    axes.plot(found.apart, found.gain, ".", color="#0072B2", markersize=3, alpha=0.5)
    axes.axhline(0, color="0.6", linewidth=0.8)
    ends = f"{found.low:+.2f} to {found.high:+.2f}"
    axes.set_title(f"ρ = {found.rho:+.2f} ({ends})", fontsize=9)
    axes.set_xlabel(TRAITS[trait], fontsize=9)
    axes.set_ylabel("F1 less mean\nof the target", fontsize=9)
    axes.tick_params(labelsize=8)
  return figure
