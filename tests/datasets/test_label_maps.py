"""Label maps, whose centres are the means of the pixels of each label."""

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
from annotations import MANY, assert_centers, assert_refused
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage


def save_labels(path, labels):
  if path.suffix == ".png" and labels.dtype == np.uint16:
    path.write_bytes(imagecodecs.png_encode(labels))
  elif path.suffix == ".png":
    PIL.Image.fromarray(labels).save(path)
  else:
    tifffile.imwrite(path, labels)
  return path


def centroids_by_hand(labels):
  found = {}
  for y, x in np.argwhere(labels):
    found.setdefault(int(labels[y, x]), []).append((y, x))
  return [tuple(np.mean(found[label], axis=0)) for label in sorted(found)]


FORMS = [(".png", np.uint8), (".png", np.uint16), (".tif", np.uint8)]
FORMS += [(".tif", np.uint16), (".tiff", np.uint32), (".tif", np.int32)]


@MANY
@given(st.integers(0, 2**32 - 1), st.sampled_from(FORMS))
def test_label_map_round_trip(tmp_path, seed, form):
  ending, dtype = form
  rng = np.random.default_rng(seed)
  numbers = np.unique(rng.integers(1, np.iinfo(dtype).max, 5, endpoint=True))
  labels = np.zeros((20, 30), dtype)
  for index, number in enumerate(numbers):
    top, left = 4 * index, int(rng.integers(0, 20))
    labels[top : top + rng.integers(1, 5), left : left + rng.integers(1, 9)] = number
  path = save_labels(tmp_path / f"a{ending}", labels)
  assert_centers(path, centroids_by_hand(labels), shape=(20, 30))


def test_label_map_without_nuclei(tmp_path):
  assert_centers(save_labels(tmp_path / "a.png", np.zeros((4, 5), np.uint8)), [])


def test_label_map_with_one_nucleus(tmp_path):
  labels = np.zeros((9, 9), np.uint8)
  labels[2:5, 3:4] = 255
  assert_centers(save_labels(tmp_path / "a.png", labels), [(3, 3)])


def test_one_label_in_two_places_is_no_label_map(tmp_path):
  labels = np.zeros((9, 9), np.uint8)
  labels[1:3, 1:3] = labels[6:8, 5:7] = 255
  assert ndimage.label(labels)[1] == 2
  path = save_labels(tmp_path / "a.png", labels)
  assert_refused(path, "2 separate places", "a number of its own")
  assert_centers(path, [(4, 3.5)], single=True)


def test_label_map_of_another_size(tmp_path):
  path = save_labels(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
  assert_refused(path, "5 x 4 pixels", "6 x 4", shape=(4, 6))


def test_label_map_of_colours_or_fractions(tmp_path):
  for ending in (".png", ".tif"):
    path = save_labels(tmp_path / f"a{ending}", np.ones((4, 5, 3), np.uint8))
    assert_refused(path, "3 channels of colour", "label map")
  tifffile.imwrite(tmp_path / "b.tif", np.ones((4, 5), np.float32))
  assert_refused(tmp_path / "b.tif", "fractions", "float32")


# --- Maps that tell no nuclei apart --------------------------------------------------


def grid_of_labels(count, *, side=6, gap=4):
  """`count` squares in rows, numbered from 1."""
  rows = int(np.ceil(np.sqrt(count)))
  labels = np.zeros((rows * (side + gap), rows * (side + gap)), np.int32)
  for number in range(count):
    y, x = (part * (side + gap) for part in divmod(number, rows))
    labels[y : y + side, x : x + side] = number + 1
  return labels


def test_values_that_are_classes(tmp_path):
  labels = grid_of_labels(49)
  classes = np.where(labels, labels % 3 + 1, 0).astype(np.uint8)
  path = save_labels(tmp_path / "a.png", classes)
  assert_refused(path, "label 1", "places far apart", "a number of its own")


@pytest.mark.parametrize("count", [260, 400])
@pytest.mark.parametrize("how", ["wrapped", "clipped"])
def test_numbers_beyond_8_bits(tmp_path, count, how):
  labels = grid_of_labels(count)
  found = np.minimum(labels, 255) if how == "clipped" else labels % 256
  path = save_labels(tmp_path / "a.png", found.astype(np.uint8))
  assert_refused(path, "places far apart", "8 bits")
  assert_centers(save_labels(tmp_path / "a.tif", labels), centroids_by_hand(labels))


def test_map_that_was_resized_with_interpolation(tmp_path):
  labels = grid_of_labels(100).astype(np.float32)
  resized = np.rint(ndimage.zoom(labels, 1.7, order=1)).astype(np.uint8)
  path = save_labels(tmp_path / "a.png", resized)
  assert_refused(path, "places far apart", "interpolation")


@pytest.mark.parametrize("background", [1, 100, 65535])
def test_a_background_with_a_number_is_no_nucleus(tmp_path, background):
  labels = grid_of_labels(9, side=4).astype(np.int64)
  others = np.where(labels == background, 99, labels)
  path = tmp_path / "a.png"
  save_labels(path, np.where(labels, others, background).astype(np.uint16))
  assert_refused(path, f"label {background} covers 7", "background must be 0")


def test_negative_is_background(tmp_path, caplog):
  labels = grid_of_labels(9)
  path = save_labels(tmp_path / "a.tif", np.where(labels, labels, -1))
  assert_centers(path, centroids_by_hand(labels))
  assert "negative values are taken as background" in caplog.text


def test_a_nucleus_in_pieces_that_are_near(tmp_path, caplog):
  labels = grid_of_labels(9)
  labels[2:4, :6] = 0  # a stroke through the first
  path = save_labels(tmp_path / "a.tif", labels)
  assert_centers(path, centroids_by_hand(labels))
  assert caplog.text == ""


def test_specks_far_from_their_nucleus_are_left_out(tmp_path, caplog):
  labels = grid_of_labels(9)
  expected = centroids_by_hand(labels)
  labels[28, 28] = 1
  assert_centers(save_labels(tmp_path / "a.tif", labels), expected)
  assert "left out: 1 specks far from the rest" in caplog.text
