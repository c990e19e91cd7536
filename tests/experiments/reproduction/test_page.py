"""The pages: published results compared with ours."""

from experiments.papers import batchbald
from experiments.papers.registry import REPRODUCTIONS
from experiments.reporting import figures
from experiments.reporting.blocks import Image
from experiments.reporting.blocks import Text
from experiments.reporting.blocks import to_markdown
from experiments.reproduction import archive
from experiments.reproduction import page
from experiments.reproduction import plan
from tests.support.reproductions import made_about
from tests.support.reproductions import made_rows


def test_the_page_says_what_was_published_what_is_ours_and_what_was_not_run(monkeypatch):
  monkeypatch.setattr(figures, "_saved", lambda figure: figures.Drawing(b"", b""))  # their content is not checked
  about = made_about(8)
  better = [0.6, 0.7, 0.75, 0.8, 0.85, 0.88, 0.89, 0.9, 0.92]
  rows = []
  for seed in (0, 1):
    rows += made_rows("batchbald", seed, [value + 0.01 * seed for value in better])
    rows += made_rows("bald", seed, [value - 0.05 for value in better])
  part = REPRODUCTIONS["batchbald"]
  results = {"batchbald": {"quick": page.Results(part, "quick", {"batchbald": archive.Archived(about, rows, [])})}}
  (paper,) = page.with_rows(results)
  remark = batchbald.NOTES["batchbald", "quick"].remark
  assert paper is batchbald and Text(remark) in page.of_paper(paper, results, notes=True)
  blocks = page.of_paper(paper, results, notes=False)
  assert Text(remark) not in blocks
  text = to_markdown([*page.overview(results), *blocks])
  assert "- [BatchBALD: Kirsch" in text and "](batchbald.md)" in text and "gal2017.md" not in text
  files = [block.file for block in blocks if isinstance(block, Image)]
  assert files == [f"../../results/reproductions/quick/batchbald{beside}.png" for beside in ("", "_published")]
  # Only the labels of BatchBALD to 90% are decided. Within two points: both at 50 labels, and BALD at 100.
  assert "| BatchBALD on MNIST | quick | 1 of 1 | 0 of 1 | 1 of 1 | 3 of 6 | 2 of 2 | 4 | 0.0 |" in text
  assert "| BatchBALD on MNIST | full | not run |" in text
  assert "| batchbald above bald | +5.0 +6.0 | -0.9 to +11.9 | yes | no |" in text
  assert "| batchbald | 90% | 80 80 100 110 120 120 | 80 90 | 90 (80) | 2 | yes |" in text
  assert "| bald | 90% | 130 130 130 180 180 200 | never never | not by 100 | 2 | undecided |" in text
  assert "| batchbald | 100 | 88.3 89.6 90.1 | 92.5 | 2 | no | no |" in text
  assert "| batchbald | 20 to 100 | 81.8 (78.1 to 82.5) | 81.5 (81.0 to 82.0) | 2 | yes | yes |" in text


def test_strategies_stand_in_the_order_of_the_study_not_in_that_of_their_runs():
  about = made_about(1)
  part = REPRODUCTIONS["gal2017"]
  ran = ["random", "mean_std", "entropy(posterior=dropout)", "margin", "bald"]
  rows = [row for acq in ran for row in made_rows(acq, 0, [0.5, 0.6])]
  found = page.Results(part, "cpu", {"gal2017": archive.Archived(about, rows, [])})
  # A strategy that the study does not name comes last.
  ordered = ["bald", "entropy(posterior=dropout)", "mean_std", "random", "margin"]
  assert [strategy.name for strategy in found.strategies] == list(found.runs) == ordered
  (study,) = REPRODUCTIONS["repeated_mnist"].studies["quick"][1:]
  assert plan.strategies(study) == ["batchbald"]  # a default value is not part of the name


def everything(results):
  """All pages as Markdown, without notes."""
  papers = [block for paper in page.with_rows(results) for block in page.of_paper(paper, results, notes=False)]
  return to_markdown([*page.overview(results), *papers])


def test_a_published_number_is_held_against_the_mean_of_a_study_of_its_own():
  about = made_about(0)
  rows = made_rows("random", 0, [0.63]) + made_rows("random", 1, [0.66])
  part = REPRODUCTIONS["batchbald"]
  found = page.Results(part, "quick", {"batchbald_start": archive.Archived(about, rows, [])})
  assert found.strategies == []  # a reference study adds no curve
  text = everything({"batchbald": {"quick": found}})
  assert "| BatchBALD on MNIST | quick | 1 of 1 |  |  |  |  | 2 | 0.0 |" in text
  assert "0.641 | ± 0.02 | 0.6450 | 0.6300 0.6600 | yes | 1 s |" in text
  rows[1]["test_accuracy"] = 0.70
  found = page.Results(part, "quick", {"batchbald_start": archive.Archived(about, rows, [])})
  assert "0.641 | ± 0.02 | 0.6650 | 0.6300 0.7000 | no | 1 s |" in everything({"batchbald": {"quick": found}})


def test_a_scale_that_asks_for_the_same_runs_as_another_is_not_called_missing():
  about = made_about(0) | {"flags": {"rounds": 0, "acq_size": 100}}
  found = page.Results(
    REPRODUCTIONS["blog"], "quick", {"blog_start": archive.Archived(about, made_rows("entropy", 0, [0.78]), [])}
  )
  text = everything({"blog": {"quick": found}})
  assert (
    "| The blog's experiment | full | same as quick |" in text and "| BatchBALD on MNIST | full | not run |" in text
  )
