"""Synthetic H&E tissue of many organs, and what is none, made on the spot."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from micronet_jax.datasets.builders import SampleBuilder
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.synthetic_he.artefacts import ARTEFACTS, generate_artefacts
from micronet_jax.datasets.synthetic_he.generator import generate
from micronet_jax.datasets.synthetic_he.presets import GENERATOR_VERSION, ORGANS

_MPP = 0.25
KINDS = (*ORGANS, ARTEFACTS)
"""What the data set can make."""

IMAGES = 50
SIZE = 500


@dataclasses.dataclass(eq=False)
class SyntheticConfig(tfds.core.BuilderConfig):
  """Which tissue, and how much of it.

  Attributes:
    organ: the preset, or "artefacts".
    images: how many images.
    size: their height and width in pixels.
  """

  organ: str = ORGANS[0]
  images: int = IMAGES
  size: int = SIZE


def config(organ: str, *, images: int = IMAGES, size: int = SIZE) -> SyntheticConfig:
  """Finds or makes the configuration of one organ.

  Args:
    organ: one of `ORGANS`, or "artefacts".
    images: how many images.
    size: their height and width in pixels.

  Returns:
    One named after the organ, and after what differs from the default.
  """
  if (images, size) == (IMAGES, SIZE):
    return Builder.builder_configs[organ]
  return SyntheticConfig(
    name=f"{organ}_{images}x{size}", organ=organ, images=images, size=size
  )


class Builder(SampleBuilder):
  """Synthetic H&E-like tissue with exact nucleus centres, one configuration an organ.

  The version is the generator's own, so that a changed generator is never served
  from what an older one made.
  """

  VERSION = tfds.core.Version(GENERATOR_VERSION)
  BUILDER_CONFIGS = [  # noqa: RUF012
    SyntheticConfig(name=organ, organ=organ) for organ in KINDS
  ]

  def samples(self) -> Iterator[Sample]:
    """Makes one image after the other."""
    options = self.builder_config
    for index in range(options.images):
      if options.organ == ARTEFACTS:
        image = generate_artefacts(index, size=options.size)
        centers = np.zeros((0, 2), np.float32)
      else:
        image, centers = generate(options.organ, index, size=options.size)
      name = f"{options.organ}__synthetic_{index:03d}"
      yield Sample(name, options.organ, name, _MPP, image, centers)
