"""`micronet annotate`: the page on which people correct detections and train on them.

Called by `cli`.
"""

import argparse
import contextlib
import os
import pathlib
import socket
import sys
from typing import Any

from micronet_jax.errors import InputError, how_to_install
from micronet_jax.recipes import PACKAGED
from micronet_jax.terminal import notes

ANNOTATE = """\
Opens a page in your browser: look at the images of FOLDER, detect, correct, mark what
is corrected, fine-tune on it, and again. Nothing but images is needed; what you do is
saved at every click, beside them:

  points/NAME.csv    the nuclei that you marked or confirmed
  regions/NAME.csv   which parts are annotated completely
  runs/              what was fine-tuned
  .micronet/         detections and settings of the page

Every other command reads FOLDER as it is. The address that is printed holds a secret
token. The page on your laptop, the work on a server: run this there, and here
`ssh -L 8765:localhost:8765 SERVER`."""

PORT = 8765


_PORTS = 20  # that are tried if nobody chose one


def add_annotate(commands: Any) -> None:
  """Adds the options of `micronet annotate`."""
  annotate = commands.add_parser(
    "annotate",
    help="look, detect, correct and fine-tune in the browser",
    description=ANNOTATE,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  annotate.add_argument("folder", metavar="FOLDER", help="that holds images or slides")
  annotate.add_argument(
    "-w",
    "--weights",
    metavar="NAME|DIR",
    help='"base", "base-nc", or the folder of a run (default: those of the last time,'
    " else base)",
  )
  annotate.add_argument(
    "--port", type=int, metavar="N", help=f"default: {PORT}, or the next that is free"
  )
  annotate.add_argument(
    "--host",
    default="127.0.0.1",
    metavar="NAME",
    help="address to listen at; another than 127.0.0.1 lets others on the network who"
    " have the token read and change FOLDER",
  )
  annotate.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
  try:
    with notes():
      return serve(pathlib.Path(given.folder), given.weights, given.host, given.port)
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1


def serve(root: pathlib.Path, weights: str | None, host: str, port: int | None) -> int:
  """Serves the page until a signal comes.

  Args:
    root: the folder.
    weights: as `Site` takes them.
    host: to listen at.
    port: to listen at; None for one that is free.

  Returns:
    The exit status.

  Raises:
    InputError: the folder or the address cannot be used, or the extra is missing.
  """
  # A run that fine-tunes and this process share the device.
  os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
  try:
    import uvicorn

    from micronet_jax.annotate import folder, guard, server, site
  except ModuleNotFoundError as error:
    if error.name not in ("uvicorn", "starlette"):
      raise
    raise InputError(
      f"the page needs a web server: {how_to_install('annotate')}"
    ) from error
  from micronet_jax.locks import locked

  if weights is not None and not (PACKAGED / weights).is_dir():
    weights = os.path.abspath(weights)  # it is remembered, wherever one starts next
  images = folder.Folder(root)
  with contextlib.ExitStack() as stack:
    stack.enter_context(locked(images.place(folder.KEPT)))
    bound = stack.enter_context(_listen(host, port))
    token = guard.new_token()
    app = server.make_app(site.Site(images, weights), token, _names(host))
    _say(host, bound.getsockname()[1], token)
    # Tiles are made while other threads read many points: nobody holds Python long.
    sys.setswitchinterval(5e-4)
    config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none")
    uvicorn.Server(config).run([bound])
  return 0


def _listen(host: str, port: int | None) -> socket.socket:
  """A socket at the port, or at the first that is free."""
  fault: OSError | None = None
  for number in [port] if port is not None else range(PORT, PORT + _PORTS):
    try:
      family = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0][0]
      return socket.create_server((host, number), family=family)
    except (OSError, OverflowError) as error:
      fault = error if isinstance(error, OSError) else OSError(error)
  raise InputError(
    f"cannot listen at {host}, port {port or PORT} ({fault and fault.strerror}); give"
    " another --port or --host"
  )


def _names(host: str) -> list[str]:
  """What browsers may call this server, besides the loopback."""
  if host in ("127.0.0.1", "::1", "localhost"):
    return []
  return [host, socket.gethostname(), socket.getfqdn()]


def _shown(host: str) -> list[str]:
  """By which names the page is opened, the likeliest first."""
  if not _names(host):
    return ["localhost"]
  if host not in ("0.0.0.0", "::"):
    return [host]
  shown = [socket.gethostname()]
  family, far = (
    (socket.AF_INET, "192.0.2.1")
    if host == "0.0.0.0"
    else (socket.AF_INET6, "2001:db8::1")
  )
  with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as way:
    way.connect((far, 9))  # which sends nothing, but chooses an address of this machine
    shown.append(way.getsockname()[0])
  return shown


def _say(host: str, port: int, token: str) -> None:
  print()
  for name in _shown(host):
    shown = f"[{name}]" if ":" in name else name
    print(f"  http://{shown}:{port}/?token={token}")
  print()
  if _names(host):
    print(
      "This address is open to the network: whoever has the token can read and change"
      " the folder,\nand what is sent is not encrypted. An SSH tunnel is safer"
      " (micronet annotate --help)."
    )
  print("Ctrl-C ends it; everything is saved.", flush=True)
