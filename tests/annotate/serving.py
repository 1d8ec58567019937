"""A server of `micronet annotate` in this process, and images for it."""

import contextlib
import pathlib
import socket
import threading
import types

import PIL.Image
import uvicorn

from micronet_jax.annotate.folder import Folder
from micronet_jax.annotate.server import make_app
from micronet_jax.annotate.site import Site

TOKEN = "a-token"
QUARTER_MICRON = 25400 / 0.25  # dots per inch


def save_image(path, pixels):
  path.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.fromarray(pixels).save(path, dpi=(QUARTER_MICRON,) * 2)


@contextlib.contextmanager
def serving(root, weights=None):
  """A server of a folder; gives its site and address."""
  site = Site(Folder(pathlib.Path(root)), weights and str(weights))
  app = make_app(site, TOKEN)
  with socket.create_server(("127.0.0.1", 0)) as bound:
    config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    port = bound.getsockname()[1]
    try:
      url = f"http://127.0.0.1:{port}/?token={TOKEN}"
      yield types.SimpleNamespace(site=site, url=url, port=port)
    finally:
      server.should_exit = True
      thread.join()
