"""Made-up H&E for tests of the checks: folders without faults, to put faults into."""

import dataclasses

import numpy as np
import scipy.ndimage

from micronet_jax.datasets.sample import Sample

SIDE = 240


def stained(name: str, *, nuclei: int = 40) -> Sample:
  """Purple nuclei 5 to 7 microns wide on pink of uneven strength, glass in a corner."""
  generator = np.random.default_rng([*name.encode()])
  centers: list[np.ndarray] = []
  while len(centers) < nuclei:
    center = generator.uniform(8, SIDE - 9, 2)
    if center.sum() > 80 and all(np.hypot(*(center - c)) > 20 for c in centers):
      centers.append(center)
  y, x = np.mgrid[:SIDE, :SIDE]
  uneven = scipy.ndimage.gaussian_filter(generator.normal(size=(SIDE, SIDE)), 25)
  eosin = 0.6 + 0.25 * uneven / uneven.std()
  haematoxylin = np.zeros((SIDE, SIDE))
  for cy, cx in centers:
    haematoxylin[np.hypot(y - cy, x - cx) < generator.uniform(10, 14)] = 0.8
  glass = y + x < 60
  stains = np.stack([haematoxylin, np.where(glass, 0, eosin)], -1)
  # Ruifrok's vectors: what each absorbs of red, green and blue.
  density = stains @ np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]) / 2
  image = 245 * 10**-density + generator.normal(0, 4, (SIDE, SIDE, 3))
  return Sample(
    name=name,
    organ="kidney",
    patient=f"of {name}",
    mpp=0.25,
    image=np.clip(image, 0, 255).astype(np.uint8),
    centers=np.array(centers, np.float32).reshape(-1, 2),
  )


def changed(sample: Sample, **fields) -> Sample:
  """The same image with other fields."""
  return dataclasses.replace(sample, **fields)
