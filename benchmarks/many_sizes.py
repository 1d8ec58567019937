"""When images of one size deserve a program of their own: `detector.OWN_PROGRAM`.

  python -m benchmarks.many_sizes --sizes=200,300,500,600 --json=many_sizes.json

Images of many sizes share few programs, which search the room beyond an image too. Of
each size: what compiling its own program takes, what an image takes in that one and in
the shared one, and after how many images the own one has paid.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks import report, timing
from micronet_jax.datasets.synthetic_he.generator import generate
from micronet_jax.detection.detector import OWN_PROGRAM, Detector, load

FIRST = 64
"""Side of another image, which the shared program's detector is given before."""


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the benchmark."""
  parser = report.arguments(__doc__, repeats=OWN_PROGRAM - 1)
  parser.add_argument("--sizes", default="200,300,500,600", help="sides of images")
  options = parser.parse_args(argv)
  report.print_machine()
  sizes = [100, 130] if options.quick else [*map(int, options.sizes.split(","))]
  repeats = min(options.repeats, OWN_PROGRAM - 1)  # then shared is no longer so
  rows = report.print_table(measure(load("base"), sizes, repeats))
  report.write_json(options.json, rows)


def measure(
  base: Detector, sizes: Sequence[int], repeats: int
) -> Iterator[dict[str, Any]]:
  """A row for each size."""
  for size in sizes:
    image, _ = generate("breast", 0, size=size)
    own, shared = (Detector(base.weights, base.meta) for _ in range(2))
    detect = {"own": own, "shared": shared}
    calls = {
      name: functools.partial(_detect, detector, image)
      for name, detector in detect.items()
    }
    _detect(shared, image[:FIRST, :FIRST])
    first = timing.interleave(calls, repeats=1, warmup=0)
    times = timing.interleave(calls, repeats=repeats - 1, warmup=0)
    middle = {name: float(np.median(each)) for name, each in times.items()}
    compiling = first["own"][0] - middle["own"]
    lost = middle["shared"] - middle["own"]
    yield {
      "side": size,
      "compiling, s": timing.digits(compiling),
      "own, s an image": timing.spread(times["own"]),
      "shared, s an image": timing.spread(times["shared"]),
      "own pays after": f"{compiling / lost:.0f} images" if lost > 0 else "never",
    }


def _detect(detector: Detector, image: np.ndarray) -> int:
  return len(detector.detect(image, mpp=detector.mpp).scores)


if __name__ == "__main__":
  main()
