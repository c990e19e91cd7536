"""README and docs do what they say, and what a command writes stands in them as it writes it."""

import inspect
import json
import re
import shlex

import matplotlib.pyplot as plt
import numpy as np
import pytest

from experiments.config import acquisitions
from experiments.papers.registry import PAPERS
from experiments.papers.registry import REPRODUCTIONS
from experiments.reporting.blocks import to_markdown
from experiments.reproduction import page
from experiments.reproduction import results
from tests.support import api_page
from tests.support.programs import ROOT

README = (ROOT / "README.md").read_text()
_TOP = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
NOTEBOOK = json.loads((ROOT / "docs/quickstart.ipynb").read_text())
PAGES = {path: path.read_text() for path in [*_TOP, *sorted((ROOT / "docs").rglob("*.md"))]}
PAGES[ROOT / "docs/quickstart.ipynb"] = "\n".join(
  "".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown"
)
by_name = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def run_example() -> dict:
  """The README's example, run; its names."""
  (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
  assert len([line for line in example.splitlines() if line.strip()]) <= 24
  names = {}
  exec(compile(example, "README.md", "exec"), names)
  accuracy = names["info"].metrics.test_accuracy
  assert accuracy.shape == (names["plan"].rounds + 1,)
  assert accuracy[-1] > accuracy[0] and accuracy[-1] > 0.8
  assert int(names["state"].labeled.sum()) == names["plan"].max_labels
  return names


@pytest.mark.slow
def test_the_readmes_example_runs_and_learns():
  run_example()


@pytest.mark.slow
def test_the_examples_of_the_librarys_page_run():
  names = run_example()
  loop, *rest = re.findall(r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text(), re.DOTALL)
  whole = names["state"]
  exec(compile(loop, "library.md", "exec"), names)
  assert (names["state"].labeled == whole.labeled).all()
  for part in rest:
    exec(compile(part, "library.md", "exec"), names)


@pytest.mark.slow
@pytest.mark.usefixtures("fast_compilation")
def test_the_networks_of_the_page_run_and_learn():
  parts = re.findall(r"```python\n(.*?)```", (ROOT / "docs/networks.md").read_text(), re.DOTALL)
  names, ends = {}, []
  for part in parts:
    exec(compile(part, "networks.md", "exec"), names)
    ends.append(float(names["info"].metrics.test_accuracy[-1]))
  assert len(parts) == 5 and min(ends) > 0.8, ends


@pytest.mark.slow
@pytest.mark.usefixtures("fast_compilation")
def test_the_notebook_runs_and_learns(monkeypatch):
  drawn, names = [], {}
  monkeypatch.setattr("matplotlib.pyplot.show", lambda: drawn.append(plt.gcf()) or plt.close())
  for cell in NOTEBOOK["cells"]:
    if cell["cell_type"] == "code":
      exec(compile("".join(cell["source"]), "quickstart.ipynb", "exec"), names)
  assert len(drawn) == 5
  for run in names["runs"].values():
    mean = np.asarray(run.info.metrics.test_accuracy).mean(axis=0)
    assert mean[-1] > mean[0] + 0.1 and mean[-1] > 0.8
  # The answers in the list are those of the images that are asked for.
  labels = np.asarray(names["unlabeled"].labels)
  assert (labels[labels >= 0] == names["y"][:1300][labels >= 0]).all() and (labels >= 0).sum() == 25


def test_the_notebook_is_kept_as_it_ran():
  assert (ROOT / "docs/quickstart.ipynb").stat().st_size < 100_000
  cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
  assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
  outputs = [output for cell in cells for output in cell["outputs"]]
  assert {output["output_type"] for output in outputs} == {"stream", "display_data"}
  assert all(output.get("name", "stdout") == "stdout" for output in outputs)
  assert not any("input(" in "".join(cell["source"]) for cell in cells)


def test_the_front_page_is_short_and_begins_with_how_to_start():
  assert len(README.splitlines()) <= 200 and len(README.encode()) <= 14_000
  assert len(re.findall(r"^\|[-:| ]+\|$", README, re.MULTILINE)) <= 3
  first, tests, run = re.findall(r"^```sh\n(.*?)\n```$", README, re.MULTILINE | re.DOTALL)[:3]
  assert "pip install -r requirements.txt" in first and "--dataset=digits" in first
  assert tests == ".venv/bin/ruff check . && .venv/bin/python -m pytest"
  assert run == ".venv/bin/python -m experiments.mnist --acq=entropy"


def test_acquisitions_are_those_of_the_registry():
  command = "python -m experiments.config.acquisitions prints what belongs there"
  assert acquisitions.table() in README, command
  assert (ROOT / "docs/acquisitions.md").read_text().endswith(f"## Entries\n\n{acquisitions.sections()}\n"), command


def test_the_api_reference_is_that_of_the_code():
  assert api_page.PAGE.read_text() == api_page.page(), "python -m tests.support.api_page writes the page"


def test_every_public_name_has_a_docstring_whose_arguments_are_those_of_the_signature():
  for section in api_page.sections():
    for name, value in section.objects.items():
      if not callable(value):
        continue
      doc = inspect.getdoc(value)
      assert doc and doc.splitlines()[0].endswith((".", ":")), name
      listed = re.findall(r"^  \**(\w+)(?=:)", doc.partition("\nArgs:\n")[2].partition("\n\n")[0], re.MULTILINE)
      taken = list(inspect.signature(value).parameters)
      assert not listed or listed == taken, (name, listed, taken)


# Files that a command writes.
WRITTEN = ("results.jsonl", "STUDY.jsonl", "labels.jsonl", "images.jsonl", "rows.jsonl")


def anchors(text: str) -> set[str]:
  """GitHub's names for the headings of a page."""
  headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
  return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@by_name
def test_every_link_and_path_leads_somewhere(path):
  text = PAGES[path]
  links = re.findall(r"\]\(([^()\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
  assert links or path.parent.name == "docs" or path.name == "CHANGELOG.md"
  for link in links:
    if not link.startswith("https://"):
      file, _, anchor = link.partition("#")
      target = (path.parent / file).resolve() if file else path
      assert target.exists(), link
      assert not anchor or anchor in anchors(target.read_text()), link
  for name in re.findall(r"`((?:al_jax|experiments|tests|docs|results)/[\w./*]*)`", text):
    assert re.search("NAME|SCALE", name) or list(ROOT.glob(name.rstrip("/"))), name
  for name in re.findall(r"\b\w+\.jsonl\b", text):
    assert name in WRITTEN or list((ROOT / "results").rglob(name)), name


def commands(text: str) -> list[list[str]]:
  """Flags of every whole command of experiments.mnist and experiments.ablation in a page."""
  blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace("\\\n", "")
  inline = [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
  found = []
  for line in [*blocks.splitlines(), *inline]:
    match = re.search(r"python -m experiments\.(mnist|ablation)((?: .*)?)$", line.partition("  #")[0])
    if match:
      driver = ["--driver=scan"] if match[1] == "ablation" else []
      found.append(
        [*driver, *(word for word in shlex.split(match[2]) if word not in ("--help", "--list_acquisitions"))]
      )
  return found


def test_every_command_is_understood(resolve):
  found = [command for text in PAGES.values() for command in commands(text)]
  assert len(found) > 30
  for command, config in zip(found, resolve(*found), strict=True):
    assert isinstance(config, dict), (command, config)


def test_numbers_of_published_results_stand_on_their_pages():
  table = README.partition("## Published results")[2].partition("## ")[0]
  rows = re.findall(r"^\| \[.*?\]\((docs/reproductions/\w+\.md)\)[^|]*\| (.*) \|$", table, re.MULTILINE)
  assert len(rows) == len(PAPERS)
  for file, cells in rows:
    _, published, ours, _ = cells.split(" | ")
    text = PAGES[ROOT / file]
    for number in re.findall(r"\d+(?:\.\d+)?", published + " " + ours):
      assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d]|\.\d)", text), (file, number)


@pytest.mark.slow
def test_pages_of_publications_are_what_the_command_writes():
  kept = results.gather(ROOT)
  folder = ROOT / "docs" / "reproductions"
  written = {"README.md": page.overview(kept)}
  written |= {f"{page.slug(paper)}.md": page.of_paper(paper, kept, notes=True) for paper in page.with_rows(kept)}
  assert {path.name for path in folder.iterdir()} == written.keys()
  for name, blocks in written.items():
    assert (folder / name).read_text() == to_markdown(blocks), name


def test_a_remark_has_five_sentences_at_most():
  notes = {key: notes for paper in PAPERS for key, notes in paper.NOTES.items()}
  for key, (remark, findings) in notes.items():
    assert len(re.findall(r"[.?!](?= [A-Z0-9]|$)", remark)) <= 5, key
    assert findings and all(len(row) == 3 and row[0] and row[1] for row in findings), key
  for name, scale in notes:
    kept = [results.ROWS / scale / f"{study.name}.jsonl" for study in REPRODUCTIONS[name].studies[scale]]
    assert any((ROOT / path).exists() for path in kept), (name, scale)
