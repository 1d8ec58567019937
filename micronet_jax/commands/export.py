"""`micronet export`: a trained network in a format that other programs read.

Called by `cli`.
"""

import argparse
import pathlib
from typing import Any

from micronet_jax.commands.jobs import ending
from micronet_jax.recipes import NETWORKS

_DESCRIPTION = """\
Writes a trained network in a format that other programs read.

RUN is "base", or the folder of a run or checkpoint. The formats:

  micronet     a folder of weights without the optimiser, for --weights
  onnx         a program for ONNX Runtime and others; needs the extra [onnx]
  safetensors  the arrays by name; needs the extra [safetensors]
  stablehlo    a program for jax.export.deserialize; its card in FILE.json

A program maps images, normalised, of any height and width that the card allows, to
maps; their maxima are the nuclei. The card (in the metadata of ONNX and safetensors)
says how to normalise, at how many microns a pixel, and which maxima count."""


def add_export(commands: Any) -> None:
  """Adds the options of `micronet export`."""
  export = commands.add_parser(
    "export",
    help="write a trained network for other programs",
    description=_DESCRIPTION,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  export.add_argument("network", metavar="RUN", help=NETWORKS)
  export.add_argument(
    "--format",
    default="micronet",
    choices=("micronet", "onnx", "safetensors", "stablehlo"),
    help="default: micronet",
  )
  export.add_argument(
    "-o", "--out", required=True, type=pathlib.Path, metavar="FILE", help="to write"
  )
  export.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
  def work() -> None:
    from micronet_jax.detection.exports import export_network  # JAX takes seconds

    export_network(given.network, given.out, kind=given.format)
    print(f"{given.out}: {given.network} as {given.format}")

  return ending(work, "stopped; what was written is not whole")
