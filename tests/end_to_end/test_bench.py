"""The benchmark's measurement of the main program."""

import pytest

from experiments.benchmarks import program
from experiments.benchmarks.flags import parse
from experiments.common.errors import UsageError

pytestmark = pytest.mark.slow


def test_a_run_that_fails_says_why():
  with pytest.raises(UsageError, match=r"run of digits .* --rounds is given 2 times"):
    program.run_once("digits", parse(["bench", "--run_args=--rounds=1 --rounds=2"]))
