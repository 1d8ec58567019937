"""A trained network as a detector: image or slide in, nucleus centres out.

Called by whoever detects: `predict.job`, `evaluation.scoring`, `training.loop`, users.
"""

import collections
import dataclasses
import os
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from micronet_jax import checkpoints, models
from micronet_jax.config import ABSOLUTE, RELATIVE, Config, PredictConfig, check_predict
from micronet_jax.detection import units
from micronet_jax.detection.peaks import ScoredPoints, join_points
from micronet_jax.detection.points import Detections
from micronet_jax.detection.scan import SLIDE_PIXELS, Scan, prepare_scan
from micronet_jax.detection.searching import (
  Found,
  Program,
  compile_predict,
  search_tiles,
  share_out,
)
from micronet_jax.detection.smoothing import kernel_radius
from micronet_jax.detection.tiling import Tile, shared_side
from micronet_jax.devices import check_count, make_room_for, replicate
from micronet_jax.errors import InputError, check_type
from micronet_jax.imaging.canvas import Box
from micronet_jax.imaging.normalisation import normalise
from micronet_jax.imaging.opening import open_image
from micronet_jax.imaging.reader import Reader
from micronet_jax.lengths import REFERENCE_MPP, in_network_pixels, window_radius
from micronet_jax.models.graphs import abstract_model, merge_model

if TYPE_CHECKING:
  import PIL.Image

LARGEST_TILE = {"cpu": 1152}
"""Longest side of a tile by platform, in pixels of the network."""

LARGEST_TILE_ELSEWHERE = 1536

OWN_PROGRAM = 8
"""Images of a size from which on a program of its own is worth compiling, which takes
2 to 5 s; `benchmarks/many_sizes.py` measures what they lose in a shared one."""


class Detector:
  """Finds nucleus centres; made by `load`, or from weights in hand.

  Attributes:
    meta: what is stored with the checkpoint: `model`, `proximity`, `mpp`, `xi`,
      `min_distance`, `threshold_rule` and more.
    mpp: microns per pixel that the network sees.
    rule: what ξ is a share of (`config.threshold_rule`, `detection.units`).
    smoothing: sd of the Gaussian that maps are smoothed by before their maxima are
      taken, in pixels at 0.25 microns; 0 for none (`config.smoothing`).
  """

  def __init__(self, weights: Any, meta: Mapping[str, Any]):
    """Builds a detector.

    Args:
      weights: `{"params", "batch_stats"}` of the network that `meta["model"]` names.
      meta: at least `model`, `proximity`, `xi` and `min_distance`, a length as people
        see it; without `mpp` 0.25, without `threshold_rule` the paper's, and without
        `smoothing` none.

    Raises:
      InputError: the weights are not of that model.
    """
    self.mpp: float = meta.get("mpp", REFERENCE_MPP)
    self.rule: str = meta.get("threshold_rule", RELATIVE)
    self.smoothing: float = meta.get("smoothing", 0.0)
    self._sd = in_network_pixels(self.smoothing, self.mpp)
    self._graph, template = abstract_model(meta["model"])
    self.weights = jax.device_put(checkpoints.transfer(weights, template))
    self.meta = dict(meta)
    self._model = models.find_model(meta["model"]["name"])
    self._replicas: dict[int, Any] = {}
    self._sizes: collections.Counter[tuple[int, int]] = collections.Counter()

  def with_threshold(self, *, xi: float, min_distance: int) -> "Detector":
    """The same network with another ξ and min_distance (`units.check_threshold`)."""
    return Detector(self.weights, self.meta | units.check_threshold(xi, min_distance))

  def with_search(self, config: Config) -> "Detector":
    """The same network with the rule and smoothing of a config that has its own."""
    rule = config.threshold_rule or self.rule
    smoothing = self.smoothing if config.smoothing is None else config.smoothing
    if (rule, smoothing) == (self.rule, self.smoothing):
      return self
    asked = {"threshold_rule": rule, "smoothing": smoothing}
    return Detector(self.weights, {**self.meta, **asked})

  def check_tile(self, tile: int | None) -> None:
    """Raises InputError for a side of tiles that this network can take of no image."""
    stride = self._model.STRIDE
    if tile is not None and tile % stride:
      raise InputError(f"tile is {tile}; this network takes multiples of {stride}")

  def proximity(self, image: Any) -> jax.Array:
    """Predicts the map of one image at the network's resolution, in one piece.

    Args:
      image: as `detect` takes it, but taken to be at `mpp`; normalised by its own
        statistics and extended, as `detection.tiling` says.

    Returns:
      float32 `[H, W]`, not smoothed: Eq. 1, which is 1 at centres, though the base
      reaches about 0.4; of a pixel classifier, the probability that one is near.
    """
    with open_image(image) as reader:
      height, width = reader.levels[0]
      pixels = normalise(reader.read(0, 0, 0, height, width))
    stride = self._model.STRIDE
    padded = np.pad(pixels, ((0, -height % stride), (0, -width % stride), (0, 0)))
    make_room_for((self._graph, padded.shape))
    maps = compile_predict(self._graph)(self.weights, jnp.asarray(padded)[None])
    scale = self.meta["proximity"]["scale"]
    return models.score_map(self._model, maps[0, :height, :width], scale)

  def network(self) -> nnx.Module:
    """The network with a copy of the weights, for `nnx.jit`, `nnx.grad` and the like.

    It reads float32 `[B, H, W, 3]` at `mpp`, normalised, sides multiples of `STRIDE`;
    it returns `[B, H, W]`, proximity times `meta["proximity"]["scale"]`, or logits.
    """
    return merge_model(self._graph, self.weights)

  def peaks(
    self,
    images: Iterable[tuple[np.ndarray, float | None]],
    min_distances: Iterable[int],
  ) -> dict[int, list[ScoredPoints]]:
    """All local maxima of images, for each min_distance.

    Over the threshold ξ they are what `detect` finds.

    Args:
      images: uint8 `[H, W, 3]` and microns per pixel of each, None if not known.
      min_distances: radii in pixels at 0.25 microns.

    Returns:
      By radius, for each image: its maxima, in its own pixels.
    """
    distances = tuple(min_distances)
    found: dict[int, list[ScoredPoints]] = {d: [] for d in distances}
    windows = tuple(window_radius(distance, self.mpp) for distance in distances)
    for image, mpp in images:
      scan = self._prepare(open_image(image), max(distances), mpp=mpp)
      program = self._program(scan, windows, devices=1)
      parts: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {d: [] for d in distances}
      for tile, points in self._search(program, scan, scan.tiles, batch=1, least=0.0):
        for distance, (centers, scores) in zip(distances, points, strict=True):
          own, _, wanted = scan.place(centers, tile)
          parts[distance].append((own[wanted], scores[wanted]))
      shares = self._units(scan, windows)
      for distance, unit in zip(distances, shares, strict=True):
        centers, scores = join_points(parts[distance])
        if unit is None:
          unit = units.unit_of(self.rule, units.decisive_scores(self.rule, scores))
        found[distance].append(ScoredPoints(centers, scores, unit))
    return found

  def detect(
    self,
    image: "str | os.PathLike[str] | np.ndarray | PIL.Image.Image",
    *,
    mpp: float | None = None,
    threshold: float | None = None,
    regions: Sequence[Sequence[int]] = (),
    tissue: bool | None = None,
    tile: int | None = None,
    batch: int | None = None,
    devices: int | None = None,
  ) -> Detections:
    """Finds the nuclei of one image or slide.

    The result depends on none of `tile`, `batch` and `devices` (`detection.tiling`); in
    a region it is that of the whole image there (`detection.scan`).

    Args:
      image: a path to anything `imaging.opening.open_image` reads, an array (uint8,
        uint16, bool, or float in [0, 1]; `[H, W]`, RGB or RGBA), or a Pillow image.
      mpp: its microns per pixel, by default what the file says, else 0.25; the image
        is brought to the resolution that the network works at. More than 10 % from
        what the file says is told.
      threshold: least score of a nucleus. By default the checkpoint's ξ times what its
        rule makes it a share of (`detection.units`).
      regions: (x, y, width, height) each, in the image's own pixels; none for all.
      tissue: whether to look on tissue only; by default on images beyond 1 mm².
      tile: longest side of what is read at once, in pixels of the network.
      batch: tiles on the devices at once; one a device by default.
      devices: how many to use; all by default.

    Returns:
      The centres in the image's own pixels, with scores.

    Raises:
      InputError: an image that cannot be read, or an impossible argument.
    """
    given = PredictConfig(
      mpp=mpp,
      threshold=threshold,
      regions=regions,  # type: ignore[arg-type]
      tissue=tissue,
      tile=tile,
      batch=batch,
      devices=devices,
    )
    checked = check_predict(given)
    check_count(devices)
    mpp, threshold, regions = checked.mpp, checked.threshold, checked.regions
    with open_image(image) as reader:
      limits: dict[str, Any] = {"regions": regions, "tissue": tissue, "tile": tile}
      scan = self.scan(reader, mpp=mpp, threshold=threshold, **limits)
      found = list(self.run(scan, threshold=threshold, batch=batch, devices=devices))
    centers, scores = join_points([(each.centers, each.scores) for each in found])
    decisive = np.concatenate([scores[:0], *(each.decisive for each in found)])
    kept = scores >= self.lowest_score(scan, decisive, threshold=threshold)
    origin = scan.canvas.reader.origin
    return Detections(centers[kept], scores[kept], origin=origin)

  def scan(
    self,
    reader: Reader,
    *,
    mpp: float | None = None,
    regions: Sequence[Sequence[int]] = (),
    tissue: bool | None = None,
    tile: int | None = None,
    threshold: float | None = None,
  ) -> Scan:
    """Prepares the search of one image; the arguments are those of `detect`.

    Raises:
      InputError: as `detect` raises it.
    """
    boxes = [Box(y, x, y + height, x + width) for x, y, width, height in regions]
    distance = self.meta["min_distance"]
    rule = self.rule if threshold is None else ABSOLUTE  # no score has to decide
    limits: dict[str, Any] = {"regions": boxes, "tissue": tissue, "tile": tile}
    scan = self._prepare(reader, distance, mpp=mpp, rule=rule, **limits)
    [unit] = self._units(scan, (window_radius(distance, self.mpp),))
    return dataclasses.replace(scan, unit=unit)

  def _units(self, scan: Scan, windows: tuple[int, ...]) -> list[float | None]:
    """What ξ is a share of, by window; None if all of the image's scores decide."""
    part = scan.samples
    if part is None:
      return [scan.unit] * len(windows)
    program = Program(self._graph, windows, 1, self._sd)
    found: list[list[np.ndarray]] = [[] for _ in windows]
    search = self._search(program, part, part.tiles, batch=1, least=units.FAINT)
    for tile, points in search:
      for held, (centers, scores) in zip(found, points, strict=True):
        _, owned, _ = part.place(centers, tile)
        held.append(units.decisive_scores(self.rule, scores[owned]))
    return [units.unit_of(self.rule, np.concatenate(held)) for held in found]

  def _prepare(
    self, reader: Reader, distance: int, *, tile: int | None = None, **options: Any
  ) -> Scan:
    whole = self.meta["model"].get("test_norm") == "batch"
    window = window_radius(distance, self.mpp)
    largest = tile or LARGEST_TILE.get(jax.default_backend(), LARGEST_TILE_ELSEWHERE)
    scan = prepare_scan(
      reader,
      stride=self._model.STRIDE,
      # Two windows: maxima that tie with a neighbour's are one point.
      reach=self._model.REACH + kernel_radius(self._sd) + 2 * window,
      working_mpp=self.mpp,
      largest=SLIDE_PIXELS if whole else largest,
      **{"rule": self.rule, **options},
    )
    if whole and scan.is_slide:
      raise InputError(
        f"{reader.name} is a slide, and this checkpoint normalises by each batch "
        "(model.test_norm='batch'), which would depend on the tiles; slides need a "
        "checkpoint with test_norm='running'"
      )
    return scan if whole else self._shared(scan, largest)

  def _shared(self, scan: Scan, largest: int) -> Scan:
    """Lets images of many sizes share few programs, which take seconds to compile.

    The first size, and one that came often, has its own, as quick as can be.
    """
    if not scan.tiles:
      return scan
    padded = scan.canvas.padded
    self._sizes[padded] += 1
    if self._sizes[padded] > OWN_PROGRAM or padded == next(iter(self._sizes)):
      return scan
    side = shared_side(max(scan.sides), largest=largest, stride=self._model.STRIDE)
    return dataclasses.replace(scan, room=(side, side))

  def _program(self, scan: Scan, windows: tuple[int, ...], devices: int) -> Program:
    stride = self._model.STRIDE if scan.room != scan.sides else 0
    return Program(self._graph, windows, devices, self._sd, stride)

  def run(
    self,
    scan: Scan,
    *,
    threshold: float | None = None,
    done: Collection[int] = (),
    batch: int | None = None,
    devices: int | None = None,
  ) -> Generator[Found, None, None]:
    """Searches the tiles of a scan, one after the other, in bounded memory.

    Args:
      scan: of this detector.
      threshold: as `detect` takes it.
      done: indices of tiles to leave out.
      batch: as `detect` takes it.
      devices: as `detect` takes it.

    Yields:
      What each tile holds. Where `threshold` is None and `scan.unit` too, also maxima
      that may not count: `lowest_score` tells when all are known.

    Raises:
      InputError: a tile cannot be read, or the device's memory does not suffice.
    """
    tiles = [tile for tile in scan.tiles if tile.index not in done]
    if not tiles:
      return
    devices, batch = share_out(len(tiles), devices=devices, batch=batch)
    window = window_radius(self.meta["min_distance"], self.mpp)
    program = self._program(scan, (window,), devices)
    least = units.least_that_counts(self.rule, self.meta["xi"])
    if threshold is not None or scan.unit is not None:
      least = self.lowest_score(scan, np.zeros(0), threshold=threshold)
    for tile, [(centers, scores)] in self._search(
      program, scan, tiles, batch=batch, least=least
    ):
      own, owned, wanted = scan.place(centers, tile)
      decisive = scores[:0]  # of a slide, whose unit is known: not all scores twice
      if scan.unit is None:
        decisive = units.decisive_scores(self.rule, scores[owned])
      yield Found(tile, own[wanted], scores[wanted], decisive)

  def lowest_score(
    self, scan: Scan, decisive: np.ndarray, *, threshold: float | None = None
  ) -> float:
    """The least score that counts.

    Args:
      scan: of this detector.
      decisive: what all of its tiles held, put together.
      threshold: as `detect` takes it.
    """
    if threshold is not None:
      return float(np.float32(threshold))
    unit = units.unit_of(self.rule, decisive) if scan.unit is None else scan.unit
    return float(np.float32(self.meta["xi"]) * np.float32(unit))

  def _search(
    self,
    program: Program,
    scan: Scan,
    tiles: Sequence[Tile],
    *,
    batch: int,
    least: float,
  ) -> Iterator[tuple[Tile, list[tuple[np.ndarray, np.ndarray]]]]:
    if program.devices not in self._replicas:
      self._replicas[program.devices] = replicate(self.weights, program.devices)
    return search_tiles(
      program,
      self._replicas[program.devices],
      scan,
      tiles,
      batch=batch,
      scale=self.meta["proximity"]["scale"],
      least=least,
    )


def load(path_or_name: str | os.PathLike[str]) -> Detector:
  """Loads a detector.

  Args:
    path_or_name: the folder of a run (its best checkpoint), of one checkpoint, or the
      name of packaged weights: "base" or "base-nc".

  Raises:
    InputError: there is no such checkpoint, or it is damaged.
  """
  check_type(path_or_name, str | os.PathLike, "path_or_name", "a folder or a name")
  return Detector(*checkpoints.load_weights(os.fspath(path_or_name)))
