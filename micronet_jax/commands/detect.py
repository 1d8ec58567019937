"""`micronet detect`, and configs/predict.py, which does the same.

Called by `cli` and `launch.py`.
"""

import argparse
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from micronet_jax.commands.jobs import GOING_ON, ending
from micronet_jax.config import PredictConfig
from micronet_jax.errors import InputError
from micronet_jax.recipes import NETWORKS
from micronet_jax.settings import from_dict

DETECT = """\
Finds the nuclei in images and slides, and writes their centres.

IMAGE is a file, a folder (all images directly in it) or a quoted glob ('**/*.svs'):
PNG, JPEG, BMP, TIFF and OME-TIFF, and with the extra [slides] what OpenSlide reads
(SVS, NDPI, MRXS, SCN, DICOM, ...). For each image NAME.svs, DIR gets

  NAME.json         count, nuclei per mm2, settings
  NAME.csv          x,y,score; (0, 0) is the centre of the top-left pixel
  NAME.geojson      for QuPath: File > Import objects from file
  NAME.overlay.png  the image with a mark on each nucleus
  NAME.density.png  heat map, nuclei per mm2
  NAME.parquet      as CSV, for very many nuclei; needs the extra [parquet]
  NAME.html         all of it on one page, which can be sent

and summary.csv, a line for each image, and for others whose results are in DIR. An
interrupted slide goes on where it stopped, finished images are not repeated, and a bad
image does not stop the others: it is reported at the end, and the exit status is 1.
With other settings an image is searched anew, and older files of it are removed.
Another image of the same name needs another DIR.

On slides (beyond 1 mm2) tissue is searched, and 32 microns around it; nuclei per mm2
are over the tissue alone, without that rim, or over the regions if some are given."""

EXAMPLES = """\
examples:
  micronet detect slide.svs -o results
  micronet detect tiles/ -o results --mpp 0.5 --format csv,overlay
  micronet detect slide.svs -o results --region 20000,15000,4000,4000
  micronet detect '*.ndpi' -o results --weights runs/finetune-folder-mine-1a2b3c4d
"""


def add_detect(commands: Any) -> None:
  """Adds the options of `micronet detect`."""
  detect = commands.add_parser(
    "detect",
    help="find the nuclei in images and slides",
    description=DETECT,
    epilog=EXAMPLES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  detect.add_argument("images", nargs="+", metavar="IMAGE", help="file, folder or glob")
  detect.add_argument(
    "-o", "--out", required=True, metavar="DIR", help="folder for the results"
  )
  detect.add_argument(
    "-w",
    "--weights",
    default="base",
    metavar="NAME|DIR",
    help=f"{NETWORKS} (default: base)",
  )
  detect.add_argument(
    "--mpp",
    type=float,
    metavar="MICRONS",
    help="microns per pixel of the images, whatever the files say; more than 10%% from"
    " that is told (default: what the index.csv of their folder says, else each file,"
    " else 0.25)",
  )
  detect.add_argument(
    "--threshold",
    type=float,
    metavar="SCORE",
    help="least score of a nucleus, 0 to 1; the base's highest are 0.3 to 0.5 (default:"
    " the checkpoint's own, about 0.2)",
  )
  detect.add_argument(
    "--region",
    action="append",
    default=[],
    type=region,
    metavar="X,Y,W,H",
    help="look only in this part, in the image's own pixels; may be repeated",
  )
  detect.add_argument(
    "--format",
    default="csv,geojson,overlay",
    metavar="LIST",
    help="what to write, of csv, geojson, overlay, density, html, parquet "
    "(default: csv,geojson,overlay)",
  )
  detect.add_argument(
    "--tissue",
    action=argparse.BooleanOptionalAction,
    help="look on tissue only, not on glass (default: on images beyond 1 mm2)",
  )
  _add_machine(detect)
  detect.set_defaults(run=_run)


def _add_machine(detect: argparse.ArgumentParser) -> None:
  machine = detect.add_argument_group(
    "for the machine", "None of these changes the result."
  )
  machine.add_argument(
    "--tile",
    type=int,
    metavar="PIXELS",
    help="longest side of what is read at once; base: a multiple of 16 above 256",
  )
  machine.add_argument(
    "--batch", type=int, metavar="N", help="tiles at once (default: one a device)"
  )
  machine.add_argument("--devices", type=int, metavar="N", help="default: all")
  machine.add_argument(
    "--shard",
    metavar="K/N",
    help="only every N-th image from the K-th on, and summary.K-of-N.csv, for job"
    " arrays; afterwards the same command without it lists all in summary.csv",
  )
  machine.add_argument(
    "--executor",
    choices=("local", "ray"),
    default="local",
    help="ray: all machines of a Ray cluster at once, which share these folders; needs"
    " the extra [ray] (default: local, this machine)",
  )
  machine.add_argument(
    "--cpus",
    type=int,
    default=PredictConfig().cpus_per_task,
    metavar="N",
    help="a task on Ray has one GPU, or where there is none N CPUs (default: 2)",
  )


def region(text: str) -> tuple[int, int, int, int]:
  """Parses x,y,width,height."""
  try:
    x, y, width, height = (int(part) for part in text.split(","))
  except ValueError:
    raise argparse.ArgumentTypeError(
      f"{text!r} is not X,Y,W,H: four whole numbers with commas, such as 0,0,1000,500"
    ) from None
  return x, y, width, height


def _run(given: argparse.Namespace) -> int:
  options = PredictConfig(
    mpp=given.mpp,
    threshold=given.threshold,
    regions=tuple(given.region),
    formats=_listed(given.format),
    tissue=given.tissue,
    tile=given.tile,
    batch=given.batch,
    devices=given.devices,
    shard=given.shard,
    executor=given.executor,
    cpus_per_task=given.cpus,
  )
  return run_detect(given.images, given.out, given.weights, options)


def run_config(config: Mapping[str, Any], workdir: str | os.PathLike[str]) -> int:
  """Does what `micronet detect` does, told by configs/predict.py.

  Args:
    config: the fields of configs/predict.py, as a dict.
    workdir: the folder for the results.

  Returns:
    The exit status.

  Raises:
    InputError: a field that cannot be read.
  """
  fields = {**config}
  fields.pop("job", None)
  images, weights = _listed(fields.pop("images")), fields.pop("init_from")
  if not images:
    raise InputError(
      "config.images names no image; for instance --config.images='tiles/*.png'"
    )
  try:
    fields["regions"] = tuple(region(part) for part in _listed(fields["regions"], ";"))
  except argparse.ArgumentTypeError as error:
    raise InputError(f"config.regions: {error}") from error
  fields["formats"] = _listed(fields["formats"])
  return run_detect(images, workdir, weights, from_dict(PredictConfig, fields))


def _listed(text: str, between: str = ",") -> tuple[str, ...]:
  return tuple(part.strip() for part in text.split(between) if part.strip())


def run_detect(
  images: Sequence[str],
  out: str | os.PathLike[str],
  weights: str,
  options: PredictConfig,
) -> int:
  """The predict job of both command lines, up to what is printed at its end.

  Args:
    images: as `predict.job.predict_images` takes them, as the others.
    out: for the results.
    weights: of the network.
    options: the rest.

  Returns:
    The exit status: 0, 1 after an error, 130 when interrupted.
  """

  def work() -> int:
    with warnings.catch_warnings():
      # Of a cache that cannot be read or written: JAX then compiles again.
      warnings.filterwarnings("ignore", "Error (read|writ)ing persistent compilation")
      from micronet_jax import devices  # JAX takes seconds to import
      from micronet_jax.predict import job

      if options.executor == "ray":
        devices.leave_gpus()
      devices.check_platform()
      devices.use_compilation_cache()
      done = job.predict_images(images, out, weights=weights, options=options)
      return job.report_failures(done)

  return ending(work, GOING_ON)
