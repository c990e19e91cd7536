"""Pages of servers on small folders."""

import pytest

from tests.support import folders


@pytest.fixture
def folder(tmp_path):
  return folders.of_digits(tmp_path / "photos", 12)


@pytest.fixture
def page(folder):
  with folders.page(folders.opened(folder)) as page:
    yield page


@pytest.fixture(scope="module")
def still(tmp_path_factory):
  """A page that no test changes."""
  with folders.page(folders.opened(folders.of_digits(tmp_path_factory.mktemp("still"), 12))) as page:
    yield page
