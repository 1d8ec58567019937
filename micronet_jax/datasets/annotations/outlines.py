"""Annotation files that hold outlines: QuPath's GeoJSON and Aperio's XML.

Both count from the corner of the top-left pixel, so that pixel's centre is
(0.5, 0.5) in the file and (0, 0) here.
"""

import json
import pathlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import numpy as np

from micronet_jax.datasets.annotations.mark import Mark
from micronet_jax.errors import InputError

Ring = np.ndarray  # float64 [N, 2] of (x, y); the last vertex may repeat the first

_CORNER = 0.5  # the centre of the top-left pixel, in the files
_MIN_AREA = 1.0  # square pixels; below, a slip of the mouse
_NUCLEI = ("cell", "detection", "PathCellObject", "PathDetectionObject")
_DRAWN = ("annotation", "PathAnnotationObject")
_FRAMES = (
  *("tile", "tmaCore", "root"),
  *("PathTileObject", "TMACoreObject", "PathRootObject"),
)
_TYPE_FIELDS = ("objectType", "object_type", "type")  # as versions of QuPath differ
_CHILD_FIELDS = ("childObjects", "children")
_GEOMETRIES = ("Point", "MultiPoint", "Polygon", "MultiPolygon", "GeometryCollection")
_APERIO_ELLIPSE = "2"  # Region's Type; stored as two corners of its box


@np.errstate(all="ignore")  # what is not finite is found by who checks the centres
def centroid(polygons: list[list[Ring]]) -> tuple[float, float] | None:
  """Finds the centroid of the area of a shape.

  Args:
    polygons: the shape's parts; of each, the outer ring and then its holes.

  Returns:
    (x, y); where an outline crosses itself so that its area's centroid falls
    outside the box around it, the mean of the vertices. None if the area is less
    than a square pixel.
  """
  area, moment = 0.0, np.zeros(2)
  for rings in polygons:
    for index, ring in enumerate(rings):
      ring_area, ring_moment = _area_and_moment(ring)
      sign = -1 if index else 1
      area += sign * ring_area
      moment += sign * ring_moment
  if area < _MIN_AREA:
    return None
  outer = np.concatenate([rings[0] for rings in polygons])
  center = moment / area
  if not ((center >= outer.min(0)) & (center <= outer.max(0))).all():
    center = outer.mean(0)
  return float(center[0]), float(center[1])


def _area_and_moment(ring: Ring) -> tuple[float, np.ndarray]:
  """Area and first moment by the shoelace formula, for either direction."""
  origin = ring[0]  # near the outline, so that nothing cancels far from (0, 0)
  here = ring - origin
  there = np.roll(here, -1, axis=0)
  cross = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
  area = cross.sum() / 2
  moment = ((here + there) * cross[:, None]).sum(0) / 6 + area * origin
  return (-area, -moment) if area < 0 else (area, moment)


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
  places = np.array(points).reshape(-1, 2) + _CORNER
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
    return [(x - _CORNER, y - _CORNER) for x, y in map(_point, points)]
  if kind not in ("Polygon", "MultiPolygon"):
    raise ValueError(kind)
  parts = coordinates if kind == "MultiPolygon" else [coordinates]
  if not parts or not all(parts):
    raise ValueError("a polygon without rings")
  center = centroid([[_ring(ring) for ring in rings] for rings in parts])
  return [] if center is None else [(center[0] - _CORNER, center[1] - _CORNER)]


def _point(coordinates: list[Any]) -> tuple[float, float]:
  return float(coordinates[0]), float(coordinates[1])


def _ring(vertices: list[Any]) -> Ring:
  if not vertices:
    raise ValueError("a ring without vertices")
  return np.array([_point(vertex) for vertex in vertices], np.float64)


def read_aperio(path: pathlib.Path) -> list[Mark]:
  """Reads the regions of an Aperio ImageScope file; negative ones are no nuclei.

  Args:
    path: an XML file of Annotations/Annotation/Regions/Region/Vertices/Vertex.

  Returns:
    One mark a region that has an area.

  Raises:
    InputError: no such file, or a vertex without numbers X and Y.
  """
  try:
    root = ET.fromstring(path.read_bytes())
  except (OSError, ET.ParseError) as error:
    reason = getattr(error, "strerror", None) or error
    raise InputError(f"{path} cannot be read as XML ({reason}).") from error
  if root.tag != "Annotations":
    raise InputError(
      f"{path} is no Aperio file: its outermost element must be Annotations, but it"
      f" is {root.tag}."
    )
  marks = []
  for number, region in enumerate(root.iter("Region"), start=1):
    place = f"region {number} (Id {region.get('Id')})"
    ring = _vertices(path, place, region)
    if not len(ring) or region.get("NegativeROA") == "1":
      continue
    if region.get("Type") == _APERIO_ELLIPSE and len(ring) == 2:
      center: tuple[float, float] | None = tuple(ring.mean(0).tolist())
    else:
      center = centroid([[ring]])
    if center is not None:
      marks.append(Mark(y=center[1] - _CORNER, x=center[0] - _CORNER, place=place))
  return marks


def _vertices(path: pathlib.Path, place: str, region: ET.Element) -> Ring:
  vertices = list(region.iter("Vertex"))
  try:
    points = [(float(v.attrib["X"]), float(v.attrib["Y"])) for v in vertices]
  except (KeyError, ValueError) as error:
    raise InputError(
      f"{path}, {place}: every Vertex needs numbers X and Y ({error})."
    ) from error
  return np.array(points, np.float64).reshape(-1, 2)
