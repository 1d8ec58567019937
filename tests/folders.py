"""Folders of annotated images for tests of data sets, and a disk without space."""

import contextlib
import resource

import numpy as np
import PIL.Image

RNG = np.random.default_rng(0)


def add_image(root, name, *, shape=(20, 30), text="x,y\n3,4\n", ending=".png"):
  pixels = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
  for folder in ("images", "points"):
    (root / folder).mkdir(parents=True, exist_ok=True)
  PIL.Image.fromarray(pixels).save(root / "images" / f"{name}{ending}")
  if text is not None:
    (root / "points" / f"{name}.csv").write_text(text)
  return pixels


def add_index(root, *lines, header="name,organ,patient,mpp,width,height,nuclei"):
  (root / "index.csv").write_text("\n".join([header, *lines]) + "\n")


@contextlib.contextmanager
def full_disk(size):
  """Lets no file grow beyond so many bytes, as a disk with no more space would."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
