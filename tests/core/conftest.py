"""A warning in a test of the core is an error; the shell's libraries warn about what is not ours to mend."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
  for item in items:
    if item.path.is_relative_to(Path(__file__).parent):
      item.add_marker(pytest.mark.filterwarnings("error"))
