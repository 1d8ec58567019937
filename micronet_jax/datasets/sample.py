"""What every data set yields: an image, its nucleus centres, where it is from.

Made by `datasets.entries` and the builders; read by training, evaluation and studies.
"""

import dataclasses
import functools
import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from micronet_jax.errors import InputError, check_type
from micronet_jax.files import digest
from micronet_jax.imaging.resampling import rescale_centers, rescale_image
from micronet_jax.lengths import REFERENCE_MPP, in_network_pixels, scale_between

_REGION = re.compile(r"(.+)@(\d+),(\d+),(\d+),(\d+)")

_NUMBERS = np.typecodes["Float"] + np.typecodes["AllInteger"]


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """One annotated image.

  Made of anything else than what is said here, it raises `InputError`.

  Attributes:
    name: unique within its data set, for instance `kidney__TCGA-HE-7128_r1c1`; of a
      region of an image, `NAME@x,y,width,height`.
    organ: tissue or stain group, lower case; `unknown` if nobody said.
    patient: what splits keep together; the image's name if nobody said.
    mpp: microns per pixel, or None if not known.
    image: uint8 `[H, W, 3]`, RGB.
    centers: float32 `[N, 2]` in (y, x), finite; (0, 0) is the centre of the top-left
      pixel; N = 0 allowed.
    origin: digests of pixels and points before the sample was resampled or cut; None
      for one that was not.
  """

  name: str
  organ: str
  patient: str
  mpp: float | None
  image: np.ndarray
  centers: np.ndarray
  origin: tuple[str, str] | None = None

  def __post_init__(self) -> None:
    name = f"sample {self.name!r}: "
    image = "uint8 [H, W, 3], RGB of 0 to 255"
    _check_array(self.image, name + "image", image, kinds="B", sides=3)
    centers = "float32 [N, 2] of (y, x)"
    _check_array(self.centers, name + "centers", centers, kinds=_NUMBERS, sides=2)
    if not np.isfinite(self.centers).all():
      raise InputError(f"{name}NaN or infinite centers; every centre needs y and x")

  @property
  def pixels_digest(self) -> str:
    """16 hexadecimal digits of the pixels, as they were before any resampling."""
    return self._digests[0]

  @property
  def points_digest(self) -> str:
    """16 hexadecimal digits of centres and resolution, likewise."""
    return self._digests[1]

  @functools.cached_property
  def _digests(self) -> tuple[str, str]:
    if self.origin:
      return self.origin
    pixels = repr(self.image.shape).encode() + self.image.tobytes()
    points = np.ascontiguousarray(self.centers, np.float32).tobytes()
    return (
      digest(pixels, digits=16),
      digest(repr(self.mpp).encode() + points, digits=16),
    )

  @property
  def is_plain(self) -> bool:
    """Whether all pixels have one colour, as where there is but one."""
    return bool((self.image == self.image[:1, :1]).all())

  @property
  def resolution(self) -> float:
    """Microns per pixel that it is taken to have; 0.25 where nobody knows."""
    return REFERENCE_MPP if self.mpp is None else self.mpp

  def in_reference(self, points: np.ndarray) -> np.ndarray:
    """Moves points `[N, 2]` (y, x) of this image to pixels at 0.25 microns."""
    factor = scale_between(self.mpp, REFERENCE_MPP)
    return points if factor == 1 else (points + 0.5) * factor - 0.5

  @property
  def reference_shape(self) -> tuple[float, float]:
    """Height and width in pixels at 0.25 microns."""
    factor = scale_between(self.mpp, REFERENCE_MPP)
    return self.image.shape[0] * factor, self.image.shape[1] * factor

  def changed(
    self, image: np.ndarray, centers: np.ndarray, *, mpp: float | None
  ) -> "Sample":
    """Another version of this sample, which keeps the digests.

    Args:
      image: uint8 `[H, W, 3]`.
      centers: float32 `[N, 2]` (y, x) in it.
      mpp: its microns per pixel, None if not known.
    """
    return dataclasses.replace(
      self, image=image, centers=centers, mpp=mpp, origin=self._digests
    )


def _check_array(value: Any, name: str, wanted: str, *, kinds: str, sides: int) -> None:
  """Makes sure of an array of so many sides, of which the last is as long.

  Args:
    value: what may be one.
    name: what to call it in the message.
    wanted: what it must be, likewise.
    kinds: codes of NumPy's types (`dtype.char`) that it may have.
    sides: how many.

  Raises:
    InputError: saying what it is, and what is wanted.
  """
  check_type(value, np.ndarray, name, f"an array {wanted}")
  if value.dtype.char not in kinds or value.ndim != sides or value.shape[-1] != sides:
    raise InputError(
      f"{name} is an array {value.dtype} {list(value.shape)}; it must be {wanted}"
    )


def region_name(image: str, x: int, y: int, width: int, height: int) -> str:
  """The name of the sample that a region of an image becomes."""
  return f"{image}@{x},{y},{width},{height}"


def image_of(name: str) -> str:
  """The name of the image that a sample is, or is a region of."""
  found = _REGION.fullmatch(name)
  return found[1] if found else name


def share_pixels(name: str, other: str) -> bool:
  """Whether names of one data set tell of pixels in common, of a region at least."""
  if image_of(name) != image_of(other):
    return False
  one, two = _REGION.fullmatch(name), _REGION.fullmatch(other)
  if one is None or two is None:  # a region and its image, or an image and itself
    return (one is None) != (two is None)
  x, y, width, height = map(int, one.groups()[1:])
  left, top, across, down = map(int, two.groups()[1:])
  return x < left + across and left < x + width and y < top + down and top < y + height


def to_resolution(sample: Sample, mpp: float) -> Sample:
  """Brings a sample to a network's resolution; one of unknown has 0.25 microns."""
  factor = scale_between(sample.mpp, mpp)
  if factor == 1:
    return sample
  image = rescale_image(sample.image, factor)
  centers = rescale_centers(sample.centers, sample.image.shape, image.shape)
  return sample.changed(image, centers, mpp=mpp)


def cut_middle(sample: Sample, side: int) -> Sample:
  """Cuts what is larger to its middle; 0 leaves it alone.

  Args:
    sample: at any resolution.
    side: of what is left, in pixels at 0.25 microns.
  """
  side = round(in_network_pixels(side, sample.resolution))
  height, width = sample.image.shape[:2]
  if not side or max(height, width) <= side:
    return sample
  y, x = max(height - side, 0) // 2, max(width - side, 0) // 2
  image = np.ascontiguousarray(sample.image[y : y + side, x : x + side])
  centers = sample.centers - np.array([y, x], sample.centers.dtype)
  inside = ((centers >= -0.5) & (centers < np.array(image.shape[:2]) - 0.5)).all(1)
  return sample.changed(image, centers[inside], mpp=sample.mpp)


def as_points(points: ArrayLike, name: str = "centers") -> np.ndarray:
  """Checks that an array or a table holds points.

  Args:
    points: `[N, 2]` (y, x), N >= 0; any empty array counts as N = 0. Or a table with
      columns named x and y, in any order: pandas', Polars', PyArrow's, or an array with
      named fields.
    name: what to call it in the message.

  Returns:
    float64 `[N, 2]` (y, x).

  Raises:
    InputError: if it is not `[N, 2]`, is a table without x or y, or holds NaN or
      infinity.
  """
  columns = _columns(points, name)
  try:
    array = np.asarray(points if columns is None else columns, np.float64)
  except (TypeError, ValueError) as error:  # rows of several lengths, or no numbers
    kind = type(points).__name__
    raise InputError(
      f"{name}: expected an [N, 2] array of (y, x), got a {kind} that is none"
    ) from error
  if array.size == 0:
    return array.reshape(0, 2)
  if array.ndim != 2 or array.shape[1] != 2:
    raise InputError(f"{name}: expected an [N, 2] array of (y, x), got {array.shape}")
  if not np.isfinite(array).all():
    raise InputError(f"{name}: NaN or infinite coordinates; every centre needs both")
  return array


def _columns(points: Any, name: str) -> np.ndarray | None:
  """Of what has columns named y and x `[N, 2]`; of what has no names None.

  Raises:
    InputError: it has others.
  """
  fields = getattr(getattr(points, "dtype", None), "names", None)
  named = fields or getattr(points, "column_names", getattr(points, "columns", None))
  if named is None:
    return None
  names = list(named)
  if names.count("x") != 1 or names.count("y") != 1:
    listed = ", ".join(map(str, names)) or "none"
    raise InputError(f"{name}: expected a table with columns x and y, got {listed}")
  return np.stack([np.asarray(points[each]) for each in ("y", "x")], -1)
