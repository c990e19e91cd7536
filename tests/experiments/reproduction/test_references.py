"""Single published numbers: means against tolerances, their mean difference, the table and the figure."""

import math

import numpy as np

from experiments.papers.base import Reference
from experiments.papers.base import Reproduction
from experiments.papers.registry import REPRODUCTIONS
from experiments.reporting import figures
from experiments.reporting.blocks import to_markdown
from experiments.reproduction import archive
from experiments.reproduction import page
from experiments.reproduction import references
from tests.support.reproductions import made_about
from tests.support.reproductions import made_rows

_PART = Reproduction(
  "Heads",
  None,
  {"cpu": ()},
  references=(Reference("few", "10 labels", 0.6, 0.05, 10), Reference("many", "400 labels", 0.978, 0.002, 400)),
  mean_difference=0.01,
)


def _found(part=_PART, **by_study):
  about = made_about(0)
  kept = {
    name: archive.Archived(
      about, [row for seed, value in enumerate(ours) for row in made_rows("random", seed, [value])], []
    )
    for name, ours in by_study.items()
  }
  return page.Results(part, "cpu", kept)


def test_each_mean_and_their_mean_difference_have_a_verdict():
  found = _found(few=[0.60, 0.64], many=[0.979])  # 2 points and 0.1 points
  assert references.holds(found) == [True, True, False]
  assert math.isclose(references.mean_difference(found), 0.0105)
  text = to_markdown(references.blocks(found))
  assert "| 10 labels | 0.600 | ± 0.05 | 0.6200 | 0.6000 0.6400 | yes | 1 s |" in text
  assert "1.05 points, above the tolerance of 1." in text
  assert references.holds(_found(few=[0.60, 0.62], many=[0.985])) == [True, False, True]


def test_a_mean_difference_needs_all_references_and_a_tolerance():
  found = _found(few=[0.9])
  assert references.holds(found) == [False] and references.mean_difference(found) is None
  assert references.images("heads", "cpu", found) == []
  blog = REPRODUCTIONS["blog"]
  found = _found(blog, blog_full_data=[0.88], blog_start=[0.79])
  assert references.mean_difference(found) is None and references.images("blog", "cpu", found) == []


def test_many_seeds_are_summed_up():
  ours = np.linspace(0.59, 0.61, 20).tolist()
  text = to_markdown(references.blocks(_found(few=ours)))
  assert f"0.5900 to 0.6100, standard deviation {np.std(ours, ddof=1):.4f}, 20 seeds" in text


def test_the_figure_has_our_means_and_the_published_ones(monkeypatch):
  drawn = {}

  def saved(figure):
    (axes,) = figure.axes
    drawn["ours"], drawn["published"] = (line.get_xydata() for line in axes.lines[:2])
    return figures.Drawing(b"png", b"svg")

  monkeypatch.setattr(figures, "_saved", saved)
  (image,) = references.images("heads", "cpu", _found(few=[0.60, 0.64], many=[0.98]))
  assert image.file == "../../results/reproductions/cpu/heads.png" and image.png == b"png"
  np.testing.assert_allclose(drawn["ours"], [[10, 0.62], [400, 0.98]])
  np.testing.assert_allclose(drawn["published"], [[10, 0.6], [400, 0.978]])
