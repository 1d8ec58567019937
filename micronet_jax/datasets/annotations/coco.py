"""Annotation files of COCO: one JSON file with the objects of one or many images.

Called by `annotations.documents`.
"""

import pathlib
from typing import Any

import numpy as np
from scipy import ndimage

from micronet_jax.datasets.annotations.mark import Reading, Subject
from micronet_jax.datasets.annotations.outlines import CORNER, Ring
from micronet_jax.datasets.annotations.shapes import Shape, find_nuclei
from micronet_jax.errors import InputError
from micronet_jax.files import same_name

_SAME = 0.26  # pixels by which a box may differ from its outline
_MOST_PIXELS = 1 << 28  # of a mask


def is_coco(document: Any) -> bool:
  """Whether a document has the form of COCO."""
  return isinstance(document, dict) and all(
    isinstance(document.get(key), list) for key in ("images", "annotations")
  )


def image_names(document: Any) -> list[str]:
  """The names of the images that a file is about, without folder and ending."""
  return [_stem(each) for each in document["images"] if isinstance(each, dict)]


def read_coco(path: pathlib.Path, document: Any, subject: Subject) -> Reading:
  """Reads the objects of the image that the file names like `subject`.

  Outlines (polygons) and masks (run lengths) give the centroid of their area, and where
  there is only a box, its centre. COCO counts from the corner of the top-left pixel;
  tools that trace masks write the pixels' indices instead, which shows in a box that
  is one pixel wider than its outline. Crowds (`iscrowd`) are left out.

  Args:
    path: the file, for messages.
    document: what it holds.
    subject: the image; a file about one image need not name it.

  Returns:
    What was found.

  Raises:
    InputError: the file names other images, or an object cannot be read.
  """
  images = [i for i in document["images"] if isinstance(i, dict) and "id" in i]
  image = _image(path, images, subject)
  names = {}
  for category in document.get("categories") or []:
    if isinstance(category, dict):
      names[category.get("id")] = str(category.get("name", ""))
  reading = Reading()
  shapes = []
  listed = {str(each["id"]) for each in images}
  for number, each in enumerate(document["annotations"], start=1):
    place = f"annotation {number}"
    try:
      owner = str(each["image_id"])  # tools write 7 or "7"
      if owner != str(image["id"]):
        if owner not in listed:
          reading.left_out["of an image that is not listed"] += 1
        continue
      if each.get("iscrowd"):
        reading.left_out["crowds"] += 1
        continue
      shape = _shape(place, each)
      shapes.append(shape._replace(name=names.get(each.get("category_id"), "")))
    except (
      *(AttributeError, IndexError, KeyError, TypeError, ValueError),
      OverflowError,
    ) as error:
      raise InputError(
        f"{path}, {place}: an image_id and a segmentation (polygons or run lengths) or"
        f" a bbox of four numbers are needed ({type(error).__name__}: {error})."
      ) from error
  return find_nuclei(path, shapes, reading)


def _image(
  path: pathlib.Path, known: list[dict[str, Any]], subject: Subject
) -> dict[str, Any]:
  """The image that the file means by the name of `subject`."""
  named = [
    each
    for each in known
    if subject.name in (_stem(each), _stem(each).removesuffix(".ome"))
  ]
  found = named or (known if len(known) == 1 else [])
  if len(found) != 1:
    stems = ", ".join(_stem(each) for each in known[:3])
    raise InputError(
      f"{path} is about {len(known)} images ({stems}…), {len(named)} of them named"
      f" {subject.name}; file_name must be that of the image, without folder and"
      " ending, for one of them."
    )
  image = found[0]
  told = (image.get("height"), image.get("width"))
  if subject.shape and None not in told and told != tuple(subject.shape):
    raise InputError(
      f"{path} is about an image of {told[1]} x {told[0]} pixels, but its image is"
      f" {subject.shape[1]} x {subject.shape[0]}."
    )
  return image


def _stem(image: dict[str, Any]) -> str:
  name = str(image.get("file_name", "")).replace("\\", "/").rpartition("/")[2]
  return same_name(name.rpartition(".")[0] or name)


def _shape(place: str, annotation: dict[str, Any]) -> Shape:
  drawn, box = annotation.get("segmentation"), annotation.get("bbox")
  if isinstance(drawn, dict):
    y, x = ndimage.center_of_mass(_mask(drawn))
    return Shape(place, point=(float(x), float(y)), corner=0.0)
  if drawn:
    rings: list[Ring] = [
      np.array(part, np.float64).reshape(-1, 2) for part in drawn if len(part)
    ]
    corner = _corner(rings, box)
    return Shape(place, polygons=[[ring] for ring in rings], corner=corner)
  x, y, width, height = (float(value) for value in box or ())
  return Shape(place, point=(x + width / 2, y + height / 2))


def _corner(rings: list[Ring], box: Any) -> float:
  """Where an outline's frame has the centre of the top-left pixel."""
  if not box or not rings:
    return CORNER
  spans = np.ptp(np.concatenate(rings), axis=0)
  wider = np.array([float(box[2]), float(box[3])]) - spans
  return 0.0 if (np.abs(wider - 1) < _SAME).all() else CORNER


def _mask(drawn: dict[str, Any]) -> np.ndarray:
  """Bool `[H, W]` of run lengths down the columns, background first."""
  height, width = (int(side) for side in drawn["size"])
  counts = drawn["counts"]
  runs = _decompressed(counts) if isinstance(counts, str) else [int(n) for n in counts]
  if not 0 < height * width <= _MOST_PIXELS:
    raise ValueError(f"a mask of {height} x {width} pixels")
  if min(runs, default=0) < 0 or sum(runs) != height * width or sum(runs[1::2]) == 0:
    raise ValueError("run lengths that do not fill the mask, or mark nothing")
  values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
  return values.reshape(width, height).T


def _decompressed(text: str) -> list[int]:
  """Run lengths from COCO's text: 5 bits a letter, each but two less an earlier one."""
  runs: list[int] = []
  value = shift = 0
  for letter in text:
    bits = ord(letter) - 48
    value |= (bits & 31) << shift
    shift += 5
    if bits & 32:
      continue
    if bits & 16:  # negative
      value -= 1 << shift
    runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    value = shift = 0
  return runs
