"""`micronet check`, and configs/check_data.py, which does the same.

Called by `cli` and `launch.py`.
"""

import argparse
import pathlib
from typing import Any

from micronet_jax.commands.jobs import ending
from micronet_jax.config import Config, DataConfig

CHECK = """\
Reads a folder of annotated images as training would, and says what it would trip over.

FOLDER holds images/ and points/ (or annotations/, labels/, masks/), as for training.
Found are, in images of H&E, centres whose x and y are swapped, that are shifted or lie
on background; in all, centres too close to be told apart, copies of one image under two
patients, patients under two spellings, a resolution that is missing or at which nuclei
would have an odd size, images without nuclei or without anything to see, and every
file, line and field that cannot be read.

SHEET is one HTML file that shows the suspects. The exit status is 1 if something would
stop training or make a number wrong, 0 if not; the last line says which."""

EXAMPLES = """\
examples:
  micronet check mine
  micronet check mine -o mine.html
"""


def add_check(commands: Any) -> None:
  """Adds the options of `micronet check`."""
  check = commands.add_parser(
    "check",
    help="find what is wrong in annotated images before training does",
    description=CHECK,
    epilog=EXAMPLES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  check.add_argument("folder", metavar="FOLDER", help="of images and annotations")
  check.add_argument(
    "-o",
    "--out",
    default="check.html",
    type=pathlib.Path,
    metavar="SHEET",
    help="HTML file to write (default: check.html)",
  )
  check.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
  target = DataConfig(name="folder", root=given.folder)
  config = Config(job="check", target=target)
  return ending(lambda: run_check(config, given.out), "stopped; nothing was written")


def run_check(config: Config, sheet: pathlib.Path) -> int:
  """Checks the target of a config.

  Args:
    config: `checking.job.check_data` says what of it matters.
    sheet: HTML file to write.

  Returns:
    The exit status: 0, or 1 if something would stop training or make a number wrong.

  Raises:
    InputError: there is nothing to check, or the sheet cannot be written.
  """
  from micronet_jax.checking.job import check_data  # TFDS takes seconds to import

  return 0 if check_data(config, sheet) else 1
