"""Runs experiments.reproduce on another plan: `python -m tests.support.small_plan STUDIES FLAGS...`.

STUDIES is a JSON list of studies: name, preset and flags. The rest of the program is unchanged.
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
  reproduction = Reproduction("Small", None, {"quick": studies}, (("margin", "random"),), scope={"quick": "All of it."})
  for table in (REPRODUCTIONS, blog.REPRODUCTIONS):
    table.clear()
    table["small"] = reproduction
  app.run(reproduce.main)
