"""Which images are meant: by files, folders and globs, as people give them.

Called by `predict.job`, and by `predict.image` for what is stated of one.
"""

import glob
import logging
import os
import pathlib
import unicodedata
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from micronet_jax.errors import InputError
from micronet_jax.imaging.opening import is_image, tell_unread
from micronet_jax.predict.outputs import FORMATS

log = logging.getLogger("micronet_jax")

Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""One file, folder or glob, or several."""


def find_images(patterns: Paths) -> list[str]:
  """The images that files, folders and globs name, each once, in order.

  Pictures that this program drew are left out, unless they are named themselves. What
  else of a folder looks like an image and is not read is said in a line.

  Raises:
    InputError: a pattern that names none, or is no path.
  """
  found: dict[str, str] = {}
  for pattern in map(_as_on_disk, _as_texts(patterns)):
    if os.path.isdir(pattern):
      held = glob.glob(os.path.join(glob.escape(pattern), "*"))
      files = [path for path in held if is_image(path) and os.path.isfile(path)]
      nothing = f"there is no image in the folder {pattern}"
      if unread := tell_unread(held):
        log.warning("%s: %s", pattern, unread)
    elif glob.has_magic(pattern) and not os.path.exists(pattern):
      files = glob.glob(_literal_folders(pattern), recursive=True)
      nothing = f"no file is named like {pattern}"
    else:
      found.setdefault(os.path.abspath(pattern), pattern)
      continue  # if it is not there, it is reported with the others
    files = sorted(path for path in files if not _is_drawn(path))
    if not files:
      raise InputError(f"{nothing}; give an image, a folder of images or a pattern")
    for path in files:
      found.setdefault(os.path.abspath(path), path)
  if not found:
    raise InputError("no image was named; give images, folders or patterns")
  return list(found.values())


class Stated(NamedTuple):
  """Microns per pixel of an image, and the index.csv that states them."""

  mpp: float
  by: pathlib.Path


def find_stated(image: str) -> Stated | None:
  """What index.csv says of an image: one beside it, or beside its folder `images`.

  Raises:
    InputError: it is wrong.
  """
  path = pathlib.Path(os.path.abspath(image))
  folder = path.parent
  roots = [folder, *([folder.parent] if folder.name == "images" else [])]
  for root in roots:
    if (root / "index.csv").is_file():
      from micronet_jax.datasets.folder import index  # which most images do without

      mpp = index.stated_mpp(root / index.INDEX, path)
      return None if mpp is None else Stated(mpp, root / index.INDEX)
  return None


def _as_texts(patterns: Paths) -> list[str]:
  """What was given for images, one or several, as text."""
  if isinstance(patterns, str | bytes | os.PathLike):
    return [as_path(patterns, "images")]
  if not isinstance(patterns, Iterable):
    return [as_path(patterns, "images")]  # which refuses it
  return [as_path(each, "images") for each in patterns]


def as_path(value: Any, name: str) -> str:
  """A path as text.

  Args:
    value: text or a `pathlib.Path`.
    name: of the argument, for the message.

  Raises:
    InputError: it is something else, or empty.
  """
  try:
    path = os.fsdecode(value)
  except TypeError:
    path = ""
  if not path:
    given = (
      repr(value) if isinstance(value, str | int | float) else type(value).__name__
    )
    raise InputError(f"{name}: expected a path, as text or pathlib.Path, got {given}")
  return path


def _as_on_disk(path: str) -> str:
  """A path in the form of Unicode that the disk has, if that alone differs.

  é may be one letter, or e and an accent: people see no difference, disks do.
  """
  if os.path.exists(path) or path.isascii():
    return path
  forms = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
  return next((form for form in forms if _names_something(form)), path)


def _names_something(path: str) -> bool:
  """Whether a file is there, or of a pattern the folder that it begins with."""
  if not glob.has_magic(path):
    return os.path.exists(path)
  return bool(glob.glob(_literal_folders(path), recursive=True))


def _literal_folders(pattern: str) -> str:
  """A pattern whose brackets are meant as they stand where such a folder is there."""
  folder, name = os.path.split(pattern)
  if not folder or folder == pattern:
    return pattern
  if os.path.isdir(folder):
    return os.path.join(glob.escape(folder), name)
  return os.path.join(_literal_folders(folder), name)


def _is_drawn(path: str) -> bool:
  return path.endswith((FORMATS["overlay"], FORMATS["density"]))
