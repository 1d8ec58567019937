"""`micronet finetune`: the job of configs/finetune.py on a folder, without a checkout.

Called by `cli`.
"""

import argparse
from typing import Any

from micronet_jax.commands.jobs import add_settings, run_recipe
from micronet_jax.recipes import FINETUNE, NETWORKS

_DESCRIPTION = """\
Trains the weights further on your own annotated images, and scores the result.

FOLDER holds images, in it or in images/, and for those that are annotated

  points/NAME.csv   x,y of each nucleus; (0, 0) is the centre of the top-left pixel
  regions/NAME.csv  x,y,width,height: the parts that are annotated completely, in
                    pixels; without this file, all of the image is. Slides need it

or what QuPath, ImageJ and others write (README.md). Half of the patients are held
out and score the result; index.csv (name,patient) says which images are of one.
Of fewer than three patients the images or regions are split instead, and of fewer
than three of these nothing is held out, and there is no score. RUN gets log.jsonl,
report.json and checkpoints; stopped, the same command goes on where it was."""

_EXAMPLES = """\
examples:
  micronet finetune mine -o runs/mine
  micronet finetune mine -o runs/mine --set num_steps=600 --set compare=base
  micronet detect slide.svs -o results --weights runs/mine
"""


def add_finetune(commands: Any) -> None:
  """Adds the options of `micronet finetune`."""
  finetune = commands.add_parser(
    "finetune",
    help="train on what is marked",
    description=_DESCRIPTION,
    epilog=_EXAMPLES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  finetune.add_argument("folder", metavar="FOLDER", help="annotated images")
  finetune.add_argument(
    "-o", "--out", required=True, metavar="RUN", help="folder for the run"
  )
  finetune.add_argument(
    "-w",
    "--weights",
    default="base",
    metavar="NAME|DIR",
    help=f"{NETWORKS}, to start from (default: base)",
  )
  add_settings(finetune, "finetune", "num_steps=600 or batch_size=8")
  finetune.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
  return run_recipe(FINETUNE, given.folder, given.weights, given.set, given.out)
