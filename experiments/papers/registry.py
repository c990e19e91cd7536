"""The publications whose results are reproduced here, one file each."""

from experiments.common.spelling import named
from experiments.papers import batchbald
from experiments.papers import bickfordsmith2024
from experiments.papers import blog
from experiments.papers import cdalbench
from experiments.papers import gal2017
from experiments.papers import stochastic_batches
from experiments.papers.base import Curve
from experiments.papers.base import Publication
from experiments.papers.base import Reproduction

PAPERS = (blog, batchbald, stochastic_batches, gal2017, bickfordsmith2024, cdalbench)
# The published results by preset (or `PRESET, variant`), and by name the studies that reproduce them.
PUBLISHED: dict[str, Publication] = {name: found for paper in PAPERS for name, found in paper.PUBLISHED.items()}
REPRODUCTIONS: dict[str, Reproduction] = {name: own for paper in PAPERS for name, own in paper.REPRODUCTIONS.items()}


def curve_of(preset: str | None, name: str) -> Curve | None:
  """The published curve of a strategy under a preset; None without one, and None for points of a grid."""
  if preset not in PUBLISHED or " [" in name:
    return None
  return PUBLISHED[preset].curves.get(named(name).name)
