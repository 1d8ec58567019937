"""Megapixels a second of the network beside PyTorch, and of a slide by stages.

  python -m benchmarks.inference --widths=16,32 --sides=500,2048
  python -m benchmarks.inference --widths= --slide_side=16384 --tile=1536 --batch=4

First table: maps of one image, ours and PyTorch's, with equal weights. Second table: a
slide full of tissue, from the file to the files, with the packaged weights; what its
stages take by themselves, one after the other, and how long the whole takes, where
they overlap. A square millimetre has 16 megapixels at 0.25 microns. Without PyTorch
ours is timed alone. `benchmarks.gpu` calls `compare`, `by_stages` and `search_one`.
"""

import argparse
import dataclasses
import functools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report, timing
from benchmarks.slide_memory import BLOCK, TILE, write_slide
from benchmarks.train_step import pytorch, ratio, works
from micronet_jax import models
from micronet_jax.config import PredictConfig
from micronet_jax.detection.detector import Detector, load
from micronet_jax.detection.peaks import local_maxima
from micronet_jax.detection.points import Detections
from micronet_jax.detection.scan import Scan
from micronet_jax.detection.searching import (
  Found,
  Program,
  compile_predict,
  compile_search,
)
from micronet_jax.errors import InputError
from micronet_jax.imaging.opening import open_image
from micronet_jax.imaging.reader import Reader
from micronet_jax.lengths import window_radius
from micronet_jax.models import graphs
from micronet_jax.predict import job

MM2 = 16e6
"""Pixels of a square millimetre at 0.25 microns."""


def main(argv: Sequence[str] | None = None) -> None:
  gpu = jax.default_backend() != "cpu"
  parser = report.arguments(__doc__, repeats=20 if gpu else 5)
  parser.add_argument("--widths", default="16,32", help="first table; '' for none")
  parser.add_argument("--sides", default="500,2048")
  parser.add_argument("--dtypes", default="float32,bfloat16" if gpu else "float32")
  parser.add_argument("--budget_s", type=float, default=None, help="a row, at most")
  parser.add_argument("--weights", default="base", help="second table; '' for none")
  parser.add_argument("--slide_side", type=int, default=16384 if gpu else 4096)
  parser.add_argument("--tile", type=int, default=None)
  parser.add_argument("--batch", type=int, default=1)
  parser.add_argument("--sample", type=int, default=64, help="tiles, for the stages")
  options = parser.parse_args(argv)
  if options.quick:
    options.widths, options.sides, options.repeats = "2", "40", 2
    options.slide_side, options.tile = BLOCK, 512
  report.print_machine()
  times = {}

  def compare_all() -> Iterator[dict[str, Any]]:
    for dtype in options.dtypes.split(","):
      for width in map(int, filter(None, options.widths.split(","))):
        for side in map(int, options.sides.split(",")):
          row, seconds = compare(options, width, side, dtype)
          times[f"width {width}, {side}², {dtype}"] = timing.summarise(seconds)
          yield row

  rows = report.print_table(compare_all())
  slide = []
  if options.weights:
    print()
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / "slide.tif"
      write_slide(path, options.slide_side, (options.slide_side // BLOCK) ** 2)
      slide = report.print_table([by_stages(path, options)])
  report.write_json(options.json, [*rows, *slide], times=times)


def compare(
  options: argparse.Namespace, width: int, side: int, dtype: str
) -> tuple[dict[str, Any], dict[str, list[float]]]:
  """Maps of one image: ours and PyTorch's settings in turn."""
  model = {"name": "micronet", "width": width, "dtype": dtype}
  graph, weights = graphs.split_model(models.create_model(model))
  padded = -(-side // 16) * 16  # as the detector does
  random = np.random.default_rng(0)
  image = random.normal(size=(1, padded, padded, 3)).astype(np.float32)
  predict, on_device = compile_predict(graph), jnp.asarray(image)
  variants = {"ours": lambda: np.asarray(predict(weights, on_device))}
  if pytorch and pytorch.usable():
    pytorch.forget()
    variants |= works(pytorch.inference(weights, width, dtype, image))
  times = timing.interleave(
    variants, repeats=options.repeats, budget_s=options.budget_s
  )
  row = {"width": width, "image": f"{side}²", "dtype": dtype}
  row |= {f"{name}, s": timing.spread(seconds) for name, seconds in times.items()}
  median = statistics.median(times["ours"])
  row["megapixels/s, ours"] = timing.digits(side * side / 1e6 / median)
  row["s/mm²"] = timing.digits(median * MM2 / side**2)
  for name in list(times)[1:]:
    row[f"times {name}"] = timing.digits(ratio(times[name], times["ours"]))
  return row, times


def by_stages(path: pathlib.Path, options: argparse.Namespace) -> dict[str, Any]:
  """A slide end to end, and its stages by themselves.

  The stages are timed on up to `options.sample` of its tiles, and scaled to all.

  Args:
    path: of the slide, square.
    options: weights, tile, batch, repeats, sample.
  """
  whole, nuclei = end_to_end(path, options)
  detector, batch = load(options.weights), options.batch
  began = time.perf_counter()
  with open_image(path) as opened:
    reader = Stopwatch(opened)
    scan = detector.scan(reader, tile=options.tile)
    preparing = time.perf_counter() - began
    picked = scan.tiles[: -(-options.sample // batch) * batch]
    more = len(scan.tiles) / len(picked)
    reader.seconds, began = 0.0, time.perf_counter()
    for tile in picked:
      pixels = scan.canvas.read(tile.y, tile.x, *scan.sides)
    reading, decoding = time.perf_counter() - began, reader.seconds
    took = search_one(detector, scan, pixels, batch=batch, repeats=options.repeats)
    others = {tile.index for tile in scan.tiles} - {tile.index for tile in picked}
    began = time.perf_counter()
    found = list(detector.run(scan, done=others, batch=batch, devices=1))
    running = time.perf_counter() - began
  writing = write(found, path)
  calls = -(-len(picked) // batch)
  search, peaks = took["search"] * calls, took["peaks"] * calls
  side, digits = scan.shape[0], timing.digits
  return {
    "slide": f"{side}²",
    "microns a pixel": detector.mpp,
    "tiles": f"{len(scan.tiles)} of {scan.sides[0]}², {batch} a call",
    "nuclei": nuclei,
    "from file to files, s": digits(whole),
    "s/mm²": digits(whole * MM2 / side**2),
    "megapixels/s": digits(side**2 / 1e6 / whole),
    "preparing, s": digits(preparing),
    "reading, s": digits(decoding * more),
    "resampling, s": digits((reading - decoding) * more),
    "search, s": digits(search * more),
    "peaks in it, s": digits(peaks * more),
    "CSV and GeoJSON, s": digits(writing * more),
    "reading to points, s": digits(running * more),
    "device idle in that": f"{max(0.0, 1 - search / running):.1%}",
  }


class Stopwatch:
  """A reader that adds up the seconds that its reads take."""

  def __init__(self, reader: Reader):
    self._reader, self.seconds = reader, 0.0

  def __getattr__(self, name: str) -> Any:
    return getattr(self._reader, name)

  def read(self, *place: int) -> np.ndarray:
    began = time.perf_counter()
    pixels = self._reader.read(*place)
    self.seconds += time.perf_counter() - began
    return pixels


def write(found: Sequence[Found], path: pathlib.Path) -> float:
  """Seconds of writing the points of these tiles."""
  points = Detections(
    np.concatenate([each.centers for each in found]).astype(np.float32),
    np.concatenate([each.scores for each in found]),
  )
  began = time.perf_counter()
  points.to_csv(path.with_suffix(".csv"))
  points.to_geojson(path.with_suffix(".geojson"))
  return time.perf_counter() - began


def end_to_end(path: pathlib.Path, options: argparse.Namespace) -> tuple[float, int]:
  """Seconds of the predict job once it is compiled, and how many nuclei it found."""
  settings = PredictConfig(
    formats=("csv", "geojson"), tile=options.tile, batch=options.batch, devices=1
  )
  corner = dataclasses.replace(settings, regions=((0, 0, TILE, TILE),))
  with tempfile.TemporaryDirectory(dir=path.parent) as folder:
    for name, chosen in {"warm": corner, "timed": settings}.items():
      out = pathlib.Path(folder) / name
      began = time.perf_counter()
      (result,) = job.predict_images(
        [str(path)], out, weights=options.weights, options=chosen
      )
      seconds = time.perf_counter() - began
  if "error" in result:
    raise InputError(result["error"])
  return seconds, result["nuclei"]


def search_one(
  detector: Detector, scan: Scan, pixels: np.ndarray, *, batch: int, repeats: int
) -> dict[str, float]:
  """Median seconds of one call: the whole search, and the peaks of its maps alone.

  Args:
    detector: the network.
    scan: whose sides and statistics the tiles have.
    pixels: uint8 `[h, w, 3]` of one tile.
    batch: how many times it is searched in a call.
    repeats: timed rounds.
  """
  graph, _ = graphs.abstract_model(detector.meta["model"])
  distance = window_radius(detector.meta["min_distance"], detector.mpp)
  program = Program(graph, (distance,), devices=1)
  search, predict = compile_search(program), compile_predict(graph)
  find = functools.partial(local_maxima, min_distance=distance)
  peaks = jax.jit(jax.vmap(find))
  tiles = jnp.asarray(np.stack([pixels] * batch))
  limits = jnp.asarray([scan.sides] * batch, jnp.int32)
  scale = np.float32(detector.meta["proximity"]["scale"])
  images = (tiles.astype(jnp.float32) - scan.mean) / scan.std
  maps = predict(detector.weights, images) / scale
  times = timing.interleave(
    {
      "peaks": lambda: peaks(maps),
      "search": lambda: search(
        detector.weights, tiles, scan.mean, scan.std, limits, scale, np.float32(0.1)
      ),
    },
    repeats=repeats,
  )
  return {name: statistics.median(seconds) for name, seconds in times.items()}


if __name__ == "__main__":
  main()
