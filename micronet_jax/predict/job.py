"""Detects in many images and writes what people open: the predict job.

One image after the other: found points go to a journal on disk tile by tile, and when
all tiles are done, to the files that were asked for. An interrupted image goes on with
its next tile, a finished one is not repeated, and a bad one does not stop the rest.
Called by `commands.detect` and as `micronet_jax.predict_images`.
"""

import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from micronet_jax.config import PredictConfig, check_predict
from micronet_jax.detection.detector import Detector, load
from micronet_jax.detection.scan import Scan
from micronet_jax.devices import check_count
from micronet_jax.errors import InputError
from micronet_jax.files import digest, sweep, write_json
from micronet_jax.imaging.opening import open_image
from micronet_jax.predict import outputs, summary
from micronet_jax.predict.journal import CannotWrite, Journal, remove_left
from micronet_jax.version import __version__

LONG_WORK = 8
"""Tiles from which on an image gets a progress bar."""


def predict_images(
  images: Sequence[str],
  out: str | os.PathLike[str],
  *,
  weights: str = "base",
  options: PredictConfig | None = None,
) -> list[dict[str, Any]]:
  """Detects nuclei in images and writes the results to a folder.

  Args:
    images: files, folders (all images directly in them) and globs.
    out: gets, for an image NAME.svs, NAME.json (count, density, settings), a file for
      each format, and `summary.csv` (`summary.3-of-16.csv` of a shard), a line for
      each image.
    weights: as `load` takes it.
    options: the rest.

  Returns:
    What the images' JSON files hold; for an image that failed, `image` and `error`.

  Raises:
    InputError: nothing to do, an impossible option, or `out` cannot be written. What
      is wrong with one image only is printed and returned.
  """
  options, out = check_predict(options or PredictConfig()), pathlib.Path(out)
  check_count(options.devices)
  found = outputs.find_images(images)
  jobs = outputs.name_outputs(found, out, options.formats, shard=options.shard)
  listed = out / outputs.name_summary(options.shard)
  detector = load(weights)
  detector.check_tile(options.tile)
  network = _digest(detector)
  _check_folder(out)
  sweep(out)
  outputs.check_summary(listed)
  if options.shard is not None:
    print(f"shard {options.shard}: {len(jobs)} of {len(found)} images", flush=True)
  done: list[dict[str, Any]] = []
  for number, (image, stem) in enumerate(jobs, start=1):
    label = f"[{number}/{len(jobs)}] " if len(jobs) > 1 else ""
    try:
      result = _predict_one(detector, image, stem, weights, network, options)
      print(f"{label}{image}: {_sentence(result)}", flush=True)
    except InputError as error:
      result = {"image": image, "error": str(error)}
    except Exception as error:  # the other images should not suffer
      traceback.print_exc()
      result = {"image": image, "error": f"{type(error).__name__}: {error}"}
    if "error" in result:
      print(f"{label}error: {_named(result)}", file=sys.stderr, flush=True)
    done.append(result)
  outputs.write_summary(listed, done)
  return done


def report_failures(done: Sequence[Mapping[str, Any]]) -> int:
  """Names the images that failed; returns the exit status, 1 if any did."""
  failed = [result for result in done if "error" in result]
  if failed and len(done) > 1:
    print(f"{len(failed)} of {len(done)} images failed:", file=sys.stderr)
    for result in failed:
      print(f"  {_named(result)}", file=sys.stderr)
  return 1 if failed else 0


def _named(result: Mapping[str, Any]) -> str:
  """An error, which names its image once."""
  image, error = result["image"], result["error"]
  return error if image in error else f"{image}: {error}"


def _check_folder(out: pathlib.Path) -> None:
  """Makes the folder for the results, and a file in it, before hours of work."""
  if out.exists() and not out.is_dir():
    raise InputError(f"{out} is a file, but the results need a folder")
  try:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
      pass
  except OSError as error:
    reason = (error.strerror or str(error)).lower()
    raise InputError(
      f"the folder {out} cannot be written ({reason}); give another one for the results"
    ) from error


def _digest(detector: Detector) -> str:
  """Tells networks apart: a digest of weights and thresholds."""
  keys = ["model", "proximity", "xi", "min_distance", "mpp", "threshold_rule"]
  keys += ["smoothing"]
  chosen = {key: detector.meta.get(key) for key in keys}
  parts = [json.dumps(chosen, sort_keys=True, default=str).encode()]
  for path, leaf in jax.tree_util.tree_leaves_with_path(detector.weights):
    parts.append(str(path).encode() + np.asarray(leaf).tobytes())
  return digest(b"".join(parts), digits=16)


def _predict_one(
  detector: Detector,
  image: str,
  stem: pathlib.Path,
  weights: str,
  network: str,
  options: PredictConfig,
) -> dict[str, Any]:
  """Detects in one image, or takes up where that was interrupted."""
  began = time.monotonic()
  settings = _settings(image, network, options)
  partial = stem.with_name(f".{stem.name}.partial")
  ours = outputs.check_ours(stem, options.formats, partial)
  before = outputs.read_record(stem, settings)
  files = [path.name for path in outputs.output_paths(stem, options.formats).values()]
  there = before.get("files", [])
  if before and set(files) <= set(there):
    remove_left(partial)
    return {**before, "image": image, "repeated": True}
  with open_image(image) as reader:
    scan = detector.scan(
      reader,
      mpp=options.mpp,
      regions=options.regions,
      tissue=options.tissue,
      tile=options.tile,
    )
    # The places of the tiles determine what a journal's numbers mean.
    plan = {**settings, "sides": scan.sides, "tiles": [t.index for t in scan.tiles]}
    with Journal(partial, plan) as journal:
      try:
        _search(detector, scan, journal, options)
      except InputError as error:
        if not (isinstance(error, CannotWrite) and journal.done):
          journal.remove()  # else what was found so far is kept
        raise
      given, decisive = options.threshold, journal.decisive
      lowest = detector.lowest_score(scan, decisive, threshold=given)
      numbers, grid = outputs.count_nuclei(journal, scan, lowest)
      result = summary.summarise(
        name=image,
        shape=scan.shape,
        mpp=scan.mpp,
        seconds=0.0,
        threshold=lowest,
        weights=weights,
        frames=outputs.describe_frames(scan, options.formats),
        threshold_rule=detector.rule,
        working_mpp=detector.mpp,
        files=[*files, *(name for name in there if name not in files)],
        written=sorted({*files, *ours}),
        settings=settings,
        **numbers,
      )
      outputs.remove_record(stem)
      outputs.write_outputs(journal, scan, stem, result, grid, options.formats)
      result["seconds"] = round(time.monotonic() - began, 1)
      write_json(outputs.record_path(stem), result)
      journal.remove()
  return result


def _settings(image: str, network: str, options: PredictConfig) -> dict[str, Any]:
  """All that determines the points of an image, as JSON gives it back."""
  try:
    file = os.stat(image)
  except OSError as error:
    raise InputError(f"{image} cannot be read ({error.strerror})") from error
  return {
    "file": os.path.basename(image),
    "bytes": file.st_size,
    "modified": file.st_mtime_ns,
    "weights": network,
    "mpp": options.mpp,
    "threshold": options.threshold,
    "regions": [list(region) for region in options.regions],
    "tissue": options.tissue,
    "version": __version__,
  }


def _search(
  detector: Detector, scan: Scan, journal: Journal, options: PredictConfig
) -> None:
  """Runs the tiles that are not done, with a progress bar if they are many."""
  left = [tile for tile in scan.tiles if tile.index not in journal.done]
  if journal.done and left:
    print(f"{len(journal.done)} of {len(scan.tiles)} tiles were done before")
  began, pixels = time.monotonic(), 0
  search = detector.run(
    scan,
    threshold=options.threshold,
    done=journal.done.copy(),
    batch=options.batch,
    devices=options.devices,
  )
  bar = tqdm(
    total=len(scan.tiles),
    initial=len(journal.done),
    unit="tile",
    disable=len(left) < LONG_WORK,
    mininterval=0.5 if sys.stderr.isatty() else 30,
    dynamic_ncols=True,
  )
  # The search is closed first, so that no thread reads on when the image is closed.
  with bar, contextlib.closing(search):
    for found in search:
      index, core = found.tile.index, found.tile.core
      journal.add(index, found.centers, found.scores, found.decisive)
      pixels += (core.y1 - core.y0) * (core.x1 - core.x0)
      rate = pixels / 1e6 / (time.monotonic() - began)
      bar.set_postfix_str(f"{rate:.2f} Mpx/s, {journal.count} points", refresh=False)
      bar.update()


def _sentence(result: Mapping[str, Any]) -> str:
  """What is printed of a finished image."""
  text = f"{result['nuclei']:,} nuclei"
  if result["nuclei_per_mm2"] is not None:
    text += f", {result['nuclei_per_mm2']:,.0f}/mm² of {result['per']}"
  if result.get("repeated"):
    return f"{text}; done before, nothing repeated"
  return f"{text}; {result['seconds']:.1f} s"
