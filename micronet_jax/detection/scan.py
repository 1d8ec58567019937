"""How one image is searched: its resolution, rules, normalisation and tiles.

An image of up to 1 mm² (4096² pixels at 0.25 microns) is treated as the paper's images
are: normalised by the mean and deviation of all its pixels. On a slide glass would
decide the mean: there, mean and deviation are those of up to 64 samples of 256² pixels,
spread evenly over the tissue.

The threshold is ξ times a unit (`detection.units`), which may follow from all scores of
the image. On a slide one odd pixel would decide the paper's, so there it is ξ itself,
and the median is that of up to 16 samples of 256² pixels of the tissue.

All of this depends on the image alone: not on tiles, regions or the number of devices.
Called by `detection.detector`.
"""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from micronet_jax.config import ABSOLUTE, RELATIVE
from micronet_jax.detection.tiling import Tile, plan_tiles, tile_side
from micronet_jax.errors import InputError
from micronet_jax.imaging import tissue as tissues
from micronet_jax.imaging.canvas import Box, Canvas, inside
from micronet_jax.imaging.normalisation import channel_statistics
from micronet_jax.imaging.reader import Reader
from micronet_jax.imaging.resolution import MPP_RANGE
from micronet_jax.imaging.thumbnails import thumbnail
from micronet_jax.imaging.tissue import Tissue
from micronet_jax.lengths import REFERENCE_MPP, scale_between

SLIDE_PIXELS = 4096**2
"""Pixels at 0.25 microns, 1 mm², beyond which an image counts as a slide."""


SAMPLES = 64


SAMPLE_SIDE = 256


SCORED = 16
"""So many samples' scores stand for those of a slide: seconds of work."""


OTHER_SIZE = 1.1
"""How many times as large a pixel may be said to be in one place as in another."""


log = logging.getLogger("micronet_jax")


_told: set[str] = set()


@dataclasses.dataclass(frozen=True)
class Scan:
  """One image, ready to be searched.

  Attributes:
    canvas: the image at working resolution.
    mpp: microns per pixel of the image; None if unknown.
    is_slide: which of the two rules of normalisation applies.
    unit: what ξ is a share of; None if it follows from scores: of `samples`, else of
      all of the image.
    mean, std: float32 `[3]`, what pixels are normalised by.
    tissue: where centres are kept, tissue and a rim; None for everywhere.
    regions: parts of the image to look in, in its own pixels; none for all of it.
    sides: (height, width) of every tile.
    tiles: what is read; those without tissue or region are left out.
    room: (height, width) of the arrays that tiles are searched in: `sides`, or larger.
    samples: the parts of a slide whose scores stand for all; None if none do.
  """

  canvas: Canvas
  mpp: float | None
  is_slide: bool
  unit: float | None
  mean: np.ndarray
  std: np.ndarray
  tissue: Tissue | None
  regions: tuple[Box, ...]
  sides: tuple[int, int]
  tiles: tuple[Tile, ...]
  room: tuple[int, int]
  samples: "Scan | None" = None

  @property
  def shape(self) -> tuple[int, int]:
    """(H, W) of the image, in its own pixels."""
    return self.canvas.reader.levels[0]

  def place(
    self, centers: np.ndarray, tile: Tile
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tells which centres a tile answers for, and where they are.

    Args:
      centers: float64 `[N, 2]` (y, x) from the tile's first pixel on.
      tile: one of the plan.

    Returns:
      float64 `[N, 2]` in the image's own pixels; bool `[N]`, whether in the tile's
      core; bool `[N]`, whether also on tissue and in a region.
    """
    centers = centers + np.array([tile.y, tile.x])
    owned = inside(centers, tile.core)
    wanted = owned.copy()
    if self.tissue is not None:
      wanted &= self.tissue.contains(centers)
    own = self.canvas.to_own(centers)
    if self.regions:
      wanted &= np.any([inside(own, region) for region in self.regions], axis=0)
    return own, owned, wanted


def prepare_scan(
  reader: Reader,
  *,
  stride: int,
  reach: int,
  largest: int,
  working_mpp: float,
  rule: str,
  mpp: float | None = None,
  regions: Sequence[Box] = (),
  tissue: bool | None = None,
) -> Scan:
  """Reads what must be known of an image before its tiles are.

  Args:
    reader: of the image.
    stride: of the network.
    reach: how far beyond a pixel the network and the search for maxima look.
    largest: longest side of a tile, a multiple of the stride.
    working_mpp: microns per pixel that the network sees.
    rule: what ξ is a share of, one of `config.threshold_rule`.
    mpp: microns per pixel; by default what the file says.
    regions: parts of the image to look in, in its own pixels; none for all of it.
    tissue: whether to look on tissue only; by default on slides.

  Returns:
    The scan; without tiles if the image is empty glass or of one colour, which a
    note says.

  Raises:
    InputError: an impossible mpp or region, or tiles too small for the network.
  """
  mpp = _resolution(reader, mpp)
  regions = tuple(_clip(region, reader) for region in regions)
  canvas = Canvas(reader, mpp=mpp, working_mpp=working_mpp, stride=stride)
  is_slide = _is_slide(canvas)
  unit = 1.0 if rule == ABSOLUTE or (rule == RELATIVE and is_slide) else None
  found = _find_tissue(canvas)
  mean, std = _statistics(canvas, found, is_slide=is_slide)
  on_tissue = is_slide if tissue is None else tissue
  where = Tissue(found, tissues.grow_tissue(found), canvas.shape) if on_tissue else None
  # Where scores of all of the image decide, all of it is searched.
  limits = (regions, where) if is_slide or unit else ((), None)
  tiles, sides = _plan(canvas, *limits, stride, reach, largest)
  if (std <= 1).all() or (tissue is not False and not found.any()):
    log.warning("%s shows no tissue, only one colour: no nuclei there", reader.name)
    tiles = []
  scan = Scan(
    canvas, mpp, is_slide, unit, mean, std, where, regions, sides, tuple(tiles), sides
  )
  sampled = unit is None and is_slide and tiles
  samples = _sample_scan(scan, found, stride, reach) if sampled else None
  return dataclasses.replace(scan, samples=samples)


def _is_slide(canvas: Canvas) -> bool:
  """Whether an image is larger than 1 mm²."""
  per_pixel = scale_between(canvas.working_mpp, REFERENCE_MPP) ** 2
  return canvas.shape[0] * canvas.shape[1] * per_pixel > SLIDE_PIXELS


def _find_tissue(canvas: Canvas) -> np.ndarray:
  """Cells with tissue, without the margin: bool `[R, C]`."""
  rows, columns = tissues.cell_grid(canvas.shape, canvas.working_mpp)
  return tissues.find_tissue(thumbnail(canvas.reader, height=rows, width=columns))


def _statistics(
  canvas: Canvas, found: np.ndarray, *, is_slide: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Mean and deviation: of a slide's samples, else of the image, which is held."""
  if is_slide:
    return sample_statistics(canvas, found)
  canvas.hold()
  return channel_statistics(canvas.read(0, 0, *canvas.shape))


def _resolution(reader: Reader, mpp: float | None) -> float | None:
  """What is known of the resolution; says so, once, where nothing is or two are."""
  low, high = MPP_RANGE
  if mpp is not None and (isinstance(mpp, str) or not low <= mpp <= high):
    raise InputError(
      f"mpp is microns per pixel, a number from {low:g} to {high:g}, got {mpp!r} for"
      f" {reader.name}."
    )
  if mpp is not None and reader.mpp is not None:
    _compare(reader.name, stated=reader.mpp, given=mpp)
  mpp = reader.mpp if mpp is None else mpp
  if mpp is None and _untold("mpp"):
    log.warning(
      "%s does not say its microns per pixel: taken as 0.25 (40x); mpp= or --mpp says "
      "otherwise (said once)",
      reader.name,
    )
  return mpp


def _compare(name: str, *, stated: float, given: float) -> None:
  """Says where the resolution that is given is not about the one that a file states."""
  apart = max(stated, given) / min(stated, given) > OTHER_SIZE
  if apart and _untold(f"{stated:.2g} or {given:g}"):
    log.warning(
      "%s says that it has %.4g microns per pixel, and is taken as %.4g, as mpp=,"
      " --mpp or index.csv says; without it the file decides (said once of such files)",
      *(name, stated, given),
    )


def _untold(what: str) -> bool:
  """Whether it was not said yet; from now on it was."""
  untold = what not in _told
  _told.add(what)
  return untold


def _clip(region: Box, reader: Reader) -> Box:
  height, width = reader.levels[0]
  y0, x0, y1, x1 = region
  clipped = Box(max(y0, 0), max(x0, 0), min(y1, height), min(x1, width))
  if clipped.y0 >= clipped.y1 or clipped.x0 >= clipped.x1:
    raise InputError(
      f"region x {x0}, y {y0}, width {x1 - x0}, height {y1 - y0} holds nothing of "
      f"{reader.name}, which is {width} wide and {height} high"
    )
  return clipped


def sample_statistics(
  canvas: Canvas, found: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Mean and deviation of each channel over samples of a slide's tissue.

  Args:
    canvas: the slide.
    found: bool `[R, C]`, cells of tissue; without any, all count.

  Returns:
    As `channel_statistics`, of up to 64 samples of 256² pixels whose centres are the
    cells (k + ½)·n/64 of the n cells with tissue in raster order.
  """
  samples = [
    canvas.read(box.y0, box.x0, box.y1 - box.y0, box.x1 - box.x0)
    for box in _samples(canvas, found, SAMPLES)
  ]
  return channel_statistics(np.concatenate(samples))


def _samples(canvas: Canvas, found: np.ndarray, count: int) -> list[Box]:
  """Up to so many samples, spread evenly over the tissue."""
  cells = np.argwhere(found if found.any() else np.ones_like(found))
  picked = np.unique((np.arange(count) + 0.5) * len(cells) // count).astype(int)
  shape = np.asarray(canvas.shape)
  side = np.minimum(SAMPLE_SIDE, shape)
  corners = (cells[picked] + 0.5) * (shape / found.shape) - side / 2
  corners = np.clip(corners.astype(int), 0, shape - side)
  return [Box(y, x, *(np.array([y, x]) + side).tolist()) for y, x in corners.tolist()]


def _sample_scan(scan: Scan, found: np.ndarray, stride: int, reach: int) -> Scan:
  """The same slide in `SCORED` samples, whatever its regions."""
  halo = -(-reach // stride) * stride
  side = SAMPLE_SIDE + 2 * halo + stride
  padded = scan.canvas.padded
  sides = min(side, padded[0]), min(side, padded[1])
  tiles: list[Tile] = []
  for sample in _samples(scan.canvas, found, SCORED):
    tiles += plan_tiles(padded, sample, sides, halo=halo, stride=stride)
  return dataclasses.replace(
    scan, sides=sides, room=sides, tiles=tuple(tiles), regions=()
  )


def _plan(
  canvas: Canvas,
  regions: tuple[Box, ...],
  tissue: Tissue | None,
  stride: int,
  reach: int,
  largest: int,
) -> tuple[list[Tile], tuple[int, int]]:
  """The tiles that hold something to look at, and their sides."""
  halo = -(-reach // stride) * stride
  if largest % stride or (largest <= 2 * halo and largest < max(canvas.padded)):
    raise InputError(
      f"tile: expected a multiple of {stride} beyond {2 * halo} pixels, got {largest}"
    )
  height, width = (
    tile_side(length, largest=largest, halo=halo, stride=stride)
    for length in canvas.padded
  )
  boxes = [canvas.from_own(region) for region in regions] or [Box(0, 0, *canvas.shape)]
  hull = Box(
    *(min(box[i] for box in boxes) for i in (0, 1)),
    *(max(box[i] for box in boxes) for i in (2, 3)),
  )
  tiles = plan_tiles(canvas.padded, hull, (height, width), halo=halo, stride=stride)

  def wanted(core: Box) -> bool:
    overlaps = any(
      core.y0 < box.y1 and box.y0 < core.y1 and core.x0 < box.x1 and box.x0 < core.x1
      for box in boxes
    )
    return overlaps and (tissue is None or tissue.touches(core))

  kept = [tile for tile in tiles if wanted(tile.core)]
  return kept, (height, width)
