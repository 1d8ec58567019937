"""`micronet evaluate`: the job of configs/evaluate.py on a folder, without a checkout.

Called by `cli`.
"""

import argparse
from typing import Any

from micronet_jax.commands.jobs import add_settings, run_recipe
from micronet_jax.recipes import EVALUATE, NETWORKS

_DESCRIPTION = """\
Scores weights on annotated images: precision, recall and F1, with pictures.

FOLDER is what `micronet finetune` takes. Images that the weights were trained on are
refused; of the folder that a run was trained on, --set evaluate_part=test takes the
part that it held out."""


def add_evaluate(commands: Any) -> None:
  """Adds the options of `micronet evaluate`."""
  evaluate = commands.add_parser(
    "evaluate",
    help="score weights on annotated images",
    description=_DESCRIPTION,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  evaluate.add_argument("weights", metavar="RUN", help=NETWORKS)
  evaluate.add_argument("folder", metavar="FOLDER", help="annotated images")
  evaluate.add_argument(
    "-o",
    "--out",
    metavar="DIR",
    help="for the report (default: runs/evaluate-...)",
  )
  add_settings(evaluate, "evaluate", "target.organs=kidney")
  evaluate.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
  return run_recipe(EVALUATE, given.folder, given.weights, given.set, given.out)
