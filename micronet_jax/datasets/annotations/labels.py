"""Label maps: images whose values say which nucleus a pixel belongs to.

Called by `annotations.read_centers`.
"""

import pathlib

import numpy as np
from scipy import ndimage

from micronet_jax.datasets.annotations.mark import Mark
from micronet_jax.errors import InputError
from micronet_jax.imaging import decoding

_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


def read_label_map(
  path: pathlib.Path, *, shape: tuple[int, int] | None = None, single: bool = False
) -> list[Mark]:
  """Reads the centroid of every label.

  Args:
    path: PNG or TIFF; 0 is background, every other value one nucleus.
    shape: the image's (height, width), which the map must have too, if given.
    single: everything that is not 0 is one nucleus, as in sets with a file a
      nucleus.

  Returns:
    One mark a label, in the order of the labels.

  Raises:
    InputError: the map cannot be read, has another size than the image, or has a
      single label in several places, which means it does not tell nuclei apart.
  """
  values = decoding.read_labels(path)
  if shape is not None and values.shape != tuple(shape):
    raise InputError(
      f"{path} is {values.shape[1]} x {values.shape[0]} pixels, but its image is"
      f" {shape[1]} x {shape[0]}; a label map must have the size of its image."
    )
  if single:
    values = values != 0
  names = [value for value in np.unique(values).tolist() if value]
  if len(names) == 1 and not single:
    _check_one_piece(path, values)
  centers = ndimage.center_of_mass(values != 0, values, names)
  return [
    Mark(y=float(y), x=float(x), place=f"label {name}")
    for name, (y, x) in zip(names, centers, strict=True)
  ]


def _check_one_piece(path: pathlib.Path, values: np.ndarray) -> None:
  pieces = ndimage.label(values, _EIGHT_NEIGHBOURS)[1]
  if pieces > 1:
    raise InputError(
      f"{path} has one label in {pieces} separate places, so it says where nuclei"
      " are but not which is which; every nucleus needs a number of its own."
    )
