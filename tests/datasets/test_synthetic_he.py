"""The synthetic tissue: its contract, its exact centres, its optics, its domains."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, spatial

from micronet_jax.datasets.synthetic_he import generator, nuclei, texture, tissue
from micronet_jax.datasets.synthetic_he.presets import (
  GENERATOR_VERSION,
  ORGANS,
  PRESETS,
  Nucleus,
)
from micronet_jax.errors import InputError

SIZE = 200
PAPER = {
  "adrenal_gland", "bile_duct", "bladder", "breast", "cervix", "colorectum",
  "esophagus", "eye", "kidney", "liver", "lung", "lymph_nodes", "pancreas", "pleura",
  "prostate", "soft_tissue", "stomach", "thymus", "uterus",
}  # fmt: skip


@pytest.fixture(scope="module")
def tissues():
  """Two small images of every organ."""
  return {
    organ: [generator.generate(organ, index, size=SIZE) for index in range(2)]
    for organ in ORGANS
  }


def test_organs_are_the_papers_and_the_four_chosen_ones():
  assert len(ORGANS) == 23
  assert set(ORGANS) == PAPER | {"head_and_neck", "skin", "testis", "thyroid"}
  assert set(PRESETS) == set(ORGANS)
  assert GENERATOR_VERSION == "1.0.0"


@pytest.mark.parametrize("organ", ORGANS)
def test_contract(tissues, organ):
  low, high = PRESETS[organ].count_range
  for image, centers in tissues[organ]:
    assert image.dtype == np.uint8
    assert image.shape == (SIZE, SIZE, 3)
    assert centers.dtype == np.float32
    assert centers.ndim == 2
    assert centers.shape[1] == 2
    assert (centers >= -0.5).all()
    assert (centers < SIZE - 0.5).all()
    # A small window of an uneven tissue strays further than a whole 500 px image.
    area = (SIZE / 500) ** 2
    assert 0.2 * low * area <= len(centers) <= 1.8 * high * area
    assert image.std() > 10
    if len(centers) > 1:
      nearest, _ = spatial.cKDTree(centers).query(centers, k=2)
      assert nearest[:, 1].min() > 5.99  # nuclei.MIN_DISTANCE, less rounding


@pytest.mark.parametrize("organ", ["lymph_nodes", "kidney", "prostate"])
def test_count_range_at_full_size(organ):
  low, high = PRESETS[organ].count_range
  _, centers = generator.generate(organ, 3)
  assert low <= len(centers) <= high


def test_same_arguments_give_the_same_bytes_in_any_order(tissues):
  for organ in ("uterus", "eye"):
    for index in (1, 0):
      image, centers = generator.generate(organ, index, size=SIZE)
      assert image.tobytes() == tissues[organ][index][0].tobytes()
      assert centers.tobytes() == tissues[organ][index][1].tobytes()
  np.random.seed(1)  # noqa: NPY002  (the global generator must not matter)
  again, _ = generator.generate("eye", np.int64(0), size=SIZE, seed=0)
  assert again.tobytes() == tissues["eye"][0][0].tobytes()


def test_other_arguments_give_other_images(tissues):
  images = [image for pair in tissues.values() for image, _ in pair]
  images.append(generator.generate("eye", 0, size=SIZE, seed=1)[0])
  assert len({image.tobytes() for image in images}) == len(images)


def test_nuclei_at_the_border_are_drawn_though_their_centre_is_outside():
  canvas, _ = generator.scene("lymph_nodes", 0, size=SIZE, seed=0)
  pad = (generator.canvas_size(SIZE) - SIZE) // 2
  centers = np.concatenate([n.centers for n in canvas.populations]) - pad
  inside = ((centers >= -0.5) & (centers < SIZE - 0.5)).all(1)
  assert (~inside).sum() > 10
  _, annotated = generator.generate("lymph_nodes", 0, size=SIZE)
  assert annotated == pytest.approx(centers[inside], abs=1e-4)


@pytest.mark.parametrize("organ", ["thymus", "soft_tissue", "bladder", "thyroid"])
def test_centres_are_the_centroids_of_the_shapes(organ):
  canvas, _ = generator.scene(organ, 0, size=SIZE, seed=0)
  size = canvas.layout.size
  checked = 0
  for population in canvas.populations:
    for i, center in enumerate(population.centers):
      win = nuclei.window(population, i, size, margin=6)
      mask = win.depth >= 0
      if mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any():
        continue  # cut by the canvas
      corner = [side.start for side in win.at]
      centroid = np.add(ndimage.center_of_mass(mask), corner)
      assert np.hypot(*(centroid - center)) < 0.35
      assert ndimage.label(mask)[1] == 1
      checked += 1
  assert checked > 15


def test_an_ellipse_has_the_area_and_darkness_worked_out_by_hand():
  style = Nucleus(
    body=0.7, rim=0.0, clump=0.0, nucleoli=0.0, variation=0.0, shallow=0.0
  )
  one = nuclei.Nuclei(
    style,
    centers=np.array([[30.2, 40.3]]),
    axes=np.array([[12.0, 6.0]]),
    angle=np.array([np.pi / 2]),  # the long axis along y
    harmonics=np.zeros((1, 3), complex),
    origin=np.array([[30.2, 40.3]]),
  )
  mask = nuclei.window(one, 0, 80)
  assert (mask.depth >= 0).sum() == pytest.approx(np.pi * 12 * 6, rel=0.03)
  blue, eosin = np.zeros((80, 80), np.float32), np.ones((80, 80), np.float32)
  nuclei.paint_nuclei(np.random.default_rng(0), one, blue, eosin)
  assert blue[30, 40] == pytest.approx(0.7, rel=0.03)
  assert blue[38, 40] > 0.5  # 8 px along the long axis: inside
  assert blue[30, 48] == 0.0  # 8 px along the short one: outside
  assert eosin[30, 40] == pytest.approx(0.4, abs=0.01)
  assert eosin[0, 0] == 1.0


@pytest.mark.parametrize("organ", ["thyroid", "colorectum", "thymus", "skin"])
def test_no_nucleus_is_buried_under_the_others(organ):
  canvas, _ = generator.scene(organ, 0, size=SIZE, seed=0)
  size = canvas.layout.size
  covers = np.zeros((size, size), int)
  every = [(n, i) for n in canvas.populations for i in range(len(n.centers))]
  for population, i in every:
    win = nuclei.window(population, i, size)
    covers[win.at] += win.depth >= 0
  for population, i in every:
    win = nuclei.window(population, i, size)
    mask = win.depth >= 0
    if mask.any():
      assert (covers[win.at][mask] == 1).mean() > 0.4


def test_beer_lambert_by_hand():
  one = np.ones((1, 1), np.float32)
  stains = tissue.Stains(one, 2 * one, 0 * one, 0 * one)
  vectors = {
    "hematoxylin": np.array([0.5, 0.25, 0.0]),
    "eosin": np.array([0.0, 0.125, 0.75]),
    "blood": np.array([9.0, 9.0, 9.0]),
    "pigment": np.array([9.0, 9.0, 9.0]),
  }
  density = generator.optical_density(stains, vectors)
  assert density[0, 0] == pytest.approx([0.5, 0.5, 1.5])
  # 255 exp(-0.5) = 154.665, 255 exp(-1.5) = 56.898
  assert generator.passing_light(density)[0, 0] == pytest.approx(
    [154.665, 154.665, 56.898], abs=1e-2
  )
  assert generator.passing_light(np.zeros(3, np.float32), white=240.0) == pytest.approx(
    240.0
  )


@settings(max_examples=20, deadline=None)
@given(value=st.floats(-5, 5), cells=st.integers(4, 30), size=st.integers(1, 70))
def test_splines_keep_a_constant(value, cells, size):
  flat = np.full((cells, cells), value, np.float32)
  assert texture.upsample(flat, size) == pytest.approx(value, abs=1e-5)


def test_noise_is_standard_and_as_smooth_as_asked():
  rng = np.random.default_rng(0)
  for scale in (1.0, 3.0, 8.0):
    field = texture.noise(rng, 600, scale)
    assert field.mean() == pytest.approx(0, abs=0.1)
    assert field.std() == pytest.approx(1, abs=0.1)
  assert np.abs(np.diff(texture.noise(rng, 600, 20.0), axis=0)).mean() < 0.1
  ramp = np.tile(np.arange(8, dtype=np.float32), (8, 1))
  assert np.diff(texture.double(ramp), axis=1)[:, 2:-2] == pytest.approx(0.5)


@settings(max_examples=30, deadline=None)
@given(angle=st.floats(0, 3.2), gap=st.floats(0.3, 1.7))
def test_packing_keeps_the_distance_asked_for(angle, gap):
  packing = nuclei.Packing(2)
  first = np.array([50.0, 50.0, 12.0, 6.0, angle])
  assert packing.fits(first, 1.0)
  packing.add(first)
  # Along the long axis the two radii add up to 24 px.
  step = 24 * gap * np.array([np.sin(angle), np.cos(angle)])
  second = np.array([*(first[:2] + step), 12.0, 6.0, angle])
  if abs(gap - 1.0) > 1e-6:
    assert packing.fits(second, 1.0) == (gap > 1.0)


def _look(image, centers):
  """Numbers that tell domains apart but know nothing of the presets."""
  density = -np.log((image.astype(np.float64) + 1) / 256)
  at = np.rint(centers).astype(int).clip(4, SIZE - 5)
  patches = [density[y - 4 : y + 5, x - 4 : x + 5, 0] for y, x in at]
  middle = [np.mean(p[3:6, 3:6]) for p in patches]
  return [
    np.sqrt(len(centers)),
    20 * np.mean(middle),
    20 * np.mean([np.std(p) for p in patches]),
    *(10 * density.mean((0, 1))),
    *(10 * density.std((0, 1))),
  ]


def test_organs_are_different_domains():
  chosen = ("lymph_nodes", "prostate", "kidney", "uterus", "bladder", "liver")
  looks = {
    organ: np.array([_look(*generator.generate(organ, i, size=SIZE)) for i in range(6)])
    for organ in chosen
  }
  right = 0
  for organ, i in itertools.product(chosen, range(6)):
    means = {
      other: np.delete(x, i, 0).mean(0) if other == organ else x.mean(0)
      for other, x in looks.items()
    }
    away = {other: np.linalg.norm(looks[organ][i] - m) for other, m in means.items()}
    right += min(away, key=away.get) == organ
  assert right / (6 * len(chosen)) > 0.6  # chance: 0.17


def test_nuclei_are_dark_in_bladder_and_empty_in_thyroid(tissues):
  def contrast(organ):
    values = []
    for image, centers in tissues[organ]:
      red = -np.log((image[..., 0].astype(np.float64) + 1) / 256)
      y, x = np.rint(centers).astype(int).clip(0, SIZE - 1).T
      values.append(red[y, x].mean() / np.median(red))
    return np.mean(values)

  assert contrast("bladder") > 1.3 * contrast("thyroid")


@pytest.mark.parametrize(
  ("arguments", "says"),
  [
    ({"organ": "spleen"}, "spleen.*adrenal_gland.*uterus"),
    ({"size": 20}, "64 to 4096 px wide, not 20"),
    ({"size": 5000}, "not 5000"),
    ({"size": 100.5}, "whole numbers"),
    ({"index": -1}, "0 or more"),
    ({"seed": -1}, "0 or more"),
  ],
)
def test_errors(arguments, says):
  organ = arguments.pop("organ", "eye")
  index = arguments.pop("index", 0)
  with pytest.raises(InputError, match=says):
    generator.generate(organ, index, **arguments)
