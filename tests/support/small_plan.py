"""Runs experiments.reproduce on another plan: `python -m tests.support.small_plan STUDIES FLAGS...`.

STUDIES is JSON: a list of each study's name, preset and flags. Everything else is as it is.
"""

import json
import sys

from absl import app

from experiments import reproduce
from experiments.papers import blog
from experiments.papers.base import Reproduction
from experiments.papers.base import StudyCommand
from experiments.papers.registry import REPRODUCTIONS

if __name__ == "__main__":
  studies = tuple(StudyCommand(name, preset, tuple(flags)) for name, preset, flags in json.loads(sys.argv.pop(1)))
  part = Reproduction("Small", None, {"quick": studies}, (("margin", "random"),), scope={"quick": "All of it."})
  for table in (REPRODUCTIONS, blog.REPRODUCTIONS):
    table.clear()
    table["small"] = part
  app.run(reproduce.main)
