"""What every data set yields: an image, its nucleus centres, where it is from."""

import dataclasses

import numpy as np


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
