"""Public data sets as their makers distribute them, against their twins."""

import itertools

import numpy as np
import PIL.Image
import pytest
from scipy import optimize, spatial

from micronet_jax.datasets import load_samples
from micronet_jax.errors import InputError

SAMPLE_ID = "4193474b2f1c72f735b13633b219d9cabdd43c21d9c2bb4dfc4809f104ba4c06"


PUBLISHED = {"monuseg": "monuseg", "crchisto": "crchisto", "bbbc038": "dsb2018"}


def read_twin(real_data, group, name, offset=(0, 0)):
  """Centres (y, x) and pixels of an image in the uniform layout."""
  path = real_data / group / "points" / f"{name}.csv"
  rows = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
  pixels = np.asarray(PIL.Image.open(real_data / group / "images" / f"{name}.jpg"))
  return rows[:, ::-1] + offset, pixels


def distances(found, expected):
  """Distances of the best one-to-one matching."""
  costs = spatial.distance.cdist(found, expected)
  return costs[optimize.linear_sum_assignment(costs)]


def load_real(real_data, name, tmp_path):
  folder = real_data / "formats" / PUBLISHED[name]
  (sample,) = load_samples(name, root=folder, data_dir=tmp_path / "cache")
  return sample


def test_monuseg_agrees_with_its_twin(real_data, tmp_path):
  sample = load_real(real_data, "monuseg", tmp_path)
  assert sample.name == "breast__TCGA-AR-A1AK-01Z-00-DX1"
  assert (sample.organ, sample.patient, sample.mpp) == ("breast", "TCGA-AR-A1AK", 0.25)
  centers = []
  for row, column in itertools.product((0, 1), repeat=2):
    offset = (500 * row, 500 * column)
    name = f"{sample.name}_r{row}c{column}"
    points, pixels = read_twin(real_data, "monuseg", name, offset)
    centers.append(points)
    tile = sample.image[500 * row :, 500 * column :][:500, :500]
    assert np.abs(tile.astype(int) - pixels).mean() < 4  # the twin is a JPEG
  expected = np.concatenate(centers)
  # The file's 433 outlines have one of 0.09 square pixels, which is no nucleus.
  assert len(sample.centers) == len(expected) == 432
  assert distances(sample.centers, expected).max() < 0.6


def test_crchisto_agrees_with_its_twin(real_data, tmp_path):
  sample = load_real(real_data, "crchisto", tmp_path)
  assert sample.name == sample.patient == "colon__crc002"
  assert (sample.organ, sample.mpp) == ("colon", 0.5)
  expected, pixels = read_twin(real_data, "crchisto", sample.name)
  assert len(sample.centers) == len(expected)
  assert distances(sample.centers, expected).max() < 0.01
  assert np.abs(sample.image.astype(int) - pixels).mean() < 6


def test_bbbc038_agrees_with_its_twin(real_data, tmp_path):
  sample = load_real(real_data, "bbbc038", tmp_path)
  assert sample.name == sample.patient == SAMPLE_ID
  assert (sample.organ, sample.mpp) == ("unknown", None)
  expected, pixels = read_twin(real_data, "dsb2018", f"he__{SAMPLE_ID[:12]}")
  assert len(sample.centers) == len(expected)
  assert distances(sample.centers, expected).max() < 0.01
  assert np.abs(sample.image.astype(int) - pixels).mean() < 4


def test_organs_of_monuseg_are_those_of_its_twin(real_data):
  from micronet_jax.datasets.monuseg import monuseg_dataset_builder as monuseg

  rows = (real_data / "monuseg/index.csv").read_text().splitlines()[1:]
  known = {row.split(",")[2]: row.split(",")[1] for row in rows}
  assert len(known) == 30
  assert len(monuseg._ORGANS) == 44
  assert known.items() <= monuseg._ORGANS.items()


def test_real_folder_in_the_uniform_layout(real_data, tmp_path):
  samples = load_samples(
    "folder", root=real_data / "mbm", data_dir=tmp_path / "cache", images=5
  )
  assert len(samples) == 5
  for sample in samples:
    expected, pixels = read_twin(real_data, "mbm", sample.name)
    np.testing.assert_allclose(sample.centers, expected, atol=1e-4)
    np.testing.assert_array_equal(sample.image, pixels)
    assert (sample.organ, sample.mpp) == ("bonemarrow", None)


@pytest.mark.parametrize(
  ("name", "site"),
  [
    ("monuseg", "monuseg.grand-challenge.org"),
    ("crchisto", "University of Warwick"),
    ("bbbc038", "bbbc.broadinstitute.org/BBBC038"),
    ("nuinsseg", "Kaggle (ipateam/nuinsseg)"),
  ],
)
def test_missing_published_set_says_where_it_is_from(tmp_path, name, site):
  manual = tmp_path / "cache/downloads/manual"
  for _ in range(2):
    with pytest.raises(InputError) as caught:
      load_samples(name, data_dir=tmp_path / "cache")
    message = str(caught.value)
    assert site in message
    assert str(manual) in message
    assert message.endswith(".")
    manual.mkdir(parents=True, exist_ok=True)


def test_published_sets_side_by_side_in_the_default_place(tmp_path):
  manual = tmp_path / "cache/downloads/manual"
  pixels = np.full((8, 9, 3), 200, np.uint8)
  mask = np.zeros((8, 9), np.uint8)
  mask[2, 3] = mask[4, 3] = 255  # one nucleus, whose mask fell apart
  train, test = manual / "train/Tissue Images", manual / "MoNuSegTestData"
  ids = manual / "stage1_train/id1"
  for folder in (train, test, ids / "images", ids / "masks", manual / "__MACOSX"):
    folder.mkdir(parents=True)
  for folder, stem in ((train, "TCGA-KB-A93J-01A-01-TS1"), (test, "TCGA-ZZ-0000-01A")):
    PIL.Image.fromarray(pixels).save(folder / f"{stem}.tif")
    (folder / f"{stem}.xml").write_text("<Annotations/>")
  (manual / "__MACOSX/TCGA-AA-1111.xml").touch()
  PIL.Image.fromarray(pixels).save(ids / "images/id1.png")
  PIL.Image.fromarray(mask).save(ids / "masks/m.png")
  samples = load_samples("monuseg", data_dir=tmp_path / "cache")
  assert [(s.organ, s.patient) for s in samples] == [
    ("stomach", "TCGA-KB-A93J"),
    ("unknown", "TCGA-ZZ-0000"),
  ]
  (nucleus,) = load_samples("bbbc038", data_dir=tmp_path / "cache")
  np.testing.assert_array_equal(nucleus.centers, [[3, 3]])


def test_nuinsseg_as_its_makers_distribute_it(tmp_path):
  """Folders as unpacked, one misspelt; the label maps with overlaps are not read."""
  root = tmp_path / "NuInsSeg"
  labels = np.zeros((8, 9), np.uint16)
  labels[1:4, 2:5], labels[1:4, 5:8] = 3, 300  # two that touch
  overlapping = labels.copy()
  overlapping[1:4, 4:6] = 301
  for folder, stem in (("human tonsile", "human_tonsile_01"), ("mouse liver", "m_1")):
    for kind in ("tissue images", "label masks modify", "label masks", "overlay"):
      (root / folder / kind).mkdir(parents=True)
    pixels = np.full((8, 9, 3), 200, np.uint8)
    PIL.Image.fromarray(pixels).save(root / folder / f"tissue images/{stem}.png")
    PIL.Image.fromarray(pixels).save(root / folder / f"overlay/{stem}.png")
    for kind, values in (("label masks modify", labels), ("label masks", overlapping)):
      PIL.Image.fromarray(values).save(root / folder / kind / f"{stem}.tif")
  kept = {"root": tmp_path, "data_dir": tmp_path / "cache"}
  tonsil, mouse = load_samples("nuinsseg", **kept)
  assert (tonsil.name, tonsil.organ) == ("human_tonsile_01", "human_tonsil")
  assert (tonsil.patient, tonsil.mpp) == ("human_tonsil", 0.2)
  assert mouse.organ == "mouse_liver"
  np.testing.assert_array_equal(tonsil.centers, [[2, 3], [2, 6]])
  (root / "mouse liver/label masks modify/m_1.tif").unlink()
  with pytest.raises(InputError, match=r"m_1\.png has no label map; .*m_1\.tif is ne"):
    load_samples("nuinsseg", **kept)


def test_nuinsseg_in_the_uniform_layout(real_data, tmp_path):
  """The counts are those of the makers' article and of the folder's README."""
  from micronet_jax.datasets.nuinsseg.nuinsseg_dataset_builder import Builder

  entries = Builder.find(real_data / "nuinsseg")
  assert len(entries) == 665
  organs = {entry.organ for entry in entries}
  assert sum(name.startswith("human_") for name in organs) == 23
  assert sum(name.startswith("mouse_") for name in organs) == 8
  assert {entry.mpp for entry in entries} == {0.2}


def test_faults_in_published_sets(tmp_path):
  def refused(name, *parts):
    with pytest.raises(InputError) as caught:
      load_samples(name, root=tmp_path, data_dir=tmp_path / "cache")
    assert all(part in str(caught.value) for part in parts)

  (tmp_path / "TCGA-1.xml").touch()
  refused("monuseg", "TCGA-1.xml has no image", "TCGA-1.tif")
  (tmp_path / "img7_detection.mat").touch()
  refused("crchisto", "img7_detection.mat has no image", "img7.bmp")
  for copy in ("one/id", "two/id"):
    (tmp_path / copy / "images").mkdir(parents=True)
    (tmp_path / copy / "masks").mkdir()
    refused("bbbc038", "holds 0 PNG images")
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / copy / "images/i.png")
  refused("bbbc038", "one/id/images/i.png", "two/id/images/i.png", "both named id")
