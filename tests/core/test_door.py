"""No input leads to a wrong number: it gives a correct result, or a one-sentence error."""

import re
import traceback

import pytest

from tests.support import door_cases
from tests.support.programs import ROOT

pytestmark = pytest.mark.usefixtures("fast_compilation")

CASES = {case.given: case for case in door_cases.CASES}
REFUSED = [given for given, case in CASES.items() if case.right is None]
RIGHT = [given for given, case in CASES.items() if case.right is not None]
PAGE = (ROOT / "docs/inputs.md").read_text()
places: dict[str, str] = {}


@pytest.mark.parametrize("given", REFUSED)
def test_it_is_refused_in_one_sentence_before_anything_compiles(given, compilations):
  with compilations() as events, pytest.raises(ValueError) as caught:
    CASES[given].call()
  sentence = str(caught.value)
  assert "\n" not in sentence and not re.search(r"Traceback|object at 0x|ShapeDtypeStruct|Tracer", sentence)
  assert not sentence.endswith(".") and len(sentence) < 320
  assert len(events) <= CASES[given].compiles
  assert door_cases.row(CASES[given], sentence) in PAGE.splitlines(), "python -m tests.support.door_cases prints it"
  frame = traceback.extract_tb(caught.value.__traceback__)[-1]
  assert "/al_jax/" in frame.filename
  places[given] = f"{frame.filename}:{frame.lineno}"


@pytest.mark.parametrize(
  "given", [given if given == "an empty test set" else pytest.param(given, marks=pytest.mark.slow) for given in RIGHT]
)
def test_it_is_right(given):
  case = CASES[given]
  assert case.proves(case.call())
  assert door_cases.row(case, case.right) in PAGE.splitlines(), "python -m tests.support.door_cases prints it"


def test_the_cases_are_many_and_have_checks_of_their_own():
  assert len(CASES) == len(door_cases.CASES) >= 190
  if len(places) == len(REFUSED):  # all ran in this process
    assert len(set(places.values())) >= 100


def test_the_page_has_these_cases_and_no_others():
  table = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| given")]
  assert [line.split(" | ")[0].removeprefix("| ") for line in table] == list(CASES)
