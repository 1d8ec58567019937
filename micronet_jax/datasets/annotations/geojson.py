"""Annotation files of QuPath: GeoJSON with points or outlines.

They count from the corner of the top-left pixel, so that pixel's centre is (0.5, 0.5)
in the file and (0, 0) here. Called by `annotations.read_centers`.
"""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from micronet_jax.datasets.annotations.mark import Mark
from micronet_jax.datasets.annotations.outlines import CORNER, Ring, centroid
from micronet_jax.errors import InputError

_NUCLEI = ("cell", "detection", "PathCellObject", "PathDetectionObject")
_DRAWN = ("annotation", "PathAnnotationObject")
_FRAMES = (
  *("tile", "tmaCore", "root"),
  *("PathTileObject", "TMACoreObject", "PathRootObject"),
)
_TYPE_FIELDS = ("objectType", "object_type", "type")  # as versions of QuPath differ
_CHILD_FIELDS = ("childObjects", "children")
_GEOMETRIES = ("Point", "MultiPoint", "Polygon", "MultiPolygon", "GeometryCollection")


def read_geojson(path: pathlib.Path) -> list[Mark]:
  """Reads QuPath's GeoJSON.

  Every point is a nucleus, and every feature with a polygon is one; of a cell, the
  nucleus (`nucleusGeometry`) rather than the cell. Polygons that QuPath calls
  annotations are regions, not nuclei, where the file has detections or cells too, or
  where a point of the file lies in them. Lines that it calls annotations, tiles, cores
  and the root are passed over. Objects within objects are read like any others, each
  after what it lies in.

  Args:
    path: a FeatureCollection, a Feature, a geometry, or a list of these.

  Returns:
    The marks, in the order of the file.

  Raises:
    InputError: no GeoJSON, or a feature that is neither points nor polygons.
  """
  try:
    document = json.loads(path.read_bytes())
  except (OSError, ValueError, RecursionError) as error:
    reason = getattr(error, "strerror", None) or error
    raise InputError(f"{path} cannot be read as GeoJSON ({reason}).") from error
  features = _features(document)
  if features is None:
    raise InputError(f"{path} is no GeoJSON: it must hold a list of features.")
  found_nuclei = any(_object_type(feature) in _NUCLEI for feature in features)
  marks: list[Mark] = []
  regions: list[tuple[Mark, list[Ring]]] = []  # annotations, if points lie in them
  points: list[tuple[float, float]] = []
  for number, feature in enumerate(features, start=1):
    place = f"feature {number}"
    try:
      if _is_passed_over(feature):
        continue
      geometry = _geometry(feature)
      if found_nuclei and _is_region(feature, geometry):
        continue
      centers = _centers(geometry)
      found = [Mark(y=y, x=x, place=place) for x, y in centers]
      if "Point" in geometry["type"]:
        points += centers
      elif _object_type(feature) in _DRAWN and _is_region(feature, geometry):
        regions += [(mark, _outer_rings(geometry)) for mark in found]
      marks += found
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
      raise InputError(
        f"{path}, {place}: a geometry of the types {', '.join(_GEOMETRIES)} with"
        " numbers as coordinates is needed."
      ) from error
  places = np.array(points).reshape(-1, 2) + CORNER
  held = {id(mark) for mark, rings in regions if _holds(rings, places)}
  return [mark for mark in marks if id(mark) not in held]


def _features(document: Any) -> list[Any] | None:
  """All features of a document, those within others after these; None if no list."""
  if isinstance(document, dict):
    document = document.get("features", [document])
  if not isinstance(document, list):
    return None
  found = []
  for each in document:
    if isinstance(each, dict) and isinstance(each.get("features"), list):
      found += each["features"]
    else:
      found.append(each)
  return [member for feature in found for member in _family(feature)]


def _is_passed_over(feature: Any) -> bool:
  """Whether an object is a frame or a ruler, which no nucleus is."""
  kind = _object_type(feature)
  geometry = feature.get("geometry") if isinstance(feature, dict) else None
  shape = geometry.get("type") if isinstance(geometry, dict) else None
  line = isinstance(shape, str) and shape.endswith("LineString")
  return kind in _FRAMES or (kind in _DRAWN and line)


def _outer_rings(geometry: dict[str, Any]) -> list[Ring]:
  several = geometry["type"] == "MultiPolygon"
  parts = geometry["coordinates"] if several else [geometry["coordinates"]]
  return [_ring(rings[0]) for rings in parts]


def _holds(rings: list[Ring], points: np.ndarray) -> bool:
  """Whether any of `[N, 2]` points lies in a ring (a ray crosses it an odd time)."""
  for ring in rings:
    here, there = ring[None], np.roll(ring, -1, axis=0)[None]
    x, y = points[:, :1], points[:, 1:]
    spans = (here[..., 1] > y) != (there[..., 1] > y)
    with np.errstate(all="ignore"):
      rise = (y - here[..., 1]) / (there[..., 1] - here[..., 1])
      crosses = spans & (x < here[..., 0] + rise * (there[..., 0] - here[..., 0]))
    if (crosses.sum(1) % 2 == 1).any():
      return True
  return False


def _family(feature: Any) -> Iterator[Any]:
  """An object and, after it, those that QuPath's hierarchy has within it."""
  waiting = [feature]
  while waiting:
    each = waiting.pop()
    yield each
    properties = _properties(each)
    found = [properties.get(name) for name in _CHILD_FIELDS]
    for children in found:
      waiting += reversed(children) if isinstance(children, list) else []


def _properties(feature: Any) -> dict[str, Any]:
  properties = feature.get("properties") if isinstance(feature, dict) else None
  return properties if isinstance(properties, dict) else {}


def _object_type(feature: Any) -> str | None:
  """QuPath's kind of object: detection, cell, annotation and others.

  It is a property since QuPath 0.3; before, it was the feature's id.
  """
  properties = _properties(feature)
  for name in _TYPE_FIELDS:
    if isinstance(kind := properties.get(name), str):
      return kind
  kind = feature.get("id") if isinstance(feature, dict) else None
  return kind if isinstance(kind, str) else None


def _is_region(feature: Any, geometry: dict[str, Any]) -> bool:
  return _object_type(feature) not in _NUCLEI and "Polygon" in geometry["type"]


def _geometry(feature: dict[str, Any]) -> dict[str, Any]:
  if feature["type"] != "Feature":
    return feature
  return feature.get("nucleusGeometry") or feature["geometry"]


def _centers(geometry: dict[str, Any]) -> list[tuple[float, float]]:
  """The centres (x, y) of one geometry, corner taken off."""
  kind = geometry["type"]
  if kind == "GeometryCollection":
    return [center for part in geometry["geometries"] for center in _centers(part)]
  coordinates = geometry["coordinates"]
  if kind in ("Point", "MultiPoint"):
    points = coordinates if kind == "MultiPoint" else [coordinates]
    return [(x - CORNER, y - CORNER) for x, y in map(_point, points)]
  if kind not in ("Polygon", "MultiPolygon"):
    raise ValueError(kind)
  parts = coordinates if kind == "MultiPolygon" else [coordinates]
  if not parts or not all(parts):
    raise ValueError("a polygon without rings")
  center = centroid([[_ring(ring) for ring in rings] for rings in parts])
  return [] if center is None else [(center[0] - CORNER, center[1] - CORNER)]


def _point(coordinates: list[Any]) -> tuple[float, float]:
  return float(coordinates[0]), float(coordinates[1])


def _ring(vertices: list[Any]) -> Ring:
  if not vertices:
    raise ValueError("a ring without vertices")
  return np.array([_point(vertex) for vertex in vertices], np.float64)
