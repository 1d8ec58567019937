"""Readers of annotation files: whatever marks the nuclei, their centres come out.

| ending | what it holds | its (0, 0) |
|---|---|---|
| `.csv`, `.tsv`, `.txt` | columns x and y | the centre of the top-left pixel |
| the same | QuPath's points or measurements | that pixel's corner, in QuPath's frame |
| `.geojson`, `.json`, `.gz` of these | QuPath's objects | the same |
| `.json` | COCO, LabelMe | that pixel's corner; COCO also its centre |
| `.xml` | Aperio ImageScope, ASAP | that pixel's corner |
| `.xml` | Fiji's Cell Counter | that pixel's centre |
| `.zip`, `.roi` | ImageJ's regions | the corner for outlines, the centre for points |
| `.png`, `.tif`, `.tiff` | label map, one whole number a nucleus | (an image) |
| `.mat` | MATLAB array `detection` of x, y | (1, 1) is the pixel's centre |

Of an outline the centre is the centroid of its area. What is drawn or written but is no
nucleus (`shapes.find_nuclei`) is left out and counted in one line of the log. QuPath's
frame begins where OpenSlide's bounds of a slide begin; the rest counts from the first
pixel of the whole image.
"""

import os
import pathlib
from collections.abc import Callable

import numpy as np

from micronet_jax.datasets.annotations import (
  documents,
  imagej,
  labels,
  markup,
  matlab,
  points,
)
from micronet_jax.datasets.annotations.mark import Mark, Reading, Subject
from micronet_jax.errors import InputError, or_left_out
from micronet_jax.files import check_regular

_READERS: dict[str, Callable[[pathlib.Path, Subject], Reading]] = {
  ".csv": points.read_points,
  ".geojson": documents.read_document,
  ".json": documents.read_document,
  ".xml": markup.read_markup,
  ".mat": matlab.read_mat,
  ".geojson.gz": documents.read_document,
  ".json.gz": documents.read_document,
  ".tsv": points.read_points,
  ".txt": points.read_points,
  ".zip": imagej.read_rois,
  ".roi": imagej.read_rois,
}
_LABEL_ENDINGS = (".png", ".tif", ".tiff")
ANNOTATION_ENDINGS = (*_READERS, *_LABEL_ENDINGS)


def read_centers(
  path: str | os.PathLike[str],
  *,
  shape: tuple[int, int] | None = None,
  clip: bool = False,
  single: bool = False,
  mpp: float | None = None,
  origin: tuple[int, int] | None = None,
  image: pathlib.Path | None = None,
  name: str | None = None,
) -> np.ndarray:
  """Reads the nucleus centres of one image from one annotation file.

  What repeats another centre to the last digit is left out, unless `clip`. One line of
  the log says what was left out, converted or assumed.

  Args:
    path: the file; its ending says how it is read (the table above).
    shape: the image's (height, width); if given, centres must lie on the image,
      that is within -0.5 and width - 0.5 (height - 0.5); one on the right or lower
      border belongs to the last pixel, and comes out just before it.
    clip: move centres that lie outside `shape` to its border, as published sets
      need, which mark nuclei that the border cuts.
    single: for label maps, everything that is not 0 is one nucleus.
    mpp: microns per pixel, which points in microns need; what `image` says if None.
    origin: (x, y) where the frame begins in which QuPath shows the image; what
      `image` says if None.
    image: the image's file, which is opened if it is asked something.
    name: the image's name without ending, for files about several images.

  Returns:
    float32 `[N, 2]` of (y, x); (0, 0) is the centre of the top-left pixel.

  Raises:
    InputError: the file cannot be read, a value in it is no finite number, or a
      centre lies outside the image.
  """
  path = pathlib.Path(path)
  check_regular(path)
  ending = annotation_ending(path)
  if ending in _LABEL_ENDINGS:
    reading = labels.read_label_map(path, shape=shape, single=single)
  elif ending in _READERS:
    reading = _READERS[ending](path, Subject(image, name, shape, mpp, origin))
    if not clip:
      reading = reading.distinct()
  else:
    raise InputError(
      f"{path} has the ending '{path.suffix}', which no annotation reader knows; there"
      f" are {', '.join(ANNOTATION_ENDINGS)}."
    )
  marks = reading.marks
  centers = np.array([(mark.y, mark.x) for mark in marks], np.float64).reshape(-1, 2)
  centers = _finite(path, centers, marks)
  if shape is not None and clip:
    centers = np.clip(centers, 0, np.array(shape) - 1)
  elif shape is not None:
    centers = _inside(path, centers, marks, shape)
  reading.say(path)
  return _on_pixels(centers.astype(np.float32), shape)


def annotation_ending(path: pathlib.Path) -> str:
  """The ending that says how a file is read, in lower case; two if one is `.gz`."""
  endings = [each.lower() for each in path.suffixes]
  return "".join(endings[-2:] if endings[-1:] == [".gz"] else endings[-1:])


def _finite(path: pathlib.Path, centers: np.ndarray, marks: list[Mark]) -> np.ndarray:
  """The centres, which must be numbers."""
  usable = (np.abs(centers) < np.finfo(np.float32).max).all(axis=1)
  for index in np.flatnonzero(~usable):
    with or_left_out():
      raise InputError(
        f"{path}, {marks[index].place}: the centre x={marks[index].x},"
        f" y={marks[index].y} is not made of finite numbers."
      )
  marks[:] = [mark for mark, use in zip(marks, usable, strict=True) if use]
  return centers[usable]


def _inside(
  path: pathlib.Path, centers: np.ndarray, marks: list[Mark], shape: tuple[int, int]
) -> np.ndarray:
  """The centres, which must lie on the image."""
  height, width = shape
  outside = ((centers < -0.5) | (centers > np.array(shape) - 0.5)).any(axis=1)
  for index in np.flatnonzero(outside):
    with or_left_out():
      raise InputError(
        f"{path}, {marks[index].place}: the centre x={marks[index].x:g},"
        f" y={marks[index].y:g} lies outside the image of {width} x {height} pixels"
        f" (x must lie within -0.5 and {width - 0.5:g}, y within -0.5 and"
        f" {height - 0.5:g})."
      )
  return centers[~outside]


def _on_pixels(centers: np.ndarray, shape: tuple[int, int] | None) -> np.ndarray:
  """float32 `[N, 2]`, with what lies on the last border just before it.

  There it is of the last pixel for all who count a pixel as half-open; float32 may
  have rounded to the border, too.
  """
  if shape is None:
    return centers
  border = np.nextafter(np.array(shape, np.float32), np.float32(0))
  return np.minimum(centers, border - np.float32(0.5))
