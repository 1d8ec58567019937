"""Seeded tissue that looks like H&E, with exact nucleus centres.

    image, centers = generate("prostate", 7)

Tissue is laid out (`layout`), nuclei are placed (`nuclei`), both are painted as
concentrations of hematoxylin and eosin, and light is absorbed by them after
Beer-Lambert. Every image has its own stain, density, nuclear size and focus, as
patients have. The canvas is wider than the image, so nuclei are cut by its border.
"""

import dataclasses
import operator

import numpy as np
from scipy import ndimage

from micronet_jax.datasets.synthetic_he import clutter, nuclei, texture, tissue
from micronet_jax.datasets.synthetic_he.layout import Layout, build
from micronet_jax.datasets.synthetic_he.presets import (
  FIBROBLAST,
  LYMPHOCYTE,
  ORGANS,
  PRESETS,
  Preset,
)
from micronet_jax.errors import InputError

MIN_SIZE = 64  # px
MAX_SIZE = 4096  # px
_PAD = 32  # px of canvas around the image

# Optical density directions (red, green, blue). H&E after the reference values of
# Macenko et al., ISBI 2009, with a blue-pink and an orange-red eosin and a blue and a
# purple hematoxylin around them; blood and pigments by eye.
_HEMATOXYLIN = ((0.66, 0.66, 0.35), (0.52, 0.76, 0.39))
_EOSIN = ((0.27, 0.87, 0.40), (0.17, 0.80, 0.58))
_BLOOD = (0.12, 0.72, 0.68)
_PIGMENT = {"melanin": (0.46, 0.58, 0.67), "carbon": (0.60, 0.58, 0.55)}


@dataclasses.dataclass(frozen=True)
class Scene:
  """One canvas before light passes through it."""

  preset: Preset  # the recipe as this patient has it
  layout: Layout
  populations: list[nuclei.Nuclei]  # centres in canvas px
  stains: tissue.Stains


def optical_density(
  stains: tissue.Stains, vectors: dict[str, np.ndarray]
) -> np.ndarray:
  """Beer-Lambert: densities of all absorbers add up.

  Args:
    stains: concentrations, `[s, s]` each.
    vectors: for each field of `stains`, the density (red, green, blue) of
      concentration 1.

  Returns:
    float32 `[s, s, 3]`, natural optical density: light passes as exp(-density).
  """
  fields = [(getattr(stains, name), vector) for name, vector in vectors.items()]
  channels = [sum(c * np.float32(v[k]) for c, v in fields) for k in range(3)]
  return np.stack(channels, axis=-1).astype(np.float32)


def passing_light(
  density: np.ndarray, *, white: float | np.ndarray = 255.0
) -> np.ndarray:
  """Light that passes: white · exp(-density).

  Args:
    density: float32 `[..., 3]`, natural optical density.
    white: the light without tissue, 0 to 255, a number or `[3]`.

  Returns:
    float32 `[..., 3]`, 0 to 255.
  """
  return np.asarray(white, np.float32) * np.exp(-density)


def _patient(rng: np.random.Generator, p: Preset) -> Preset:
  """The recipe with one patient's deviations."""

  def times(spread: float) -> float:
    return float(np.exp(spread * np.clip(rng.standard_normal(), -2, 2)))

  radius, body = times(0.07), times(0.08)

  def styled(style: nuclei.Nucleus) -> nuclei.Nucleus:
    return dataclasses.replace(
      style,
      radius=style.radius * radius,
      body=style.body * body,
      rim=style.rim * times(0.12),
      clump=style.clump * times(0.2),
      elongation=1 + (style.elongation - 1) * times(0.15),
    )

  shift = 0.24 * p.stain_spread
  return dataclasses.replace(
    p,
    primary=styled(p.primary),
    secondary=styled(p.secondary) if p.secondary else None,
    primary_count=p.primary_count * times(0.13),
    secondary_count=p.secondary_count * times(0.2),
    lymphocytes=p.lymphocytes * times(0.4),
    fibroblasts=p.fibroblasts * times(0.2),
    compartment=p.compartment * times(0.12),
    stroma_fraction=p.stroma_fraction * (times(0.3) if p.home != "stroma" else 1),
    gaps=p.gaps * times(0.4),
    eosin=p.eosin * times(0.1),
    basophilia=p.basophilia * times(0.15),
    stroma_eosin=p.stroma_eosin * times(0.1),
    fibre=p.fibre * times(0.2),
    rbc=p.rbc * times(0.6),
    pigment=p.pigment * times(0.5),
    droplets=p.droplets * times(0.5),
    hematoxylin_od=p.hematoxylin_od * times(0.17 * p.stain_spread),
    eosin_od=p.eosin_od * times(0.22 * p.stain_spread),
    warmth=float(np.clip(p.warmth + rng.normal(0, shift), 0, 1)),
    purple=float(np.clip(p.purple + rng.normal(0, shift), 0, 1)),
    blur=p.blur * times(0.2),
  )


def _populate(
  rng: np.random.Generator, p: Preset, layout: Layout
) -> list[nuclei.Nuclei]:
  """Places all populations: secondary, primary, fibroblasts, lymphocytes."""
  size = layout.size
  area = (size / 500.0) ** 2
  clear = (layout.gap[::2, ::2] < 0.3) & (layout.fat[::2, ::2] < 0.3)
  into, lumen = layout.into_epithelium, layout.into_lumen
  margin = 0.75 * p.primary.radius / np.sqrt(p.primary.elongation)
  if p.home == "stroma":
    where = clear.astype(np.float32)
  else:
    low, high = p.band
    band = (into > max(low, margin)) & (into < high) & (lumen < -margin)
    where = (band & clear).astype(np.float32)
  random = texture.noise(rng, size // 2, 30) * 3
  angle = {
    "radial": layout.radial,
    "tangential": layout.radial + np.pi / 2,
    "fibre": layout.along,
    "random": random,
  }[p.orientation]
  stroma = ((into < -1) & clear).astype(np.float32)
  foci = np.exp(p.lymph_foci * texture.noise(rng, size // 2, 45))
  inflamed = foci * (stroma + 0.06 * where)
  plan = [
    (p.secondary, p.secondary_count, where, random, 1.0),
    (p.primary, p.primary_count, where, angle, p.disorder),
    (FIBROBLAST, p.fibroblasts, stroma, layout.along, 0.2),
    (LYMPHOCYTE, p.lymphocytes, inflamed, random, 1.0),
  ]
  counts = [int(rng.poisson(mean * area)) for _, mean, *_ in plan]
  packing = nuclei.Packing(sum(counts))
  return [
    nuclei.place(
      rng,
      packing,
      style,
      count,
      weight=weight,
      angle=angles,
      disorder=disorder,
      separation=p.separation,
    )
    for (style, _, weight, angles, disorder), count in zip(plan, counts, strict=True)
    if style is not None
  ]


def _halo(p: Preset, stains: tissue.Stains, away: np.ndarray) -> None:
  """Clears the cytoplasm close around the nuclei of the parenchyma, in place."""
  edge = p.primary.radius * np.sqrt(p.primary.elongation) + p.halo
  thinner = 1 - p.halo_strength * texture.smoothstep(np.float32(edge) - away, 4.0)
  np.multiply(stains.eosin, thinner, out=stains.eosin)
  np.multiply(stains.hematoxylin, thinner, out=stains.hematoxylin)


def scene(
  organ: str, index: int, *, size: int, seed: int
) -> tuple[Scene, np.random.Generator]:
  """Everything on one canvas, and the randomness left for the camera.

  Args: as in `generate`; they are not checked here.

  Returns:
    The scene, of side `canvas_size(size)`, and the camera's generator.
  """
  entropy = [seed, ORGANS.index(organ), index, size]
  streams = [
    np.random.Generator(np.random.PCG64(child))
    for child in np.random.SeedSequence(entropy).spawn(6)
  ]
  p = _patient(streams[0], PRESETS[organ])
  layout = build(streams[1], p, canvas_size(size))
  populations = _populate(streams[2], p, layout)
  parenchyma = [
    n.centers for n in populations if n.style not in (LYMPHOCYTE, FIBROBLAST)
  ]
  cell = tissue.parenchyma_cells(streams[3], np.concatenate(parenchyma), layout.size)
  stains = tissue.stain_tissue(streams[3], p, layout, cell)
  if p.halo_strength > 0:
    _halo(p, stains, cell.away)
  clear = layout.gap[::2, ::2] < 0.3
  between = clear & (layout.into_epithelium < 0) & (layout.fat[::2, ::2] < 0.3)
  clutter.add(
    streams[4],
    p,
    stains,
    area=(layout.size / 500.0) ** 2,
    stroma=between,
    tissue=clear & (layout.into_lumen < 0),
  )
  dark = np.zeros_like(stains.hematoxylin)
  for population in populations:
    nuclei.paint_nuclei(streams[4], population, dark, stains.eosin)
  np.multiply(stains.hematoxylin, 1 - 0.7 * np.minimum(dark, 1), out=stains.hematoxylin)
  np.add(stains.hematoxylin, dark, out=stains.hematoxylin)
  return Scene(p, layout, populations, stains), streams[5]


def canvas_size(size: int) -> int:
  """Side of the canvas of an image of side `size`, px; even."""
  return size + 2 * _PAD + size % 2


def _vectors(rng: np.random.Generator, p: Preset) -> dict[str, np.ndarray]:
  """One patient's optical densities of concentration 1, (red, green, blue)."""

  def between(ends: tuple, part: float, spread: float) -> np.ndarray:
    low, high = np.asarray(ends, np.float64)
    vector = low + part * (high - low) + rng.normal(0, spread, 3)
    vector = np.maximum(vector, 0.02)
    return vector / np.linalg.norm(vector)

  spread = 0.02 * p.stain_spread
  return {
    "hematoxylin": p.hematoxylin_od * between(_HEMATOXYLIN, p.purple, spread),
    "eosin": p.eosin_od * between(_EOSIN, p.warmth, spread),
    "blood": 1.45 * between((_BLOOD, _BLOOD), 0, spread),
    "pigment": 1.9 * between((_PIGMENT[p.pigment_kind],) * 2, 0, spread),
  }


def _photograph(rng: np.random.Generator, canvas: Scene, size: int) -> np.ndarray:
  """Light, lens and sensor: uint8 `[size, size, 3]`."""
  p = canvas.preset
  density = optical_density(canvas.stains, _vectors(rng, p))
  full = density.shape[0]
  density *= (1 + 0.05 * texture.noise(rng, full, 120))[..., None]  # thickness
  white = rng.uniform(238, 248) + rng.normal(0, 2, 3)
  light = passing_light(density, white=white)
  for axis in (0, 1):
    light = ndimage.gaussian_filter1d(light, p.blur, axis=axis, truncate=3.0)
  inner = slice(_PAD, _PAD + size)
  light = light[inner, inner]
  light *= (1 + 0.012 * texture.noise(rng, size, 250))[..., None]  # illumination
  grain = rng.standard_normal((size, size, 3), dtype=np.float32)
  common = rng.standard_normal((size, size, 1), dtype=np.float32)
  light += np.float32(rng.uniform(0.8, 1.8)) * (grain + common)
  return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def _checked(organ: str, index: int, size: int, seed: int) -> tuple[int, int, int]:
  """(index, size, seed) as Python ints, or InputError."""
  if organ not in PRESETS:
    known = ", ".join(ORGANS)
    raise InputError(f"No synthetic organ is called {organ!r}; there are {known}.")
  try:
    index, size, seed = (operator.index(value) for value in (index, size, seed))
  except TypeError as error:
    raise InputError(
      f"index, size and seed of a synthetic image must be whole numbers, not "
      f"{index!r}, {size!r} and {seed!r}."
    ) from error
  if not MIN_SIZE <= size <= MAX_SIZE:
    raise InputError(
      f"A synthetic image can be {MIN_SIZE} to {MAX_SIZE} px wide, not {size}."
    )
  if index < 0 or seed < 0:
    raise InputError(
      f"index and seed of a synthetic image must be 0 or more, not {index} and {seed}."
    )
  return index, size, seed


def generate(
  organ: str, index: int, *, size: int = 500, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
  """Makes one image of H&E-like tissue at 40x (0.25 µm per px).

  The same arguments give the same image wherever numpy gives the same numbers. Other
  sizes are other images, not crops.

  Args:
    organ: one of `presets.ORGANS`.
    index: which image (each is one patient), >= 0.
    size: side, px, 64 to 4096.
    seed: which series of images, >= 0.

  Returns:
    The image, uint8 `[size, size, 3]`, RGB, and the centres of all nuclei whose centre
    is inside it, float32 `[N, 2]`, (y, x), px; (0, 0) is the centre of the top-left
    pixel.

  Raises:
    InputError: an unknown organ, or a number out of range.
  """
  index, size, seed = _checked(organ, index, size, seed)
  canvas, camera = scene(organ, index, size=size, seed=seed)
  image = _photograph(camera, canvas, size)
  placed = np.concatenate([n.centers for n in canvas.populations]) - _PAD
  centers = placed.astype(np.float32)
  inside = ((centers >= -0.5) & (centers < size - 0.5)).all(axis=1)
  return image, centers[inside]
