"""Whether centres lie on nuclei, which haematoxylin stains.

Haematoxylin absorbs red light, eosin hardly any: where the red optical density stands
out from its surroundings there is a nucleus. The mean of that map over all centres is
high, and drops wherever the whole of them is moved to. How far it stands out from the
means at other places needs no threshold of colour, so it holds for strong and pale
stains alike. Images whose colours are not those of H&E cannot tell. Called by `job`.
"""

import dataclasses

import numpy as np
import scipy.fft
import scipy.ndimage

from micronet_jax.datasets.sample import Sample

# In microns.
_PIXEL = 0.5  # finer images are averaged to about that
_FINE, _COARSE = 1.0, 6.0  # deviations of the Gaussians whose difference finds nuclei
_NEAR = 4.0  # as far from their centres have pale nuclei their dark rim
_FAR = 8.0  # beyond it no pixel is of the centre's own nucleus
_REACH = 16.0  # how far centres are moved, at least
_BESIDE = 2.0  # how far around a centre on background all is pale

_LEAST_REACH = 64  # pixels of the image: people move by margins and crops
_LARGEST = 2048  # side of what is looked at, around the centres, in the image's pixels
_PALE = 20  # background is paler than this percentile of the image

_DENSITY = 0.15  # optical density of what is no glass
_DARKEST = 1.4  # of a section in transmitted light, mean density for green
_GREEN = 0.001  # by how much more green is absorbed at least than red and blue


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
  """What an image says about its centres; scores are in standard deviations.

  Attributes:
    score: how far the stain at the centres stands out from that elsewhere.
    swapped: the same with x and y swapped.
    upturned: the same with y counted from the bottom.
    shift: (dy, dx) in pixels to the best place to move all centres to.
    shifted: the score there.
    width: of the nuclei at half their stain, in microns; NaN if not told.
    background: `[K]`, indices of centres with nothing but background around.
  """

  score: float
  swapped: float
  upturned: float
  shift: tuple[int, int]
  shifted: float
  width: float
  background: np.ndarray


def examine_stain(sample: Sample) -> Evidence | None:
  """Compares the stain at an image's centres with that elsewhere.

  Args:
    sample: at its own resolution; of unknown, it is taken to have 0.25 microns.

  Returns:
    The evidence; None without centres, or if the colours are not those of H&E.
  """
  if not len(sample.centers) or not shows_h_and_e(sample.image):
    return None
  centers = sample.centers.astype(np.float64)
  stain = _Stain(sample, centers)
  scores = stain.scores(centers)
  place = np.unravel_index(np.argmax(scores), scores.shape)
  others = []
  for moved in (swap_axes(sample), turn_over(sample)):
    if len(moved) < len(centers) / 2:  # the rest would lie beyond the image
      others.append(-np.inf)
      continue
    there = stain if stain.whole else _Stain(sample, moved)
    others.append(there.near(there.scores(moved)))
  dy, dx = ((int(each) - stain.reach) * stain.factor for each in place)
  return Evidence(
    score=stain.near(scores),
    swapped=others[0],
    upturned=others[1],
    shift=(dy, dx),
    shifted=float(scores[place]),
    width=stain.nuclear_width(centers),
    background=stain.on_background(centers),
  )


def swap_axes(sample: Sample) -> np.ndarray:
  """The centres with x and y swapped, of those the ones on the image."""
  return _on_image(sample, sample.centers[:, ::-1])


def turn_over(sample: Sample) -> np.ndarray:
  """The centres with y counted from the bottom."""
  bottom = sample.image.shape[0] - 1
  return _on_image(sample, sample.centers * (-1, 1) + (bottom, 0))


def _on_image(sample: Sample, centers: np.ndarray) -> np.ndarray:
  size = np.array(sample.image.shape[:2])
  return centers[((centers >= -0.5) & (centers < size - 0.5)).all(axis=1)]


def shows_h_and_e(image: np.ndarray) -> bool:
  """Whether an image uint8 `[H, W, 3]` has the colours of H&E in transmitted light.

  Both stains absorb green most; a fluorescent image is dark, a grey one grey.
  """
  step = max(1, min(image.shape[:2]) // 256)
  density = _optical_density(image[::step, ::step].reshape(-1, 3))
  stained = density[density.max(axis=1) > _DENSITY]
  if not len(stained):
    return False
  red, green, blue = stained.mean(axis=0)
  return bool(green < _DARKEST and green > max(red, blue) + _GREEN)


def _optical_density(pixels: np.ndarray) -> np.ndarray:
  return -np.log10((pixels.astype(np.float32) + 1) / 256)


class _Stain:
  """The density for red light around centres, in pixels of about half a micron.

  Attributes:
    whole: all of the image is there.
    factor: pixels of the image that are averaged to one, along each side.
    reach: how far centres are moved, in these pixels.
  """

  def __init__(self, sample: Sample, centers: np.ndarray):
    mpp = sample.resolution
    height, width = sample.image.shape[:2]
    self.whole = max(height, width) <= _LARGEST
    self.factor = max(1, min(int(_PIXEL / mpp), height, width))
    room = np.maximum([height - _LARGEST, width - _LARGEST], 0)
    corner = np.clip(np.median(centers, axis=0) - _LARGEST / 2, 0, room)
    self._y, self._x = (int(each) for each in corner)
    window = sample.image[self._y :, self._x :, 0][:_LARGEST, :_LARGEST]
    self._red = _averaged(_optical_density(window), self.factor)
    self._mpp = mpp * self.factor
    self._smooth = scipy.ndimage.gaussian_filter(self._red, _FINE / self._mpp)
    around = scipy.ndimage.gaussian_filter(self._red, _COARSE / self._mpp)
    self._nuclei = self._smooth - around
    self.reach = round(max(_LEAST_REACH / self.factor, _REACH / self._mpp))
    steps = np.arange(-self.reach, self.reach + 1)
    self._distance = np.hypot(steps, steps[:, None]) * self._mpp

  def _pixels(self, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels `[K, 2]` of the centres within the window, and their indices `[K]`."""
    places = (centers - (self._y, self._x) + 0.5) / self.factor
    places = np.floor(places).astype(np.int64)
    inside = ((places >= 0) & (places < self._red.shape)).all(axis=1)
    return places[inside], np.flatnonzero(inside)

  def _means(self, values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """The mean of a map over centres that are all moved alike, by (dy, dx).

    Returns:
      `[2R + 1, 2R + 1]`, R the reach; beyond the window the map counts as 0.
    """
    places, _ = self._pixels(centers)
    points = np.zeros_like(values)
    np.add.at(points, tuple(places.T), 1 / max(1, len(places)))
    size = [scipy.fft.next_fast_len(n + self.reach, real=True) for n in values.shape]
    product = scipy.fft.rfft2(values, size) * scipy.fft.rfft2(points, size).conj()
    steps = np.arange(-self.reach, self.reach + 1)
    # A window smaller than the reach repeats: what is beyond it is not looked at.
    means = scipy.fft.irfft2(product, size)
    return means[np.ix_(steps % size[0], steps % size[1])]

  def scores(self, centers: np.ndarray) -> np.ndarray:
    """How far the means stand out, by (dy, dx), in deviations of those far away."""
    means = self._means(self._nuclei, centers)
    far = means[self._distance > _FAR]
    low, middle, high = np.percentile(far, [16, 50, 84])
    # Percentiles leave the nuclei of shifted centres out; on much glass they are 0.
    return (means - middle) / max((high - low) / 2, float(far.std()) / 2, 1e-9)

  def near(self, scores: np.ndarray) -> float:
    """The best score that does not move centres off their nuclei."""
    return float(scores[self._distance <= _NEAR].max())

  def nuclear_width(self, centers: np.ndarray) -> float:
    """Across the mean of all nuclei at half its stain, in microns; NaN if unclear."""
    means = self._means(self._red - self._red.mean(), centers)
    ring = np.rint(self._distance / self._mpp).astype(np.int64).ravel()
    count = int(_FAR / self._mpp) + 1
    sums, pixels = np.bincount(ring, means.ravel()), np.bincount(ring)
    profile = sums[:count] / pixels[:count]
    half = (profile[0] + profile.min()) / 2
    beyond = int(np.argmax(profile < half))
    if not beyond:
      return float("nan")
    inner, outer = profile[beyond - 1], profile[beyond]
    return 2 * self._mpp * float(beyond - (half - outer) / (inner - outer))

  def on_background(self, centers: np.ndarray) -> np.ndarray:
    """Indices of centres that have nothing but pale pixels around."""
    side = 2 * round(_BESIDE / self._mpp) + 1
    darkest = scipy.ndimage.maximum_filter(self._smooth, side)
    places, indices = self._pixels(centers)
    pale = darkest[tuple(places.T)] < np.percentile(self._smooth, _PALE)
    return indices[pale]


def _averaged(values: np.ndarray, factor: int) -> np.ndarray:
  """Means of squares of so many pixels; what is left over at the end is dropped."""
  rows, columns = (n // factor for n in values.shape)
  squares = values[: rows * factor, : columns * factor]
  return squares.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
