"""Readers of annotation files: whatever marks the nuclei, their centres come out.

| ending | what it holds | its (0, 0) |
|---|---|---|
| `.csv` | columns x and y | the centre of the top-left pixel |
| `.geojson`, `.json` | QuPath objects: points or outlines | that pixel's corner |
| `.xml` | Aperio ImageScope outlines | that pixel's corner |
| `.png`, `.tif`, `.tiff` | label map, one whole number a nucleus | (an image) |
| `.mat` | MATLAB array `detection` of x, y | (1, 1) is the pixel's centre |

Of an outline the centre is the centroid of its area. Outlines of less than one
square pixel (a slip of the mouse, not a nucleus) are left out.
"""

import os
import pathlib
from collections.abc import Callable

import numpy as np

from micronet_jax.datasets.annotations import aperio_xml, geojson, labels, points
from micronet_jax.datasets.annotations.mark import Mark
from micronet_jax.errors import InputError

_READERS: dict[str, Callable[[pathlib.Path], list[Mark]]] = {
  ".csv": points.read_csv,
  ".geojson": geojson.read_geojson,
  ".json": geojson.read_geojson,
  ".xml": aperio_xml.read_aperio,
  ".mat": points.read_mat,
}
_LABEL_ENDINGS = (".png", ".tif", ".tiff")
ANNOTATION_ENDINGS = (*_READERS, *_LABEL_ENDINGS)


def read_centers(
  path: str | os.PathLike[str],
  *,
  shape: tuple[int, int] | None = None,
  clip: bool = False,
  single: bool = False,
) -> np.ndarray:
  """Reads the nucleus centres of one image from one annotation file.

  Args:
    path: the file; its ending says how it is read (the table above).
    shape: the image's (height, width); if given, centres must lie on the image,
      that is within -0.5 and width - 0.5 (height - 0.5).
    clip: move centres that lie outside `shape` to its border, as published sets
      need, which mark nuclei that the border cuts.
    single: for label maps, everything that is not 0 is one nucleus.

  Returns:
    float32 `[N, 2]` of (y, x); (0, 0) is the centre of the top-left pixel.

  Raises:
    InputError: the file cannot be read, a value in it is no finite number, or a
      centre lies outside the image.
  """
  path = pathlib.Path(path)
  ending = path.suffix.lower()
  if ending in _LABEL_ENDINGS:
    marks = labels.read_label_map(path, shape=shape, single=single)
  elif ending in _READERS:
    marks = _READERS[ending](path)
  else:
    raise InputError(
      f"{path} has the ending '{path.suffix}', which no annotation reader knows; there"
      f" are {', '.join(ANNOTATION_ENDINGS)}."
    )
  centers = np.array([(mark.y, mark.x) for mark in marks], np.float64).reshape(-1, 2)
  _check_finite(path, centers, marks)
  if shape is not None and clip:
    centers = np.clip(centers, 0, np.array(shape) - 1)
  elif shape is not None:
    _check_inside(path, centers, marks, shape)
  return centers.astype(np.float32)


def _check_finite(path: pathlib.Path, centers: np.ndarray, marks: list[Mark]) -> None:
  usable = np.abs(centers) < np.finfo(np.float32).max
  for index in np.flatnonzero(~usable.all(axis=1))[:1]:
    raise InputError(
      f"{path}, {marks[index].place}: the centre x={marks[index].x},"
      f" y={marks[index].y} is not made of finite numbers."
    )


def _check_inside(
  path: pathlib.Path, centers: np.ndarray, marks: list[Mark], shape: tuple[int, int]
) -> None:
  height, width = shape
  outside = (centers < -0.5) | (centers > np.array(shape) - 0.5)
  for index in np.flatnonzero(outside.any(axis=1))[:1]:
    raise InputError(
      f"{path}, {marks[index].place}: the centre x={marks[index].x:g},"
      f" y={marks[index].y:g} lies outside the image of {width} x {height} pixels"
      f" (x must lie within -0.5 and {width - 0.5:g}, y within -0.5 and"
      f" {height - 0.5:g})."
    )
