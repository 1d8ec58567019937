"""What very many nuclei of one slide cost: the journal, and the files written of it.

  python -m benchmarks.growth --folder=DIR --nuclei=1000000,10000000

Detections are drawn, without a network: 4,000 a square millimetre, in tiles of the size
that `micronet detect` answers for at a time. Each file is written from the journal, and
opened again by what people open it with. Each stage runs in a process of its own,
forked from this one; "peak" is what it grew by. On a machine that others use, the
seconds of the processor say more than those that passed. `benchmarks.archive` is of
many slides.
"""

import argparse
import functools
import multiprocessing
import pathlib
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pyarrow import csv, dataset, parquet

from benchmarks import memory, report, timing
from micronet_jax.datasets.annotations import read_centers
from micronet_jax.predict import overlays, page, summary, tables
from micronet_jax.predict.density import density_grid
from micronet_jax.predict.journal import Journal

DENSITY = 4000
"""Nuclei a square millimetre; dense tissue."""


MPP = 0.25
CORE = 1760
"""Side of what one tile answers for, in pixels of the slide."""


LOWEST = 0.2  # of the scores


ANNOTATIONS = 1_000_000
"""Most nuclei whose files are read back as annotations, which takes 1 kB of each."""


THUMBNAIL = 4096
Stage = Callable[[pathlib.Path, Mapping[str, Any]], dict[str, Any]]
Run = Callable[[Stage, pathlib.Path, Mapping[str, Any]], dict[str, Any]]


def main(argv: Sequence[str] | None = None, *, run: Run | None = None) -> None:
  """Runs the benchmark; `run` measures a stage, by default in a process of its own."""
  options = arguments(__doc__, nuclei="1000000,10000000").parse_args(argv)
  if options.quick:
    options.nuclei = "3000"
  rows = report.print_table(measure_all(options.nuclei, options.folder, run))
  finish(options.json, rows)


def arguments(doc: str, **sizes: Any) -> argparse.ArgumentParser:
  """--folder, --quick, --json and the sizes, with their defaults."""
  parser = argparse.ArgumentParser(description=doc.split("\n")[0])
  parser.add_argument("--folder", required=True, help="for all files; left empty")
  parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
  parser.add_argument("--json", default="", help="file for the numbers")
  for name, value in sizes.items():
    parser.add_argument(f"--{name}", type=type(value), default=value)
  return parser


def finish(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
  """Prints the machine, last: it starts JAX, whose threads no fork would survive."""
  print()
  report.print_machine()
  report.write_json(path, rows)


def measure_all(nuclei: str, root: str, run: Run | None) -> Iterator[dict[str, Any]]:
  for count in map(int, nuclei.split(",")):
    folder, case = pathlib.Path(root) / f"slide-{count}", {"nuclei": count}
    stages = STAGES if count > ANNOTATIONS else {**STAGES, **READ_BACK}
    yield from run_stages(stages, folder, case, rows=count, run=run)


def run_stages(
  stages: Mapping[str, Stage],
  folder: pathlib.Path,
  case: Mapping[str, Any],
  *,
  rows: int,
  run: Run | None,
) -> Iterator[dict[str, Any]]:
  """Measures stages one after the other; each finds what those before left.

  Args:
    stages: by name.
    folder: made, and removed at the end.
    case: sizes, which stages are told.
    rows: nuclei that their files hold, for the bytes of each.
    run: measures a stage, by default in a process of its own.
  """
  folder.mkdir(parents=True, exist_ok=True)
  try:
    for name, stage in stages.items():
      found = (run or measure_apart)(stage, folder, case)
      yield make_row(name, rows, found)
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def make_row(name: str, rows: int, found: Mapping[str, Any]) -> dict[str, Any]:
  size = found.get("bytes", 0)
  return {
    "nuclei": f"{rows:,}" if rows else "-",
    "what": name,
    "s": timing.digits(found["seconds"]),
    "processor s": timing.digits(found["processor"]),
    "peak MB": round(found["peak"] / memory.MEGA),
    "MB on disk": timing.digits(size / 1e6) if size else "-",
    "bytes a nucleus": timing.digits(size / rows) if size else "-",
    "result": found.get("result", "-"),
  }


def measure_apart(
  stage: Stage, folder: pathlib.Path, case: Mapping[str, Any]
) -> dict[str, Any]:
  """`measure` in a process of its own, whose memory nothing else has used."""
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX has not begun
    with multiprocessing.get_context("fork").Pool(1) as pool:
      return pool.apply(measure, (stage, folder, case))


def measure(
  stage: Stage, folder: pathlib.Path, case: Mapping[str, Any]
) -> dict[str, Any]:
  """Seconds and peak bytes of one stage, and what it says of itself."""
  before = memory.start_watching()
  began, worked = time.perf_counter(), time.process_time()
  told = stage(folder, case)
  passed, worked = time.perf_counter() - began, time.process_time() - worked
  peak = max(0, memory.peak() - before)
  return {"seconds": passed, "processor": worked, "peak": peak, **told}


def side_of(nuclei: int) -> int:
  """Of a square slide with so many nuclei, in pixels."""
  return int(np.sqrt(nuclei / DENSITY) * 1000 / MPP)


def draw_tiles(nuclei: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
  """Tiles in raster order: number, centres `[N, 2]` (y, x), scores `[N]`."""
  side = side_of(nuclei)
  across = -(-side // CORE)
  drawn = 0
  for tile in range(across * across):
    random = np.random.default_rng(tile)
    corner = np.array(divmod(tile, across)) * CORE
    size = np.minimum(CORE, side - corner)
    last = tile == across * across - 1
    count = nuclei - drawn if last else round(nuclei * size.prod() / side**2)
    drawn += count
    centers = corner + random.uniform(0, size, (count, 2))
    yield tile, centers, random.uniform(LOWEST, 1, count).astype(np.float32)


def opened(folder: pathlib.Path, case: Mapping[str, Any]) -> Journal:
  return Journal(folder / "journal", {"nuclei": case["nuclei"]})


def write_journal(folder: pathlib.Path, case: Mapping[str, Any]) -> dict[str, Any]:
  with opened(folder, case) as journal:
    for tile, centers, scores in draw_tiles(case["nuclei"]):
      journal.add(tile, centers, scores, scores[:0])
    return {"bytes": disk(folder / "journal"), "result": f"{len(journal.done)} tiles"}


def resume_journal(folder: pathlib.Path, case: Mapping[str, Any]) -> dict[str, Any]:
  with opened(folder, case) as journal:
    return {"result": f"{journal.count:,} points"}


def read_journal(folder: pathlib.Path, case: Mapping[str, Any]) -> dict[str, Any]:
  """In the order of the image, as every file is written from it."""
  with opened(folder, case) as journal:
    count = sum(len(scores) for _, scores in journal.chunks(lowest=LOWEST))
  return {"result": f"{count:,} points"}


def write_file(
  kind: str, folder: pathlib.Path, case: Mapping[str, Any]
) -> dict[str, Any]:
  """One of the files of a slide."""
  path = folder / f"slide.{kind}"
  with opened(folder, case) as journal:
    WRITERS[kind](path, journal, case["nuclei"])
  return {"bytes": path.stat().st_size}


def write_csv(path: pathlib.Path, journal: Journal, _: int) -> None:
  tables.write_csv(path, journal.chunks(lowest=LOWEST))


def write_parquet(path: pathlib.Path, journal: Journal, _: int) -> None:
  tables.write_parquet(path, journal.chunks(lowest=LOWEST), about={"image": "slide"})


def write_geojson(path: pathlib.Path, journal: Journal, nuclei: int) -> None:
  tables.write_geojson(path, journal.chunks(lowest=LOWEST), count=nuclei)


def write_overlay(path: pathlib.Path, journal: Journal, nuclei: int) -> None:
  chunks, shape = journal.chunks(lowest=LOWEST), (side_of(nuclei),) * 2
  overlays.write_image(path, overlays.overlay(picture(nuclei), chunks, shape=shape))


def picture(nuclei: int) -> np.ndarray:
  """Glass, as large as overlays and pages are."""
  side = min(side_of(nuclei), THUMBNAIL)
  return np.full((side, side, 3), 230, np.uint8)


def write_page(path: pathlib.Path, journal: Journal, nuclei: int) -> None:
  shape = (side_of(nuclei),) * 2
  result = summary.summarise(
    name="slide",
    shape=shape,
    mpp=MPP,
    count=nuclei,
    seconds=0.0,
    threshold=LOWEST,
    weights="base",
    threshold_rule="absolute",
    working_mpp=0.5,
    settings={"file": "slide", "threshold": LOWEST, "weights": "0123456789abcdef"},
  )
  chunks, grid = journal.chunks(lowest=LOWEST), density_grid(shape, mpp=MPP)
  shown = {"picture": picture(nuclei), "density": grid}
  page.write_page(path, chunks, result=result, **shown)


WRITERS = {
  "csv": write_csv,
  "geojson": write_geojson,
  "parquet": write_parquet,
  "overlay.png": write_overlay,
  "html": write_page,
}


def open_csv(folder: pathlib.Path, _: Mapping[str, Any]) -> dict[str, Any]:
  return {"result": f"{len(csv.read_csv(folder / 'slide.csv')):,} rows"}


def open_parquet(folder: pathlib.Path, _: Mapping[str, Any]) -> dict[str, Any]:
  return {"result": f"{len(parquet.read_table(folder / 'slide.parquet')):,} rows"}


def open_square(folder: pathlib.Path, case: Mapping[str, Any]) -> dict[str, Any]:
  """1 mm² in the middle: Parquet's groups of rows beyond it are not read."""
  found = in_square(dataset.dataset(folder / "slide.parquet"), case["nuclei"])
  return {"result": f"{len(found):,} rows"}


def in_square(points: Any, nuclei: int) -> Any:
  x, y = dataset.field("x"), dataset.field("y")
  low = side_of(nuclei) / 2
  high = low + 1000 / MPP
  return points.to_table(filter=(y >= low) & (y < high) & (x >= low) & (x < high))


def read_by_ours(
  kind: str, folder: pathlib.Path, _: Mapping[str, Any]
) -> dict[str, Any]:
  """As a folder of annotated images is read."""
  return {"result": f"{len(read_centers(folder / f'slide.{kind}')):,} centres"}


STAGES: Mapping[str, Stage] = {
  "journal written": write_journal,
  "journal resumed": resume_journal,
  "journal read in order": read_journal,
  **{f"{kind} written": functools.partial(write_file, kind) for kind in WRITERS},
  "csv opened (pyarrow)": open_csv,
  "parquet opened (pyarrow)": open_parquet,
  "parquet, 1 mm² of it": open_square,
}
"""What is measured of one slide, in this order."""


READ_BACK: Mapping[str, Stage] = {
  "csv as annotations": functools.partial(read_by_ours, "csv"),
  "geojson as annotations": functools.partial(read_by_ours, "geojson"),
}


def disk(folder: pathlib.Path) -> int:
  """Bytes of all files in a folder."""
  return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
  main()
