"""What a detector must not take for a nucleus: blood, debris, pigment, droplets."""

import numpy as np

from micronet_jax.datasets.synthetic_he import texture
from micronet_jax.datasets.synthetic_he.presets import Preset
from micronet_jax.datasets.synthetic_he.tissue import Stains


def spots(
  rng: np.random.Generator,
  weight: np.ndarray,
  count: int,
  *,
  cluster: int,
  reach: float,
) -> np.ndarray:
  """Random places, in loose clusters.

  Args:
    rng: source of randomness.
    weight: `[h, h]` >= 0, where clusters may be, a cell for 2 x 2 px.
    count: how many places in all.
    cluster: how many in a cluster.
    reach: standard deviation of a cluster, px.

  Returns:
    float64 `[M, 2]`, (y, x), px, M <= count: those that the clusters scattered to
    places of weight 0 are left out; some may lie off the canvas.
  """
  total = np.cumsum(weight.ravel().astype(np.float64))
  if count <= 0 or total[-1] <= 0:
    return np.zeros((0, 2))
  groups = -(-count // cluster)
  cell = np.searchsorted(total, rng.uniform(0, total[-1], groups), side="right")
  cell = np.minimum(cell, total.size - 1)
  middle = np.stack(np.divmod(cell, weight.shape[1]), axis=1) * 2.0
  places = np.repeat(middle, cluster, axis=0)[:count]
  # A cluster is drawn out along a random line, as blood is along a capillary.
  turn = np.repeat(rng.uniform(0, np.pi, groups), cluster)[:count]
  far, near = rng.normal(0, reach, count), rng.normal(0, 0.3 * reach, count)
  step = [far * np.sin(turn) + near * np.cos(turn)]
  step.append(far * np.cos(turn) - near * np.sin(turn))
  places = places + np.stack(step, axis=1)
  y, x = np.clip(places // 2, 0, np.array(weight.shape) - 1).astype(np.intp).T
  return places[weight[y, x] > 0]


def _disc(
  rng: np.random.Generator, place: np.ndarray, radius: float, size: int
) -> tuple[tuple[slice, slice], np.ndarray] | None:
  """Signed depth below the edge of a slightly oval disc, px, in its window."""
  reach = int(np.ceil(1.35 * radius)) + 4
  y, x = place
  ys = slice(max(int(y) - reach, 0), min(int(y) + reach + 1, size))
  xs = slice(max(int(x) - reach, 0), min(int(x) + reach + 1, size))
  if ys.start >= ys.stop or xs.start >= xs.stop:
    return None
  dy = (np.arange(ys.start, ys.stop) - y).astype(np.float32)[:, None]
  dx = (np.arange(xs.start, xs.stop) - x).astype(np.float32)[None]
  turn, ratio = rng.uniform(0, np.pi), np.exp(0.13 * rng.standard_normal())
  c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
  u, v = (dx * c + dy * s) * np.float32(ratio), (dy * c - dx * s) / np.float32(ratio)
  return (ys, xs), np.float32(radius) - np.sqrt(u * u + v * v)


def _blood(rng: np.random.Generator, stains: Stains, places: np.ndarray) -> None:
  """Red cells: orange discs, paler in the middle."""
  size = stains.blood.shape[0]
  for place in places:
    radius = 7.0 * float(np.exp(0.12 * rng.standard_normal()))
    disc = _disc(rng, place, radius, size)
    if disc is None:
      continue
    at, depth = disc
    mask = texture.smoothstep(depth, 2.0)
    pale = 0.28 * texture.smoothstep(depth - np.float32(0.55 * radius), 4.0)
    amount = mask * (0.95 - pale) * np.float32(rng.uniform(0.7, 1.1))
    stains.blood[at] = np.maximum(stains.blood[at], amount)
    stains.eosin[at] *= 1 - 0.7 * mask
    stains.hematoxylin[at] *= 1 - 0.8 * mask


def _apoptotic(rng: np.random.Generator, stains: Stains, places: np.ndarray) -> None:
  """Dying cells: a pink globe in a halo, with two to four very dark beads."""
  size = stains.blood.shape[0]
  for place in places:
    disc = _disc(rng, place, float(rng.uniform(4.5, 7.5)), size)
    if disc is None:
      continue
    at, depth = disc
    halo = texture.smoothstep(depth + 2.0, 2.5)
    globe = texture.smoothstep(depth - 1.0, 2.0)
    stains.eosin[at] *= 1 - 0.75 * halo
    stains.hematoxylin[at] *= 1 - 0.75 * halo
    stains.eosin[at] += 0.85 * globe
    for _ in range(int(rng.integers(2, 5))):
      bead = _disc(
        rng, place + rng.normal(0, 2.6, 2), float(rng.uniform(1.1, 2.3)), size
      )
      if bead is not None:
        at, depth = bead
        dark = 1.15 * texture.smoothstep(depth, 1.6)
        stains.hematoxylin[at] = np.maximum(stains.hematoxylin[at], dark)


def _pigment(
  rng: np.random.Generator, p: Preset, stains: Stains, places: np.ndarray
) -> None:
  """Melanin or carbon: grains of about a micron, opaque."""
  size = stains.blood.shape[0]
  for place in places:
    radius = float(rng.gamma(4.0, 0.42)) + 0.5
    disc = _disc(rng, place, radius, size)
    if disc is None:
      continue
    at, depth = disc
    dark = 1.3 if p.pigment_kind == "carbon" else 0.95
    amount = np.float32(dark * rng.uniform(0.5, 1.1)) * texture.smoothstep(depth, 1.8)
    stains.pigment[at] = np.maximum(stains.pigment[at], amount)


def _droplets(
  rng: np.random.Generator, p: Preset, stains: Stains, places: np.ndarray
) -> None:
  """Vacuoles: empty (fat) or pale blue (mucus), with a thin rim."""
  size = stains.blood.shape[0]
  for place in places:
    radius = p.droplet_radius * float(np.exp(0.3 * rng.standard_normal()))
    disc = _disc(rng, place, min(radius, 30.0), size)
    if disc is None:
      continue
    at, depth = disc
    mask = 0.93 * texture.smoothstep(depth, 2.0)
    stains.eosin[at] *= 1 - mask
    stains.hematoxylin[at] *= 1 - mask
    if p.droplet_kind == "mucus":
      stains.hematoxylin[at] += 0.11 * mask
    rim = np.exp(-((depth + 0.8) ** 2) / 1.4)
    stains.eosin[at] += 0.12 * rim


def _keratin(rng: np.random.Generator, stains: Stains, places: np.ndarray) -> None:
  """Pearls: whorls of glassy pink lamellae."""
  size = stains.blood.shape[0]
  for place in places:
    radius = float(rng.uniform(16, 34))
    disc = _disc(rng, place, radius, size)
    if disc is None:
      continue
    at, depth = disc
    bend = texture.noise(rng, max(depth.shape), 9)[: depth.shape[0], : depth.shape[1]]
    mask = texture.smoothstep(depth + 6 * bend - 7, 7.0)
    rings = 1 + 0.14 * np.sin(depth * 0.9 + 3.5 * bend)
    stains.eosin[at] = stains.eosin[at] * (1 - mask) + 1.05 * mask * rings
    stains.hematoxylin[at] *= 1 - 0.8 * mask


def add(
  rng: np.random.Generator,
  p: Preset,
  stains: Stains,
  *,
  area: float,
  stroma: np.ndarray,
  tissue: np.ndarray,
) -> None:
  """Adds all of it to the tissue, in place; none of it is annotated.

  Args:
    rng: source of randomness.
    p: the recipe (counts per 500 x 500 px).
    stains: the concentrations.
    area: the canvas's area over 500 x 500 px.
    stroma: `[h, h]` >= 0, where blood may be.
    tissue: `[h, h]` >= 0, where the rest may be.
  """

  def count(mean: float) -> int:
    return int(rng.poisson(mean * area))

  pearls = spots(rng, tissue, count(p.keratin), cluster=1, reach=1)
  _keratin(rng, stains, pearls)
  drops = spots(rng, tissue, count(p.droplets), cluster=2, reach=18)
  _droplets(rng, p, stains, drops)
  _blood(rng, stains, spots(rng, stroma, count(p.rbc), cluster=5, reach=20))
  _apoptotic(rng, stains, spots(rng, tissue, count(p.apoptotic), cluster=2, reach=30))
  grains = spots(rng, tissue, count(p.pigment), cluster=16, reach=9)
  _pigment(rng, p, stains, grains)
