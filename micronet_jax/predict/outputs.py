"""What the predict job writes for an image: names, files, whose they are.

Called by `predict.image` and `predict.listing`.
"""

import logging
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from micronet_jax.detection.scan import Scan
from micronet_jax.errors import InputError
from micronet_jax.files import same_name, write_json
from micronet_jax.imaging.canvas import inside
from micronet_jax.imaging.thumbnails import thumbnail
from micronet_jax.imaging.tissue import RIM_UM
from micronet_jax.predict import tables
from micronet_jax.predict.journal import Journal
from micronet_jax.stored import DETECTED, read_stored

if TYPE_CHECKING:
  from micronet_jax.predict.density import Density

FORMATS = {
  "csv": ".csv",
  "geojson": ".geojson",
  "overlay": ".overlay.png",
  "density": ".density.png",
  "html": ".html",
  "parquet": ".parquet",
}
"""What can be written for an image, and the ending that replaces its own."""


def name_summary(shard: str | None) -> str:
  """The file with a line for each image, of all or of one part of them."""
  return "summary.csv" if shard is None else f"summary.{shard.replace('/', '-of-')}.csv"


log = logging.getLogger("micronet_jax")


PICTURE_SIDE = 4096
"""Longest side of an overlay, in pixels; smaller images are drawn as they are."""


def name_outputs(
  images: Sequence[str],
  out: pathlib.Path,
  formats: Collection[str],
  *,
  shard: str | None = None,
) -> list[tuple[str, pathlib.Path]]:
  """Each image with the path, less the ending, that its files get.

  Of the shard k/n they are every n-th of all, from the k-th on.

  Raises:
    InputError: two would write the same file, or one would replace an image.
  """
  owner: dict[pathlib.Path, str] = {}
  seen: dict[str, str] = {}  # by names as people see them
  places = {os.path.abspath(image): image for image in images}
  for image in images:
    stem = out / pathlib.Path(image).stem
    first = seen.setdefault(same_name(stem.name), image)
    if first != image:
      raise write_the_same(first, image, stem)
    owner[stem] = image
    for path in (record_path(stem), *output_paths(stem, formats).values()):
      if os.path.abspath(path) in places:
        raise InputError(
          f"the results of {image} would replace {places[os.path.abspath(path)]}, "
          "which is an image too; use another output folder"
        )
      if path.name == name_summary(shard):
        raise InputError(
          f"{image} would write {path}, which lists all images; rename the image"
        )
  jobs = [(image, stem) for stem, image in owner.items()]
  part, parts = (1, 1) if shard is None else map(int, shard.split("/"))
  return jobs[part - 1 :: parts]


def write_the_same(first: str, image: str, stem: pathlib.Path) -> InputError:
  """The one sentence on two images whose files would have the same names."""
  return InputError(
    f"{first} and {image} would both write {stem}.*; detect them into different folders"
  )


def output_paths(
  stem: pathlib.Path, formats: Collection[str]
) -> dict[str, pathlib.Path]:
  """The files of an image by format."""
  return {each: stem.with_name(stem.name + FORMATS[each]) for each in formats}


def record_path(stem: pathlib.Path) -> pathlib.Path:
  """The JSON file of an image: it is there if all its files are of one result."""
  return stem.with_name(f"{stem.name}.json")


def read_record(stem: pathlib.Path, settings: Mapping[str, Any]) -> dict[str, Any]:
  """What an earlier run with these settings found, without files that are gone."""
  before = load_record(record_path(stem))
  if not before or before["settings"] != settings:
    return {}
  if counts_the_rim(before):
    log.warning(
      "%s counts glass around the tissue as tissue, as versions before did: its image"
      " is searched again",
      record_path(stem),
    )
    return {}
  there = [name for name in before["files"] if stem.with_name(name).exists()]
  return {**before, "files": there}


def load_record(path: pathlib.Path) -> dict[str, Any]:
  """What the JSON file of an image holds; nothing unless it is whole and ours."""
  try:
    return read_stored(path, DETECTED) or {}
  except InputError:
    return {}


def counts_the_rim(record: Mapping[str, Any]) -> bool:
  """Whether a record is of a version whose mm² of tissue held the rim around it."""
  return record["per"] == "tissue" and "tissue_rim_um" not in record


_NOTED = "ours.json"


def check_ours(
  stem: pathlib.Path, formats: Collection[str], journal: pathlib.Path
) -> set[str]:
  """Makes sure that only files of this program are replaced.

  Ours are those that a record names, and those that were noted in a journal: then a run
  was stopped between removing the record and writing the next.

  Returns:
    The names of those that are there and ours.

  Raises:
    InputError: one is somebody else's.
  """
  there = {p.name for p in output_paths(stem, FORMATS).values() if os.path.lexists(p)}
  record = record_path(stem)
  before = load_record(record)
  noted = (read_stored(journal / _NOTED, {"files": [str]}) or {}).get("files", [])
  # Versions before listed as written also what they left of results before.
  ours = there & {*before.get("files", ()), *before.get("written", ()), *noted}
  wanted = output_paths(stem, formats).values()
  others = [path for path in wanted if path.name not in ours]
  for path in (*others, *(() if before or noted else (record,))):
    if os.path.lexists(path):
      raise InputError(
        f"{path} is there and was not written by this program (no {record.name} that"
        " says so); move it, or use another folder for the results"
      )
  return ours


def note_ours(journal: pathlib.Path, names: Collection[str]) -> None:
  """Notes which files are ours or are about to be, before the first is touched."""
  write_json(journal / _NOTED, {"files": sorted(names)})


def remove_stale(stem: pathlib.Path, names: Collection[str]) -> None:
  """Removes files of ours that are of another result than the record to be.

  Comes before the record of that other result is removed: what is left is of it.

  Args:
    stem: path of the files, less the ending.
    names: of the files.

  Raises:
    InputError: one cannot be removed.
  """
  for name in sorted(names):
    path = stem.with_name(name)
    try:
      path.unlink(missing_ok=True)
    except OSError as error:
      raise InputError(
        f"{path} is of an earlier result and cannot be removed ({error.strerror});"
        " remove it, or use another folder for the results"
      ) from error
  if names:
    log.warning(
      "%s.*: %d file(s) of an earlier result (of other settings, weights or content)"
      " are removed, as this run does not write them again: %s",
      *(stem, len(names), ", ".join(sorted(names))),
    )


def remove_record(stem: pathlib.Path) -> None:
  """Before files are replaced: from now on they are of different results.

  Raises:
    InputError: it cannot be removed.
  """
  try:
    record_path(stem).unlink(missing_ok=True)
  except OSError as error:
    raise InputError(
      f"{record_path(stem)} cannot be replaced ({error.strerror})"
    ) from error


def count_nuclei(
  journal: Journal, scan: Scan, lowest: float
) -> tuple[dict[str, Any], "Density"]:
  """Counts the nuclei of one image: in all, by region, and in a grid.

  Args:
    journal: its points.
    scan: of the image.
    lowest: the least score that counts.

  Returns:
    `count`, `regions` and `tissue_mm2`, as `summary.summarise` takes them, and how far
    around the tissue was searched; the grid.
  """
  from micronet_jax.predict import density

  grid = density.density_grid(scan.shape, mpp=scan.mpp, regions=scan.regions)
  count, per_region = 0, [0] * len(scan.regions)
  for centers, _ in grid.counted(journal.chunks(lowest=lowest)):
    count += len(centers)
    for i, region in enumerate(scan.regions):
      per_region[i] += int(inside(centers, region).sum())
  tissue_mm2 = None
  if scan.tissue is not None and scan.mpp is not None:
    pixels = scan.tissue.area(scan.shape, scan.regions)
    tissue_mm2 = pixels * (scan.mpp / 1000) ** 2
  regions = [
    {"x": b.x0, "y": b.y0, "width": b.x1 - b.x0, "height": b.y1 - b.y0, "nuclei": n}
    for b, n in zip(scan.regions, per_region, strict=True)
  ]
  return {
    "count": count,
    "regions": regions,
    "tissue_mm2": tissue_mm2,
    "tissue_rim_um": None if scan.tissue is None else RIM_UM,
  }, grid


def write_outputs(
  journal: Journal,
  scan: Scan,
  stem: pathlib.Path,
  result: Mapping[str, Any],
  grid: "Density",
  formats: Collection[str],
) -> None:
  """Writes the files of one image.

  Args:
    journal: its points.
    scan: of the image.
    stem: path of the files, less the ending.
    result: what is said of them (`summary.summarise`).
    grid: filled.
    formats: of `FORMATS`.

  Raises:
    InputError: a file cannot be written, or the image cannot be read.
  """
  files = output_paths(stem, formats)
  lowest, count = result["threshold"], result["nuclei"]
  if "csv" in files:
    tables.write_csv(files["csv"], journal.chunks(lowest=lowest))
  if "parquet" in files:
    about = {
      "image": result["settings"]["file"],
      "microns_per_pixel": str(result["mpp"]),
      "coordinates": result["frames"]["csv"],
    }
    tables.write_parquet(files["parquet"], journal.chunks(lowest=lowest), about=about)
  if "geojson" in files:
    chunks, origin = journal.chunks(lowest=lowest), scan.canvas.reader.origin
    tables.write_geojson(files["geojson"], chunks, count=count, origin=origin)
  if files.keys() & {"overlay", "density", "html"}:
    _write_pictures(journal, scan, files, result, grid)


def _write_pictures(
  journal: Journal,
  scan: Scan,
  files: Mapping[str, pathlib.Path],
  result: Mapping[str, Any],
  grid: "Density",
) -> None:
  """Writes what shows the image, which is read once for all."""
  from micronet_jax.predict import density, overlays, page

  picture, lowest = _picture(scan), result["threshold"]
  if "density" in files:
    from micronet_jax import figures

    title = files["density"].name.removesuffix(FORMATS["density"])
    figure = density.density_map(grid, thumbnail=picture, title=title)
    figures.save_figure(figure, files["density"])
  if "overlay" in files:
    chunks = journal.chunks(lowest=lowest)
    marked = overlays.overlay(picture, chunks, shape=scan.shape)
    overlays.write_image(files["overlay"], marked)
  if "html" in files:
    chunks = journal.chunks(lowest=lowest)
    page.write_page(files["html"], chunks, result=result, picture=picture, density=grid)


def describe_frames(scan: Scan, formats: Collection[str]) -> dict[str, str]:
  """What the coordinates in each file count from; says it where the two differ."""
  x, y = scan.canvas.reader.origin
  frames = {
    "csv": "pixels of the whole image, (0, 0) at the centre of the top-left one",
    "geojson": "pixels as QuPath shows the image, (0, 0) at the corner of the top-left"
    f" one, which is pixel ({x}, {y}) of the whole image",
  }
  if (x, y) != (0, 0) and "geojson" in formats:
    log.warning(
      "%s: QuPath shows this slide from pixel (%d, %d) on, and GeoJSON counts from"
      " there; CSV counts from the first pixel of the whole image",
      scan.canvas.reader.name,
      x,
      y,
    )
  return frames


def _picture(scan: Scan) -> np.ndarray:
  """The image, made smaller if it is too large to look at."""
  scale = min(1.0, PICTURE_SIDE / max(scan.shape))
  height, width = (max(1, round(side * scale)) for side in scan.shape)
  return thumbnail(scan.canvas.reader, height=height, width=width)
