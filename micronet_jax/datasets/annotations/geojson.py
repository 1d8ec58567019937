"""Annotation files of QuPath: GeoJSON with points or outlines.

They count from the corner of the top-left pixel, so that pixel's centre is (0.5, 0.5)
in the file and (0, 0) here. Called by `annotations.documents` and `regions`.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from micronet_jax.datasets.annotations.mark import Reading, Subject
from micronet_jax.datasets.annotations.outlines import Ring
from micronet_jax.datasets.annotations.shapes import Shape, find_nuclei
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


def read_geojson(path: pathlib.Path, document: Any, subject: Subject) -> Reading:
  """Reads QuPath's GeoJSON.

  Every point is a nucleus, and every feature with a polygon is one; of a cell, the
  nucleus (`nucleusGeometry`) rather than the cell. What is none of these, by the rules
  of `shapes.find_nuclei`, is left out and counted, and so are lines that QuPath calls
  annotations, tiles, cores and the root. Objects within objects are read like any
  others, each after what it lies in.

  Args:
    path: the file, for messages.
    document: a FeatureCollection, a Feature, a geometry, or a list of these.
    subject: the image; the file has the frame in which QuPath shows it.

  Returns:
    What was found, in the order of the file.

  Raises:
    InputError: no GeoJSON, or a feature that is neither points nor polygons.
  """
  reading = Reading()
  shapes = read_shapes(path, document, reading)
  return find_nuclei(path, shapes, reading).moved(subject.origin)


def read_shapes(path: pathlib.Path, document: Any, reading: Reading) -> list[Shape]:
  """All points and outlines of a document, as they stand in the file.

  Args:
    path: the file, for messages.
    document: as in `read_geojson`.
    reading: gets what objects are left out.

  Raises:
    InputError: as `read_geojson`.
  """
  features = _features(document)
  if features is None:
    raise InputError(f"{path} is no GeoJSON: it must hold a list of features.")
  shapes: list[Shape] = []
  for number, feature in enumerate(features, start=1):
    place = f"feature {number}"
    try:
      if why := _passed_over(feature):
        reading.left_out[why] += 1
        continue
      shapes += _shapes(place, feature, _geometry(feature))
    except (
      *(AttributeError, IndexError, KeyError, TypeError, ValueError),
      *(OverflowError, RecursionError),
    ) as error:
      raise InputError(
        f"{path}, {place}: a geometry of the types {', '.join(_GEOMETRIES)} with"
        " numbers as coordinates is needed."
      ) from error
  return shapes


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


def _passed_over(feature: Any) -> str | None:
  """What an object is that is a frame or a ruler, which no nucleus is."""
  kind = _object_type(feature)
  geometry = feature.get("geometry") if isinstance(feature, dict) else None
  shape = geometry.get("type") if isinstance(geometry, dict) else None
  line = isinstance(shape, str) and shape.endswith("LineString")
  if kind in _FRAMES:
    return "tiles, cores and roots"
  return "lines" if kind in _DRAWN and line else None


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


def _class_name(feature: Any) -> str:
  """The class, `A: B` for one of several parts; the object's name if it has none."""
  properties = _properties(feature)
  told = properties.get("classification")
  if isinstance(told, dict):
    parts = told.get("names")  # since QuPath 0.5
    told = ": ".join(map(str, parts)) if isinstance(parts, list) else told.get("name")
  name = told or properties.get("name")
  return name if isinstance(name, str) else ""


def _geometry(feature: dict[str, Any]) -> dict[str, Any]:
  if feature["type"] != "Feature":
    return feature
  return feature.get("nucleusGeometry") or feature["geometry"]


def _shapes(place: str, feature: Any, geometry: dict[str, Any]) -> list[Shape]:
  """The objects of one geometry."""
  kind = geometry["type"]
  if kind == "GeometryCollection":
    parts = geometry["geometries"]
    return [shape for part in parts for shape in _shapes(place, feature, part)]
  coordinates = geometry["coordinates"]
  common = Shape(
    place=place,
    nucleus=_object_type(feature) in _NUCLEI,
    name=_class_name(feature),
    plane=_plane(geometry),
  )
  if kind in ("Point", "MultiPoint"):
    points = coordinates if kind == "MultiPoint" else [coordinates]
    return [common._replace(point=_point(point)) for point in points]
  if kind not in ("Polygon", "MultiPolygon"):
    raise ValueError(kind)
  parts = coordinates if kind == "MultiPolygon" else [coordinates]
  if not parts or not all(parts):
    raise ValueError("a polygon without rings")
  polygons = [[_ring(ring) for ring in rings] for rings in parts]
  return [common._replace(polygons=polygons)]


def _plane(geometry: dict[str, Any]) -> tuple[int, int]:
  plane = geometry.get("plane") or {}
  return int(plane.get("z", 0)), int(plane.get("t", 0))


def _point(coordinates: list[Any]) -> tuple[float, float]:
  return float(coordinates[0]), float(coordinates[1])


def _ring(vertices: list[Any]) -> Ring:
  if not vertices:
    raise ValueError("a ring without vertices")
  return np.array([_point(vertex) for vertex in vertices], np.float64)
