"""Nuclei: their exact shapes, where they fit, and their hematoxylin.

A nucleus is an ellipse whose boundary is deformed by Fourier harmonics 2 to 4. Its
centre is the centroid of that shape, to the precision of a 96-sided polygon.
"""

from dataclasses import dataclass

import numpy as np

from micronet_jax.datasets.synthetic_he import texture
from micronet_jax.datasets.synthetic_he.presets import Nucleus

MIN_DISTANCE = 6.0  # px; no two centres are closer


@dataclass(frozen=True)
class Nuclei:
  """Nuclei of one population, in canvas px; N of them."""

  style: Nucleus
  centers: np.ndarray  # float64 [N, 2], (y, x), centroids
  axes: np.ndarray  # float64 [N, 2], half axes (major, minor), px
  angle: np.ndarray  # float64 [N], major axis from x towards y, radians
  harmonics: np.ndarray  # complex128 [N, 3], boundary harmonics 2, 3, 4
  origin: np.ndarray  # float64 [N, 2], (y, x), the point the boundary is drawn around


def _origins(
  centers: np.ndarray, axes: np.ndarray, angle: np.ndarray, harmonics: np.ndarray
) -> np.ndarray:
  """Where to draw each boundary from, so that its centroid is the centre."""
  phi = np.arange(96) * (2 * np.pi / 96)
  r = 1 + sum(
    (harmonics[:, k, None] * np.exp(1j * (k + 2) * phi)).real for k in range(3)
  )
  x, y = axes[:, :1] * r * np.cos(phi), axes[:, 1:] * r * np.sin(phi)
  x1, y1 = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
  cross = x * y1 - x1 * y
  area = 3 * cross.sum(1)
  cx = ((x + x1) * cross).sum(1) / area
  cy = ((y + y1) * cross).sum(1) / area
  c, s = np.cos(angle), np.sin(angle)
  return centers - np.stack([cx * s + cy * c, cx * c - cy * s], axis=1)


class Packing:
  """The nuclei placed so far; new ones must keep their distance."""

  def __init__(self, capacity: int):
    """Makes an empty packing.

    Args:
      capacity: most nuclei that it can hold.
    """
    self._rows = np.zeros((capacity, 5))  # y, x, major, minor, angle
    self._count = 0

  def fits(self, row: np.ndarray, separation: float) -> bool:
    """Whether a nucleus stays clear of all others.

    Args:
      row: float64 `[5]`: y, x, major, minor (px), angle (radians).
      separation: least distance over the sum of the two radii on the joining line.

    Returns:
      True where it does.
    """
    if self._count == 0:
      return True
    rows = self._rows[: self._count]
    delta = rows[:, :2] - row[:2]
    reaches = np.maximum(separation * (rows[:, 2] + row[2]), MIN_DISTANCE)
    near = np.abs(delta).max(1) < reaches
    if not near.any():
      return True
    rows, delta = rows[near], delta[near]
    direction = np.arctan2(delta[:, 0], delta[:, 1])

    def reach(major, minor, angle):
      t = direction - angle
      return 1 / np.sqrt((np.cos(t) / major) ** 2 + (np.sin(t) / minor) ** 2)

    need = reach(*row[2:]) + reach(rows[:, 2], rows[:, 3], rows[:, 4])
    need = np.maximum(separation * need, MIN_DISTANCE)
    return bool((np.hypot(delta[:, 0], delta[:, 1]) >= need).all())

  def add(self, row: np.ndarray) -> None:
    """Adds a nucleus: float64 `[5]`, as in `fits`."""
    self._rows[self._count] = row
    self._count += 1


def _axes(rng: np.random.Generator, style: Nucleus, count: int) -> np.ndarray:
  """Half axes (major, minor), px, float64 `[count, 2]`."""
  radius = style.radius * np.exp(
    style.spread * np.clip(rng.standard_normal(count), -2.2, 2.2)
  )
  ratio = 1 + (style.elongation - 1) * rng.gamma(6.0, 1 / 6.0, count)
  ratio = np.minimum(ratio, 2.2 * style.elongation)
  return np.stack([radius * np.sqrt(ratio), radius / np.sqrt(ratio)], axis=1)


def place(
  rng: np.random.Generator,
  packing: Packing,
  style: Nucleus,
  count: int,
  *,
  weight: np.ndarray,
  angle: np.ndarray,
  disorder: float,
  separation: float,
) -> Nuclei:
  """Throws nuclei at the canvas and keeps those that fit.

  Args:
    rng: source of randomness.
    packing: what is placed already; the new nuclei are added to it.
    style: the population.
    count: how many to place; fewer if six tries for each do not suffice.
    weight: `[h, h]` >= 0, how likely a centre is in each 2 x 2 px cell.
    angle: `[h, h]`, preferred direction of the major axis, radians.
    disorder: standard deviation around that direction, radians.
    separation: see `Packing.fits`.

  Returns:
    The nuclei that were placed.
  """
  total = np.cumsum(weight.ravel().astype(np.float64))
  tries = 6 * count if total[-1] > 0 else 0
  cell = np.searchsorted(total, rng.uniform(0, total[-1], tries), side="right")
  cell = np.minimum(cell, total.size - 1)
  spot = np.stack(np.divmod(cell, weight.shape[1]), axis=1) * 2.0
  spot += rng.uniform(-0.5, 1.5, (tries, 2))
  turn = angle.ravel()[cell] + disorder * rng.standard_normal(tries)
  rows = np.concatenate([spot, _axes(rng, style, tries), turn[:, None]], axis=1)
  kept: list[int] = []
  for i in range(tries):
    if len(kept) == count:
      break
    if packing.fits(rows[i], separation):
      packing.add(rows[i])
      kept.append(i)
  rows = rows[kept]
  wave = rng.standard_normal((len(kept), 3)) + 1j * rng.standard_normal((len(kept), 3))
  size = np.abs(wave)
  wave = wave * np.minimum(1, 1.6 / np.maximum(size, 1e-9))
  harmonics = style.irregularity * wave * np.array([1.0, 0.7, 0.45])
  centers, axes, turn = rows[:, :2], rows[:, 2:4], rows[:, 4]
  origin = _origins(centers, axes, turn, harmonics)
  return Nuclei(style, centers, axes, turn, harmonics, origin)


@dataclass(frozen=True)
class Window:
  """A nucleus's neighbourhood on the canvas."""

  at: tuple[slice, slice]  # rows and columns of the canvas
  depth: np.ndarray  # float32 [h, w], px below the boundary, negative outside
  u: np.ndarray  # float32 [h, w], position along the major axis / its half length
  v: np.ndarray  # float32 [h, w], along the minor axis


def window(nuclei: Nuclei, i: int, size: int, *, margin: float = 3.0) -> Window | None:
  """The signed distance to the boundary of one nucleus.

  Args:
    nuclei: the population.
    i: which of them.
    size: side of the canvas, px.
    margin: how far around the nucleus to look, px.

  Returns:
    Its window, or None where it is off the canvas. `depth >= 0` is its exact mask.
  """
  oy, ox = nuclei.origin[i]
  major, minor = nuclei.axes[i]
  swell = 1 + np.abs(nuclei.harmonics[i]).sum()
  reach = int(np.ceil(major * swell + margin))
  y0, x0 = int(oy) - reach, int(ox) - reach
  ys = slice(max(y0, 0), min(y0 + 2 * reach + 2, size))
  xs = slice(max(x0, 0), min(x0 + 2 * reach + 2, size))
  if ys.start >= ys.stop or xs.start >= xs.stop:
    return None
  dy = (np.arange(ys.start, ys.stop) - oy).astype(np.float32)[:, None]
  dx = (np.arange(xs.start, xs.stop) - ox).astype(np.float32)[None]
  c, s = np.float32(np.cos(nuclei.angle[i])), np.float32(np.sin(nuclei.angle[i]))
  u = (dx * c + dy * s) / np.float32(major)
  v = (dy * c - dx * s) / np.float32(minor)
  rho = np.sqrt(u * u + v * v) + np.float32(1e-6)
  z = (u + 1j * v) / rho
  k2, k3, k4 = nuclei.harmonics[i].astype(np.complex64)
  boundary = 1 + (z * z * (k2 + z * (k3 + z * k4))).real
  slope = np.sqrt((u / np.float32(major)) ** 2 + (v / np.float32(minor)) ** 2) / rho
  depth = (boundary - rho) / np.maximum(slope, np.float32(1e-6))
  return Window((ys, xs), depth, u, v)


def _nucleoli(
  rng: np.random.Generator, style: Nucleus, nuclei: Nuclei, i: int, win: Window
) -> np.ndarray | float:
  """Dark spots inside, float32 like the window, 0 to about 1."""
  spots: np.ndarray | float = 0.0
  major, minor = (np.float32(a) for a in nuclei.axes[i])
  for _ in range(min(int(rng.poisson(style.nucleoli)), 3)):
    radius = style.nucleolus * np.exp(0.22 * rng.standard_normal())
    cu, cv = rng.normal(0, 0.26, 2).clip(-0.5, 0.5)
    away = np.hypot((win.u - np.float32(cu)) * major, (win.v - np.float32(cv)) * minor)
    spots = spots + texture.smoothstep(np.float32(radius) - away, 1.8)
  return spots


def paint_nuclei(
  rng: np.random.Generator,
  nuclei: Nuclei,
  hematoxylin: np.ndarray,
  eosin: np.ndarray,
) -> None:
  """Adds the nuclei to the two stain maps, in place.

  Where two nuclei overlap, the darker one shows with a third of the other.

  Args:
    rng: source of randomness.
    nuclei: one population.
    hematoxylin: float32 `[s, s]`, concentration of the NUCLEI alone, 0 where none.
    eosin: float32 `[s, s]`, concentration; thinned inside nuclei.
  """
  style = nuclei.style
  size = hematoxylin.shape[0]
  atlas = texture.chromatin_atlas(rng, style.grain)
  for i in range(len(nuclei.centers)):
    win = window(nuclei, i, size)
    if win is None:
      continue
    h, w = win.depth.shape
    if max(h, w) > 256:
      raise ValueError(f"A nucleus of {max(h, w)} px is larger than its chromatin.")
    oy, ox = rng.integers(0, 257 - h), rng.integers(0, 257 - w)
    mottle = atlas[oy : oy + h, ox : ox + w]
    blurred = float(rng.gamma(2.0, 0.5))  # some lie out of the focal plane
    mask = texture.smoothstep(win.depth, 1.6 + 1.2 * blurred)
    thick = 1.25 + 0.35 * blurred
    rim = np.exp(-(((win.depth - np.float32(1.1)) / np.float32(thick)) ** 2))
    dark = float(np.exp(style.variation * rng.standard_normal()))
    if rng.uniform() < style.shallow:  # only the cap of the nucleus lies in the section
      dark *= rng.uniform(0.45, 0.8)
    inside = (
      style.body
      + style.clump * mottle
      + np.float32(style.rim) * rim * (1 + np.float32(0.45) * mottle)
    )
    lobe = 1 + 0.18 * (win.u * rng.uniform(-1, 1) + win.v * rng.uniform(-1, 1))
    spots = _nucleoli(rng, style, nuclei, i, win)
    inside = np.maximum(inside * lobe, 0.06) * dark + np.float32(0.62) * spots
    mine = (mask * inside).astype(np.float32)
    there = hematoxylin[win.at]
    hematoxylin[win.at] = np.maximum(there, mine) + 0.35 * np.minimum(there, mine)
    eosin[win.at] *= 1 - np.float32(0.6) * mask * (1 - np.minimum(spots, 1))
