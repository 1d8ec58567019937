"""`micronet export`: the weights of a run alone, to keep or to give to others.

Called by `cli`.
"""

import argparse
import pathlib
from typing import Any

from micronet_jax.commands.jobs import ending

_DESCRIPTION = """\
Writes the best weights of a run into a folder of their own: what detecting and
fine-tuning need, without the state of training and without paths of this machine.
`micronet detect --weights DIR` finds with them exactly what it finds with RUN."""


def add_export(commands: Any) -> None:
  """Adds the options of `micronet export`."""
  export = commands.add_parser(
    "export",
    help="write the weights of a run, to give them to others",
    description=_DESCRIPTION,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  export.add_argument("weights", metavar="RUN", help="folder of a run or checkpoint")
  export.add_argument(
    "-o", "--out", required=True, metavar="DIR", help="folder to make"
  )
  export.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
  def work() -> None:
    from micronet_jax import checkpoints  # JAX takes seconds to import

    folder = pathlib.Path(given.out)
    weights, meta = checkpoints.load_weights(given.weights)
    checkpoints.export_weights(folder, weights, meta, dtype="float32")
    print(f"weights of {given.weights}: {folder}")

  return ending(work, "stopped; what was written is not whole")
