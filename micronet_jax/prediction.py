"""Detects in many images and writes what people open: the predict job.

One image after the other: found points go to a journal on disk tile by tile, and when
all tiles are done, to the files that were asked for. An interrupted image goes on with
its next tile, a finished one is not repeated, and a bad one does not stop the rest.
"""

import csv
import dataclasses
import glob
import hashlib
import json
import os
import pathlib
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from micronet_jax import exports
from micronet_jax.errors import InputError
from micronet_jax.files import replacing, write_json
from micronet_jax.inference import Detector, load
from micronet_jax.journal import CannotWrite, Journal
from micronet_jax.readers import is_image, open_image, thumbnail
from micronet_jax.scanning import Scan
from micronet_jax.tiling import inside
from micronet_jax.version import __version__

FORMATS = {
  "csv": ".csv",
  "geojson": ".geojson",
  "overlay": ".overlay.png",
  "density": ".density.png",
}
"""What can be written for an image, and the ending that replaces its own."""

PICTURE_SIDE = 4096
"""Longest side of an overlay, in pixels; smaller images are drawn as they are."""

LONG_WORK = 8
"""Tiles from which on an image gets a progress bar."""


@dataclasses.dataclass(frozen=True)
class Options:
  """How images are searched and what is written; see `Detector.detect`.

  Attributes:
    mpp: microns per pixel; None for what each file says.
    threshold: least score; None for the checkpoint's.
    regions: (x, y, width, height) in each image's own pixels; none for all.
    tissue: True, False, or None to decide by size.
    formats: of `FORMATS`.
    tile, batch, devices: None to decide by the machine.
  """

  mpp: float | None = None
  threshold: float | None = None
  regions: tuple[tuple[int, int, int, int], ...] = ()
  tissue: bool | None = None
  formats: tuple[str, ...] = ("csv", "geojson", "overlay")
  tile: int | None = None
  batch: int | None = None
  devices: int | None = None


def predict(
  images: Sequence[str],
  out: str | os.PathLike[str],
  *,
  weights: str = "base",
  options: Options | None = None,
) -> list[dict[str, Any]]:
  """Detects nuclei in images and writes the results to a folder.

  Args:
    images: files, folders (all images directly in them) and globs.
    out: gets, for an image NAME.svs, NAME.json (count, density, settings), a file for
      each format, and `summary.csv`, a line for each image.
    weights: as `load` takes it.
    options: the rest.

  Returns:
    What the images' JSON files hold; for an image that failed, `image` and `error`.

  Raises:
    InputError: nothing to do, an impossible option, or `out` cannot be written. What
      is wrong with one image only is printed and returned.
  """
  options = options or Options()
  _check(options)
  jobs = _name_outputs(find_images(images), pathlib.Path(out))
  detector = load(weights)
  digest = _digest(detector)
  results: list[dict[str, Any]] = []
  for number, (image, stem) in enumerate(jobs, start=1):
    label = f"[{number}/{len(jobs)}] {image}" if len(jobs) > 1 else image
    try:
      result = _predict_one(detector, image, stem, weights, digest, options)
      print(f"{label}: {_sentence(result)}", flush=True)
    except InputError as error:
      result = {"image": image, "error": str(error)}
    except Exception as error:  # the other images should not suffer
      traceback.print_exc()
      result = {"image": image, "error": f"{type(error).__name__}: {error}"}
    if "error" in result:
      print(f"{label}: error: {result['error']}", file=sys.stderr, flush=True)
    results.append(result)
  _write_summary(pathlib.Path(out) / "summary.csv", results)
  return results


def report_failures(results: Sequence[Mapping[str, Any]]) -> int:
  """Names the images that failed; returns the exit status, 1 if any did."""
  failed = [result for result in results if "error" in result]
  if failed and len(results) > 1:
    print(f"{len(failed)} of {len(results)} images failed:", file=sys.stderr)
    for result in failed:
      print(f"  {result['image']}: {result['error']}", file=sys.stderr)
  return 1 if failed else 0


def find_images(patterns: Sequence[str]) -> list[str]:
  """The images that files, folders and globs name, each once, in order.

  Raises:
    InputError: a pattern that names none.
  """
  found: dict[str, None] = {}
  for pattern in patterns:
    if os.path.isdir(pattern):
      paths = sorted(
        path
        for path in glob.glob(os.path.join(glob.escape(pattern), "*"))
        if is_image(path) and os.path.isfile(path)
      )
    elif glob.has_magic(pattern) and not os.path.exists(pattern):
      paths = sorted(glob.glob(pattern, recursive=True))
    else:
      paths = [pattern]  # if it is not there, it is reported with the others
    if not paths:
      raise InputError(f"{pattern}: there is no image")
    found |= dict.fromkeys(paths)
  if not found:
    raise InputError("no image was named")
  return list(found)


def _name_outputs(
  images: Sequence[str], out: pathlib.Path
) -> list[tuple[str, pathlib.Path]]:
  """Each image with the path, less the ending, that its files get."""
  owner: dict[pathlib.Path, str] = {}
  for image in images:
    stem = out / pathlib.Path(image).stem
    if stem in owner:
      raise InputError(
        f"{owner[stem]} and {image} would both write {stem}.*; detect them into "
        "different folders"
      )
    owner[stem] = image
  return [(image, stem) for stem, image in owner.items()]


def _check(options: Options) -> None:
  unknown = sorted(set(options.formats) - set(FORMATS))
  if unknown:
    raise InputError(
      f"format {unknown[0]!r} is unknown; there are {', '.join(FORMATS)}"
    )
  if options.threshold is not None and not 0 <= options.threshold <= 1:
    raise InputError(
      f"threshold is a score, about 1 at a clear nucleus, from 0 to 1; got "
      f"{options.threshold:g}"
    )
  for name in ("tile", "batch", "devices"):
    value = getattr(options, name)
    if value is not None and value < 1:
      raise InputError(f"{name} is a number from 1 on, got {value}")
  if options.devices is not None and options.devices > jax.device_count():
    raise InputError(
      f"devices is {options.devices}, but this machine has {jax.device_count()}"
    )


def _digest(detector: Detector) -> str:
  """Tells networks apart: a hash of weights and thresholds."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(detector.weights):
    digest.update(str(path).encode() + np.asarray(leaf).tobytes())
  keys = ("model", "proximity", "xi", "min_distance")
  chosen = {key: detector.meta[key] for key in keys}
  digest.update(json.dumps(chosen, sort_keys=True, default=str).encode())
  return digest.hexdigest()[:16]


def _predict_one(
  detector: Detector,
  image: str,
  stem: pathlib.Path,
  weights: str,
  digest: str,
  options: Options,
) -> dict[str, Any]:
  """Detects in one image, or takes up where that was interrupted."""
  began = time.monotonic()
  with open_image(image) as reader:
    settings = _settings(image, digest, options)
    finished = _finished(stem, settings, options.formats)
    if finished:
      return {**finished, "repeated": True}
    scan = detector.scan(
      reader,
      mpp=options.mpp,
      regions=options.regions,
      tissue=options.tissue,
      tile=options.tile,
    )
    # The places of the tiles determine what a journal's numbers mean.
    plan = {**settings, "sides": scan.sides, "tiles": [t.index for t in scan.tiles]}
    with Journal(stem.with_name(f".{stem.name}.partial"), plan) as journal:
      try:
        _search(detector, scan, journal, options)
      except CannotWrite:
        raise  # what was found so far is kept
      except InputError:
        journal.remove()
        raise
      lowest = detector.lowest_score(scan, journal.best, threshold=options.threshold)
      result = _write(journal, scan, stem, lowest, options)
      result = exports.summary(
        name=image,
        shape=scan.shape,
        mpp=scan.mpp,
        seconds=time.monotonic() - began,
        threshold=lowest,
        weights=weights,
        files=[f"{stem.name}{FORMATS[each]}" for each in options.formats],
        settings=settings,
        **result,
      )
      write_json(stem.with_name(f"{stem.name}.json"), result)
      journal.remove()
  return result


def _settings(image: str, digest: str, options: Options) -> dict[str, Any]:
  """All that determines the points of an image, as JSON gives it back."""
  try:
    file = os.stat(image)
  except OSError as error:
    raise InputError(f"{image} cannot be read ({error.strerror})") from error
  return {
    "file": os.path.basename(image),
    "bytes": file.st_size,
    "modified": file.st_mtime_ns,
    "weights": digest,
    "mpp": options.mpp,
    "threshold": options.threshold,
    "regions": [list(region) for region in options.regions],
    "tissue": options.tissue,
    "version": __version__,
  }


def _finished(
  stem: pathlib.Path, settings: Mapping[str, Any], formats: Sequence[str]
) -> dict[str, Any] | None:
  """What an earlier run found, if it was the same and all its files are there."""
  try:
    before = json.loads(stem.with_name(f"{stem.name}.json").read_text())
    same = before["settings"] == settings
  except (OSError, ValueError, LookupError, TypeError):
    return None
  files = [stem.with_name(f"{stem.name}{FORMATS[each]}") for each in formats]
  return before if same and all(path.exists() for path in files) else None


def _search(detector: Detector, scan: Scan, journal: Journal, options: Options) -> None:
  """Runs the tiles that are not done, with a progress bar if they are many."""
  left = [tile for tile in scan.tiles if tile.index not in journal.done]
  if journal.done and left:
    print(f"{len(journal.done)} of {len(scan.tiles)} tiles were done before")
  began, pixels = time.monotonic(), 0
  with tqdm(
    total=len(scan.tiles),
    initial=len(journal.done),
    unit="tile",
    disable=len(left) < LONG_WORK,
    mininterval=0.5 if sys.stderr.isatty() else 30,
    dynamic_ncols=True,
  ) as bar:
    for found in detector.run(
      scan,
      threshold=options.threshold,
      done=journal.done.copy(),
      batch=options.batch,
      devices=options.devices,
    ):
      index, core = found.tile.index, found.tile.core
      journal.add(index, found.centers, found.scores, best=found.best)
      pixels += (core.y1 - core.y0) * (core.x1 - core.x0)
      rate = pixels / 1e6 / (time.monotonic() - began)
      bar.set_postfix_str(f"{rate:.2f} Mpx/s, {journal.count} points", refresh=False)
      bar.update()


def _write(
  journal: Journal, scan: Scan, stem: pathlib.Path, lowest: float, options: Options
) -> dict[str, Any]:
  """Writes the files of one image; returns the numbers for its summary."""
  from micronet_jax import overlays

  grid = overlays.density(scan.shape, mpp=scan.mpp)
  count, per_region = 0, [0] * len(scan.regions)
  for centers, _ in grid.counted(journal.chunks(lowest=lowest)):
    count += len(centers)
    for i, region in enumerate(scan.regions):
      per_region[i] += int(inside(centers, region).sum())
  paths = {each: stem.with_name(stem.name + FORMATS[each]) for each in options.formats}
  if "csv" in paths:
    exports.write_csv(paths["csv"], journal.chunks(lowest=lowest))
  if "geojson" in paths:
    chunks = journal.chunks(lowest=lowest)
    exports.write_geojson(paths["geojson"], chunks, count=count)
  if "overlay" in paths or "density" in paths:
    picture = _picture(scan)
    if "density" in paths:
      from micronet_jax import plots

      figure = overlays.density_map(grid, thumbnail=picture, title=stem.name)
      plots.save(figure, paths["density"])
    if "overlay" in paths:
      chunks = journal.chunks(lowest=lowest)
      marked = overlays.overlay(picture, chunks, shape=scan.shape)
      overlays.write_image(paths["overlay"], marked)
  tissue_mm2 = None
  if scan.tissue is not None and scan.mpp is not None and not scan.regions:
    height, width = scan.shape
    tissue_mm2 = scan.tissue.share * height * width * (scan.mpp / 1000) ** 2
  return {
    "count": count,
    "regions": [
      {"x": b.x0, "y": b.y0, "width": b.x1 - b.x0, "height": b.y1 - b.y0, "nuclei": n}
      for b, n in zip(scan.regions, per_region, strict=True)
    ],
    "tissue_mm2": tissue_mm2,
  }


def _picture(scan: Scan) -> np.ndarray:
  """The image, made smaller if it is too large to look at."""
  scale = min(1.0, PICTURE_SIDE / max(scan.shape))
  height, width = (max(1, round(side * scale)) for side in scan.shape)
  return thumbnail(scan.canvas.reader, height=height, width=width)


def _sentence(result: Mapping[str, Any]) -> str:
  """What is printed of a finished image."""
  text = f"{result['nuclei']:,} nuclei"
  if result["nuclei_per_mm2"] is not None:
    text += f", {result['nuclei_per_mm2']:,.0f}/mm² of {result['per']}"
  if result.get("repeated"):
    return f"{text}; done before, nothing repeated"
  return f"{text}; {result['seconds']:.1f} s"


def _write_summary(path: pathlib.Path, results: Sequence[Mapping[str, Any]]) -> None:
  """A line for each image, for spreadsheets."""
  columns = [
    *("image", "nuclei", "area_mm2", "tissue_mm2", "nuclei_per_mm2", "per"),
    *("mpp", "width", "height", "threshold", "seconds", "error"),
  ]
  with replacing(path) as beside, beside.open("w", newline="") as file:
    writer = csv.DictWriter(file, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(results)
