"""Images without a nucleus: keratin, hair, fibres, folds and grains, on glass or not.

A detector that has only seen annotated tissue takes them for nuclei. Made of the noise
of `texture`, painted as optical density; called by `synthetic_he_dataset_builder`.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from micronet_jax.datasets.synthetic_he import texture
from micronet_jax.datasets.synthetic_he.generator import passing_light

ARTEFACTS = "artefacts"
"""What the data set calls them where tissue has the name of its organ."""

# Optical density directions (red, green, blue), by eye.
_HEMATOXYLIN = (0.60, 0.70, 0.38)
_EOSIN = (0.20, 0.85, 0.48)
_BROWN = (0.46, 0.60, 0.65)
_BLACK = (0.58, 0.58, 0.57)
_BLUE = (0.80, 0.50, 0.25)


def _colour(rng: np.random.Generator, *stains: tuple[float, ...]) -> np.ndarray:
  """A mixture of stains: float32 `[3]` of length 1."""
  shares = rng.dirichlet(np.ones(len(stains)))
  vector = sum(share * np.array(s) for share, s in zip(shares, stains, strict=True))
  vector = np.maximum(vector + rng.normal(0, 0.03, 3), 0.03)
  return (vector / np.sqrt((vector**2).sum())).astype(np.float32)


def _across(
  rng: np.random.Generator, size: int, scale: float, bend: float
) -> np.ndarray:
  """A coordinate, px, whose lines of equal value are bent: float32 `[size, size]`."""
  turn = rng.uniform(0, 2 * np.pi)
  y, x = np.mgrid[:size, :size].astype(np.float32)
  straight = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y
  return straight + np.float32(bend * scale) * texture.noise(rng, size, scale)


def _ground(rng: np.random.Generator, size: int) -> np.ndarray:
  """What lies below: glass, or collagen and keratin without cells."""
  if rng.random() < 0.45:
    return np.full((size, size, 3), 0.01, np.float32)
  across = _across(rng, size, rng.uniform(60, 200), rng.uniform(0.2, 1))
  along = 100 * texture.noise(rng, size, 150)
  streaks = texture.fibres(
    rng, across, along, width=rng.uniform(2, 8), length=rng.uniform(30, 90)
  )
  amount = 1 + 0.35 * streaks + 0.2 * texture.noise(rng, size, 50)
  amount = np.maximum(np.float32(rng.uniform(0.25, 0.8)) * amount, 0)
  return amount[..., None] * _colour(rng, _EOSIN, _EOSIN, _HEMATOXYLIN)


def _lamellae(rng: np.random.Generator, size: int) -> np.ndarray:
  """Keratin: bundles of thin bent sheets, dark to pink, torn apart by glass."""
  base = np.float32(rng.uniform(0, 0.5)) * _colour(rng, _EOSIN, _HEMATOXYLIN)
  density = np.zeros((size, size, 3), np.float32) + base
  for _ in range(rng.integers(1, 4)):
    across = _across(rng, size, rng.uniform(60, 200), rng.uniform(0.15, 0.8))
    period = rng.uniform(8, 40)
    across += 0.5 * period * texture.noise(rng, size, rng.uniform(20, 60))
    distance = period * np.abs((across / period) % 1 - 0.5)
    line = texture.smoothstep(rng.uniform(1, 0.22 * period + 1) - distance, 2.5)
    uneven = rng.uniform(0.4, 1) + 0.6 * texture.noise(rng, size, rng.uniform(15, 80))
    colour = _colour(rng, _EOSIN, _HEMATOXYLIN, _HEMATOXYLIN, _BROWN)
    dark = np.float32(rng.uniform(0.5, 2.2))
    density += (line * np.clip(uneven, 0, 1.6))[..., None] * (dark * colour)
  if rng.random() < 0.7:
    edge = texture.noise(rng, size, rng.uniform(30, 120)) + rng.uniform(-1, 0.8)
    density *= 1 - 0.95 * texture.smoothstep(10 * edge, 6)[..., None]
  return density.astype(np.float32)


def _strokes(
  rng: np.random.Generator,
  size: int,
  *,
  count: int,
  widths: tuple[float, float],
  colour: np.ndarray,
) -> np.ndarray:
  """Long bent strokes of one colour, `widths` px wide, `count` of them."""
  density = np.zeros((size, size, 3), np.float32)
  dark = rng.uniform(0.8, 2.4)
  for _ in range(count):
    across = _across(rng, size, rng.uniform(150, 400), rng.uniform(0.1, 0.5))
    half = rng.uniform(*widths) / 2
    depth = half - np.abs(across - rng.uniform(*np.percentile(across, (10, 90))))
    profile = texture.smoothstep(depth, 2.5)
    if rng.random() < 0.5:  # paler along the middle, as hollow hairs are
      profile = profile * (1 - 0.4 * rng.random() * np.clip(depth / half, 0, 1))
    grain = texture.fibres(
      rng, across, across, width=rng.uniform(1.5, 4), length=60
    ).clip(-2.8, 4)
    profile = profile * (1 + 0.25 * grain) * np.float32(dark * rng.uniform(0.6, 1.2))
    density = np.maximum(density, profile[..., None] * colour)
  return density.astype(np.float32)


def _grains(rng: np.random.Generator, size: int) -> np.ndarray:
  """Patches of fine dark grains: keratohyalin, pigment, dirt."""
  fine = texture.noise(rng, size, rng.uniform(2.5, 5)) - rng.uniform(0.6, 1.4)
  where = texture.noise(rng, size, rng.uniform(40, 120)) - rng.uniform(-0.3, 0.8)
  amount = texture.smoothstep(fine, 0.6) * texture.smoothstep(8 * where, 8)
  dark = np.float32(rng.uniform(0.4, 1.6))
  return amount[..., None] * (dark * _colour(rng, _HEMATOXYLIN, _BROWN, _BLACK))


def _keratin(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
  return np.float32(rng.random()) * ground + _lamellae(rng, len(ground))


def _granular(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
  return _keratin(rng, ground) + _grains(rng, len(ground))


def _hair(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
  colour = _colour(rng, _BROWN, _BLACK, _EOSIN)
  count = int(rng.integers(1, 5))
  hairs = _strokes(rng, len(ground), count=count, widths=(20, 110), colour=colour)
  return np.maximum(ground, hairs)


def _fibres(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
  colour = _colour(rng, _BROWN, _BLACK, _BLUE, _HEMATOXYLIN, _EOSIN)
  count = int(rng.integers(2, 10))
  fibres = _strokes(rng, len(ground), count=count, widths=(3, 16), colour=colour)
  return np.maximum(ground, fibres)


def _folds(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
  colour = _colour(rng, _HEMATOXYLIN, _EOSIN)
  folds = _strokes(rng, len(ground), count=1, widths=(30, 120), colour=colour)
  return ground + folds + 0.5 * _lamellae(rng, len(ground)) * (rng.random() < 0.4)


_KINDS: tuple[Callable[[np.random.Generator, np.ndarray], np.ndarray], ...] = (
  *(_keratin, _granular, _hair, _fibres, _folds),
)


def generate_artefacts(index: int, *, size: int = 500, seed: int = 0) -> np.ndarray:
  """Makes one image that holds no nucleus, at 0.25 µm per px.

  Args:
    index: which image, >= 0; five kinds take turns.
    size: side, px.
    seed: which series of images, >= 0.

  Returns:
    uint8 `[size, size, 3]`, RGB; the same for the same arguments.
  """
  rng = np.random.Generator(np.random.PCG64([seed, index, size]))
  ground = _ground(rng, size)
  density = _KINDS[index % len(_KINDS)](rng, ground)
  if rng.random() < 0.2:
    density = density + _grains(rng, size)
  density = density * (1 + 0.06 * texture.noise(rng, size, 120))[..., None]
  light = passing_light(np.maximum(density, 0), white=rng.uniform(236, 250))
  blur = rng.uniform(0.8, 1.8)
  light = ndimage.gaussian_filter(light, (blur, blur, 0), truncate=3.0)
  grain = rng.standard_normal((size, size, 3), dtype=np.float32)
  common = rng.standard_normal((size, size, 1), dtype=np.float32)
  light += np.float32(rng.uniform(0.8, 2.0)) * (grain + common)
  return np.clip(np.rint(light), 0, 255).astype(np.uint8)
