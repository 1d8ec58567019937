"""Detects in many images and writes what people open: the predict job.

One image after the other, or many at once on a cluster: an interrupted image goes on
with its next tile, a finished one is not repeated, a bad one does not stop the rest.
Called by `commands.detect` and as `micronet_jax.predict_images`.
"""

import collections
import contextlib
import functools
import os
import pathlib
import sys
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from micronet_jax.config import PredictConfig, check_predict
from micronet_jax.detection.detector import load
from micronet_jax.devices import check_count, leave_gpus
from micronet_jax.errors import InputError
from micronet_jax.files import sweep
from micronet_jax.predict import finding, identity, listing, outputs, spread
from micronet_jax.predict.image import (
  Work,
  digest_network,
  predict_image,
  result_or_error,
)


def predict_images(
  images: finding.Paths,
  out: str | os.PathLike[str],
  *,
  weights: str | os.PathLike[str] = "base",
  options: PredictConfig | None = None,
) -> list[dict[str, Any]]:
  """Detects nuclei in images and writes the results to a folder.

  Args:
    images: a file, a folder (all images directly in it) or a glob, or several.
    out: gets, for an image NAME.svs, NAME.json (count, density, settings), a file for
      each format, and `summary.csv`, a line for each image and for every other whose
      results are in the folder (`summary.3-of-16.csv`, of the images of a shard alone).
    weights: as `load` takes it.
    options: the rest.

  Returns:
    What the images' JSON files hold; for an image that failed, `image` and `error`.

  Raises:
    InputError: nothing to do, an impossible option, a fault in an index.csv, or `out`
      cannot be written or holds results of another image of the same name. What is
      wrong with one image only is printed and returned.
    Stopped: a signal came while a cluster worked.
  """
  options = check_predict(PredictConfig() if options is None else options)
  out = pathlib.Path(finding.as_path(out, "out"))
  weights = finding.as_path(weights, "weights")
  if options.executor == "ray":
    leave_gpus()
  check_count(options.devices)
  found = finding.find_images(images)
  jobs = outputs.name_outputs(found, out, options.formats, shard=options.shard)
  identity.check_results(jobs)
  if options.mpp is None:
    _tell_stated([image for image, _ in jobs])
  listed = out / outputs.name_summary(options.shard)
  detector = load(weights)
  detector.check_tile(options.tile)
  work = Work(detector, weights, digest_network(detector), options)
  _check_folder(out)
  sweep(out)
  listing.check_summary(listed)
  if options.shard is not None:
    print(f"shard {options.shard}: {len(jobs)} of {len(found)} images", flush=True)
  results = _one_by_one(work, jobs)
  if options.executor == "ray":
    results = spread.predict_on_ray(weights, work.network, options, jobs)
  with contextlib.closing(results):
    done = _tell(results, len(jobs))
  ordered = [done[image] for image, _ in jobs]
  stems = None if options.shard else [stem for _, stem in jobs]
  if others := listing.write_summary(listed, ordered, stems=stems):
    print(f"{listed} lists {others} more, whose results were in {out} before")
  return ordered


def _one_by_one(
  work: Work, jobs: Sequence[tuple[str, pathlib.Path]]
) -> Generator[dict[str, Any], None, None]:
  for image, stem in jobs:
    action = functools.partial(predict_image, work, image, stem)
    yield result_or_error(image, action)


def _tell(results: Iterable[dict[str, Any]], count: int) -> dict[str, dict[str, Any]]:
  """Prints a line for each of so many images as it ends; returns all by image."""
  done = {}
  for number, result in enumerate(results, start=1):
    label = f"[{number}/{count}] " if count > 1 else ""
    if "error" in result:
      print(f"{label}error: {_named(result)}", file=sys.stderr, flush=True)
    else:
      print(f"{label}{result['image']}: {_sentence(result)}", flush=True)
    done[result["image"]] = result
  return done


def _tell_stated(images: Sequence[str]) -> None:
  """Says whose resolution is that of an index.csv."""
  stated = filter(None, map(finding.find_stated, images))
  for index, count in collections.Counter(each.by for each in stated).items():
    print(
      f"{index} says the microns per pixel of {count} image(s); --mpp says otherwise",
      flush=True,
    )


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


def _sentence(result: Mapping[str, Any]) -> str:
  """What is printed of a finished image."""
  text = f"{result['nuclei']:,} nuclei"
  if result["nuclei_per_mm2"] is not None:
    text += f", {result['nuclei_per_mm2']:,.0f}/mm² of {result['per']}"
  if result.get("repeated"):
    return f"{text}; done before, nothing repeated"
  return f"{text}; {result['seconds']:.1f} s"
