"""Turns warnings in tests of the core into errors; libraries of the experiments give warnings that we cannot fix."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
  for item in items:
    if item.path.is_relative_to(Path(__file__).parent):
      item.add_marker(pytest.mark.filterwarnings("error"))
