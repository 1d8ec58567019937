"""Which image a result is of, so that none of the same name takes its place.

Called by `predict.job` and `predict.image`.
"""

import os
import pathlib
import stat
from collections.abc import Sequence
from typing import Any

from micronet_jax.errors import InputError
from micronet_jax.files import digest
from micronet_jax.predict.outputs import load_record, record_path, write_the_same

_BLOCKS, _BLOCK = 16, 1 << 17  # bytes of each: 2 MiB of the largest slide


def identify(image: str) -> dict[str, Any]:
  """What tells an image from others of its name, wherever it lies.

  Returns:
    Its `file` (the name), `bytes`, time of change (`modified`, in nanoseconds), and
    `content`: a digest of all of it up to 2 MiB, beyond that of 16 blocks of 128 KiB
    spread evenly over it; "" of a folder or a pipe, which nothing is read from.

  Raises:
    InputError: it is not there, or cannot be read.
  """
  try:
    status = os.stat(image)
    regular = stat.S_ISREG(status.st_mode)
    content = _sample(image, status.st_size) if regular else ""
  except OSError as error:
    raise InputError(f"{image} cannot be read ({error.strerror})") from error
  return {
    "file": os.path.basename(image),
    "bytes": status.st_size,
    "modified": status.st_mtime_ns,
    "content": content,
  }


def _sample(image: str, size: int) -> str:
  places = list(range(0, size, _BLOCK))
  if len(places) > _BLOCKS:
    places = [(size - _BLOCK) * number // (_BLOCKS - 1) for number in range(_BLOCKS)]
  blocks = []
  with open(image, "rb") as file:
    for place in places:
      file.seek(place)
      blocks.append(file.read(_BLOCK))
  return digest(b"".join(blocks), digits=16)


def check_results(jobs: Sequence[tuple[str, pathlib.Path]]) -> None:
  """Makes sure that no result of another image would be replaced.

  An image is another if the place in the record is still there, is not this file, and
  was not of this content. A folder that was moved or copied holds the same images.

  Args:
    jobs: images with the paths of their files, less the ending.

  Raises:
    InputError: one is another.
  """
  for image, stem in jobs:
    record = load_record(record_path(stem))
    place = record.get("place")
    if place is None or not (os.path.exists(place) and os.path.exists(image)):
      continue
    if os.path.samefile(place, image):
      continue
    try:
      here = identify(image)
    except InputError:
      continue  # it is reported with the others
    if any(here[key] != record["settings"].get(key) for key in ("bytes", "content")):
      raise write_the_same(place, image, stem)
