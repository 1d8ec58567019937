"""Images and centres between resolutions, to the same values whatever is read at once.

Whole images and single tiles of a slide go through the same filter. Its weights are
computed from a pixel's place in the whole image and its sums run in a fixed order, so a
pixel has the same value, to the bit, in whichever tile it is made. (Pillow's
`resize(box=...)` takes its box in single precision, and jax.image likewise.) Called by
`imaging.canvas` and `datasets.sample`.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse

LOBES = 3  # of the Lanczos window


def rescale_image(image: np.ndarray, factor: float) -> np.ndarray:
  """Resamples uint8 `[H, W, 3]` by a factor (Lanczos, area-weighted when smaller)."""
  height, width = image.shape[:2]
  shape = tuple(max(1, round(side * factor)) for side in (height, width))
  return resample(image, (0, 0), (height, width), shape, (0, 0, *shape))


def source_box(
  old: Sequence[int], new: Sequence[int], box: Sequence[int]
) -> tuple[int, int, int, int]:
  """What must be read of an image to make a part of its resampled version.

  Args:
    old: (H, W) of the image.
    new: (H, W) after resampling.
    box: (y, x, height, width) of the part, in resampled pixels.

  Returns:
    (y, x, height, width) in the image's pixels, inside the image.
  """
  spans = [_span(old[i], new[i], box[i], box[i] + box[i + 2]) for i in (0, 1)]
  (top, bottom), (left, right) = spans
  return top, left, bottom - top, right - left


def resample(
  pixels: np.ndarray,
  corner: Sequence[int],
  old: Sequence[int],
  new: Sequence[int],
  box: Sequence[int],
) -> np.ndarray:
  """Makes a part of an image's resampled version.

  Args:
    pixels: uint8 `[h, w, 3]`, the part of the image that `source_box` asks for.
    corner: (y, x) of its first pixel in the image.
    old: (H, W) of the whole image.
    new: (H, W) of the whole resampled image.
    box: (y, x, height, width) of the part wanted, in resampled pixels.

  Returns:
    uint8 `[height, width, 3]`.
  """
  values = pixels.astype(np.float32)
  for axis in (0, 1):
    start, stop = box[axis], box[axis] + box[axis + 2]
    filter = _weights(old[axis], new[axis], start, stop, corner[axis], len(values))
    lines = filter @ values.reshape(len(values), -1)
    # The other axis comes to the front; after two turns both are back in place.
    values = lines.reshape(len(lines), -1, 3).transpose(1, 0, 2)
  return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _support(old: int, new: int) -> float:
  return LOBES * max(old / new, 1.0)


def _span(old: int, new: int, start: int, stop: int) -> tuple[int, int]:
  """First and last (exclusive) pixel that outputs [start, stop) are sums of."""
  reach, scale = _support(old, new), old / new
  first = int(np.floor((start + 0.5) * scale - reach))
  last = int(np.ceil((stop - 0.5) * scale + reach))
  return max(first, 0), min(last, old)


def _weights(
  old: int, new: int, start: int, stop: int, corner: int, count: int
) -> scipy.sparse.csr_array:
  """The filter of outputs [start, stop) over `count` pixels from `corner` on."""
  reach, scale = _support(old, new), old / new
  place = ((np.arange(start, stop) + 0.5) * scale)[:, None]
  first = np.floor(place - reach).astype(np.int64)
  index = first + np.arange(int(np.ceil(2 * reach)) + 1)
  distance = (index + 0.5 - place) / max(scale, 1.0)
  weight = np.sinc(distance) * np.sinc(distance / LOBES)
  used = (np.abs(distance) < LOBES) & (index >= 0) & (index < old)
  weight = np.where(used, weight, 0)
  weight /= weight.sum(1, keepdims=True)
  pointer = np.concatenate([[0], np.cumsum(used.sum(1))])
  values = weight[used].astype(np.float32), index[used] - corner, pointer
  return scipy.sparse.csr_array(values, shape=(stop - start, count))


def rescale_centers(
  centers: np.ndarray, old: Sequence[int], new: Sequence[int]
) -> np.ndarray:
  """Moves centres `[N, 2]` from an image of (H, W) `old` to its resampled `new`.

  (0, 0) is the centre of a pixel, so the corner, half a pixel away, stays in place.

  Returns:
    `[N, 2]` of the same floating type.
  """
  ratio = np.asarray(new[:2], np.float64) / np.asarray(old[:2], np.float64)
  return ((centers + 0.5) * ratio - 0.5).astype(np.result_type(centers, np.float32))
