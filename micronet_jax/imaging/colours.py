"""What stored values mean as 8 bit RGB: scale, opacity, and what is left out.

One `Rendering` serves all boxes of an image, so that a tile has the values that the
whole image has there. Called by `imaging.decoding`, `opening` and `tiffs`.
"""

import dataclasses
import enum
import logging
from collections.abc import Iterable, Iterator

import numpy as np

_ODD = 1000  # one value in so many may lie far above the others: hot pixels, dust


_FAR = 1.25  # times what all but those stay below


_ROUNDING = 1 / 510  # half a grey level, which fractions may lie beyond 0 and 1


_ROWS = 256  # at once, as fractions take eight times the room of 8 bit


log = logging.getLogger("micronet_jax")


class Extra(enum.Enum):
  """What a channel beside grey or RGB is."""

  OPACITY = "opacity"
  PREMULTIPLIED = "opacity that the colours were multiplied by"
  UNSAID = "not said, so it is left out"


@dataclasses.dataclass(frozen=True)
class Rendering:
  """How the stored values of one image become 8 bit RGB.

  Attributes:
    top: what becomes 255, and what is above it.
    extra: what a second or fourth channel is.
  """

  top: float
  extra: Extra


def rendering_of(pixels: np.ndarray, extra: Extra, name: str) -> Rendering:
  """The rendering of a whole image `[H, W]` or `[H, W, C]`; see `look_through`."""
  return look_through(_blocks(pixels), pixels.shape[0] * pixels.shape[1], extra, name)


def look_through(
  blocks: Iterable[np.ndarray], area: int, extra: Extra, name: str
) -> Rendering:
  """Decides how an image becomes 8 bit; says what it leaves out or clips.

  Of whole numbers deeper than 8 bit, the largest value becomes 255; but up to one in
  1000 do not count that lie more than a quarter above all others, so that a few odd
  pixels decide nothing. Fractions lie in 0 to 1, but for as few, which are clipped,
  and for rounding.

  Args:
    blocks: the stored pixels, `[h, w]` or `[h, w, C]` each, C of 1 to 4.
    area: pixels of all blocks.
    extra: what a second or fourth channel is.
    name: of the image, for what is said.

  Returns:
    The rendering, good for any box of the image.

  Raises:
    ValueError: other channels or values; the message goes on from the image's name.
  """
  top, transparent = None, True
  for block in blocks:
    colour, opacity = _parted(block)
    counts = opacity is not None and extra is not Extra.UNSAID
    transparent = transparent and counts and not np.any(opacity)
    if top is None:
      top = _Top(block.dtype, area * colour.shape[2])
      _say_unsaid(opacity, extra, name)
    # Opacity is of the same type, so of fractions it is looked at too.
    undecided = top.add(block if block.dtype.kind == "f" else colour)
    if not (undecided or transparent):
      break
  if top is None:
    raise ValueError("has no pixels")
  if transparent:
    log.warning("%s: its opacity is zero everywhere, and is ignored", name)
    extra = Extra.UNSAID
  return Rendering(top.decide(name), extra)


def to_rgb(pixels: np.ndarray, rendering: Rendering) -> np.ndarray:
  """Turns grey or RGB, with a further channel or without, into 8 bit RGB.

  Args:
    pixels: `[H, W]` or `[H, W, C]`, C of 1 to 4: an image or a box of it.
    rendering: of the image.

  Returns:
    uint8 `[H, W, 3]`, which may share its memory with `pixels`; what is transparent
    lies on white.

  Raises:
    ValueError: values that no image has; the message goes on from the image's name.
  """
  stored, opacity = _parted(pixels)
  colour = _to_8_bit(stored, rendering.top)
  if opacity is not None and rendering.extra is not Extra.UNSAID:
    share = _share(opacity)
    covered = colour if rendering.extra is Extra.PREMULTIPLIED else colour * share
    colour = np.rint(np.minimum(covered + 255 * (1 - share), 255)).astype(np.uint8)
  if colour.shape[2] == 1:
    colour = np.repeat(colour, 3, axis=2)
  return np.ascontiguousarray(colour)


def _parted(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
  """Colours `[H, W, 1 or 3]`, and the channel beside them `[H, W, 1]` if any."""
  pixels = np.atleast_3d(pixels)
  channels = pixels.shape[2]
  if channels > 4:
    raise ValueError(f"has {channels} channels")
  if channels in (2, 4):
    return pixels[:, :, :-1], pixels[:, :, -1:]
  return pixels, None


def _say_unsaid(opacity: np.ndarray | None, extra: Extra, name: str) -> None:
  if opacity is not None and extra is Extra.UNSAID:
    log.warning(
      "%s: a channel beside its colours, which the file does not call opacity, is left"
      " out",
      name,
    )


def _blocks(pixels: np.ndarray) -> Iterator[np.ndarray]:
  for row in range(0, len(pixels), _ROWS):
    yield pixels[row : row + _ROWS]


class _Top:
  """Finds what becomes 255, block by block."""

  def __init__(self, dtype: np.dtype, count: int):
    if dtype.kind not in "biuf":
      raise ValueError(f"holds values of type {dtype}")
    self._dtype = dtype
    self._odd = count // _ODD
    self._count = count
    self._highest = np.empty(0, dtype)
    self._outside = 0
    self._range = (np.inf, -np.inf)

  def add(self, values: np.ndarray) -> bool:
    """Takes the values of a block; False if no block can change the result."""
    if self._dtype in (np.uint8, np.bool_):
      return False
    low, high = values.min(), values.max()
    if self._dtype.kind == "f":
      if not np.isfinite([low, high]).all():
        raise _fractions(low, high)
      beyond = (values < -_ROUNDING) | (values > 1 + _ROUNDING)
      self._outside += int(np.count_nonzero(beyond))
      self._range = min(self._range[0], low), max(self._range[1], high)
      return True
    if low < 0:
      raise ValueError(f"holds the negative value {low}")
    highest = np.concatenate([self._highest, values.ravel()])
    keep = self._odd + 1
    if len(highest) > keep:
      highest = np.partition(highest, len(highest) - keep)[-keep:]
    self._highest = highest
    return True

  def decide(self, name: str) -> float:
    """What becomes 255; says how many values lie beyond it."""
    if self._dtype in (np.uint8, np.bool_):
      return 255
    if self._dtype.kind == "f":
      if self._outside > self._odd:
        raise _fractions(*self._range)
      if self._outside:
        log.warning(
          "%s: %d of its %d fractions lie outside 0 to 1 (%g to %g), and are clipped",
          name, self._outside, self._count, *self._range,
        )  # fmt: skip
      return 1
    highest = self._highest
    usual = int(highest.min())
    top = int(highest[highest <= _FAR * usual].max()) if usual else int(highest.max())
    above = int(np.count_nonzero(highest > top))
    if above:
      log.warning(
        "%s: %d of its %d values, up to %d, lie far above the others and are clipped:"
        " %d becomes 255",
        name, above, self._count, highest.max(), top,
      )  # fmt: skip
    return max(top, 1)


def _fractions(low: float, high: float) -> ValueError:
  return ValueError(
    f"holds fractions from {low:g} to {high:g}, of which only 0 to 1 can be read (what"
    " is white must be 1)"
  )


def _share(opacity: np.ndarray) -> np.ndarray:
  """Float32, 0 to 1."""
  if opacity.dtype.kind in "bf":
    return np.clip(opacity.astype(np.float32), 0, 1)
  return np.maximum(opacity.astype(np.float32) / float(np.iinfo(opacity.dtype).max), 0)


def _to_8_bit(values: np.ndarray, top: float) -> np.ndarray:
  if values.dtype == np.uint8:
    return values
  if values.dtype == np.bool_:
    return values.astype(np.uint8) * np.uint8(255)
  low, high = values.min(), values.max()
  if values.dtype.kind == "f":
    if not np.isfinite([low, high]).all():
      raise _fractions(low, high)
  elif low < 0:
    raise ValueError(f"holds the negative value {low}")
  scaled = np.empty(values.shape, np.uint8)
  for row in range(0, len(values), _ROWS):
    some = np.clip(values[row : row + _ROWS], 0, top)
    scaled[row : row + _ROWS] = np.rint(some * (255 / top))
  return scaled
