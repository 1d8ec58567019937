"""Where epithelium, stroma, lumina and fat lie: the architecture of a tissue."""

from dataclasses import dataclass

import numpy as np
from scipy import spatial

from micronet_jax.datasets.synthetic_he import texture
from micronet_jax.datasets.synthetic_he.presets import Preset


@dataclass(frozen=True)
class Layout:
  """The architecture of one canvas of side s = 2h px.

  Margins are signed distances in px, positive inside. Coarse fields are `[h, h]`,
  float32, one cell for 2 x 2 px; full fields are `[s, s]`, float32.
  """

  size: int  # s
  into_epithelium: np.ndarray  # coarse margin of the epithelial compartments
  into_lumen: np.ndarray  # coarse margin of the lumina inside them
  radial: np.ndarray  # coarse angle of the steepest way into a compartment
  along: np.ndarray  # coarse angle of the fibres
  epithelium: np.ndarray  # full, 0 to 1; the next three too, their sum is <= 1
  lumen: np.ndarray
  fat: np.ndarray
  gap: np.ndarray  # full, 0 to 1: torn or retracted, over everything else
  across_field: np.ndarray  # full, px: coordinate across the fibres
  along_field: np.ndarray  # full, px: coordinate along them
  calm: np.ndarray  # full, 0 to 1: 0 on the seams where fibres change direction


@dataclass(frozen=True)
class _Compartments:
  """Which compartment a coarse cell is in, and how deep."""

  owner: np.ndarray  # intp [h, h]
  depth: np.ndarray  # float32 [h, h], px from the border to the next compartment
  count: int


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
  """Full-resolution coordinates (y, x) of the coarse cells, float32 `[h, h]`."""
  axis = np.arange(size // 2, dtype=np.float32) * 2 + np.float32(0.5)
  y, x = np.meshgrid(axis, axis, indexing="ij")
  return y, x


def _compartments(rng: np.random.Generator, p: Preset, size: int) -> _Compartments:
  """A warped Voronoi partition with rounded corners."""
  half = size // 2
  y, x = _grid(size)
  bend = max(0.2 * p.compartment, 10.0)  # coarse cells
  y = y + p.warp * texture.noise(rng, half, bend) + 2 * texture.noise(rng, half, 6)
  x = x + p.warp * texture.noise(rng, half, bend) + 2 * texture.noise(rng, half, 6)
  turn = rng.uniform(0, np.pi)
  u = (x * np.cos(turn) + y * np.sin(turn)) / p.stretch
  v = y * np.cos(turn) - x * np.sin(turn)
  points = np.stack([u.ravel(), v.ravel()], axis=1)
  low, high = points.min(0) - p.compartment, points.max(0) + p.compartment
  axes = [np.arange(a, b, p.compartment) for a, b in zip(low, high, strict=True)]
  seeds = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
  seeds = seeds + rng.uniform(-0.36, 0.36, seeds.shape) * p.compartment
  distance, index = spatial.cKDTree(seeds).query(points, k=3)
  # Distance to each bisector, joined by a smooth minimum that rounds the corners.
  between = np.linalg.norm(seeds[index[:, 1:]] - seeds[index[:, :1]], axis=2)
  bisector = (distance[:, 1:] ** 2 - distance[:, :1] ** 2) / (2 * between) + 0.05
  depth = (bisector**-3.0).sum(1) ** (-1 / 3)
  return _Compartments(
    owner=index[:, 0].reshape(half, half),
    depth=depth.reshape(half, half).astype(np.float32),
    count=len(seeds),
  )


def _margins(
  rng: np.random.Generator, p: Preset, cells: _Compartments
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Coarse margins of epithelium, lumina and fat."""
  half = cells.owner.shape[0]
  draw = rng.uniform(size=cells.count)
  stroma = draw < p.stroma_fraction
  fat = (draw >= p.stroma_fraction) & (draw < p.stroma_fraction + p.fat_fraction)
  opened = rng.uniform(size=cells.count) < p.open_fraction
  height = p.height * np.exp(0.18 * rng.standard_normal(cells.count))
  solid = ~(stroma | fat)
  wall = p.septum * (1 + 0.35 * texture.noise(rng, half, 25)).clip(0.3, 2)
  depth = cells.depth
  into = np.where(solid[cells.owner], depth - wall, -depth - wall)
  ragged = 3.5 * texture.noise(rng, half, 7) + 2 * texture.noise(rng, half, 3)
  inner = np.where((solid & opened)[cells.owner], into - height[cells.owner], -200.0)
  inner = np.maximum(inner, -60.0) + ragged
  inside_fat = np.where(fat[cells.owner], depth - 1.6, -depth - 1.6)
  return (
    into.astype(np.float32),
    inner.astype(np.float32),
    inside_fat.astype(np.float32),
  )


def _fibre_fields(
  rng: np.random.Generator, p: Preset, cells: _Compartments, size: int
) -> tuple[np.ndarray, np.ndarray]:
  """Coarse coordinates across and along the fibres, px."""
  half = size // 2
  y, x = _grid(size)
  if p.home == "stroma":  # fascicles: every compartment has its own direction
    spread = 0.9 if p.compartment < 300 else 0.25
    turn = rng.uniform(0, np.pi) + spread * rng.standard_normal(cells.count)
    angle = turn.astype(np.float32)[cells.owner]
  else:
    angle = np.full((half, half), rng.uniform(0, np.pi), np.float32)
  wander = 0.6 * p.waviness * texture.noise(rng, half, 35)
  wander += 0.2 * p.waviness * texture.noise(rng, half, 10)
  wander += 0.8 * texture.noise(rng, half, 2.5)
  across = y * np.cos(angle) - x * np.sin(angle) + wander
  along = x * np.cos(angle) + y * np.sin(angle)
  along = along + p.waviness * texture.noise(rng, half, 40)
  if p.home != "stroma":  # close to glands and nests, collagen runs around them
    across = 0.7 * across + 16 * np.tanh(np.sqrt(cells.depth**2 + 9) / 11)
  return across.astype(np.float32), along.astype(np.float32)


def _gaps(
  rng: np.random.Generator, p: Preset, across: np.ndarray, along: np.ndarray
) -> np.ndarray:
  """White gaps with ragged edges that cover about `p.gaps` of the canvas."""
  size, scale = across.shape[0], p.gap_scale
  field = texture.noise(rng, size, scale)
  field += texture.fibres(rng, across, along, width=0.5 * scale, length=2.5 * scale)
  field += 0.4 * texture.noise(rng, size, scale / 4)
  field += 0.15 * texture.noise(rng, size, 2.0)
  level = np.quantile(field[::4, ::4], 1 - p.gaps) if p.gaps > 0 else np.inf
  return texture.smoothstep(field - np.float32(min(level, 1e6)), 0.45)


def build(rng: np.random.Generator, p: Preset, size: int) -> Layout:
  """Lays out one canvas.

  Args:
    rng: source of randomness.
    p: the recipe (lengths in px).
    size: side of the canvas, px, even.

  Returns:
    The layout.
  """
  cells = _compartments(rng, p, size)
  into, inner, inside_fat = _margins(rng, p, cells)
  across, along = _fibre_fields(rng, p, cells, size)
  dy, dx = np.gradient(cells.depth)
  fy, fx = np.gradient(across)
  epithelium = texture.smoothstep(texture.double(into), 3.0)
  lumen = epithelium * texture.smoothstep(texture.double(inner), 3.0)
  fat = texture.smoothstep(texture.double(inside_fat), 2.0)
  across, along = texture.double(across), texture.double(along)
  seams = texture.double(cells.depth) - 3.0
  if p.home != "stroma":
    seams[:] = 10.0  # one direction everywhere
  return Layout(
    size=size,
    into_epithelium=into,
    into_lumen=inner,
    radial=np.arctan2(dy, dx),
    along=np.arctan2(fx, -fy),
    epithelium=epithelium - lumen,
    lumen=lumen,
    fat=fat * (1 - epithelium),
    gap=_gaps(rng, p, across, along),
    across_field=across,
    along_field=along,
    calm=texture.smoothstep(seams, 5.0),
  )
