"""Who may ask the server for anything: those who have its token, from its own page.

Called by `annotate.server`.
"""

import ipaddress
import secrets
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import SplitResult, parse_qs, urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 64 * 2**20
"""Bytes of a request."""


_HEADERS = {
  "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
  " img-src 'self' blob: data:; connect-src 'self'; base-uri 'none';"
  " form-action 'none'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
}


class Guard:
  """Refuses what is not from the page of this server, before anything is done."""

  def __init__(self, app: ASGIApp, *, token: str, cookie: str, hosts: Collection[str]):
    """Wraps an application.

    Args:
      app: what is guarded.
      token: what the printed address ends in.
      cookie: name under which a browser keeps it afterwards.
      hosts: names of this server beyond those of the loopback; if there are any, every
        address in numbers is its own, too. A name that somebody else made point here
        is refused; the port is not looked at, so that tunnels work.
    """
    self._app, self._token, self._cookie = app, token, cookie
    self._hosts = {host.lower() for host in hosts}

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """As ASGI says."""
    if scope["type"] == "lifespan":
      await self._app(scope, receive, send)
      return
    if scope["type"] != "http":
      return
    headers = {name.decode("latin-1"): value.decode("latin-1")
               for name, value in scope["headers"]}  # fmt: skip
    given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
    opens = scope["path"] == "/" and scope["method"] == "GET" and self._fits(given)
    refusal = self._refusal(scope, headers, opens)

    async def answer(message: Message) -> None:
      if message["type"] == "http.response.start":
        added = dict(_HEADERS)
        if not any(name == b"cache-control" for name, _ in message["headers"]):
          added["cache-control"] = "no-store"
        if opens and not refusal:
          kept = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
          added["set-cookie"] = kept
        extra = [(name.encode(), value.encode()) for name, value in added.items()]
        message = {**message, "headers": [*message["headers"], *extra]}
      await send(message)

    if refusal:
      status, text = refusal
      await PlainTextResponse(text, status)(scope, receive, answer)
    else:
      await self._app(scope, receive, answer)

  def _refusal(
    self, scope: Scope, headers: dict[str, str], opens: bool
  ) -> tuple[int, str] | None:
    """Status and sentence for who is turned away; None for who is not."""
    host = headers.get("host", "")
    if not self._is_own(_split(f"//{host}").hostname):
      return 403, "this server has another name; open the address that it printed"
    site = headers.get("sec-fetch-site", "none")
    if site not in ("none", "same-origin") and not opens:
      return 403, "requests of other sites are refused"
    if scope["method"] not in ("GET", "HEAD"):
      origin = headers.get("origin")
      if origin is not None and _split(origin).netloc.lower() != host.lower():
        return 403, "requests of other sites are refused"
      size = headers.get("content-length", "")
      if not size.isascii() or not size.isdecimal() or int(size) > LARGEST_BODY:
        return 413, "the request is too large, or does not say its length"
    if not (opens or self._fits(self._kept(headers.get("cookie", "")))):
      return 403, (
        "this page needs the token of the address that micronet annotate printed when"
        " it was started: open that address again"
      )
    return None

  def _fits(self, token: str) -> bool:
    return secrets.compare_digest(token.encode(), self._token.encode())

  def _kept(self, text: str) -> str:
    """The token of a browser's cookies."""
    try:
      kept = SimpleCookie(text).get(self._cookie)
    except CookieError:
      return ""
    return kept.value if kept else ""

  def _is_own(self, name: str | None) -> bool:
    """Whether nobody else can have made this name point here."""
    if not name:
      return False
    if name == "localhost" or name in self._hosts:
      return True
    try:
      return ipaddress.ip_address(name).is_loopback or bool(self._hosts)
    except ValueError:
      return False


def _split(url: str) -> SplitResult:
  """The parts of an address; empty ones if it is none."""
  try:
    return urlsplit(url)
  except ValueError:
    return urlsplit("")


def new_token() -> str:
  """What nobody guesses."""
  return secrets.token_urlsafe(24)
