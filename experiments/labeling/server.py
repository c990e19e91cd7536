"""The web server of the page: checks every request, and answers from the session."""

import asyncio
from collections.abc import Awaitable
from collections.abc import Callable
import json
from pathlib import Path
import secrets
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from experiments.labeling import display
from experiments.labeling.answers import SKIP
from experiments.labeling.answers import UNUSABLE
from experiments.labeling.journal import JournalError
from experiments.labeling.labeled import Refused
from experiments.labeling.learner import Learner
from experiments.labeling.report import answered
from experiments.labeling.report import report
from experiments.labeling.session import Page
from experiments.labeling.session import Session

_PAGE = Path(__file__).parent / "page"
_FILES = {"": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
_EVENTS = 5  # answers after which the report is made again
_LARGEST = 1 << 16  # bytes of a request
_LONGEST = 100  # characters of a browser's and a request's id
_SECONDS = 1e9  # that an answer may take
_HEADERS = {
  "Content-Security-Policy": (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
  ),
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
}


_NOTHING = {"current": None, "upcoming": [], "finished": None, "history": []}  # of a page that has not joined


class Settings(NamedTuple):
  """What the server needs to know in addition to the session."""

  name: str  # of the folder
  token: str
  hosts: frozenset[str]  # values of the Host header that are served; empty: all
  target: float
  audit: float  # share of the images shown


class Guard:
  """Refuses every request for another host or without the token, and adds headers to what is served."""

  def __init__(self, app: Starlette, settings: Settings):
    self._app, self._settings = app, settings

  async def __call__(self, scope, receive, send) -> None:
    if scope["type"] == "lifespan":
      await self._app(scope, receive, send)
      return

    async def with_headers(message) -> None:
      if message["type"] == "http.response.start":
        MutableHeaders(scope=message).update(_HEADERS)
      await send(message)

    refusal = self._refusal(Request(scope)) if scope["type"] == "http" else _error("only HTTP is served", 403)
    await (refusal or self._app)(scope, receive, with_headers)

  def _refusal(self, request: Request) -> Response | None:
    hosts = self._settings.hosts
    if hosts and request.headers.get("host", "") not in hosts:
      return _error("this address is not served: open the one that the program prints", 403)
    token = request.query_params.get("token") or request.headers.get("x-token") or ""
    if not secrets.compare_digest(token.encode(), self._settings.token.encode()):
      return _error("the token is missing or of an earlier start: open the address that the program prints", 403)
    return None


class Server:
  """The server's state. `session` is None until the images are read."""

  def __init__(self, settings: Settings):
    self.settings = settings
    self.session: Session | None = None
    self.learner: Learner | None = None
    self._report: dict = {"accuracy": None, "curve": [], "target": settings.target, "advice": None, "agreement": None}
    self._reported: tuple | None = None  # what the report was made of
    self._reporting: asyncio.Task | None = None

  def app(self, lifespan) -> "Guard":
    """The application. `lifespan` is Starlette's: what runs while it serves."""
    posts = {"/join": self._join, "/answer": self._answer, "/undo": self._undo, "/class": self._add_class}
    routes = [Route(f"/{name}", self._file(name)) for name in _FILES]
    routes += [Route("/state", self._get_state), Route("/image/{number}", self._image)]
    routes += [Route(path, self._posted(own), methods=["POST"]) for path, own in posts.items()]
    handlers = {HTTPException: _refused, ClientDisconnect: _left, Exception: _failed}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app, self.settings)

  def _posted(self, act: Callable[[Session, dict], str | None]) -> Callable[[Request], Awaitable[Response]]:
    """Serves a POST of a JSON object by an action on the session, which may return a notice for the page."""

    async def serve(request: Request) -> Response:
      if self.session is None:
        return _error("the images are still being read", 503)
      if not request.headers.get("content-type", "").startswith("application/json"):
        return _error("requests have to be JSON", 415)
      if "content-length" not in request.headers or "transfer-encoding" in request.headers:
        return _error("requests have to state their length", 411)
      content = b""
      async for part in request.stream():
        content += part
        if len(content) > _LARGEST:
          return _error(f"requests have at most {_LARGEST:,} bytes", 413)
      try:
        body = _object(content)
        browser = _id(body, "browser")
        notice = act(self.session, body)
      except Refused as error:
        return _error(str(error), 400)
      except JournalError as error:
        return _error(str(error), 507)
      if self.learner is not None:
        self.learner.consider()
      self.refresh()
      return _json(self._state(browser, notice))

    return serve

  def _file(self, name: str) -> Callable[[Request], Awaitable[Response]]:
    """Serves a file of the page."""

    async def serve(request: Request) -> Response:
      content = (_PAGE / (name or "index.html")).read_text("utf-8").replace("{{token}}", self.settings.token)
      return Response(content, media_type=_FILES[name], headers={"Cache-Control": "no-store"})

    return serve

  async def _image(self, request: Request) -> Response:
    text = request.path_params["number"]
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
    if self.session is None or number is None or number >= len(self.session.labeled.found.images):
      return _error("there is no image with this number", 404)
    found = self.session.labeled.found
    image = found.images[number]
    draw = display.small if request.query_params.get("size") == "small" else display.shown
    try:
      content, kind = await run_in_threadpool(draw, found.root, image)
    except Exception as error:  # Pillow raises many types of errors for a file that it cannot decode.
      return _error(f"the file {image.path!r} can no longer be read ({type(error).__name__})", 410)
    return Response(content, media_type=kind, headers={"Cache-Control": "private, max-age=31536000, immutable"})

  async def _get_state(self, request: Request) -> Response:
    return _json(self._state(request.query_params.get("browser", ""), None))

  def _join(self, session: Session, body: dict) -> None:
    session.join(_id(body, "browser"), _text(body, "annotator"))

  def _answer(self, session: Session, body: dict) -> str | None:
    number, seconds = body.get("image"), body.get("seconds")
    if isinstance(number, bool) or not isinstance(number, int):
      raise Refused("the request has no whole number as its image")
    # Also false for NaN and infinity, which JSON has no form for.
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= _SECONDS:
      raise Refused(f"the request has no number from 0 to {_SECONDS:,.0f} as its seconds")
    label = None if body.get("label") is None else _text(body, "label")
    return session.answer(_id(body, "browser"), _id(body, "request"), number, _text(body, "action"), label, seconds)

  def _undo(self, session: Session, body: dict) -> None:
    session.undo(_id(body, "browser"), _id(body, "request"))

  def _add_class(self, session: Session, body: dict) -> None:
    page = session.pages.get(_id(body, "browser"))
    request = _id(body, "request") if "request" in body else None
    session.add_class(_text(body, "name"), page and page.annotator, request)

  def refresh(self) -> None:
    """Makes a new report in a thread if answers or models have changed and none is being made."""
    session, learner = self.session, self.learner
    if session is None or learner is None or (self._reporting is not None and not self._reporting.done()):
      return
    # Not after every answer: a number that rises with one would tell that its image was an audit image.
    events = len(session.labeled.events) // _EVENTS
    made_of = events, len(session.labeled.gone), tuple(map(id, learner.models))
    if made_of == self._reported:
      return
    self._reported = made_of

    # Gathered here and not in the thread, because answers come in meanwhile.
    arguments = answered(session.labeled), tuple(learner.models), self.settings.target, self.settings.audit

    async def make() -> None:
      self._report = await run_in_threadpool(report, *arguments)
      asyncio.get_running_loop().call_soon(self.refresh)

    self._reporting = asyncio.create_task(make())

  def _state(self, browser: str, notice: str | None) -> dict:
    """What a page shows."""
    session, learner = self.session, self.learner
    assert learner is not None
    page = None if session is None else session.seen(browser)
    ready = session is not None and learner.description is not None and (session.is_open or not learner.busy)
    # Without a model, answers are still taken.
    phase = "ready" if ready else "failed" if learner.error else "reading"
    state = {
      "phase": phase,
      "progress": learner.progress or {"text": "comparing the images", "done": 0, "total": 0},
      "error": learner.error,
      "notice": notice,
      "folder": self.settings.name,
      "annotator": page and page.annotator,
      "classes": [] if session is None else session.labeled.answers.classes,
    }
    if session is None:
      return state | _NOTHING
    return state | _shown(session, page) | {"stats": self._stats(session, learner)}

  def _stats(self, session: Session, learner: Learner) -> dict:
    labeled, answers = session.labeled, session.labeled.answers
    model = {"round": learner.round, "labels": learner.models[-1].labels if learner.models else 0}
    model |= {"description": learner.description, "busy": learner.busy, "progress": learner.progress}
    unreadable = labeled.found.unreadable
    examples = [f"{path}: {reason}" for path, reason in unreadable[:5]]
    return {
      "labels": sum(answers.per_class.values()),
      "per_class": {name: answers.per_class[name] for name in answers.classes},
      "skipped": answers.count[SKIP],
      "unusable": answers.count[UNUSABLE],
      "per_minute": session.per_minute(),
      "images": len(labeled.found.images),
      "left": labeled.left,
      "model": model,
      "unreadable": {"count": len(unreadable), "examples": examples} if unreadable else None,
      **self._report,
    }


def _shown(session: Session, page: Page | None) -> dict:
  """The images of a page, and its annotator's answers."""
  if page is None:
    return _NOTHING
  items = [session.item(handed) for handed in page.lined]
  return {
    "current": items[0] if items else None,
    "upcoming": items[1:],
    "finished": "Every image has an answer." if not items and not session.labeled.left else None,
    "history": session.history(page.annotator),
  }


def _object(content: bytes) -> dict:
  """The object of a request. Raises Refused if it is none."""
  try:
    body = json.loads(content)
  except (ValueError, RecursionError) as error:
    raise Refused("the request is not JSON") from error
  if not isinstance(body, dict):
    raise Refused("the request is not an object of JSON")
  return body


def _text(body: dict, name: str) -> str:
  value = body.get(name)
  if not isinstance(value, str):
    raise Refused(f"the request has no text as its {name}")
  return value


def _id(body: dict, name: str) -> str:
  value = _text(body, name)
  if not 0 < len(value) <= _LONGEST:
    raise Refused(f"the request's {name} has to have 1 to {_LONGEST} characters")
  return value


def _json(content: dict, status: int = 200) -> Response:
  """JSON in ASCII, because a file's name that is not UTF-8 has no other form."""
  text = json.dumps(content, allow_nan=False)
  return Response(text, status, media_type="application/json", headers={"Cache-Control": "no-store"})


def _error(text: str, status: int) -> Response:
  return _json({"error": f"{text[0].upper()}{text[1:]}."}, status)


async def _refused(request: Request, error: Exception) -> Response:
  assert isinstance(error, HTTPException)
  text = "there is no such page" if error.status_code == 404 else f"this cannot be served ({error.detail})"
  return _error(text, error.status_code)


async def _left(request: Request, error: Exception) -> Response:
  return _error("the request ended before its last byte", 400)


async def _failed(request: Request, error: Exception) -> Response:
  return _error("the program has made an error, which stands in its terminal", 500)
