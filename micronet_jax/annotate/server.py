"""The web server of `micronet annotate`: routes, and what they answer.

Called by `commands.annotate`.
"""

import contextlib
import functools
import importlib.resources
import json
import mimetypes
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from micronet_jax.annotate.candidates import Candidates
from micronet_jax.annotate.detecting import LEAST
from micronet_jax.annotate.finetuning import MOST_STEPS
from micronet_jax.annotate.folder import KEPT, Picture
from micronet_jax.annotate.guard import Guard
from micronet_jax.annotate.site import Site
from micronet_jax.annotate.store import Outdated
from micronet_jax.errors import InputError
from micronet_jax.files import digest
from micronet_jax.stored import Number, check_stored

_STATIC = importlib.resources.files("micronet_jax.annotate") / "static"

_PLACE = {"key": str, "center": [Number()]}

_Answer = Callable[[Site, Request, Any], Any]


class _Missing(Exception):
  """There is nothing of that name."""


def make_app(site: Site, token: str, hosts: Collection[str] = ()) -> Starlette:
  """The application.

  Args:
    site: what it is about; closed with the application.
    token: that browsers must have.
    hosts: names of the server beyond the loopback's.
  """

  @contextlib.asynccontextmanager
  async def lifespan(_: Starlette) -> AsyncIterator[None]:
    yield
    if await run_in_threadpool(site.close):
      print("fine-tuning was stopped and saved; the page goes on with it", flush=True)

  routes = [
    Route("/", _page),
    Route("/static/{name:path}", _static),
    *(_route(site, path, answer) for path, answer in _READ.items()),
    *(_route(site, path, answer, "POST") for path, answer in _DONE.items()),
  ]
  cookie = f"micronet-{digest(str(site.folder.root), digits=8)}"
  guard = Middleware(Guard, token=token, cookie=cookie, hosts=hosts)
  return Starlette(routes=routes, middleware=[guard], lifespan=lifespan)


def _route(site: Site, path: str, answer: _Answer, method: str = "GET") -> Route:
  """A route whose answer is made in a thread, and whose faults are said."""

  @functools.wraps(answer)
  async def endpoint(request: Request) -> Response:
    given: Any = None
    try:
      if method == "POST":
        given = json.loads(await request.body() or b"null")
      said = await run_in_threadpool(answer, site, request, given)
    except _Missing:
      return JSONResponse({"error": "there is nothing of that name"}, 404)
    except Outdated:
      text = "this image was changed in another tab or by another program"
      return JSONResponse({"error": text}, 409)
    except (InputError, ValueError, OSError, RecursionError) as error:
      return JSONResponse({"error": str(error)}, 400)
    return said if isinstance(said, Response) else JSONResponse(said)

  return Route(path, endpoint, methods=[method])


async def _page(_: Request) -> Response:
  return _file("index.html")


async def _static(request: Request) -> Response:
  return _file(request.path_params["name"])


def _file(name: str) -> Response:
  """A file of the page; found by a list, not by what was asked."""
  held = {
    **{each.name: each for each in _STATIC.iterdir() if each.is_file()},
    **{
      f"openseadragon/{each.name}": each
      for each in (_STATIC / "openseadragon").iterdir()
    },
  }
  if name not in held:
    return JSONResponse({"error": "there is nothing of that name"}, 404)
  kind = mimetypes.guess_type(name)[0] or "text/plain"
  kind = "text/javascript" if name.endswith(".js") else kind
  return Response(held[name].read_bytes(), media_type=kind)


def _picture(site: Site, request: Request) -> Picture:
  picture = site.folder.find(request.path_params["key"])
  if picture is None:
    raise _Missing
  return picture


def _state(site: Site, *_: Any) -> Any:
  return {**site.state(), "least": LEAST}


def _about(site: Site, request: Request, _: Any) -> Any:
  return site.about(_picture(site, request))


def _said(site: Site, request: Request, _: Any) -> Any:
  return site.said(_picture(site, request))


def _edit(site: Site, request: Request, change: Any) -> Any:
  picture = _picture(site, request)
  new = site.store.edit(picture, site.size(picture).shape, change)
  return {"revision": new.revision}


def _detections(site: Site, request: Request, _: Any) -> Response:
  """Rows of x, y, score as float32, from the `from`th on if the network is `of`."""
  found = site.searches.found(_picture(site, request)) or Candidates("")
  done = len(found.done)  # before the rows: of these tiles all are there
  rows = found.all_rows()
  first = int(request.query_params.get("from", 0))
  if request.query_params.get("of") != found.weights or not 0 <= first <= len(rows):
    first = 0
  headers = {"from": first, "of": found.weights, "done": done}
  headers |= {"total": len(found.tiles), "threshold": found.threshold}
  return Response(
    rows[first:].astype("<f4").tobytes(),
    media_type="application/octet-stream",
    headers={f"x-{name}": str(value) for name, value in headers.items()},
  )


def _searched(site: Site, request: Request, _: Any) -> Any:
  """Whether all was found in `box`, x,y,width,height in the image's own pixels."""
  x, y, width, height = map(float, request.query_params.get("box", "").split(","))
  picture = _picture(site, request)
  box = x, y, width, height
  done, weights = site.searches.searched(picture, box, threshold=site.threshold)
  return {"searched": done, "of": weights}


def _tile(site: Site, request: Request, _: Any) -> Response:
  place = (request.path_params[name] for name in ("level", "column", "row"))
  data = site.pictures.tile(_picture(site, request), *place)
  if data is None:
    raise _Missing
  return _jpeg(data)


def _thumbnail(site: Site, request: Request, _: Any) -> Response:
  # Its address is the same for every image of that name, in any folder.
  return _jpeg(site.pictures.thumbnail(_picture(site, request)), kept="no-cache")


def _jpeg(data: bytes, *, kept: str = "private, max-age=86400") -> Response:
  headers = {"cache-control": kept}
  return Response(data, media_type="image/jpeg", headers=headers)


def _export(site: Site, request: Request, _: Any) -> Response:
  """All nuclei of an image as people download them."""
  picture, form = _picture(site, request), request.path_params["form"]
  if form not in ("csv", "geojson"):
    raise _Missing
  from micronet_jax.predict import tables  # it brings matplotlib: half of the start

  nuclei = site.nuclei(picture)
  path = site.folder.place(KEPT, "export", f"{picture.name}.{form}")
  if form == "csv":
    tables.write_csv(path, [nuclei])
  else:
    count, origin = len(nuclei.centers), site.size(picture).origin
    tables.write_geojson(path, [nuclei], count=count, origin=origin)
  return FileResponse(path, filename=path.name)


def _run_picture(site: Site, request: Request, _: Any) -> Response:
  params = request.path_params
  path = site.tuning.picture(params["run"], params["name"])
  if path is None:
    raise _Missing
  return FileResponse(path)


def _detect(site: Site, _: Request, given: Any) -> Any:
  """Of one image from a place on, of all, or of none any more."""
  what = given if isinstance(given, dict) else {}
  if what.get("stop"):
    site.searches.stop()
  elif what.get("all"):
    site.searches.want_all(site.folder.refresh())
  else:
    check_stored(what, _PLACE, "the request")
    picture = site.folder.find(what["key"])
    if picture is None:
      raise _Missing
    x, y = what["center"]
    site.searches.want(picture, (x, y))
  return site.searches.status()


def _set_threshold(site: Site, _: Request, given: Any) -> Any:
  if given is not None and not (type(given) in (int, float) and 0 <= given <= 1):
    raise InputError("the threshold is a number from 0 to 1, or null")
  site.set_threshold(None if given is None else float(given))
  return {"threshold": site.threshold}


def _tune(site: Site, _: Request, given: Any) -> Any:
  """Begins, stops or resumes a run, or takes its network."""
  what = given if isinstance(given, dict) else {}
  match what.get("do"):
    case "begin":
      steps = what.get("steps")
      if type(steps) is not int or not 1 <= steps <= MOST_STEPS:
        raise InputError(f"steps is a whole number from 1 to {MOST_STEPS}")
      site.tuning.begin(site.weights, steps)
    case "resume":
      site.tuning.resume()
    case "stop":
      site.tuning.stop()
    case "use":
      site.use(str(what.get("run")))
    case _:
      raise InputError("do is begin, resume, stop or use")
  return site.tuning.status()


_IMAGE = "/api/images/{key}"
_READ: dict[str, _Answer] = {
  "/api/state": _state,
  _IMAGE: _about,
  f"{_IMAGE}/annotation": _said,
  f"{_IMAGE}/detections": _detections,
  f"{_IMAGE}/searched": _searched,
  f"{_IMAGE}/tiles/{{level:int}}/{{column:int}}/{{row:int}}": _tile,
  f"{_IMAGE}/thumbnail": _thumbnail,
  f"{_IMAGE}/export/{{form}}": _export,
  "/api/runs/{run}/{name}": _run_picture,
}
_DONE: dict[str, _Answer] = {
  f"{_IMAGE}/edit": _edit,
  "/api/detect": _detect,
  "/api/threshold": _set_threshold,
  "/api/tune": _tune,
}
