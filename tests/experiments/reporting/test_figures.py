"""Text in rendered figures, and that rendering is reproducible."""

import itertools

import numpy as np
import pandas as pd

from experiments.papers.registry import PUBLISHED
from experiments.reporting import figures
from experiments.reporting import sections
from experiments.reporting import study as studies
from tests.support import studies as made


def test_published_curves_are_drawn_beside_those_of_their_strategies_alone(tmp_path, monkeypatch):
  monkeypatch.setattr(figures, "curves", lambda *_, **__: figures.Drawing(b"", b""))  # not checked here
  curve = [0.6 + 0.01 * r for r in range(10)]
  rows = [row for acq in ("batchbald", "margin") for row in made.run(acq, 0, curve)]
  flags = {"preset": "batchbald", "acq": ["batchbald", "margin"], "rounds": 9, "seeds": 1}
  study = studies.gather([made.workdir(tmp_path / "a", rows, flags)])
  _, drawings = sections.curves(study, studies.choose(study))
  drawn = drawings["beside_published"].svg.decode()  # matplotlib repeats each text in an SVG comment
  assert "<!-- BatchBALD, 10 a round -->" in drawn and "margin" not in drawn


def test_the_others_are_drawn_beside_each_published_strategy():
  """Three panels in two columns: tick labels under the last panel of each column, two gray lines in every panel."""
  runs = {name: {0: made.run(name, 0, [0.6, 0.7, 0.8])} for name in ("random", "bald", "batchbald")}
  theirs = {name: PUBLISHED["batchbald"].curves[name] for name in runs}
  drawn = figures.beside_published(studies.Chosen(runs, (), ()), theirs)
  svg = drawn.svg.decode()
  assert svg.count("stroke: #c8c8c8") == 6
  assert [svg.count(f"<!-- {curve.label} -->") for curve in theirs.values()] == [1, 1, 1]
  assert svg.count("<!-- 20 -->") == 2 and drawn == figures.beside_published(studies.Chosen(runs, (), ()), theirs)


def test_a_critical_difference_diagram_does_not_depend_on_hashes(monkeypatch):
  """Bars of six strategies run from the best to the worst, whatever the order of their names in a set."""
  monkeypatch.setattr(figures, "_saved", lambda figure: figure)
  for names in itertools.islice(itertools.permutations(("margin", "entropy", "bald", "badge", "kmeans", "bait")), 8):
    p_values = pd.DataFrame(1.0, index=names, columns=names)
    p_values.loc[names[0], names[-1]] = p_values.loc[names[-1], names[0]] = 0.01
    figure = figures.critical_difference({name: 1.0 + place for place, name in enumerate(names)}, p_values)
    bars = [line for line in figure.axes[0].lines if len(set(line.get_ydata())) == 1]
    np.testing.assert_array_equal([bar.get_xdata() for bar in bars], [[1, 2, 3, 4, 5], [2, 3, 4, 5, 6]])
    assert [bar.get_ydata()[0] for bar in bars] == [-1, -2]
    figures.plt.close(figure)
