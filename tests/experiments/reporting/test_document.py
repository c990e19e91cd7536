"""Whole reports of studies of every shape: their numbers, their remarks and their format."""

import re

import numpy as np
import pytest

from experiments.reporting import blocks
from experiments.reporting import card
from experiments.reporting import document
from experiments.reporting import figures
from experiments.reporting import study as studies
from tests.support import studies as made

FAR = {"first": 700}


@pytest.fixture(autouse=True, params=["made", pytest.param("drawn", marks=pytest.mark.slow)])
def figure(request, monkeypatch):
  """Figures are built but not saved, because a report's text does not depend on them; slow tests also render them.

  Their files are stand-ins; tests/experiments/test_report.py checks real files.
  """

  def saved(figure):
    if request.param == "drawn":
      figure.draw_without_rendering()
    figures.plt.close(figure)
    return figures.Drawing(b"\x89PNG", b"<?xml")

  monkeypatch.setattr(figures, "_saved", saved)


def pages(*workdirs) -> tuple[str, str, dict[str, bytes]]:
  """Markdown, HTML without image bytes, and all files of a report; asserts that no text has NaN, infinity or None."""
  files = document.files(studies.gather(workdirs))
  markdown, html = files["report.md"].decode(), re.sub(r"base64,[^\"]+", "base64,", files["report.html"].decode())
  for text in (markdown, html):
    assert not re.search(r"\b(nan|NaN|inf|None|np)\b", text)
  for name in re.findall(r"\]\(([^)]+)\)", markdown):
    assert files[name].startswith(b"\x89PNG")
  return markdown, html, files


def section(markdown: str, heading: str) -> str:
  """The text between a heading and the next."""
  found = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", markdown, re.MULTILINE | re.DOTALL)
  return found.group(1)


def cells(text: str, first: str) -> list[str]:
  """The cells of the first table row whose first cell is `first`."""
  line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
  return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_study_s_numbers_by_hand(tmp_path):
  folder = made.workdir(tmp_path / "a", made.three_seeds(), full_data=0.8)
  markdown, _, files = pages(folder)
  assert "2 strategies, 10 to 30 labels, 3 matched seeds. Largest mean area under the curve: margin, 0.680." in markdown
  # Areas of margin: (0.5 + 1.4 + 0.8) / 4 = 0.675, and 0.005 more per seed; of random 0.600, 0.6025 and 0.605.
  margin = cells(section(markdown, "Results"), "margin")
  assert margin[1:3] == ["3", "0.680 (0.675 .. 0.685)"]
  # 80, 90, 95 and 99% of 0.8 are 0.64, 0.72, 0.76 and 0.792.
  assert margin[3:7] == ["20 (20 .. 20)", "30 (30 .. 30)", "30 (30 .. 30)", "30 (30 .. 30)"]
  assert margin[7:] == ["0.810 ± 0.010", "2.0", "102"]
  random = cells(section(markdown, "Results"), "random")
  assert random[3:5] == ["30 (30 .. 30)", "not by 30"]
  # Mean curves: random 0.51, 0.60, 0.70, margin 0.51, 0.70, 0.81. At 0.65 the ratio is 25 / (10 + 10 * 14 / 19).
  efficiency = section(markdown, "Label efficiency")
  level = cells(efficiency, "strategy").index("at 65%")
  assert cells(efficiency, "margin")[level] == f"{25 / (10 + 140 / 19):.2f}"
  # The differences of area are 0.075, 0.0775 and 0.08.
  pair = cells(section(markdown, "Every pair, by area under the curve"), "margin − random")
  assert pair[1] == "0.0775" and pair[5:7] == ["0.250", "0.250"] and float(pair[7]) == pytest.approx(31)
  assert "smallest possible p of the signed-rank test is 0.25" in markdown
  assert {"learning_curve.png", "learning_curve.svg", "penalties.svg", "overlap.png", "class_balance.png"} <= set(files)
  assert files["nll.svg"].startswith(b"<?xml")


def test_html_is_one_file_for_any_screen(tmp_path):
  _, html, _ = pages(made.workdir(tmp_path / "a", made.three_seeds()))
  sources = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')>\s]+)""", html)
  assert sources and all(source.startswith(("data:image/png;base64", "#")) for source in sources)
  anchors = [source[1:] for source in sources if source.startswith("#")]
  assert anchors and all(f'id="{anchor}"' in html for anchor in anchors)
  assert "http" not in html and '<meta name="viewport" content="width=device-width' in html


def test_full_data_missing_is_said_and_accuracies_are_absolute(tmp_path):
  markdown, *_ = pages(made.workdir(tmp_path / "a", made.three_seeds()))
  results = section(markdown, "Results")
  assert "to 80%" in results and "no full_data.json" in results and "of full data" not in results


def test_one_seed_says_what_cannot_be_said(tmp_path):
  rows = made.run("random", 0, (0.5, 0.6, 0.7)) + made.run("margin", 0, (0.5, 0.7, 0.8), **FAR)
  markdown, _, files = pages(made.workdir(tmp_path / "a", rows, {"seeds": 1}))
  assert "One matched seed: intervals" in markdown and "One seed: there is no band." in markdown
  assert cells(markdown, "margin")[2] == "0.675" and "penalties.png" not in files


def test_one_strategy_is_not_compared(tmp_path):
  rows = [row for seed in range(3) for row in made.run("margin", seed, (0.5, 0.6, 0.7 + 0.01 * seed))]
  markdown, _, files = pages(made.workdir(tmp_path / "a", rows, {"acq": ["margin"]}))
  assert "A comparison needs two strategies" in markdown
  assert "Label efficiency needs random and another strategy" in markdown and "overlap.png" not in files


@pytest.mark.parametrize("rounds", [0, 1])
def test_few_rounds(rounds, tmp_path):
  rows = []
  for seed in range(2):
    rows += made.run("random", seed, (0.5, 0.6 + 0.01 * seed)[: rounds + 1])
    rows += made.run("margin", seed, (0.5, 0.7)[: rounds + 1], **FAR)
  markdown, *_ = pages(made.workdir(tmp_path / "a", rows, {"rounds": rounds, "seeds": 2}))
  assert ("penalty matrix needs" in markdown) == (rounds == 0)
  assert ("Class balance needs" in markdown) == (rounds == 0)


def test_only_matched_seeds_are_compared_and_the_others_are_named(tmp_path):
  rows = made.three_seeds()[:-1] + [made.error("margin", 2, 2)] + made.run("random", 3, (0.1, 0.1, 0.1))
  rows += made.run("entropy", 0, (0.5, 0.6))
  markdown, *_ = pages(made.workdir(tmp_path / "a", rows, {"acq": ["random", "margin", "entropy"], "seeds": 4}))
  assert "2 matched seeds" in markdown and "not every strategy completed it: seeds 2, 3." in markdown
  assert "no run is complete: entropy." in markdown
  assert cells(section(markdown, "Results"), "random")[2].startswith("0.601 (0.600 ..")  # without seed 3
  ends = section(markdown, "Incomplete runs")
  assert cells(ends, "margin")[1:] == ["2", "stopped in round 2: the loss was not finite at step 3 of 200"]
  assert cells(ends, "entropy")[1:] == ["0", "unfinished: round 1 of 2"]
  assert "| entropy | 3 | not started |" in ends and "| margin | 3 | not started |" in ends


def test_seeds_that_do_not_meet_are_not_paired(tmp_path):
  rows = made.run("random", 0, (0.5, 0.6, 0.7)) + made.run("margin", 1, (0.5, 0.7, 0.8))
  markdown, *_ = pages(made.workdir(tmp_path / "a", rows))
  assert "nothing is paired" in markdown and "No matched seed: intervals" in markdown


def test_a_study_under_way_shows_what_there_is(tmp_path):
  rows = made.run("random", 0, (0.5, 0.6)) + made.run("random", 1, (0.5,)) + made.run("margin", 0, (0.5, 0.7))
  markdown, *_ = pages(made.workdir(tmp_path / "a", rows))
  assert "No run is complete" in markdown


def test_identical_curves_are_no_trouble(tmp_path):
  rows = [
    row for acq in ("random", "margin", "entropy") for seed in range(3) for row in made.run(acq, seed, (0.5, 0.6, 0.7))
  ]
  markdown, *_ = pages(made.workdir(tmp_path / "a", rows, {"acq": ["random", "margin", "entropy"]}))
  assert "Friedman's test over 3 seeds: p = 1.000. It does not reject" in markdown


def test_three_strategies_are_ranked_with_a_diagram(tmp_path):
  rows = [
    row
    for place, acq in enumerate(("random", "margin", "entropy"))
    for seed in range(6)
    for row in made.run(acq, seed, (0.5, 0.6 + 0.1 * place, 0.7 + 0.01 * seed), first=100 * place)
  ]
  markdown, _, files = pages(made.workdir(tmp_path / "a", rows, {"acq": ["random", "margin", "entropy"], "seeds": 6}))
  assert cells(section(markdown, "Average ranks"), "entropy")[1] == "1.00"
  assert "p = 0.002. Bars join" in markdown and files["critical_difference.png"].startswith(b"\x89PNG")


def test_an_ordering_has_its_confidence_and_its_seeds_over_matched_seeds(tmp_path):
  """margin is above random by 0.05 +- 0.01 on six matched seeds, entropy below by a constant; seed 6 is incomplete."""
  rows = []
  for seed, gain in enumerate((0.04, 0.06, 0.04, 0.06, 0.04, 0.06, 0.9)):
    last = 0.5 + 0.01 * seed
    rows += made.run("random", seed, (0.5, 0.5, last))
    rows += made.run("margin", seed, (0.5, 0.5, min(1.0, last + 4 * gain)), **FAR)
    rows += made.run("entropy", seed, (0.5, 0.5, last - 0.4)[: 2 if seed == 6 else 3], first=1400)
  markdown, _, files = pages(made.workdir(tmp_path / "a", rows, {"acq": ["random", "margin", "entropy"], "seeds": 7}))
  found = section(markdown, "Ordering and its confidence")
  assert "margin > random (100%) > entropy (100%)." in found and "ordering.png" in files
  # d = 0.05 / 0.010954 = 4.564: three seeds have power 0.93, two have 0.4.
  assert cells(found, "margin above random")[1:] == ["0.0500", "100%", "3", "6"]
  assert cells(found, "random above entropy")[1:] == ["0.1000", "100%", "–", "6"]
  assert "draws 6 of the 6 matched seeds" in found and "vary 9% too little" in found
  assert cells(section(markdown, "Every pair, by area under the curve"), "margin − random")[-1] == "3"
  assert "not every strategy completed it: seed 6." in markdown


def test_few_seeds_have_no_confidence(tmp_path):
  markdown, _, files = pages(made.workdir(tmp_path / "a", made.three_seeds()))
  assert "from 5 matched seeds on; this study has 3" in section(markdown, "Ordering and its confidence")
  assert "seeds needed" not in markdown and "ordering.png" not in files


def test_points_of_a_grid_are_strategies_of_their_own(tmp_path):
  rows = []
  for rate, gain in ((0.1, 0.0), (0.01, 0.05)):
    for seed in range(2):
      rows += made.run("random", seed, (0.5, 0.6 + gain, 0.7), hyper={"learning_rate": rate})
      rows += made.run("margin", seed, (0.5, 0.7 + gain, 0.8), hyper={"learning_rate": rate}, **FAR)
  flags = {"seeds": 2, "vmap_over": [["learning_rate", [0.1, 0.01]]]}
  markdown, *_ = pages(made.workdir(tmp_path / "a", rows, flags))
  assert "4 strategies" in markdown and "Every run is complete." in markdown
  efficiency = section(markdown, "Label efficiency")
  # At the same point of the grid, random reaches 0.65 at 20 labels and margin at 10 + 10 * 0.15 / 0.25 = 16.
  level = cells(efficiency, "strategy").index("at 65%")
  assert cells(efficiency, r"margin \[learning_rate=0.01\]")[level] == "1.25"
  assert "a grid over learning_rate" in markdown


def test_sheets_of_the_first_rounds_are_shown(tmp_path):
  folder = made.workdir(tmp_path / "a", made.three_seeds())
  (folder / "inspect").mkdir()
  drawing = figures.heat_map(np.eye(2), ["a", "b"], ["a", "b"], x="", y="", top=1.0).png
  for r in range(2):
    (folder / "inspect" / f"margin-seed0-round{r:02}.png").write_bytes(drawing)
  markdown, html, files = pages(folder)
  assert "margin, seed 0: images acquired at 20 labels." in markdown and "--inspect" not in markdown
  assert files["margin-seed0-round01.png"] == drawing and html.count('class="wide"') == 2


def test_published_figures_stand_beside_those_of_their_preset(tmp_path):
  rows = []
  for seed in range(2):
    curve = [0.6 + 0.01 * r + 0.02 * seed for r in range(10)]
    rows += made.run("batchbald", seed, curve) + made.run("margin", seed, curve)
  flags = {"preset": "batchbald", "acq": ["batchbald", "margin"], "rounds": 9, "seeds": 2}
  markdown, _, files = pages(made.workdir(tmp_path / "a", rows, flags))
  beside = section(markdown, "Comparison with published results")
  fifty = "| batchbald | BatchBALD, 10 a round | accuracy at 50 labels | 0.816 (0.808 .. 0.820) |"
  assert f"{fifty} 0.650 (0.645 .. 0.655) |" in beside  # of 0.64 and 0.66
  assert "| labels to 90% | 110 (100 .. 120) | not by 100 |" in beside and "margin" not in beside
  assert "Kirsch, van Amersfoort & Gal 2019" in markdown
  assert "beside_published.svg" in files and "](beside_published.png)" in beside
  one = [row for row in rows if row["seed"] == 0]
  markdown, *_ = pages(made.workdir(tmp_path / "b", one, flags | {"seeds": 1}))
  assert f"{fifty} 0.640 |" in section(markdown, "Comparison with published results")


def verdicts(folder) -> dict[str, card.Point]:
  study = studies.gather([folder])
  return {point.what: point for point in card.card(study, studies.choose(study))}


def test_classes_have_their_names_and_their_accuracies(tmp_path, monkeypatch):
  by_class = {0: [0.5, 0.7, None, 0.9, 0.1], 1: [0.7, 0.9, None, 0.9, 0.3]}
  rows = [
    it | {"test_class_accuracy": by_class[seed]} for seed in by_class for it in made.run("margin", seed, (0.5, 0.6))
  ]
  names, drawn = ["cat", "a\nlong and winding name", "dog", "emu", "fox"], []
  own = figures.heat_map
  monkeypatch.setattr(figures, "heat_map", lambda *args, **kwargs: drawn.append(args) or own(*args, **kwargs))
  markdown, _, files = pages(made.workdir(tmp_path / "a", rows, class_names=names))
  assert (
    "class_accuracy.png" in files and [args[2] for args in drawn] == [["cat", "a long an…", "dog", "emu", "fox"]] * 2
  )
  np.testing.assert_allclose(drawn[1][0], [[0.6, 0.8, np.nan, 0.9, 0.2]])
  assert cells(section(markdown, "By class"), "margin") == ["margin", "0.625 ± 0.106"]  # of 0.55 and 0.7
  assert "By class" not in pages(made.workdir(tmp_path / "b", made.run("margin", 0, (0.5, 0.6))))[0]


def test_the_card_of_a_thin_study(tmp_path):
  points = verdicts(made.workdir(tmp_path / "a", made.three_seeds()))
  assert points["many seeds"].verdict == "not met" and points["many seeds"].remark.startswith("3 matched seeds")
  assert points["same initial set for all strategies of a seed"].verdict == "met"
  assert points["same initial weights"].verdict == "met"
  assert points["validation set"].verdict == points["full-data accuracy"].verdict == "not met"
  assert points["hyper-parameters tuned by a stated rule"].verdict == "not known"
  assert points["hardware"].verdict == points["source revision"].verdict == "not known"
  assert "learning_rate=0.001" in points["same optimizer settings for all strategies"].remark


def test_the_card_sees_what_is_wrong_and_what_is_there(tmp_path):
  rows = made.three_seeds()
  rows[3] |= {"initial": [1], "test_accuracy": 0.51}
  rows = [row for row in rows if row["acq"] != "random"] + [
    row | {"acq": "bald"} for row in rows if row["acq"] == "random"
  ]
  config = {
    "git_revision": "abc+",
    "device_kind": "cpu",
    "platform": "cpu",
    "versions": {"jax": "0.10"},
    "python": "3.11",
  }
  flags = {"val_size": 100, "acq": ["bald", "margin"]}
  points = verdicts(made.workdir(tmp_path / "a", rows, flags, full_data=0.9, **config))
  assert points["same initial set for all strategies of a seed"].verdict == "not met"
  assert points["same initial weights"].verdict == "not known"
  assert points["random baseline with the same training"].verdict == "not met"
  assert points["validation set"].verdict == points["full-data accuracy"].verdict == "met"
  assert points["source revision"] == card.Point("source revision", "not met", "abc, modified since")
  assert points["versions"].remark == "Python 3.11, jax 0.10"


def test_the_command_can_be_copied(tmp_path):
  folder = made.workdir(tmp_path / "a", made.three_seeds(), command=["mnist", "--acq=random,power_bald(coldness=8)"])
  assert card.commands(studies.gather([folder])) == [
    "python -m experiments.mnist '--acq=random,power_bald(coldness=8)'"
  ]


def test_signs_of_markup_are_escaped():
  content = [blocks.Heading(1, "a<b"), blocks.Table(["x", "y"], [["a|b", "<script>"]]), blocks.Text("2 * 3 [p]")]
  markdown, html = blocks.to_markdown(content), blocks.to_html(content)
  assert "a\\|b" in markdown and "2 \\* 3 \\[p\\]" in markdown and "\\<script>" in markdown
  assert "<script>" not in html and "&lt;script&gt;" in html and "<title>a&lt;b</title>" in html
