"""Cytoplasm, stroma, lumina and what lies about: everything but the nuclei."""

from dataclasses import dataclass

import numpy as np
from scipy import spatial

from micronet_jax.datasets.synthetic_he import texture
from micronet_jax.datasets.synthetic_he.layout import Layout
from micronet_jax.datasets.synthetic_he.presets import Preset


@dataclass(frozen=True)
class Stains:
  """Concentrations of what absorbs light; each float32 `[s, s]`, >= 0."""

  hematoxylin: np.ndarray
  eosin: np.ndarray
  blood: np.ndarray
  pigment: np.ndarray


@dataclass(frozen=True)
class Cells:
  """The cells around the nuclei of the parenchyma; full fields, float32 `[s, s]`."""

  border: np.ndarray  # px to the border with the next cell
  away: np.ndarray  # px to the nucleus's centre
  tint: np.ndarray  # one standard normal number a cell


def parenchyma_cells(rng: np.random.Generator, centers: np.ndarray, size: int) -> Cells:
  """Divides the canvas between the nuclei.

  Args:
    rng: source of randomness.
    centers: float64 `[N, 2]`, (y, x), canvas px.
    size: side of the canvas, px, even.

  Returns:
    The cells; far from everything where N < 2.
  """
  half = size // 2
  if len(centers) < 2:
    far = np.full((size, size), 100, np.float32)
    return Cells(far, far, np.zeros_like(far))
  axis = np.arange(half) * 2 + 0.5
  y, x = np.meshgrid(axis, axis, indexing="ij")
  y = y + 2.2 * texture.noise(rng, half, 6)
  x = x + 2.2 * texture.noise(rng, half, 6)
  points = np.stack([y.ravel(), x.ravel()], axis=1)
  # The centres are moved: nuclei lie off the middle of their cells.
  seeds = centers + rng.normal(0, 2.5, centers.shape)
  distance, index = spatial.cKDTree(seeds).query(points, k=2)
  between = np.linalg.norm(seeds[index[:, 1]] - seeds[index[:, 0]], axis=1)
  border = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * between + 1e-6)
  tint = rng.standard_normal(len(seeds))[index[:, 0]]

  def full(values: np.ndarray) -> np.ndarray:
    return texture.double(values.reshape(half, half).astype(np.float32))

  return Cells(full(border), full(distance[:, 0]), full(tint))


def _fill(rng: np.random.Generator, p: Preset, size: int) -> tuple:
  """Hematoxylin and eosin of what is in the lumina."""
  if p.lumen_fill == "colloid":
    even = 0.55 + 0.05 * texture.noise(rng, size, 40)
    crack = texture.smoothstep(texture.noise(rng, size, 26) - 1.5, 0.5)
    return np.float32(0.03), even * (1 - 0.9 * crack)
  cloud = texture.noise(rng, size, 16) + 0.4 * texture.noise(rng, size, 4)
  cloud += 0.25 * texture.noise(rng, size, 1.6)
  if p.lumen_fill == "mucus":
    strand = np.clip(0.5 + 0.4 * cloud, 0, 1.4)
    return 0.12 * strand, 0.1 * strand
  dirt = texture.smoothstep(cloud - (0.3 if p.lumen_fill == "debris" else 1.7), 0.6)
  grain = np.clip(1 + 0.5 * texture.noise(rng, size, 2.5), 0, 2)
  return 0.12 * dirt * grain, 0.5 * dirt * grain


def _cytoplasm(
  rng: np.random.Generator, p: Preset, cell: Cells, streaks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Hematoxylin and eosin of the epithelium, nuclei left out."""
  size = streaks.shape[0]
  net = texture.noise(rng, size, 4.5) + 0.6 * texture.noise(rng, size, 2.4)
  grain = texture.noise(rng, size, 1.7)
  tone = 1 + 0.1 * texture.noise(rng, size, 60) + 0.12 * texture.noise(rng, size, 17)
  tone += 0.13 * cell.tint
  body = tone + p.granular * (0.6 * grain + 0.35 * net) + p.fibrillar * streaks
  # Foam: small vacuoles where the net's noise is high.
  body = body * (1 - p.foam * texture.smoothstep(net - 0.35, 1.6))
  if p.clear > 0:
    thick = 4.0 + 1.5 * texture.noise(rng, size, 12)
    middle = texture.smoothstep(cell.border - thick, 5.0)
    body = body * (1 - p.clear * middle * np.clip(1 + 0.25 * net, 0.5, 1.1))
  edge = np.exp(-((cell.border / np.float32(1.3)) ** 2))
  edge *= np.clip(0.75 + 0.45 * texture.noise(rng, size, 14), 0, 1.5)
  body = np.maximum(body, 0.04)
  if p.membrane >= 0:
    eosin = p.eosin * (body + 1.3 * p.membrane * edge)
    blue = p.basophilia * (body + 0.9 * p.membrane * edge)
  else:
    open_cleft = 1 + p.membrane * 2.2 * edge
    eosin = p.eosin * body * np.clip(open_cleft, 0.08, 1)
    blue = p.basophilia * body * np.clip(open_cleft, 0.08, 1)
  blue = blue * np.clip(1 + 0.35 * texture.noise(rng, size, 9), 0.1, 2)
  return blue, eosin


def _stroma(
  rng: np.random.Generator, p: Preset, streaks: np.ndarray, bundles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Hematoxylin and eosin of the connective tissue."""
  size = streaks.shape[0]
  tone = 1 + 0.18 * texture.noise(rng, size, 50) + 0.12 * texture.noise(rng, size, 5)
  tone += 0.13 * texture.noise(rng, size, 1.6)
  body = tone + p.fibre * (0.85 * streaks + 0.55 * bundles)
  # Bundles part: pale clefts where both noises are low, here and there.
  apart = 1.9 - 0.8 * p.fibre - 0.55 * texture.noise(rng, size, 18)
  cleft = texture.smoothstep(-0.9 * bundles - 0.7 * streaks - apart, 0.9)
  body = np.maximum(body, 0.12) * (1 - 0.85 * cleft)
  blue = p.stroma_blue * np.clip(
    1 + 0.4 * texture.noise(rng, size, 8) + 0.3 * streaks, 0.1, 2.5
  )
  return blue * (1 - 0.7 * cleft), p.stroma_eosin * body


def stain_tissue(
  rng: np.random.Generator, p: Preset, layout: Layout, cell: Cells
) -> Stains:
  """Stains the tissue, nuclei left out.

  Args:
    rng: source of randomness.
    p: the recipe.
    layout: what lies where.
    cell: the cells of the parenchyma.

  Returns:
    The concentrations, each `[s, s]`; gaps are empty.
  """
  size = layout.size
  across, along = layout.across_field, layout.along_field
  wide = p.fibre_width
  streaks = texture.fibres(rng, across, along, width=wide, length=40.0)
  streaks += 0.8 * texture.fibres(rng, across, along, width=0.5 * wide, length=17.0)
  # Bundles cross the finer fibres at an angle of about 25 degrees.
  aslant, onward = 0.9 * across + 0.42 * along, 0.9 * along - 0.42 * across
  bundles = texture.fibres(rng, aslant, onward, width=3.0 * wide, length=60.0)
  streaks, bundles = streaks * layout.calm, bundles * layout.calm
  blue, eosin = _cytoplasm(rng, p, cell, streaks)
  stroma_blue, stroma_eosin = _stroma(rng, p, streaks, bundles)
  if p.septum_kind == "sinusoid":
    strands = texture.smoothstep(streaks - 0.5, 1.0)
    stroma_blue, stroma_eosin = 0.04 * strands, 0.4 * strands
  fill_blue, fill_eosin = _fill(rng, p, size)
  tissue = layout.epithelium
  between = np.clip(1 - tissue - layout.lumen - layout.fat, 0, 1)
  hematoxylin = blue * tissue + stroma_blue * between + fill_blue * layout.lumen
  eosin = eosin * tissue + stroma_eosin * between + fill_eosin * layout.lumen
  kept = 1 - layout.gap
  return Stains(
    hematoxylin=np.maximum(hematoxylin * kept, 0).astype(np.float32),
    eosin=np.maximum(eosin * kept, 0).astype(np.float32),
    blood=np.zeros((size, size), np.float32),
    pigment=np.zeros((size, size), np.float32),
  )
