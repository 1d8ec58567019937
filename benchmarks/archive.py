"""What very many slides cost: their points as a database, and going over them again.

  python -m benchmarks.archive --folder=DIR --slides=100 --each=500000 --images=10000

First the points of so many slides, a Parquet file each in a folder a site, as
`micronet detect --format parquet` writes them, and what is asked of all of them through
`pyarrow.dataset`. Then a folder of so many images that are all detected already:
finding them, and the job going over them, as a job array does with every restart.
"""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image
from pyarrow import compute, dataset

from benchmarks.growth import (
  LOWEST,
  MPP,
  Run,
  Stage,
  arguments,
  disk,
  finish,
  in_square,
  run_stages,
  side_of,
)
from benchmarks.report import print_table
from micronet_jax.config import PredictConfig
from micronet_jax.predict import finding, identity, job, outputs, tables

SITES = 10
SMALL = 64  # side of an image that nothing is looked for in


def main(argv: Sequence[str] | None = None, *, run: Run | None = None) -> None:
  """Runs the benchmark; `run` measures a stage, by default in a process of its own."""
  sizes = {"slides": 100, "each": 500_000, "images": 10_000}
  options = arguments(__doc__, **sizes).parse_args(argv)
  if options.quick:
    options.slides, options.each, options.images = 2, 1000, 3
  rows = print_table(measure_all(options, run))
  finish(options.json, rows)


def measure_all(options: Any, run: Run | None) -> Iterator[dict[str, Any]]:
  folder = pathlib.Path(options.folder)
  points = {"slides": options.slides, "nuclei": options.each}
  rows = options.slides * options.each
  yield from run_stages(QUERIES, folder / "points", points, rows=rows, run=run)
  images = {"images": options.images}
  yield from run_stages(JOB, folder / "images", images, rows=0, run=run)


# --- points of all slides -----------------------------------------------------------


def write_points(folder: pathlib.Path, case: Mapping[str, Any]) -> dict[str, Any]:
  """`site=N/NAME.parquet`, names that PyArrow, DuckDB and Spark understand."""
  side = side_of(case["nuclei"])
  for slide in range(case["slides"]):
    random = np.random.default_rng(slide)
    centers = random.uniform(0, side, (case["nuclei"], 2))
    centers = centers[np.argsort(centers[:, 0])]
    scores = random.uniform(LOWEST, 1, len(centers)).astype(np.float32)
    about = {"image": f"{slide}.svs", "microns_per_pixel": str(MPP)}
    path = folder / f"site={slide % SITES}" / f"{slide}.parquet"
    tables.write_parquet(path, [(centers, scores)], about=about)
    path.with_suffix(".json").touch()  # beside it, as the job leaves one
  return {"bytes": disk(folder)}


def every_point(folder: pathlib.Path) -> Any:
  """All Parquet files as one data set; what the folders' names say is a column."""
  files = sorted(map(str, folder.rglob("*.parquet")))
  return dataset.dataset(files, partitioning=dataset.partitioning(flavor="hive"))


def open_points(folder: pathlib.Path, _: Mapping[str, Any]) -> dict[str, Any]:
  return {"result": f"{len(every_point(folder).files)} files"}


def count_points(folder: pathlib.Path, _: Mapping[str, Any]) -> dict[str, Any]:
  return {"result": f"{every_point(folder).count_rows():,} nuclei"}


def count_by_slide(folder: pathlib.Path, _: Mapping[str, Any]) -> dict[str, Any]:
  """Batch by batch, so that memory does not grow with the archive."""
  counts: dict[str, int] = {}
  batches = every_point(folder).to_batches(
    columns=["__filename"],
    filter=dataset.field("score") >= 0.6,
  )
  for batch in batches:
    for found in batch["__filename"].value_counts().to_pylist():
      counts[found["values"]] = counts.get(found["values"], 0) + found["counts"]
  return {"result": f"{sum(counts.values()):,} in {len(counts)} slides"}


def mean_of_site(folder: pathlib.Path, _: Mapping[str, Any]) -> dict[str, Any]:
  one = dataset.field("site") == 1
  scores = every_point(folder).to_table(columns=["score"], filter=one)["score"]
  return {"result": f"{compute.mean(scores).as_py():.3f} of {len(scores):,}"}


def square_of_slide(folder: pathlib.Path, case: Mapping[str, Any]) -> dict[str, Any]:
  slide = dataset.dataset(folder / "site=1" / "1.parquet")
  return {"result": f"{len(in_square(slide, case['nuclei'])):,} nuclei"}


QUERIES: Mapping[str, Stage] = {
  "points written": write_points,
  "opened as one data set": open_points,
  "all nuclei counted": count_points,
  "those from 0.6 on, by slide": count_by_slide,
  "mean score of one site": mean_of_site,
  "1 mm² of one slide": square_of_slide,
}


# --- images that are done -----------------------------------------------------------


def make_images(folder: pathlib.Path, case: Mapping[str, Any]) -> dict[str, Any]:
  """One image is detected; the record of each other is a copy that names it."""
  first = folder / "images" / "0.png"
  first.parent.mkdir()
  PIL.Image.new("RGB", (SMALL, SMALL)).save(first)
  (record,) = job.predict_images([str(first)], folder / "out", options=CSV)
  for number in range(1, case["images"]):
    image = first.with_name(f"{number}.png")
    image.touch()  # nobody opens it
    settings = {**record["settings"], **identity.identify(str(image))}
    mine = {**record, "settings": settings, "files": [f"{number}.csv"]}
    mine["place"] = str(image.resolve())
    (folder / "out" / f"{number}.json").write_text(json.dumps(mine))
    (folder / "out" / f"{number}.csv").touch()
  return {"result": f"{case['images']:,} images"}


def find_images(folder: pathlib.Path, _: Mapping[str, Any]) -> dict[str, Any]:
  """What every shard does first, of all images."""
  images = finding.find_images([str(folder / "images")])
  named = outputs.name_outputs(images, folder / "out", CSV.formats, shard="1/100")
  return {"result": f"{len(named):,} in the first of 100 shards"}


def go_over(folder: pathlib.Path, _: Mapping[str, Any]) -> dict[str, Any]:
  done = job.predict_images([str(folder / "images")], folder / "out", options=CSV)
  repeated = sum(result.get("repeated", False) for result in done)
  return {"result": f"{repeated:,} done before"}


CSV = PredictConfig(formats=("csv",))
JOB: Mapping[str, Stage] = {
  "images made": make_images,
  "images found and named": find_images,
  "the job, all done before": go_over,
}


if __name__ == "__main__":
  main()
