"""Annotation files in JSON: which program's they are is told by what they hold.

Called by `annotations.read_centers`.
"""

import functools
import gzip
import json
import pathlib
import zlib
from typing import Any

from micronet_jax.datasets.annotations import coco, geojson, labelme
from micronet_jax.datasets.annotations.mark import Reading, Subject
from micronet_jax.errors import InputError
from micronet_jax.files import check_regular

_LARGEST = 1 << 29
"""Bytes that a compressed file may have when it is no longer compressed."""


def read_document(path: pathlib.Path, subject: Subject) -> Reading:
  """Reads GeoJSON, COCO or LabelMe, compressed by gzip or not.

  Args:
    path: a JSON file; an object with `images` and `annotations` is COCO, one with
      `shapes` is LabelMe, whatever else GeoJSON.
    subject: the image.

  Returns:
    What was found.

  Raises:
    InputError: the file cannot be read, or is none of these.
  """
  document = load_document(path)
  if coco.is_coco(document):
    return coco.read_coco(path, document, subject)
  if labelme.is_labelme(document):
    return labelme.read_labelme(path, document, subject)
  return geojson.read_geojson(path, document, subject)


def is_geojson(document: Any) -> bool:
  """Whether a document is no other program's, as `read_document` tells them."""
  return not (coco.is_coco(document) or labelme.is_labelme(document))


def is_shared(path: pathlib.Path) -> bool:
  """Whether a file is COCO, which may be about many images."""
  return coco.is_coco(load_document(path))


def shared_names(path: pathlib.Path) -> list[str]:
  """The names, without ending, of the images that a COCO file is about."""
  return coco.image_names(load_document(path))


def load_document(path: pathlib.Path) -> Any:
  """What a JSON file holds, compressed by gzip or not.

  Raises:
    InputError: it cannot be read.
  """
  check_regular(path)
  kind = "JSON" if path.name.lower().endswith((".json", ".json.gz")) else "GeoJSON"
  try:
    state = path.stat()
    return _parsed(path, state.st_size, state.st_mtime_ns)
  except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
    reason = getattr(error, "strerror", None) or error
    raise InputError(f"{path} cannot be read as {kind} ({reason}).") from error


@functools.lru_cache(maxsize=1)  # a file about many images is asked for by each
def _parsed(path: pathlib.Path, size: int, changed: int) -> Any:
  """What a file holds while it has this size and time of change."""
  return json.loads(_content(path))


def _content(path: pathlib.Path) -> Any:
  if path.suffix.lower() != ".gz":
    return path.read_bytes()
  with gzip.open(path) as file:
    content = file.read(_LARGEST + 1)
  if len(content) > _LARGEST:
    raise ValueError(f"it holds more than {_LARGEST >> 20} MiB when decompressed")
  return content
