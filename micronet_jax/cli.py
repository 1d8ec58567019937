"""The users' door: the `micronet` command; called by the shell."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from micronet_jax.commands.annotate import add_annotate
from micronet_jax.commands.check import add_check
from micronet_jax.commands.detect import add_detect
from micronet_jax.commands.evaluate import add_evaluate
from micronet_jax.commands.export import add_export
from micronet_jax.commands.finetune import add_finetune
from micronet_jax.commands.jobs import GOING_ON
from micronet_jax.signals import end_at_once, leave
from micronet_jax.terminal import prepare_streams
from micronet_jax.version import __version__

LOOP = """\
from your first image to your own detector, and again:
  micronet annotate FOLDER                 mark nuclei, or correct what is found
  micronet check FOLDER                    see what is wrong with the annotations
  micronet finetune FOLDER -o RUN          train on what is marked
  micronet detect IMAGE -o DIR -w RUN      find nuclei with the result

micronet COMMAND --help says more."""


class _Parser(argparse.ArgumentParser):
  def error(self, message: str) -> NoReturn:
    """One sentence, and where help is."""
    print(f"error: {message}; see {self.prog} --help", file=sys.stderr)
    raise SystemExit(2)


def parser() -> argparse.ArgumentParser:
  """The command line's options."""
  top = _Parser(
    prog="micronet",
    description="Finds the centres of cell nuclei in microscopy images.",
    epilog=LOOP,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  top.add_argument("--version", action="version", version=f"micronet {__version__}")
  commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
  add_annotate(commands)
  add_detect(commands)
  add_check(commands)
  add_finetune(commands)
  add_evaluate(commands)
  add_export(commands)
  return top


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command; returns its exit status."""
  prepare_streams()
  given = parser().parse_args(arguments)
  return given.run(given)


def start() -> int:
  """What the shell calls: `main`, where a signal ends the process at any moment."""
  end_at_once(GOING_ON)
  status = main()
  if status:
    leave(status)
  return status


if __name__ == "__main__":
  raise SystemExit(start())
