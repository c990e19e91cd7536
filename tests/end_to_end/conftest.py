"""The fixture that starts programs."""

import pytest

from tests.support import forked


@pytest.fixture(scope="session")
def program(surroundings, tmp_path_factory):
  """Starts and runs `python -m WORDS` in forks of a process that has imported the libraries."""
  with forked.serve(tmp_path_factory.mktemp("printed")) as served:
    yield served
