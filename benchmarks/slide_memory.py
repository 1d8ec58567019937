"""Peak memory of a detection from the shell, over the size of the slide.

  python -m benchmarks.slide_memory --sides=10000,20000,40000 --folder=DIR

Writes pyramidal TIFFs (JPEG, tiles of 512², levels of 1, 1/4 and 1/16, 0.25 microns a
pixel) of synthetic tissue on glass into DIR and runs `micronet detect` on each in a
process of its own, whose peak resident memory is what is printed. The islands of tissue
are as many on every slide, so that only the size differs; --islands changes that.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import tifffile

from benchmarks.report import print_table, write_json
from micronet_jax.datasets.synthetic_he.generator import generate

TILE = 512
BLOCK = 2048  # islands are as large, and lie at multiples of it
GLASS = (244, 242, 245)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--sides", default="10000,20000,40000", help="of the slides")
  parser.add_argument("--islands", type=int, default=8, help="of tissue, 2048² each")
  parser.add_argument("--folder", required=True, help="for slides and results")
  parser.add_argument("--options", default="", help="for micronet detect")
  parser.add_argument("--json", default="", help="file for the numbers")
  arguments = parser.parse_args()
  folder = pathlib.Path(arguments.folder)
  folder.mkdir(parents=True, exist_ok=True)
  rows = []
  for side in map(int, arguments.sides.split(",")):
    path = folder / f"slide_{side}_{arguments.islands}.tif"
    if not path.exists():
      write_slide(path, side, arguments.islands)
    rows.append(measure(path, side, arguments))
  print_table(rows)
  write_json(arguments.json, rows)


def write_slide(path: pathlib.Path, side: int, islands: int) -> None:
  """A slide whose islands are spread evenly over its blocks."""
  across = side // BLOCK
  places = np.linspace(0, across * across - 1, islands).astype(int)
  tissue = {divmod(int(place), across) for place in places}
  island = np.tile(generate("breast", 0, size=512)[0], (4, 4, 1))
  quarter = island.reshape(512, 4, 512, 4, 3).mean((1, 3)).astype(np.uint8)
  small = quarter.reshape(128, 4, 128, 4, 3).mean((1, 3)).astype(np.uint8)
  glass = np.full((TILE, TILE, 3), GLASS, np.uint8)

  def tiles(level: int):
    scale = 4**level
    count = -(-(side // scale) // TILE)
    for row in range(count):
      for column in range(count):
        yield make_tile(level, row, column)

  def make_tile(level: int, row: int, column: int) -> np.ndarray:
    if level == 0:
      block, place = (row // 4, column // 4), (row % 4 * TILE, column % 4 * TILE)
      if block not in tissue:
        return glass
      return island[place[0] : place[0] + TILE, place[1] : place[1] + TILE]
    if level == 1:
      return quarter if (row, column) in tissue else glass
    picture = glass.copy()
    for y, x in tissue:
      if y // 4 == row and x // 4 == column:
        top, left = y % 4 * 128, x % 4 * 128
        picture[top : top + 128, left : left + 128] = small
    return picture

  beside = path.with_suffix(".partial")
  with tifffile.TiffWriter(beside, bigtiff=True) as writer:
    for level in range(3):
      writer.write(
        tiles(level),
        shape=(side // 4**level, side // 4**level, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 90},
        resolution=(40000 / 4**level, 40000 / 4**level),  # 0.25 microns
        resolutionunit="CENTIMETER",
        subifds=2 if level == 0 else None,
        subfiletype=1 if level else 0,
        metadata=None,
      )
  beside.replace(path)


def measure(path: pathlib.Path, side: int, arguments) -> dict[str, object]:
  """Runs the command once, from nothing, and asks the system what it took."""
  out = path.parent / f"out_{path.stem}"
  for old in out.glob("*") if out.exists() else ():
    old.unlink()
  command = [sys.executable, "-m", "micronet_jax.cli", "detect", str(path)]
  command += ["-o", str(out), *arguments.options.split()]
  began = time.perf_counter()
  process = subprocess.Popen(command)
  _, status, usage = os.wait4(process.pid, 0)
  seconds = time.perf_counter() - began
  if status:
    raise SystemExit(f"{command} ended with {status}")
  return {
    "side": side,
    "megapixels": round(side * side / 1e6),
    "file MB": round(path.stat().st_size / 1e6),
    "nuclei": sum(1 for _ in (out / f"{path.stem}.csv").open()) - 1,
    "seconds": round(seconds, 1),
    "peak RSS MB": round(usage.ru_maxrss / 1024),
  }


if __name__ == "__main__":
  main()
