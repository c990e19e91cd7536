"""What events amount to, against a slow reference that reads all of them anew."""

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from experiments.common.errors import UsageError
from experiments.labeling.answers import ACTIONS
from experiments.labeling.answers import LABEL
from experiments.labeling.answers import SKIP
from experiments.labeling.answers import UNUSABLE
from experiments.labeling.answers import Answers
from experiments.labeling.answers import replayed

CLASSES = ("cat", "dog", "fox")


class Events:
  """A list of events that grows, and the answers that take each one."""

  def __init__(self):
    self.all, self.answers = [], Answers()
    self._add(action="start", format=1)
    for name in CLASSES:
      self._add(action="class", label=name)

  def _add(self, **event) -> int:
    event = {"event": len(self.all), **event}
    self.all.append(event)
    self.answers.add(event)
    return event["event"]

  def answer(self, annotator: str, image: str, what: str, request: str | None = None) -> int:
    """`what` is a class, `skip` or `unusable`."""
    action, label = (LABEL, what) if what in CLASSES else (what, None)
    return self._add(action=action, label=label, sha256=image, annotator=annotator, request=request)

  def undo(self, event: int) -> int:
    return self._add(action="undo", undoes=event, annotator=self.all[event]["annotator"])

  def amounts_to(self, image: str) -> str | None:
    found = self.answers.outcome(image)
    return None if found is None else found.label or found.action


@pytest.fixture
def events():
  return Events()


def test_the_last_answer_of_an_annotator_replaces_the_earlier_ones(events):
  for what in ("cat", "skip", "dog", "unusable", "fox"):
    events.answer("anna", "a", what)
    assert events.amounts_to("a") == what
  assert events.answers.count == Counter({LABEL: 1})
  assert +events.answers.per_class == Counter({"fox": 1})


def test_undo_brings_the_replaced_answer_back_then_none(events):
  first = events.answer("anna", "a", "cat")
  between = events.answer("anna", "b", "dog")
  second = events.answer("anna", "a", "dog")
  assert [event["event"] for event in events.answers.last_of("anna", 9)] == [between, second]
  events.undo(second)
  assert events.amounts_to("a") == "cat"
  assert [event["event"] for event in events.answers.last_of("anna", 9)] == [first, between]
  events.undo(between)
  events.undo(first)
  assert events.amounts_to("a") is None
  assert events.answers.last_of("anna", 9) == []
  assert not events.answers.outcomes
  assert not +events.answers.per_class
  assert not +events.answers.count


def test_an_answer_after_an_undo_counts(events):
  events.undo(events.answer("anna", "a", "cat"))
  events.answer("anna", "a", "dog")
  assert events.amounts_to("a") == "dog"


def test_an_undo_takes_back_the_answer_of_one_annotator_alone(events):
  first = events.answer("anna", "a", "cat")
  events.answer("bert", "a", "dog")
  events.undo(first)
  assert events.amounts_to("a") == "dog"
  assert set(events.answers.by_annotator("a")) == {"bert"}
  assert [event["label"] for event in events.answers.last_of("bert", 9)] == ["dog"]


@pytest.mark.parametrize(
  ("votes", "expected"),
  [
    (["cat", "dog"], "cat"),
    (["dog", "cat"], "dog"),
    (["cat", "dog", "dog"], "dog"),
    (["cat", "dog", "fox"], "cat"),
    (["fox", "cat", "dog", "cat", "dog"], "cat"),
    (["skip", "cat"], "cat"),
    (["cat", "unusable", "unusable"], "cat"),
    (["skip", "unusable"], "unusable"),
    (["unusable", "skip", "skip"], "unusable"),
    (["skip", "skip"], "skip"),
  ],
)
def test_answers_of_several_annotators_amount_to(events, votes, expected):
  numbers = [events.answer(f"annotator {i}", "a", what) for i, what in enumerate(votes)]
  assert events.amounts_to("a") == expected
  assert events.answers.outcome("a").event["event"] == numbers[votes.index(expected)]


def test_a_tie_goes_to_the_first_of_the_answers_that_count(events):
  events.answer("anna", "a", "cat")
  events.answer("bert", "a", "dog")
  events.answer("anna", "a", "cat")  # said again: now after Bert's
  assert events.amounts_to("a") == "dog"


def test_pairs_of_labels_for_the_agreement(events):
  for annotator, image, what in [
    ("anna", "a", "cat"), ("bert", "a", "dog"), ("carl", "a", "fox"),
    ("anna", "b", "cat"), ("bert", "b", "skip"),
    ("anna", "c", "skip"), ("bert", "c", "fox"), ("carl", "c", "fox"),
    ("anna", "d", "cat"),
  ]:  # fmt: skip
    events.answer(annotator, image, what)
  assert events.answers.doubly_labeled() == [("cat", "dog"), ("fox", "fox")]
  assert events.answers.annotators == ["anna", "bert", "carl"]


def test_an_answer_is_found_by_its_request_after_its_undo(events):
  number = events.answer("anna", "a", "cat", request="r1")
  events.undo(number)
  assert events.answers.requests["r1"]["event"] == number
  assert "r2" not in events.answers.requests


# Hypothesis: each step is an answer, or the undo of the n-th of an annotator's answers that no undo has taken back.
STEPS = st.tuples(
  st.sampled_from(("anna", "bert", "carl")),
  st.sampled_from(("a", "b", "c")),
  st.sampled_from((*CLASSES, SKIP, UNUSABLE, "undo", "undo", "undo any")),
  st.integers(0, 99),
)


def live(events: list[dict]) -> list[dict]:
  undone = {event["undoes"] for event in events if event["action"] == "undo"}
  return [event for event in events if event["action"] in ACTIONS and event["event"] not in undone]


def last_answers(events: list[dict]) -> list[dict]:
  """The answers that count, by brute force: those after which the same annotator gave the image no other."""
  kept = live(events)
  same = lambda one, other: (one["annotator"], one["sha256"]) == (other["annotator"], other["sha256"])
  return [one for i, one in enumerate(kept) if not any(same(one, later) for later in kept[i + 1 :])]


def reference(events: list[dict]) -> dict[str, tuple[str, str | None, int]]:
  """Action, label and number of the deciding event by image."""
  found = {}
  for image in {event["sha256"] for event in live(events)}:
    own = [event for event in last_answers(events) if event["sha256"] == image]
    labels = [event["label"] for event in own if event["action"] == LABEL]
    if labels:
      winner = max(dict.fromkeys(labels), key=labels.count)  # of several, max takes the first
      deciding = next(event for event in own if event["label"] == winner)
    else:
      deciding = min(own, key=lambda event: (event["action"] != UNUSABLE, event["event"]))
    found[image] = deciding["action"], deciding["label"], deciding["event"]
  return found


@given(st.lists(STEPS, max_size=30))
@settings(max_examples=100)
def test_any_sequence_of_events_amounts_to_what_the_reference_says(steps):
  events = Events()
  for annotator, image, what, choice in steps:
    mine = [event for event in live(events.all) if event["annotator"] == annotator]
    last = [event for event in last_answers(events.all) if event["annotator"] == annotator]
    if what.startswith("undo"):
      if not mine:
        continue
      events.undo((last[-1] if what == "undo" else mine[choice % len(mine)])["event"])
    else:
      events.answer(annotator, image, what)
    answers, expected = events.answers, reference(events.all)
    assert {sha: (o.action, o.label, o.event["event"]) for sha, o in answers.outcomes.items()} == expected
    in_order = [o.event["event"] for o in answers.outcomes.values()]
    assert in_order == sorted(in_order)
    assert +answers.count == Counter(action for action, _, _ in expected.values())
    assert +answers.per_class == Counter(label for _, label, _ in expected.values() if label)
    last = last_answers(events.all)
    for name in ("anna", "bert", "carl"):
      own = [event for event in last if event["annotator"] == name]
      assert answers.last_of(name, 99) == own
      assert answers.last_of(name, 2) == own[-2:]
    for sha256 in ("a", "b", "c"):
      own = {event["annotator"]: event for event in last if event["sha256"] == sha256}
      assert answers.by_annotator(sha256) == own
  again = Answers(events.all)
  assert again.outcomes == events.answers.outcomes
  assert again.classes == list(CLASSES)


BEGUN = [
  {"event": 0, "action": "start", "format": 1},
  {"event": 1, "action": "class", "label": "cat"},
  {"event": 2, "action": "label", "label": "cat", "sha256": "a", "annotator": "anna"},
]


@pytest.mark.parametrize(
  "event",
  [
    {"action": "label", "label": "Cat", "sha256": "a", "annotator": "anna"},  # an edited name
    {"action": "label", "label": None, "sha256": "a", "annotator": "anna"},
    {"action": "skip", "label": "cat", "sha256": "a", "annotator": "anna"},
    {"action": "label", "label": "cat", "annotator": "anna"},
    {"action": "label", "label": "cat", "sha256": ["a"], "annotator": "anna"},
    {"action": "undo", "undoes": 1},
    {"action": "undo", "undoes": 7},
    {"action": "undo"},
    {"action": "lable", "label": "cat", "sha256": "a", "annotator": "anna"},
  ],
)
def test_an_event_that_contradicts_those_before_is_damage(event):
  with pytest.raises(UsageError, match=r"labels\.jsonl: line 4 is damaged"):
    replayed(Path("labels.jsonl"), [*BEGUN, {"event": 3, **event}])


def test_an_answer_cannot_be_taken_back_twice():
  undo = {"action": "undo", "undoes": 2}
  with pytest.raises(UsageError, match="line 5 is damaged"):
    replayed(Path("labels.jsonl"), [*BEGUN, {"event": 3, **undo}, {"event": 4, **undo}])
