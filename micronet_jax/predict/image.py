"""One image of the predict job: searched tile by tile, written, and not repeated.

Found points go to a journal on disk; when all tiles are done, the files that were asked
for are made of it. Of a slide that is shared out each part has a journal of its own, in
`.NAME.parts`, which the process that writes the files takes over. Called by
`predict.job` and, in workers, by `predict.spread`.
"""

import contextlib
import json
import logging
import os
import pathlib
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from micronet_jax.config import PredictConfig
from micronet_jax.detection.detector import Detector
from micronet_jax.detection.scan import Scan
from micronet_jax.errors import InputError
from micronet_jax.files import digest, write_json
from micronet_jax.imaging.opening import open_image
from micronet_jax.imaging.reader import Reader
from micronet_jax.locks import Busy
from micronet_jax.predict import outputs, summary
from micronet_jax.predict.finding import find_stated
from micronet_jax.predict.identity import identify
from micronet_jax.predict.journal import (
  Journal,
  finished_tiles,
  remove_left,
)
from micronet_jax.version import __version__

LONG_WORK = 8
"""Tiles from which on an image gets a progress bar."""


log = logging.getLogger("micronet_jax")


class Work(NamedTuple):
  """What is done to every image.

  Attributes:
    detector: that searches.
    weights: how the user names them.
    network: `digest_network` of the detector.
    options: of the job.
  """

  detector: Detector
  weights: str
  network: str
  options: PredictConfig


class Divisible(Exception):
  """An image has more tiles left than one process is to search; `tiles` in all."""

  def __init__(self, tiles: int):
    super().__init__(tiles)
    self.tiles = tiles


def digest_network(detector: Detector) -> str:
  """Tells networks apart: a digest of weights and thresholds."""
  keys = ["model", "proximity", "xi", "min_distance", "mpp", "threshold_rule"]
  keys += ["smoothing"]
  chosen = {key: detector.meta.get(key) for key in keys}
  parts = [json.dumps(chosen, sort_keys=True, default=str).encode()]
  for path, leaf in jax.tree_util.tree_leaves_with_path(detector.weights):
    parts.append(str(path).encode() + np.asarray(leaf).tobytes())
  return digest(b"".join(parts), digits=16)


def result_or_error(image: str, action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
  """What `predict_image` returns, or else `image` and `error`."""
  try:
    return action()
  except Divisible:
    raise
  except InputError as error:
    return {"image": image, "error": str(error)}
  except Exception as error:  # the other images should not suffer
    traceback.print_exc()
    return {"image": image, "error": f"{type(error).__name__}: {error}"}


def predict_image(
  work: Work,
  image: str,
  stem: pathlib.Path,
  *,
  most: int | None = None,
  seconds: float = 0.0,
) -> dict[str, Any]:
  """Detects in one image, or takes up where that was interrupted.

  Args:
    work: what is done.
    image: its path.
    stem: of its files, less the ending.
    most: tiles to search here; None for all.
    seconds: that other processes spent on it.

  Returns:
    What its JSON file holds.

  Raises:
    InputError: the image or the options are wrong, or a file cannot be written.
    Divisible: more than `most` tiles are left.
  """
  began, formats = time.monotonic() - seconds, work.options.formats
  settings, partial = _settings(image, work), _partial(stem)
  ours = outputs.check_ours(stem, formats, partial)
  before = outputs.read_record(stem, settings)
  files = [path.name for path in outputs.output_paths(stem, formats).values()]
  there = before.get("files", [])
  kept = [*files, *(name for name in there if name not in files)]
  stale = ours.difference(kept)
  if before and set(files) <= set(there):
    outputs.remove_stale(stem, stale)  # as versions before left them
    remove_left(partial)
    _remove_parts(stem)
    return {**before, "image": image, "repeated": True}
  with open_image(image) as reader:
    scan, plan = _prepare(work, reader, settings)
    if most is not None and len(scan.tiles) > most:
      done = finished_tiles([partial, *_parts(stem)], plan)
      if len(scan.tiles) - len(done) > most:
        raise Divisible(len(scan.tiles))
    with Journal(partial, plan) as journal:
      journal.take_over(_parts(stem))
      try:
        _search(work, scan, journal)
      except InputError:
        if not journal.done:  # else what was found is kept: a drive may come back
          journal.remove()
          _remove_parts(stem)
        raise
      about = {"name": image, "settings": settings, "files": kept}
      about["place"] = os.path.realpath(image)
      outputs.note_ours(partial, {*kept, *stale})
      result = _write(work, scan, journal, stem, began, about, stale)
      journal.remove()
      _remove_parts(stem)
  return result


def search_part(
  work: Work, image: str, stem: pathlib.Path, part: int, parts: int
) -> float:
  """Searches one of so many parts of an image, into a journal of its own.

  The parts are even, and each is of tiles that follow one another. What is wrong with
  the image is left for `predict_image` to meet, which then searches what is missing.

  Args:
    work: what is done.
    image: its path.
    stem: of its files, less the ending.
    part: from 1 to `parts`.
    parts: how many there are.

  Returns:
    The seconds that it took.

  Raises:
    Busy: another process searches this part.
  """
  began = time.monotonic()
  try:
    with open_image(image) as reader:
      scan, plan = _prepare(work, reader, _settings(image, work))
      tiles, count = [tile.index for tile in scan.tiles], len(scan.tiles)
      mine = {*tiles[count * (part - 1) // parts : count * part // parts]}
      # Of this number of parts or another, with Ray or without.
      elsewhere = finished_tiles([_partial(stem), *_parts(stem)], plan)
      with Journal(_part(stem, part, parts), plan) as journal:
        _search(work, scan, journal, skipped=({*tiles} - mine) | elsewhere)
  except Busy:
    raise
  except InputError as error:
    log.warning("part %d of %d of %s: %s", part, parts, image, error)
  return time.monotonic() - began


def _prepare(
  work: Work, reader: Reader, settings: Mapping[str, Any]
) -> tuple[Scan, dict[str, Any]]:
  """What is searched of an image, and all that determines its points."""
  options = work.options
  scan = work.detector.scan(
    reader,
    mpp=settings["mpp"],
    regions=options.regions,
    tissue=options.tissue,
    tile=options.tile,
    threshold=options.threshold,
  )
  # The places of the tiles determine what a journal's numbers mean.
  tiles = [tile.index for tile in scan.tiles]
  return scan, {**settings, "sides": scan.sides, "tiles": tiles}


def _partial(stem: pathlib.Path) -> pathlib.Path:
  """The journal of an image."""
  return stem.with_name(f".{stem.name}.partial")


def _parts(stem: pathlib.Path) -> list[pathlib.Path]:
  """The journals of the parts of an image that there are, in their order."""
  found = _part(stem, 0, 0).parent.glob("[0-9]*-of-*")
  return sorted(found, key=lambda path: int(path.name.partition("-")[0]))


def _part(stem: pathlib.Path, part: int, parts: int) -> pathlib.Path:
  return stem.with_name(f".{stem.name}.parts") / f"{part}-of-{parts}"


def _remove_parts(stem: pathlib.Path) -> None:
  shutil.rmtree(_part(stem, 0, 0).parent, ignore_errors=True)


def _settings(image: str, work: Work) -> dict[str, Any]:
  """All that determines the points of an image, as JSON gives it back."""
  options = work.options
  stated = find_stated(image) if options.mpp is None else None
  return {
    **identify(image),
    "weights": work.network,
    "mpp": stated.mpp if stated else options.mpp,
    "threshold": options.threshold,
    "regions": [list(region) for region in options.regions],
    "tissue": options.tissue,
    "version": __version__,
  }


def _search(
  work: Work, scan: Scan, journal: Journal, skipped: Collection[int] = ()
) -> None:
  """Runs the tiles that are not done, with a progress bar if they are many."""
  options, done = work.options, {*journal.done, *skipped}
  left = [tile for tile in scan.tiles if tile.index not in done]
  if journal.done and left:
    print(f"{len(journal.done)} of {len(scan.tiles)} tiles were done before")
  began, pixels = time.monotonic(), 0
  search = work.detector.run(
    scan,
    threshold=options.threshold,
    done=done,
    batch=options.batch,
    devices=options.devices,
  )
  bar = tqdm(
    total=len(scan.tiles),
    initial=len(done),
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


def _write(
  work: Work,
  scan: Scan,
  journal: Journal,
  stem: pathlib.Path,
  began: float,
  about: Mapping[str, Any],
  stale: Collection[str],
) -> dict[str, Any]:
  """Replaces the files of an image whose tiles are all done; gives its record."""
  formats, given = work.options.formats, work.options.threshold
  lowest = work.detector.lowest_score(scan, journal.decisive, threshold=given)
  numbers, grid = outputs.count_nuclei(journal, scan, lowest)
  result = summary.summarise(
    shape=scan.shape,
    mpp=scan.mpp,
    seconds=0.0,
    threshold=lowest,
    weights=work.weights,
    frames=outputs.describe_frames(scan, formats),
    threshold_rule=work.detector.rule,
    working_mpp=work.detector.mpp,
    **about,
    **numbers,
  )
  outputs.remove_stale(stem, stale)
  outputs.remove_record(stem)
  outputs.write_outputs(journal, scan, stem, result, grid, formats)
  result["threshold"] = round(lowest, 6)  # machines differ in the digits beyond
  result["seconds"] = round(time.monotonic() - began, 1)
  write_json(outputs.record_path(stem), result)
  return result
