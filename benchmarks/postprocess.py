"""Peaks and matching from 10³ to 10⁶ nuclei, beside scikit-image and scipy.

  python -m benchmarks.postprocess --draw=benchmarks/postprocess.png

Nuclei lie on a shaken grid, as dense for any number, on maps that are searched in one
piece; all searches must find all of them. Matching: 5 % of the nuclei are missed, as
many detections are thrown anywhere, the others are 3 pixels off. For each number of
nuclei the methods take turns; slopes on log axes say how time grows. The last table
relates the search to the network's time for the same area. 10⁶ nuclei need 5 GB.
"""

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from skimage.feature import peak_local_max

from benchmarks import charts, report, timing, workload
from micronet_jax.detection import peaks, searching
from micronet_jax.evaluation import matching
from micronet_jax.figures import save_figure
from micronet_jax.training.targets import proximity

SPACING = {"peaks": 14, "matching": 26}
"""Pixels between nuclei: 26 is what tissue has where it is densest; closer together, a
map of 10⁶ nuclei fits into memory."""

DISTANCE = 5
RADIUS = 16.0
DENSE = 3000
"""Nuclei up to which a dense matrix of costs is tried."""

SPACED = 10_000
"""Nuclei up to which scikit-image is tried: its time grows faster, to minutes."""


def main(argv: Sequence[str] | None = None) -> None:
  parser = report.arguments(__doc__, repeats=3)
  parser.add_argument("--counts", default="1000,3000,10000,100000,1000000")
  parser.add_argument("--width", type=int, default=32, help="of the network")
  parser.add_argument(
    "--tile", type=int, default=512, help="side of the network's tile"
  )
  parser.add_argument("--draw", default="", help="file for a picture of the growth")
  options = parser.parse_args(argv)
  if options.quick:
    options.counts, options.repeats, options.width, options.tile = "100,400", 2, 2, 64
  report.print_machine()
  times: dict[str, dict[str, dict[int, list[float]]]] = {"peaks": {}, "matching": {}}
  for count in map(int, options.counts.split(",")):
    for what, make in (("peaks", peak_methods), ("matching", match_methods)):
      # The methods have been run to compare their results, which warms up.
      turns = timing.interleave(make(count), repeats=options.repeats, warmup=0)
      for method, seconds in turns.items():
        times[what].setdefault(method, {})[count] = seconds
  rows = growth_rows(times)
  report.print_table(rows)
  print()
  part = [share(options.width, options.tile, options.repeats)]
  report.print_table(part)
  report.write_json(options.json, rows + part, times=times)
  if options.draw:
    save_figure(charts.growth(times), options.draw)


def growth_rows(times: Mapping[str, charts.Growth]) -> list[dict[str, Any]]:
  """One row a method: seconds at each number of nuclei, and the slope."""
  counts = list(times["peaks"]["local_maxima"])
  rows = []
  for what, methods in times.items():
    for method, seconds in methods.items():
      cells = {
        f"{count:,}": timing.spread(seconds[count]) if count in seconds else "-"
        for count in counts
      }
      slopes = f"{slope(seconds):.2f}"
      rows.append({"seconds of": what, "by": method, **cells, "slope": slopes})
  return rows


def slope(seconds: Mapping[int, Sequence[float]]) -> float:
  """Exponent of the growth: least squares through the medians on log axes."""
  medians = [statistics.median(each) for each in seconds.values()]
  return float(np.polyfit(np.log(list(seconds)), np.log(medians), 1)[0])


def nuclei(count: int, spacing: int) -> np.ndarray:
  """Centres on a shaken grid, float64 `[about count, 2]`, one in each cell."""
  side = round(count**0.5)
  grid = np.stack(np.divmod(np.arange(side * side), side), 1)
  shaken = np.random.default_rng(0).uniform(-0.15, 0.15, grid.shape)
  return (grid + 0.5 + shaken) * spacing - 0.5


def peak_methods(count: int) -> dict[str, Callable[[], np.ndarray]]:
  """Searches of one map; all find a centre for every nucleus."""
  values = draw_map(count, SPACING["peaks"])
  on_device = jnp.asarray(values)

  def here() -> np.ndarray:
    return peaks.trim(peaks.local_maxima(on_device, min_distance=DISTANCE))[0]

  def by_skimage() -> np.ndarray:
    return peak_local_max(
      values, min_distance=DISTANCE, threshold_abs=0, exclude_border=False
    )

  def by_scipy() -> np.ndarray:
    window = ndimage.maximum_filter(values, 2 * DISTANCE + 1)
    return np.argwhere((values == window) & (values > 0))

  methods = {"local_maxima": here, "scikit-image": by_skimage, "scipy": by_scipy}
  if count > SPACED:
    del methods["scikit-image"]
  there = round(count**0.5) ** 2
  for name, method in methods.items():
    found = len(method())
    # Two pixels of one nucleus may have the same value: a plain filter takes both.
    if not there <= found <= there * (1 + (1e-5 if name == "scipy" else 0)):
      raise SystemExit(f"{name} found {found} of {there} nuclei")
  return methods


def draw_map(count: int, spacing: int) -> np.ndarray:
  """Eq. 1 of the distance to the nucleus of each cell, nuclei of varied height."""
  centers = nuclei(count, spacing)
  side = round(count**0.5)
  values = np.empty((side * spacing, side * spacing), np.float32)
  height = np.random.default_rng(1).uniform(0.5, 1, len(centers)).astype(np.float32)
  x = np.arange(side * spacing)
  near = jax.jit(functools.partial(proximity, alpha=3.0, radius=15.0))
  for row in range(side):
    own = row * side + x // spacing
    y = np.arange(row * spacing, (row + 1) * spacing)[:, None]
    distance = np.hypot(y - centers[own, 0], x - centers[own, 1])
    values[y[:, 0]] = near(distance.astype(np.float32)) * height[own]
  return values


def match_methods(count: int) -> dict[str, Callable[[], int]]:
  """Assignments of detections to nuclei; each returns the number of pairs."""
  truth = nuclei(count, SPACING["matching"])
  rng = np.random.default_rng(2)
  found = (truth + rng.normal(0, 3, truth.shape))[rng.random(len(truth)) < 0.95]
  thrown = rng.uniform(0, truth.max(), (round(0.05 * len(truth)), 2))
  found = rng.permutation(np.concatenate([found, thrown]))

  def here() -> int:
    return matching.match(found, truth, radius=RADIUS).tp

  def dense() -> int:
    distance = np.hypot(*(found[:, None] - truth).transpose(2, 0, 1))
    cost = np.where(distance <= RADIUS, distance, RADIUS * (len(truth) + 1))
    return int((distance[linear_sum_assignment(cost)] <= RADIUS).sum())

  methods = {"match": here, "greedy": functools.partial(greedy, found, truth)}
  if count <= DENSE:
    methods["scipy, dense"] = dense
  pairs = {name: method() for name, method in methods.items()}
  best = pairs["match"]  # as many as the dense solver's, no fewer than greedy's
  if max(pairs.values()) != best or pairs.get("scipy, dense", best) != best:
    raise SystemExit(f"pairs found: {pairs}")
  return methods


def greedy(found: np.ndarray, truth: np.ndarray) -> int:
  """Pairs the nearest two that are left, again and again: fewer than there could be."""
  near = cKDTree(found).sparse_distance_matrix(
    cKDTree(truth), RADIUS, output_type="ndarray"
  )
  near = near[np.argsort(near["v"])]
  free, wanted, pairs = [True] * len(found), [True] * len(truth), 0
  for i, j in zip(near["i"].tolist(), near["j"].tolist(), strict=True):
    if free[i] and wanted[j]:
      free[i] = wanted[j] = False
      pairs += 1
  return pairs


def share(width: int, tile: int, repeats: int) -> dict[str, Any]:
  """The search of one tile beside the network."""
  config = workload.configure(width=width, patch=32, batch=1)
  work = workload.prepare(config, workload.tissue(count=1, size=100))
  predict = searching.compile_predict(work.recipe.graph)
  images = jnp.zeros((1, tile, tile, 3))
  values = jnp.asarray(draw_map((tile // 14 + 1) ** 2, 14)[:tile, :tile])
  times = timing.interleave(
    {
      "network": lambda: predict(work.weights, images),
      "search": lambda: peaks.local_maxima(values, min_distance=DISTANCE),
    },
    repeats=repeats,
  )
  network, search = (statistics.median(seconds) for seconds in times.values())
  return {
    "tile": tile,
    "width": width,
    "network, s": timing.spread(times["network"]),
    "search, ms": timing.spread(times["search"], unit=1e-3),
    "search of both": f"{search / (network + search):.2%}",
  }


if __name__ == "__main__":
  main()
