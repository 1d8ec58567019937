"""napari's door: the nuclei of an image as points; our CSV files opened and saved.

Called by napari, which finds it by `napari.yaml` (npe2). It imports no napari: layers
come and go as plain data, in pixels, (0, 0) being the centre of the top-left one here
and there.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from micronet_jax.errors import InputError
from micronet_jax.files import replacing

if TYPE_CHECKING:
  import napari.layers
  import napari.types

Layer = tuple[Any, dict[str, Any], str]
"""What napari makes a layer of: its data, its attributes, and its kind."""


_PLACED = ("scale", "translate", "rotate", "shear", "affine")  # where a layer lies

_ANY_SIZE = (2**40, 2**40)  # of an image that nobody named, when regions are opened

_EDGE = 0.5  # from the centre of a pixel to its border


@functools.cache
def _detector(weights: str) -> Any:
  from micronet_jax.detection.detector import load  # JAX takes seconds to import

  return load(weights)


def detect_nuclei(
  image: "napari.layers.Image", weights: str = "base", microns_per_pixel: float = 0.25
) -> "napari.types.LayerDataTuple":
  """Finds the nuclei of an image layer: points that lie where it lies, with scores.

  Raises:
    InputError: the layer holds more than one plane, or as `Detector.detect`.
  """
  from micronet_jax.figures import NUCLEUS

  pixels = np.asarray(image.data[0] if image.multiscale else image.data)
  if pixels.ndim != (3 if image.rgb else 2):
    raise InputError(
      f"the layer {image.name} has {pixels.ndim} dimensions, but nuclei are found in"
      " one plane; take it out of the stack first (right click, Split Stack)"
    )
  found = _detector(weights).detect(pixels, mpp=microns_per_pixel)
  attributes = {
    "name": f"nuclei of {image.name}",
    "features": {"score": found.scores},
    "symbol": "ring",
    "size": 10,
    "face_color": NUCLEUS.color,
    **{name: getattr(image, name) for name in _PLACED},
  }
  return found.centers, attributes, "points"


def open_table(path: str | Sequence[str]) -> Callable[[str], list[Layer]] | None:
  """What opens a table of points, or of regions; None leaves it to other plugins."""
  if not isinstance(path, str):
    return None
  try:
    with pathlib.Path(path).open(encoding="utf-8-sig") as file:
      head = file.readline().replace(";", ",").split(",")
  except (OSError, UnicodeDecodeError):
    return None
  columns = {name.strip().strip('"').lower() for name in head}
  if columns >= {"x", "y", "width", "height"}:
    return _open_regions
  return _open_points if columns >= {"x", "y"} else None


def _open_points(path: str) -> list[Layer]:
  from micronet_jax.datasets.annotations import read_centers

  attributes = {"name": pathlib.Path(path).stem, "symbol": "ring", "size": 10}
  return [(read_centers(path), attributes, "points")]


def _open_regions(path: str) -> list[Layer]:
  from micronet_jax.datasets.annotations import regions

  found = regions.read_regions(path, shape=_ANY_SIZE)
  low = found[:, 1::-1] - _EDGE  # (y, x)
  high = low + found[:, :1:-1]
  (top, left), (bottom, right) = low.T, high.T
  corners = np.stack([[top, left], [top, right], [bottom, right], [bottom, left]])
  corners = corners.transpose(2, 0, 1)
  attributes = {
    "name": f"regions of {pathlib.Path(path).stem}",
    "shape_type": "rectangle",
    "face_color": "transparent",
    "edge_color": "black",
  }
  return [([*corners], attributes, "shapes")]


def save_points(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
  """Writes points `[N, 2]` (y, x) as our CSV, without scores: edited ones have none.

  Raises:
    InputError: they are not of one plane, or not finite, or `path` cannot be written.
  """
  centers = np.asarray(data, np.float64)
  if centers.ndim != 2 or centers.shape[1] != 2 or not np.isfinite(centers).all():
    raise InputError(
      f"the layer {attributes.get('name')} holds points of shape"
      f" {list(centers.shape)}, where finite [N, 2] of one plane are needed"
    )
  with replacing(path) as beside:
    np.savetxt(
      beside, centers[:, ::-1], "%.2f", delimiter=",", header="x,y", comments=""
    )
  return [path]


def save_regions(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
  """Writes shapes, each with its corners `[4, 2]` (y, x), as `regions/` has them.

  Raises:
    InputError: a shape is no upright rectangle, or `path` cannot be written.
  """
  from micronet_jax.datasets.annotations import regions

  rows = []
  for number, shape in enumerate(data, 1):
    corners = np.asarray(shape, np.float64)
    low, high = corners.min(0), corners.max(0)
    upright = np.isclose(corners, low, atol=1e-3) | np.isclose(corners, high, atol=1e-3)
    if corners.shape != (4, 2) or not upright.all():
      raise InputError(
        f"shape {number} of the layer {attributes.get('name')} is no upright rectangle"
        " in one plane; regions are rectangles"
      )
    rows.append([*(low + _EDGE)[::-1], *(high - low)[::-1]])
  regions.write_regions(path, rows)
  return [path]
