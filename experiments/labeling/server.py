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
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import Response
from starlette.routing import Route

from experiments.labeling import display
from experiments.labeling.answers import SKIP
from experiments.labeling.answers import UNUSABLE
from experiments.labeling.journal import JournalError
from experiments.labeling.labeled import Refused
from experiments.labeling.learner import Learner
from experiments.labeling.report import report
from experiments.labeling.session import Page
from experiments.labeling.session import Session

_PAGE = Path(__file__).parent / "page"
_FILES = {"": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
_LARGEST = 1 << 16  # bytes of a request
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


class Settings(NamedTuple):
  """What the server needs to know beside the session."""

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
    routes = [Route(f"/{name}", self._file) for name in _FILES]
    routes += [Route("/state", self._get_state), Route("/image/{number:int}", self._image)]
    routes += [Route(path, self._posted(own), methods=["POST"]) for path, own in posts.items()]
    return Guard(Starlette(routes=routes, lifespan=lifespan, exception_handlers={404: _missing}), self.settings)

  def _posted(self, act: Callable[[Session, dict], str | None]) -> Callable[[Request], Awaitable[Response]]:
    """Serves a POST of a JSON object by an action on the session, which may return a notice for the page."""

    async def serve(request: Request) -> Response:
      if self.session is None:
        return _error("the images are still being read", 503)
      if not request.headers.get("content-type", "").startswith("application/json"):
        return _error("requests have to be JSON", 415)
      if int(request.headers.get("content-length", _LARGEST + 1)) > _LARGEST:
        return _error(f"requests have at most {_LARGEST:,} bytes", 413)
      try:
        body = json.loads(await request.body())
        if not isinstance(body, dict):
          raise TypeError("not an object")
        notice = act(self.session, body)
      except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        return _error(f"the request is malformed ({type(error).__name__}: {error})", 400)
      except Refused as error:
        return _error(f"{error}.", 400)
      except JournalError as error:
        return _error(f"{error}.", 507)
      if self.learner is not None:
        self.learner.consider()
      self.refresh()
      return JSONResponse(self._state(_text(body, "browser"), notice))

    return serve

  async def _file(self, request: Request) -> Response:
    name = request.url.path.lstrip("/")
    content = (_PAGE / (name or "index.html")).read_text("utf-8").replace("{{token}}", self.settings.token)
    return Response(content, media_type=_FILES[name], headers={"Cache-Control": "no-store"})

  async def _image(self, request: Request) -> Response:
    number = request.path_params["number"]
    if self.session is None or number >= len(self.session.labeled.found.images):
      return _error(f"there is no image {number}.", 404)
    found = self.session.labeled.found
    image = found.images[number]
    draw = display.small if request.query_params.get("size") == "small" else display.shown
    try:
      content, kind = await run_in_threadpool(draw, found.root / image.path, image.sha256)
    except Exception as error:  # Pillow raises many types of errors for a file that was damaged meanwhile.
      return _error(f"{image.path} can no longer be read ({type(error).__name__}).", 410)
    return Response(content, media_type=kind, headers={"Cache-Control": "private, max-age=31536000, immutable"})

  async def _get_state(self, request: Request) -> Response:
    return JSONResponse(self._state(request.query_params.get("browser", ""), None))

  def _join(self, session: Session, body: dict) -> None:
    session.join(_text(body, "browser"), _text(body, "annotator"))

  def _answer(self, session: Session, body: dict) -> str | None:
    label, number, seconds = body["label"], body["image"], body["seconds"]
    if isinstance(number, bool) or not isinstance(number, int) or not isinstance(seconds, int | float):
      raise TypeError("image and seconds have to be numbers")
    if label is not None and not isinstance(label, str):
      raise TypeError("a label has to be text")
    words = _text(body, "browser"), _text(body, "request")
    return session.answer(*words, number, _text(body, "action"), label, seconds)

  def _undo(self, session: Session, body: dict) -> None:
    session.undo(_text(body, "browser"), _text(body, "request"))

  def _add_class(self, session: Session, body: dict) -> None:
    page = session.pages.get(_text(body, "browser"))
    session.add_class(_text(body, "name"), page and page.annotator)

  def refresh(self) -> None:
    """Makes a new report in a thread if answers or models have changed and none is being made."""
    session, learner = self.session, self.learner
    if session is None or learner is None or (self._reporting is not None and not self._reporting.done()):
      return
    made_of = session.labeled.audits, session.labeled.left // 50, tuple(map(id, learner.models))
    if made_of == self._reported:
      return
    self._reported = made_of

    async def make() -> None:
      arguments = session.labeled, tuple(learner.models), self.settings.target, self.settings.audit
      self._report = await run_in_threadpool(report, *arguments)
      asyncio.get_running_loop().call_soon(self.refresh)

    self._reporting = asyncio.create_task(make())

  def _state(self, browser: str, notice: str | None) -> dict:
    """What a page shows."""
    session, learner = self.session, self.learner
    assert learner is not None
    page = None if session is None else session.seen(browser)
    ready = session is not None and learner.description is not None and (bool(session.model.queue) or not learner.busy)
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
      return state
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
    return {"current": None, "upcoming": [], "finished": None, "history": []}
  items = [session.item(handed) for handed in page.lined]
  return {
    "current": items[0] if items else None,
    "upcoming": items[1:],
    "finished": "Every image has an answer." if not items and not session.labeled.left else None,
    "history": session.history(page.annotator),
  }


def _text(body: dict, name: str) -> str:
  value = body[name]
  if not isinstance(value, str):
    raise TypeError(f"{name} has to be text")
  return value


def _error(text: str, status: int) -> JSONResponse:
  return JSONResponse({"error": text[0].upper() + text[1:]}, status)


async def _missing(request: Request, error: Exception) -> Response:
  return _error("there is no such page.", 404)
