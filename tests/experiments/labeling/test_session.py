"""Which image a page is shown next, and what becomes of its answers."""

from collections import Counter
import errno
import os
import time
from types import SimpleNamespace

import pytest

from experiments.labeling import journal
from experiments.labeling import session as module
from experiments.labeling.journal import NAME
from experiments.labeling.journal import JournalError
from experiments.labeling.labeled import Refused
from experiments.labeling.session import LINED_UP
from experiments.labeling.session import Session
from tests.support import label_sessions as support


@pytest.fixture(scope="module")
def large(tmp_path_factory):
  """A folder of 1,000 images."""
  return support.numbered(tmp_path_factory.mktemp("large") / "root", 1000)


@pytest.fixture(autouse=True)
def unsynced(monkeypatch):
  """Syncing takes milliseconds, and a test does it hundreds of times."""
  monkeypatch.setattr(os, "fdatasync", lambda file: None)


@pytest.fixture
def clock(monkeypatch):
  """The time, in seconds, which stands still; new pages alone have the real one."""
  clock = SimpleNamespace(now=time.monotonic())
  monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
  return clock


@pytest.fixture
def begin(tmp_path):
  """`(num, audit=, overlap=, classes=) -> Session`: of a folder of images; the same one again after a restart."""

  def begin(num: int = 40, audit: float = 0.2, overlap: float = 0.0) -> Session:
    own = support.labeled(support.numbered(tmp_path / "root", num), tmp_path / "work", audit=audit)
    return support.session(own, audit, overlap)

  return begin


def line(session: Session, page: str) -> list[int]:
  return [handed.number for handed in session.pages[page].lined]


requests = map("request {}".format, range(10**9))


def answer(session: Session, page: str, number: int | None = None, action="label", label="cat", request=None) -> int:
  """Answers the image on the screen, or another one."""
  number = line(session, page)[0] if number is None else number
  label = label if action == "label" else None
  assert session.answer(page, request or next(requests), number, action, label, 1.5) is None
  return number


def undo(session: Session, page: str, request=None) -> int:
  session.undo(page, request or next(requests))
  return line(session, page)[0]


def others(session: Session) -> list[int]:
  """Images that the audit may not use."""
  return [i for i in range(len(session.labeled.found.images)) if i not in session.labeled.in_reservoir]


def test_nothing_is_handed_out_before_the_first_images_are_chosen(begin):
  session = begin()
  session.join("p", "anna")
  session.seen("p")
  assert line(session, "p") == []
  session.use(support.chosen(session.labeled))
  assert len(line(session, "p")) == LINED_UP


def test_without_a_model_images_come_at_random(begin):
  session = begin(audit=0.2)
  session.join("p", "anna")
  session.use(module.Model())
  shown = [answer(session, "p") for _ in range(40)]
  assert sorted(shown) == list(range(40))
  assert [i for i in shown if i not in session.labeled.in_reservoir] == [
    i for i in session.labeled.permutation if i not in session.labeled.in_reservoir
  ]


def test_images_come_in_the_order_of_the_strategy(begin):
  session = begin(audit=0.0)
  session.use(support.chosen(session.labeled, reversed(range(40))))
  session.join("p", "anna")
  assert [answer(session, "p") for _ in range(40)] == list(reversed(range(40)))
  assert line(session, "p") == []
  assert session.labeled.left == 0


def test_no_image_is_handed_to_two_pages(begin):
  session = begin()
  session.use(support.chosen(session.labeled))
  pages = "abcd"
  for page in pages:
    session.join(page, f"annotator {page}")
  shown = Counter()
  for i in range(40):
    lines = [number for page in pages for number in line(session, page)]
    assert len(lines) == len(set(lines))
    if line(session, pages[i % 4]):
      shown[answer(session, pages[i % 4])] += 1
  while busy := [page for page in pages if line(session, page)]:
    shown[answer(session, busy[0])] += 1
  assert shown == Counter(range(40))


# The audit.


def test_audit_images_come_in_the_order_of_the_permutation_in_their_share_and_unmarked(large, tmp_path):
  own = support.labeled(large, tmp_path / "work")
  session = support.session(own, audit=0.2)
  session.use(support.chosen(own, guess=1))
  session.join("p", "anna")
  shown, events = [], own._journal.events
  for _ in range(600):
    handed = session.pages["p"].lined[0]
    item = session.item(handed)
    assert (item["guess"] is None) == handed.blind == (item["why"] is None)
    shown.append((answer(session, "p"), handed.blind))
    assert (events[-1]["shown"], events[-1]["audit"]) == (not handed.blind, shown[-1][0] in own.in_reservoir)
  audits = [i for i, _ in shown if i in own.in_reservoir]
  assert audits == own.reservoir[: len(audits)]
  assert all(blind for i, blind in shown if i in own.in_reservoir)
  # Within four standard deviations: a fifth are audit images, and as many others are blind.
  assert abs(len(audits) - 120) < 4 * (600 * 0.2 * 0.8) ** 0.5
  blind = sum(blind for _, blind in shown)
  assert abs(blind - 240) < 4 * (600 * 0.4 * 0.6) ** 0.5
  assert abs(len(audits) / blind - 0.5) < 4 * 0.5 / blind**0.5


def test_whether_an_audit_image_comes_does_not_depend_on_the_answers(large, tmp_path):
  kinds = []
  for actions in (["label"], ["skip", "label", "unusable"]):
    session = support.session(support.labeled(large, tmp_path / actions[0]), audit=0.2)
    session.use(support.chosen(session.labeled))
    session.join("p", "anna")
    shown = [answer(session, "p", action=actions[i % len(actions)]) for i in range(200)]
    kinds.append([i in session.labeled.in_reservoir for i in shown])
  assert kinds[0] == kinds[1]


def test_a_blind_item_of_the_audit_looks_like_any_other_blind_one(begin):
  session = begin(audit=0.5)
  session.use(support.chosen(session.labeled, guess=0))
  session.join("p", "anna")
  looks = {}
  while session.pages["p"].lined:
    handed = session.pages["p"].lined[0]
    item = session.item(handed)
    if handed.blind:
      looks.setdefault(handed.number in session.labeled.in_reservoir, set()).add(
        repr([item[key] for key in item if key not in ("image", "name")])
      )
    answer(session, "p")
  assert len(looks[True]) == 1
  assert looks[True] == looks[False]


def test_audit_images_come_last_without_a_share(begin, tmp_path):
  own = support.labeled(support.numbered(tmp_path / "root", 20), tmp_path / "work", audit=0.3)
  session = support.session(own, audit=0.0)
  session.use(support.chosen(own))
  session.join("p", "anna")
  shown = [answer(session, "p") for _ in range(20)]
  assert shown[:14] == others(session)
  assert shown[14:] == own.reservoir


# Skips, unusable images, and the end.


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])  # with the last, the audit's images are used up first
def test_a_skipped_image_comes_again_only_when_nothing_else_is_left(begin, share):
  session = support.session(begin(audit=0.1).labeled, audit=share)
  few = others(session)[:5]
  session.use(support.chosen(session.labeled, few))  # the model is late: all others come at random, or by the audit
  session.join("p", "anna")
  first = [answer(session, "p", action="skip") for _ in range(40)]
  assert sorted(first) == list(range(40))
  assert sorted(line(session, "p")) == sorted(few)
  skipped = session.labeled.skipped()
  assert skipped == others(session)
  session.use(support.chosen(session.labeled, skipped))  # what the worker chooses now
  second = [answer(session, "p") for _ in range(len(skipped))]
  assert sorted(second) == skipped  # audit images do not come again
  assert line(session, "p") == []


def test_unusable_images_do_not_come_again(begin):
  session = begin()
  session.use(support.chosen(session.labeled))
  session.join("p", "anna")
  for _ in range(40):
    answer(session, "p", action="unusable")
  assert line(session, "p") == []
  assert session.labeled.left == 0
  assert session.labeled.training_labels() == []


# Two annotators.


def test_overlap_shows_what_one_other_annotator_labeled_and_no_guess(begin):
  session = begin(audit=0.0, overlap=1.0)
  session.use(support.chosen(session.labeled, guess=0))
  session.join("a", "anna")
  labeled = [answer(session, "a") for _ in range(8)]
  skipped = answer(session, "a", action="skip")
  session.join("b", "bert")
  first = line(session, "b")
  assert first == labeled[::-1][:LINED_UP]
  assert all(handed.blind for handed in session.pages["b"].lined)
  for _ in range(8):
    answer(session, "b", label="dog")
  session.join("c", "carl")  # nobody labels an image a third time
  assert not set(labeled) & set(line(session, "c"))
  assert session.labeled.answers.doubly_labeled() == [("cat", "dog")] * 8
  assert skipped not in line(session, "b") + line(session, "c")


def test_the_share_of_overlap(large, tmp_path):
  session = support.session(support.labeled(large, tmp_path / "work"), audit=0.2, overlap=0.1)
  session.use(support.chosen(session.labeled))
  session.join("a", "anna")
  session.join("b", "bert")
  for i in range(600):
    answer(session, "ab"[i % 2])
  both = len(session.labeled.answers.doubly_labeled())
  assert abs(both - 60) < 4 * (600 * 0.1 * 0.9) ** 0.5


def test_one_annotator_in_two_windows_never_labels_an_image_twice(begin):
  session = begin(overlap=1.0)
  session.use(support.chosen(session.labeled))
  session.join("a", "anna")
  session.join("b", "anna")
  shown = [answer(session, page) for _ in range(20) for page in "ab" if line(session, page)]
  assert len(shown) == len(set(shown))


# Undo.


def test_undo_shows_the_image_again_and_again(begin):
  session = begin()
  session.use(support.chosen(session.labeled, guess=0))
  session.join("p", "anna")
  handed = list(session.pages["p"].lined)
  shown = [answer(session, "p") for _ in range(LINED_UP)]
  for expected in reversed(shown):
    assert undo(session, "p") == expected
    assert session.labeled.outcome(expected) is None
    assert len(line(session, "p")) == LINED_UP
  assert list(session.pages["p"].lined) == handed  # as before: guess, score and blindness included
  with pytest.raises(Refused, match="no answer to undo"):
    undo(session, "p")
  assert session.labeled.left == 40


def test_undo_of_a_replacement_brings_the_first_answer_back(begin):
  session = begin()
  session.use(support.chosen(session.labeled))
  session.join("p", "anna")
  first = answer(session, "p", label="cat")
  answer(session, "p")
  answer(session, "p", first, label="dog")
  assert [event["label"] for event in session.history("anna")] == ["cat", "dog"]
  assert undo(session, "p") == first
  assert session.labeled.outcome(first).label == "cat"


def test_undo_takes_back_the_annotators_own_answer(begin):
  session = begin()
  session.use(support.chosen(session.labeled))
  session.join("a", "anna")
  session.join("b", "bert")
  first, second = answer(session, "a"), answer(session, "b")
  assert undo(session, "a") == first
  assert first not in line(session, "b")
  assert session.labeled.outcome(second).label == "cat"


def test_undo_takes_the_image_out_of_the_line_of_another_annotator(begin):
  session = begin(overlap=1.0)
  session.use(support.chosen(session.labeled))
  session.join("a", "anna")
  shown = [answer(session, "a") for _ in range(3)]
  session.join("b", "bert")
  assert line(session, "b")[:3] == shown[::-1]
  undo(session, "a")
  undo(session, "a")
  assert shown[2] == line(session, "b")[0]  # it is on the screen
  assert shown[1] not in line(session, "b")


def test_an_undone_answer_stays_undone_when_its_image_is_gone(begin):
  session = begin()
  session.use(support.chosen(session.labeled))
  session.join("p", "anna")
  first = answer(session, "p")
  (session.labeled.found.root / session.labeled.found.images[first].path).unlink()
  assert session.labeled.is_lost(first)
  assert undo(session, "p") != first
  assert session.history("anna") == []


# A new model.


def test_what_is_on_the_screen_and_next_stays_at_a_swap_with_its_guess(begin):
  session = begin(audit=0.0)
  session.use(support.chosen(session.labeled, range(20), guess=0, round=3))
  session.join("p", "anna")
  before = list(session.pages["p"].lined)
  session.use(support.chosen(session.labeled, range(20, 40), guess=1, round=4))
  after = list(session.pages["p"].lined)
  assert after[:2] == before[:2]
  assert [handed.number for handed in after[2:]] == [20, 21, 22, 23]
  assert [session.item(handed)["guess"]["label"] for handed in after[1:3]] == ["cat", "dog"]
  for _ in range(3):
    answer(session, "p")
  keys = ("guess", "probability", "shown", "acquisition", "score", "round", "audit")
  assert [[event[key] for key in keys] for event in session.labeled._journal.events[-3:]] == [
    ["cat", 0.75, True, "margin", 0.0, 3, False],
    ["cat", 0.75, True, "margin", 1 / 7, 3, False],
    ["dog", 0.75, True, "margin", 20 / 7, 4, False],
  ]


def test_images_that_a_swap_takes_back_come_again(begin):
  session = begin()
  session.join("p", "anna")
  shown = set()
  for i in range(40):
    session.use(support.chosen(session.labeled, [(7 * i + j) % 40 for j in range(10)]))
    shown.add(answer(session, "p"))
  assert shown == set(range(40))


def test_an_answer_to_an_image_that_left_the_queue_is_taken(begin):
  session = begin()
  session.use(support.chosen(session.labeled, range(20)))
  session.join("p", "anna")
  later = line(session, "p")[4]
  session.use(support.chosen(session.labeled, range(20, 40)))
  session.answer("p", "r", later, "label", "cat", 1.0)
  assert session.labeled.outcome(later).label == "cat"
  assert later not in line(session, "p")


def test_an_answer_that_comes_again_keeps_why_the_image_was_shown(begin):
  session = begin(audit=0.0)
  session.use(support.chosen(session.labeled, guess=0, round=1))
  session.join("p", "anna")
  first = answer(session, "p")
  session.use(support.chosen(session.labeled, guess=1, round=2))
  answer(session, "p", first, label="dog")
  *_, one, two = session.labeled._journal.events
  assert (two["guess"], two["round"], two["acquisition"]) == (one["guess"], one["round"], one["acquisition"])
  assert (two["guess"], two["round"], two["label"]) == ("cat", 1, "dog")


# Pages that come and go.


def test_a_page_that_went_away_gives_its_images_back(begin, clock):
  session = begin(num=8, audit=0.0)
  session.use(support.chosen(session.labeled))
  session.join("a", "anna")
  session.join("b", "bert")
  assert (line(session, "a"), line(session, "b")) == ([0, 1, 2, 3, 4, 5], [6, 7])
  clock.now += 599
  session.join("b", "bert")
  session.seen("a")  # a page that only asks for news is not in use
  assert line(session, "a") == [0, 1, 2, 3, 4, 5]
  clock.now += 2
  session.seen("b")
  assert line(session, "b") == [6, 7, 0, 1, 2, 3]
  session.seen("a")
  assert line(session, "a") == []
  # Its screen still shows image 0: the answer is taken, with why the image was asked for, and b is not asked again.
  session.answer("a", "r", 0, "label", "cat", 1.0)
  assert session.labeled.events[-1]["acquisition"] == "margin"
  assert line(session, "b") == [6, 7, 1, 2, 3]
  assert line(session, "a") == [4, 5]


def test_a_page_that_comes_back_alone_finds_its_images(begin, clock):
  session = begin()
  session.use(support.chosen(session.labeled))
  session.join("a", "anna")
  before = line(session, "a")
  clock.now += 10_000
  session.seen("a")
  assert line(session, "a") == before


def test_a_late_answer_takes_the_image_out_of_the_line_of_the_page_that_got_it(begin, clock):
  session = begin(audit=0.0)
  session.use(support.chosen(session.labeled))
  session.join("a", "anna")
  clock.now += 121
  session.join("b", "bert")
  session.seen("b")
  answer(session, "b")
  session.use(support.chosen(session.labeled))
  on_screen, in_line = line(session, "b")[0], line(session, "b")[3]
  session.join("a", "anna")
  answer(session, "a", in_line)
  answer(session, "a", on_screen)
  assert line(session, "b")[0] == on_screen
  assert in_line not in line(session, "b")
  assert len(line(session, "b")) == LINED_UP


def test_joining_again_keeps_the_images_and_takes_the_new_name(begin):
  session = begin()
  session.use(support.chosen(session.labeled))
  session.join("p", " anna ")
  before = line(session, "p")
  session.join("p", "")
  assert line(session, "p") == before
  assert session.pages["p"].annotator == "me"
  for name in ("x" * 101, "a\nb", "\udcff", "\u202e"):
    with pytest.raises(Refused, match="printable"):
      session.join("p", name)


def test_speed_of_labeling(begin, clock):
  session = begin()
  session.use(support.chosen(session.labeled))
  session.join("p", "anna")
  answer(session, "p")
  assert session.per_minute() is None
  for _ in range(10):
    clock.now += 3
    answer(session, "p")
  assert session.per_minute() == 20.0
  clock.now += 121
  assert session.per_minute() is None


# Answers that are kept, refused and repeated.


def test_an_answer_is_stored_once_per_request_also_after_a_kill(begin):
  session = begin()
  session.use(support.chosen(session.labeled))
  session.join("p", "anna")
  first, second = line(session, "p")[:2]
  for _ in range(3):
    answer(session, "p", first, request="one")
  # The program is killed between the write and the reply, and the page sends the answer again.
  session = begin()
  session.join("p", "anna")
  session.use(support.chosen(session.labeled))
  assert first not in line(session, "p")
  answer(session, "p", first, request="one", label="dog")
  answer(session, "p", second, request="two")
  for _ in range(3):
    session.undo("p", "three")
  session = begin()
  session.undo("p", "three")
  stored = [event["request"] for event in session.labeled._journal.events if "request" in event]
  assert stored == ["one", "two", "three"]
  assert session.labeled.outcome(first).label == "cat"
  assert session.labeled.outcome(second) is None


def test_a_kill_while_an_answer_is_written_loses_it_whole_and_the_page_sends_it_again(begin, tmp_path):
  session = begin()
  session.use(support.chosen(session.labeled))
  session.join("p", "anna")
  number = answer(session, "p", request="one")
  path = tmp_path / "work" / NAME
  os.truncate(path, path.stat().st_size - 5)
  session = begin()
  assert session.labeled.outcome(number) is None
  session.join("p", "anna")
  session.use(support.chosen(session.labeled))
  answer(session, "p", number, request="one")
  events, _ = journal.read(path)
  assert [event.get("request") for event in events] == [None, None, None, "one"]


def test_a_full_disk_refuses_the_answer_and_changes_nothing(begin, monkeypatch):
  session = begin()
  session.use(support.chosen(session.labeled))
  session.join("p", "anna")
  before, stored = line(session, "p"), len(session.labeled._journal.events)

  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(os, "write", full)
    for act in (lambda: answer(session, "p", request="r"), lambda: session.add_class("fox", "anna")):
      with pytest.raises(JournalError, match="No space left"):
        act()
  assert line(session, "p") == before
  assert len(session.labeled._journal.events) == stored
  assert session.labeled.classes == {"cat": 0, "dog": 1}
  assert session.history("anna") == []
  assert session.per_minute() is None
  answer(session, "p", request="r")  # the same request, which now succeeds
  assert session.labeled.outcome(before[0]).label == "cat"


def test_an_answer_to_a_file_that_changed_is_not_kept_and_the_image_comes_no_more(begin):
  session = begin()
  session.use(support.chosen(session.labeled))
  for page in "ab":
    session.join(page, page)
  number = line(session, "a")[0]
  (session.labeled.found.root / session.labeled.found.images[number].path).write_bytes(b"another")
  for request in ("one", "two"):  # also when the page is sent back to it
    notice = session.answer("a", request, number, "label", "cat", 1.0)
    assert "has changed or vanished" in notice
  assert session.labeled.outcome(number) is None
  assert session.labeled.left == 39
  while session.pages["a"].lined:
    assert answer(session, "a") != number


def test_overlap_does_not_show_files_that_changed(begin):
  session = begin(overlap=1.0)
  session.use(support.chosen(session.labeled))
  session.join("a", "anna")
  number = answer(session, "a")
  (session.labeled.found.root / session.labeled.found.images[number].path).unlink()
  session.join("b", "bert")
  for _ in range(3):
    session.seen("b")
    assert number not in line(session, "b")
    answer(session, "b")


@pytest.mark.parametrize(
  ("number", "action", "label", "message"),
  [
    (0, "delete", None, "'delete' is no answer"),
    (0, "label", None, "None is not one of the classes"),
    (0, "label", "fox", "'fox' is not one of the classes"),
    (0, "skip", "cat", "'cat' is not one of the classes"),
    (-1, "label", "cat", "there is no image -1"),
    (40, "label", "cat", "there is no image 40"),
  ],
)
def test_answers_that_are_refused(begin, number, action, label, message):
  session = begin()
  session.use(support.chosen(session.labeled))
  session.join("p", "anna")
  with pytest.raises(Refused, match=message):
    session.answer("p", "r", number, action, label, 1.0)
  assert "r" not in session.labeled.answers.requests


def test_classes_that_are_refused(begin):
  session = begin()
  for label, message in [("cat", "is a class already"), (" cat ", "already"), ("", "1 to 100"), ("x" * 101, "1 to 100"),
                         ("a\tb", "printable")]:  # fmt: skip
    with pytest.raises(Refused, match=message):
      session.add_class(label, None)
  session.add_class(" fox ", "anna")
  assert list(session.labeled.classes) == ["cat", "dog", "fox"]
  assert list(begin().labeled.classes) == ["cat", "dog", "fox"]


def test_history_is_the_annotators_own_oldest_first_at_most_100(large, tmp_path):
  session = support.session(support.labeled(large, tmp_path / "work"))
  session.use(support.chosen(session.labeled))
  session.join("a", "anna")
  session.join("b", "bert")
  shown = [answer(session, "a") for _ in range(101)]
  answer(session, "b", action="skip")
  answer(session, "a", shown[50], label="dog")
  history = session.history("anna")
  assert [entry["image"] for entry in history] == [*shown[1:50], *shown[51:], shown[50]]
  assert history[-1] == {"image": shown[50], "name": f"{shown[50]:04d}.png", "action": "label", "label": "dog"}
  assert [entry["action"] for entry in session.history("bert")] == ["skip"]


def test_a_restart_from_the_file_alone_gives_the_same_state(begin):
  session = begin(overlap=0.3)
  session.use(support.chosen(session.labeled, guess=0))
  session.join("a", "anna")
  session.join("b", "bert")
  session.add_class("fox", "anna")
  for i in range(30):
    page = "ab"[i % 2]
    answer(session, page, action=["label", "skip", "label", "unusable"][i % 4], label=["cat", "dog", "fox"][i % 3])
    if i % 5 == 4:
      undo(session, page)
  again = begin()
  for one in ("classes", "left", "reservoir", "permutation", "last_round"):
    assert getattr(again.labeled, one) == getattr(session.labeled, one)
  for one in ("training_labels", "audit_labels", "barred", "skipped"):
    assert getattr(again.labeled, one)() == getattr(session.labeled, one)()
  for name in ("anna", "bert"):
    assert again.history(name) == session.history(name)
  assert again.labeled.answers.outcomes == session.labeled.answers.outcomes
  assert again.labeled.answers.requests == session.labeled.answers.requests
  assert +again.labeled.answers.count == +session.labeled.answers.count
