"""What every data set yields: an image, its nucleus centres, where it is from."""

import dataclasses

import numpy as np

from micronet_jax.imaging.resampling import rescale_centers, rescale_image
from micronet_jax.imaging.resolution import WORKING_MPP


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """One annotated image.

  Attributes:
    name: unique within its data set, for instance `kidney__TCGA-HE-7128_r1c1`.
    organ: tissue or stain group, lower case; `unknown` if nobody said.
    patient: what splits keep together; the image's name if nobody said.
    mpp: microns per pixel, or None if not known.
    image: uint8 `[H, W, 3]`, RGB.
    centers: float32 `[N, 2]` in (y, x); (0, 0) is the centre of the top-left
      pixel; N = 0 allowed.
  """

  name: str
  organ: str
  patient: str
  mpp: float | None
  image: np.ndarray
  centers: np.ndarray


def to_working_resolution(sample: Sample, *, mpp: float = WORKING_MPP) -> Sample:
  """Brings a sample of known resolution to `mpp`; one of unknown is left alone."""
  if sample.mpp is None or abs(sample.mpp / mpp - 1) < 0.01:
    return sample
  image = rescale_image(sample.image, sample.mpp / mpp)
  centers = rescale_centers(sample.centers, sample.image.shape, image.shape)
  return dataclasses.replace(sample, image=image, centers=centers, mpp=mpp)
