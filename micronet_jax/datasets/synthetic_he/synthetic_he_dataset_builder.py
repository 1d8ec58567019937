"""Synthetic H&E tissue of many organs, made on the spot."""

import dataclasses
from collections.abc import Iterator

import tensorflow_datasets as tfds

from micronet_jax.datasets.builders import SampleBuilder
from micronet_jax.datasets.sample import Sample
from micronet_jax.datasets.synthetic_he.generator import generate
from micronet_jax.datasets.synthetic_he.presets import GENERATOR_VERSION, ORGANS

_MPP = 0.25
IMAGES = 50
SIZE = 500


@dataclasses.dataclass(eq=False)
class SyntheticConfig(tfds.core.BuilderConfig):
  """Which tissue, and how much of it.

  Attributes:
    organ: the preset.
    images: how many images.
    size: their height and width in pixels.
  """

  organ: str = ORGANS[0]
  images: int = IMAGES
  size: int = SIZE


def config(organ: str, *, images: int = IMAGES, size: int = SIZE) -> SyntheticConfig:
  """Finds or makes the configuration of one organ.

  Args:
    organ: one of `ORGANS`.
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
  BUILDER_CONFIGS = [SyntheticConfig(name=organ, organ=organ) for organ in ORGANS]  # noqa: RUF012

  def samples(self) -> Iterator[Sample]:
    """Makes one image after the other."""
    options = self.builder_config
    for index in range(options.images):
      image, centers = generate(options.organ, index, size=options.size)
      name = f"{options.organ}__synthetic_{index:03d}"
      yield Sample(name, options.organ, name, _MPP, image, centers)
