"""Label maps: images whose values say which nucleus a pixel belongs to.

Called by `annotations.read_centers`.
"""

import pathlib

import numpy as np
from scipy import ndimage

from micronet_jax.datasets.annotations.mark import Mark, Reading
from micronet_jax.datasets.annotations.outlines import LARGE_PART, far_from_largest
from micronet_jax.errors import InputError
from micronet_jax.imaging import decoding

_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
_MANY = 3  # pieces far away


def read_label_map(
  path: pathlib.Path, *, shape: tuple[int, int] | None = None, single: bool = False
) -> Reading:
  """Reads the centroid of every label.

  Pieces of a label belong together if they are no farther apart than the largest is
  long. A label with a piece farther away that is no mere speck (a quarter of the
  largest, or the third of its kind) tells no nuclei apart: classes, numbers that began
  again beyond what the file can hold or stopped there, or a map that was resized with
  interpolation. Specks are left out.

  Args:
    path: PNG or TIFF; what is not above 0 is background, every other value one
      nucleus.
    shape: the image's (height, width), which the map must have too, if given.
    single: everything that is not background is one nucleus, as in sets with a file a
      nucleus.

  Returns:
    One mark a label, in the order of the labels.

  Raises:
    InputError: the map cannot be read, has another size than the image, has a label
      in several far places, or a single one in several places, or one of several
      labels is the background.
  """
  values = decoding.read_labels(path)
  if shape is not None and values.shape != tuple(shape):
    raise InputError(
      f"{path} is {values.shape[1]} x {values.shape[0]} pixels, but its image is"
      f" {shape[1]} x {shape[0]}; a label map must have the size of its image."
    )
  reading = Reading()
  if (values < 0).any():
    reading.remarks.append("negative values are taken as background")
    values = np.maximum(values, 0)
  names, numbers = np.unique(values, return_inverse=True)
  numbers = numbers.reshape(values.shape).astype(np.int32) + (names[0] != 0)
  names = names[names != 0]
  if single:
    numbers, names = (numbers != 0).astype(np.int32), names[:1]
  elif len(names) == 1:
    _check_one_piece(path, numbers)
  else:
    _check_background(path, numbers, names)
    numbers, specks = _without_specks(path, numbers, names)
    if specks:
      reading.left_out["specks far from the rest of their label"] = specks
  centers = ndimage.center_of_mass(numbers != 0, numbers, range(1, len(names) + 1))
  reading.marks = [
    Mark(y=float(y), x=float(x), place=f"label {name}")
    for name, (y, x) in zip(names.tolist(), centers, strict=True)
  ]
  return reading


def _check_one_piece(path: pathlib.Path, values: np.ndarray) -> None:
  pieces = ndimage.label(values, _EIGHT_NEIGHBOURS)[1]
  if pieces > 1:
    raise InputError(
      f"{path} has one label in {pieces} separate places, so it says where nuclei"
      " are but not which is which; every nucleus needs a number of its own."
    )


def _check_background(
  path: pathlib.Path, numbers: np.ndarray, names: np.ndarray
) -> None:
  """Refuses a map in which a label lies around all others, and nothing is 0."""
  areas = np.bincount(numbers.ravel())
  if not areas[0] and 2 * areas.max() > numbers.size:
    raise InputError(
      f"{path} has no pixel that is 0, and the label {names[areas.argmax() - 1]} covers"
      f" {areas.max() / numbers.size:.0%} of it, more than a nucleus does; the"
      " background must be 0."
    )


def _without_specks(
  path: pathlib.Path, numbers: np.ndarray, names: np.ndarray
) -> tuple[np.ndarray, int]:
  """Checks that every label is one nucleus.

  Args:
    path: the file, for messages.
    numbers: `[H, W]`, 1 for the first of `names` and on, 0 for background.
    names: the labels as they stand in the file.

  Returns:
    `numbers` without specks, and how many there were.
  """
  specks = 0
  boxes = ndimage.find_objects(numbers)
  for number, box in enumerate(boxes, start=1):
    pieces, count = ndimage.label(numbers[box] == number, _EIGHT_NEIGHBOURS)
    if count < 2:
      continue
    sizes = np.bincount(pieces.ravel())[1:]
    around = ndimage.find_objects(pieces)
    low, high = (
      np.array([[getattr(side, end) for side in each] for each in around], np.float64)
      for end in ("start", "stop")
    )
    far = np.flatnonzero(far_from_largest(low, high, sizes))
    if not len(far):
      continue
    if len(far) >= _MANY or sizes[far].max() >= LARGE_PART * sizes.max():
      raise InputError(
        f"{path} has the label {names[number - 1]} in {len(far) + 1} places far apart,"
        " so it says no nucleus from another (are its values classes, cut to 8 bits,"
        " or resized with interpolation?); every nucleus needs a number of its own."
      )
    if not specks:
      numbers = numbers.copy()
    specks += len(far)
    numbers[box][np.isin(pieces, far + 1)] = 0
  return numbers, specks
