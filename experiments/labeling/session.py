"""Which image each open page is shown next, and what happens to its answers. Holds no threads, processes or sockets."""

from collections import deque
from collections.abc import Iterator
import dataclasses
import random
import time
from typing import NamedTuple

from experiments.labeling.answers import ACTIONS
from experiments.labeling.answers import LABEL
from experiments.labeling.answers import LONGEST
from experiments.labeling.answers import SKIP
from experiments.labeling.answers import is_name
from experiments.labeling.labeled import Labeled
from experiments.labeling.labeled import Refused
from experiments.labeling.labeled import now

LINED_UP = 6  # images handed to a page at a time: the one that is shown, and those that follow
_KEPT = 2  # of these, how many stay when a new model chooses others: they are on the screen or ready for it
_AWAY = 600  # seconds without an answer after which a page's images are given to others
_RATE = 120  # seconds over which the speed of labeling is averaged
_HISTORY = 100  # answers of an annotator that a page can walk back through
# Fields of an answer, after the image's. `shown` is whether the page showed the guess.
_CIRCUMSTANCES = ("guess", "probability", "shown", "acquisition", "score", "round", "audit")


class Settings(NamedTuple):
  """What is shown in addition to the images that the model asks for."""

  audit: float  # share of the images shown that are audit images
  overlap: float  # share of the images shown that another annotator has labeled


class Handed(NamedTuple):
  """An image that is handed to a page, and why."""

  number: int
  blind: bool = True  # shown without a guess
  acquisition: str | None = None
  score: float | None = None
  round: int | None = None
  guess: str | None = None  # the model's when the image was handed out; it is on the screen, and does not change there
  probability: float | None = None


class Model(NamedTuple):
  """The last model: what it asks for, and what it takes every image for."""

  queue: tuple[Handed, ...] = ()
  guesses: tuple[list[int], list[float]] | None = None  # class numbers and probabilities of all images


@dataclasses.dataclass
class Page:
  """An open page."""

  annotator: str
  lined: deque[Handed] = dataclasses.field(default_factory=deque)
  seen: float = dataclasses.field(default_factory=time.monotonic)  # time of its last answer
  left: Handed | None = None  # what its screen still shows after its images were given to others

  @property
  def is_away(self) -> bool:
    return time.monotonic() - self.seen > _AWAY


class Session:
  """The open pages of a folder."""

  def __init__(self, labeled: Labeled, settings: Settings, seed: int):
    """`seed` is that of the draws by which audit images are mixed among the others."""
    self.labeled, self.settings = labeled, settings
    self.model = Model()
    self.pages: dict[str, Page] = {}
    self.is_open = False  # nothing is handed out before the first images are chosen
    self._times: deque[float] = deque()
    self._draw = random.Random(seed)

  def use(self, model: Model) -> None:
    """Asks for other images from now on; those on a screen, or next, stay."""
    self.model, self.is_open = model, True
    for page in self.pages.values():
      while len(page.lined) > _KEPT:
        page.lined.pop()
    for page in self.pages.values():
      self._line_up(page)

  # What the pages ask for.

  def join(self, name: str, annotator: str) -> None:
    """Opens a page. A page that is open already gets another annotator's name."""
    annotator = annotator.strip() or "me"
    if not is_name(annotator):
      raise Refused(f"a name has at most {LONGEST} characters, all of them printable")
    if name in self.pages:
      self.pages[name].annotator, self.pages[name].seen = annotator, time.monotonic()
    else:
      self.pages[name] = Page(annotator)
    self._line_up(self.pages[name])

  def seen(self, name: str) -> Page | None:
    """The page; None if it has not joined. The images of pages that are away are given to others."""
    page, away = self.pages.get(name), [own for own in self.pages.values() if own.is_away]
    if len(away) < len(self.pages):
      for own in away:
        own.left = own.lined[0] if own.lined else own.left
        own.lined.clear()
    if page is not None:
      self._line_up(page)
    return page

  def add_class(self, label: str, annotator: str | None, request: str | None = None) -> None:
    """Adds a class, once per `request`. Raises Refused for a name that cannot be one, or that is one already."""
    if request is not None and request in self.labeled.answers.requests:
      return
    label = label.strip()
    if not is_name(label):
      raise Refused(f"a class name has 1 to {LONGEST} characters, all of them printable")
    if label in self.labeled.answers.classes:
      raise Refused(f"{label!r} is a class already")
    event = {"action": "class", "label": label, "time": now(), "annotator": annotator}
    self.labeled.write(event if request is None else {**event, "request": request})

  def answer(self, name: str, request: str, number: int, action: str, label: str | None, seconds: float) -> str | None:
    """Writes an answer, once per `request`; returns a sentence if it could not be kept because the file has changed.

    Raises:
      Refused: the page has not joined, or the answer makes no sense.
      JournalError: the disk refuses the answer.
    """
    if request in self.labeled.answers.requests:
      return None
    page = self._joined(name)
    if action not in ACTIONS:
      raise Refused(f"{action!r} is no answer: it is one of {', '.join(ACTIONS)}")
    if (action == LABEL) != (label is not None) or (action == LABEL and label not in self.labeled.answers.classes):
      raise Refused(f"{label!r} is not one of the classes")
    if not 0 <= number < len(self.labeled.found.images):
      raise Refused(f"there is no image {number}")
    image = self.labeled.found.images[number]
    if self.labeled.is_lost(number):
      self._drop(number)
      return f"{image.path} has changed or vanished since the program started: the answer is not kept"
    self.labeled.write(
      {
        "action": action,
        "id": number,
        "path": image.path,
        "sha256": image.sha256,
        "label": label,
        "time": now(),
        "annotator": page.annotator,
        "seconds": round(seconds, 3),
        **self._circumstances(page, number),
        "request": request,
      }
    )
    self._times.append(time.monotonic())
    self._take_out(number, page)
    for other in self.pages.values():
      self._line_up(other)
    return None

  def _circumstances(self, page: Page, number: int) -> dict:
    """Why an image was shown, and with what guess; of an image that is answered again, as the first time."""
    handed = next((own for own in (*page.lined, page.left) if own is not None and own.number == number), None)
    before = self.labeled.answers.by_annotator(self.labeled.found.images[number].sha256).get(page.annotator)
    if handed is None and before is not None:
      return {key: before[key] for key in _CIRCUMSTANCES}
    handed = handed or self._with_guess(Handed(number))
    shown = handed.guess is not None and not handed.blind
    why = handed.acquisition, handed.score, handed.round, number in self.labeled.in_reservoir
    return dict(zip(_CIRCUMSTANCES, (handed.guess, handed.probability, shown, *why), strict=True))

  def undo(self, name: str, request: str) -> None:
    """Takes back the annotator's last answer, whose image is shown again. Errors as in `answer`."""
    if request in self.labeled.answers.requests:
      return
    page = self._joined(name)
    last = self.labeled.answers.last_of(page.annotator, 1)
    if not last:
      raise Refused("there is no answer to undo")
    (undone,) = last
    kept = {key: undone[key] for key in ("id", "path", "sha256", "audit")}
    event = {"action": "undo", "undoes": undone["event"], **kept, "time": now(), "annotator": page.annotator}
    self.labeled.write({**event, "request": request})
    number = self.labeled.numbers.get(undone["sha256"])
    if number is not None and number not in self.labeled.gone:
      again = Handed(number, not undone["shown"], undone["acquisition"], undone["score"], undone["round"])
      self._take_out(number, page)
      page.lined = deque([self._with_guess(again), *page.lined][:LINED_UP])

  def _joined(self, name: str) -> Page:
    if name in self.pages:
      self.pages[name].seen = time.monotonic()
    page = self.seen(name)
    if page is None:
      raise Refused("this page has not joined: reload it")
    return page

  def _with_guess(self, handed: Handed) -> Handed:
    if self.model.guesses is None:
      return handed
    classes, probabilities = (column[handed.number] for column in self.model.guesses)
    return handed._replace(guess=self.labeled.answers.classes[classes], probability=round(probabilities, 4))

  # Handing out images.

  def _line_up(self, page: Page) -> None:
    alone = len(self.pages) == 1
    while (alone or not page.is_away) and len(page.lined) < LINED_UP and (new := self._next(page)) is not None:
      page.lined.append(self._with_guess(new))

  def _next(self, page: Page) -> Handed | None:
    """The image to hand out next; None if there is none.

    Whether it is an audit image does not depend on what was answered. Of the other images, as many are blind. A skipped
    image comes again when there is no other.
    """
    if not self.is_open:
      return None
    share = self.settings.audit
    wants_audit, wants_overlap = self._draw.random() < share, self._draw.random() < self.settings.overlap
    blind = self._draw.random() < (share / (1 - share) if share < 0.5 else 1.0)
    out = {own.number for other in self.pages.values() for own in other.lined}
    if wants_overlap and (again := self._labeled_by_another(page, out)) is not None:
      return again
    is_free = lambda handed: handed.number not in out and self.labeled.is_free(handed.number)
    audit = map(Handed, self.labeled.reservoir)
    asked = (own._replace(blind=blind) for own in self.model.queue)
    others = (asked, self._at_random())
    for source in (audit, *others) if wants_audit else (*others, audit):
      if (found := next(filter(is_free, source), None)) is not None:
        return found
    skipped = (own._replace(blind=blind) for own in self.model.queue if self.labeled.has(own.number, SKIP))
    return next((own for own in skipped if own.number not in out | self.labeled.gone), None)

  def _at_random(self) -> Iterator[Handed]:
    """Random images, for the time until a model that is late has chosen others, or if there is no model any more."""
    for i in self.labeled.permutation:
      if i not in self.labeled.in_reservoir:
        yield Handed(i, acquisition="random")

  def _labeled_by_another(self, page: Page, out: set[int]) -> Handed | None:
    """The last image that one other annotator labeled alone."""
    answers = self.labeled.answers
    for other in answers.annotators:
      for event in reversed(answers.last_of(other, _HISTORY)) if other != page.annotator else ():
        number = self.labeled.numbers.get(event["sha256"], -1)
        alone = event["action"] == LABEL and len(answers.by_annotator(event["sha256"])) == 1
        if alone and number >= 0 and number not in out and not self.labeled.is_lost(number):
          return Handed(number, acquisition=event["acquisition"], round=event["round"])
    return None

  def _take_out(self, number: int, answering: Page) -> None:
    """Takes an image out of all lines, so that it comes to no other page as new; what a screen shows stays there."""
    for page in self.pages.values():
      on_screen = [] if page is answering else list(page.lined)[:1]
      page.lined = deque(own for own in page.lined if own.number != number or own in on_screen)

  def _drop(self, number: int) -> None:
    for page in self.pages.values():
      page.lined = deque(own for own in page.lined if own.number != number)
      self._line_up(page)

  # What the pages show.

  def item(self, handed: Handed) -> dict:
    """An image as a page shows it."""
    guess = None if handed.blind else handed.guess
    why = None if handed.blind or handed.acquisition is None else [handed.acquisition, handed.score]
    return {
      "image": handed.number,
      "name": self.labeled.found.images[handed.number].path,
      "guess": None if guess is None else {"label": guess, "probability": handed.probability},
      "why": why and {"acquisition": why[0], "score": why[1]},
    }

  def history(self, annotator: str) -> list[dict]:
    """The annotator's last answers, oldest first."""
    last = self.labeled.answers.last_of(annotator, _HISTORY)
    known = [(self.labeled.numbers.get(event["sha256"]), event) for event in last]
    keys = ("action", "label")
    return [
      {"image": i, "name": event["path"], **{key: event[key] for key in keys}} for i, event in known if i is not None
    ]

  def per_minute(self) -> float | None:
    """Answers a minute over the last two minutes; None if there are fewer than two."""
    current = time.monotonic()
    while self._times and current - self._times[0] > _RATE:
      self._times.popleft()
    if len(self._times) < 2:
      return None
    return round(60 * (len(self._times) - 1) / max(current - self._times[0], 1.0), 1)
