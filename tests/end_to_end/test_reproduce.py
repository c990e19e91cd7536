"""The program that reproduces publications, on small plans: runs that resume, rows that are kept, refusals."""

import json
import subprocess
import sys
import time

import pytest

from experiments.papers.base import StudyCommand
from experiments.reproduction import archive
from tests.experiments.config.test_flags import run
from tests.support.programs import ROOT
from tests.support.programs import environment
from tests.support.programs import untimed
from tests.support.reproductions import made_about
from tests.support.reproductions import made_config
from tests.support.reproductions import made_rows


def test_kept_rows_of_other_draws_are_neither_compared_nor_gone_on_with(tmp_path):
  words = _with_plan(tmp_path, _TWO, StudyCommand("other", _TWO.preset, _TWO.flags))
  folder = tmp_path / "results/reproductions/quick"
  rows = [*made_rows("margin", 0, [0.5, 0.7]), *made_rows("random", 0, [0.5, 0.6])]
  archive.write(archive.Archived(made_about(1), rows, []), folder / "small.jsonl")
  done = run(*words, PYTHONPATH=str(ROOT))
  assert done.returncode == 1 and "small.jsonl has rows of other draws than this version makes" in done.stderr
  assert "--out=FOLDER" in done.stderr and "Traceback" not in done.stderr and not (tmp_path / "runs").exists()
  done = run(*words, "--page_only", PYTHONPATH=str(ROOT))
  assert done.returncode == 0 and "| small | 4 | 0 | cpu | 0.10.2 | 1 |" in pages(tmp_path), done.stderr
  archive.write(archive.Archived(made_about(1) | {"draws": 2}, rows, []), folder / "other.jsonl")
  done = run(*words, "--page_only", PYTHONPATH=str(ROOT))
  assert done.returncode == 1 and "small, other are compared and are of other draws" in done.stderr


@pytest.mark.parametrize(
  ("words", "said"),
  [
    (["--only=batchbold"], "unknown protocol 'batchbold'; choose from blog"),
    (["--only=gal2017"], "gal2017 is not part of --scale=quick, but of cpu and full"),
    (["quick"], "stray word 'quick'"),
  ],
)
def test_mistakes_are_refused_in_one_sentence(words, said):
  done = run("-m", "experiments.reproduce", *words)
  assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


def pages(folder):
  """What was written, all pages one after another."""
  return "\n".join(page.read_text() for page in sorted((folder / "docs/reproductions").iterdir()))


def _with_plan(folder, *studies):
  """The words that run the program in `folder` on another plan: everything else is as it is."""
  script = folder / "script.py"
  script.write_text(
    "from absl import app\n"
    "from experiments import reproduce\n"
    "from experiments.papers import blog\n"
    "from experiments.papers.base import Reproduction\n"
    "from experiments.papers.base import StudyCommand\n"
    "from experiments.papers.registry import REPRODUCTIONS\n"
    f"studies = tuple(StudyCommand(*study) for study in {[(s.name, s.preset, s.flags) for s in studies]!r})\n"
    "part = Reproduction('Small', None, {'quick': studies}, (('margin', 'random'),), scope={'quick': 'All of it.'})\n"
    "for table in (REPRODUCTIONS, blog.REPRODUCTIONS):\n"
    "  table.clear()\n"
    "  table['small'] = part\n"
    "app.run(reproduce.main)\n"
  )
  return [str(script), f"--workdir={folder}/runs", f"--out={folder}"]


_ON_DIGITS = ("--dataset=digits", "--train_steps=5", "--model=mlp", "--pool_subset=100", "--compilation_cache=none")
_TWO = StudyCommand("small", "study", ("--acq=random,margin", "--seeds=1", "--rounds=1", *_ON_DIGITS))


def test_studies_are_run_kept_and_drawn(tmp_path):
  words = _with_plan(tmp_path, StudyCommand("bad", "study", ("--dataset=nonsense", "--acq=random")), _TWO)
  call = lambda *more: run(*words, *more, PYTHONPATH=str(ROOT))
  stopped = call("--minutes=0")
  assert stopped.returncode == 0 and "small is not complete: the time was up" in stopped.stdout, stopped.stderr
  whole = call()  # the mistake of one study keeps no other from running
  assert whole.returncode == 1 and "bad is not complete: it ended with exit code 1" in whole.stdout, whole.stderr
  assert "small is not" not in whole.stdout
  said = pages(tmp_path)
  assert "| Small | quick |" in said and "margin above random" in said
  assert (tmp_path / "results/reproductions/quick/small.png").exists()
  rows = (tmp_path / "results/reproductions/quick/small.jsonl").read_text()
  again = call("--page_only")
  assert again.returncode == 0 and (tmp_path / "results/reproductions/quick/small.jsonl").read_text() == rows
  assert pages(tmp_path) == said
  results = tmp_path / "runs/quick/small/results.jsonl"
  results.write_text("".join(line for line in results.read_text().splitlines(True) if '"acq": "margin"' in line))
  again = call("--page_only")  # as on another machine, which has run margin alone
  assert again.returncode == 0 and pages(tmp_path) == said


def test_a_study_that_cannot_be_joined_keeps_no_other_from_the_page(tmp_path):
  words = [*_with_plan(tmp_path, _TWO, StudyCommand("other", _TWO.preset, _TWO.flags)), "--page_only"]
  rows = [*made_rows("margin", 0, [0.5, 0.7]), *made_rows("random", 0, [0.5, 0.6])]
  for name in ("small", "other"):
    folder = tmp_path / "runs/quick" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(made_config(0, 1)))
    further = made_rows("bald", 0, [0.5, 0.9])  # which the study does not name
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + further))
  before = tmp_path / "results/reproductions/quick/small.jsonl"
  archive.write(archive.Archived(made_about(1) | {"data_sha256": "other"}, rows[:2], []), before)
  text = before.read_text()
  done = run(*words, PYTHONPATH=str(ROOT))
  assert done.returncode == 1 and "small: its runs here are left out of the page" in done.stdout, done.stderr
  assert "they are on other data" in done.stdout and before.read_text() == text
  said = pages(tmp_path)
  assert "| other | 4 |" in said and "| small | 2 |" in said
  before.write_text(text[:-9])
  done = run(*words, PYTHONPATH=str(ROOT))
  assert done.returncode == 1 and f"error: {before} is damaged" in done.stderr and "Traceback" not in done.stderr


def test_a_study_that_is_stopped_in_the_middle_goes_on_to_the_same_rows(tmp_path):
  study = StudyCommand("small", "study", ("--acq=random", "--seeds=1", "--rounds=4", *_ON_DIGITS))
  kept_rows = {}
  for name in ("whole", "stopped"):
    (tmp_path / name).mkdir()
    words, results = _with_plan(tmp_path / name, study), tmp_path / name / "runs/quick/small/results.jsonl"
    if name == "stopped":
      call = [sys.executable, *words]
      with subprocess.Popen(
        call, cwd=ROOT, env=environment(PYTHONPATH=str(ROOT)), stdout=subprocess.DEVNULL
      ) as process:
        while not (results.exists() and results.read_bytes().count(b"\n")):
          assert process.poll() is None
          time.sleep(0.01)
        process.terminate()
        assert process.wait() == 130
      assert 1 <= results.read_bytes().count(b"\n") < 5
      assert not (tmp_path / name / "results").exists()  # half a curve is not kept
    done = run(*words, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    found = archive.read(tmp_path / name / "results/reproductions/quick/small.jsonl")
    kept_rows[name] = [untimed(row) for row in found.rows]
  assert len(kept_rows["whole"]) == 5 and kept_rows["stopped"] == kept_rows["whole"]


_SMALL = StudyCommand("small", "study", ("--acq=random", "--seeds=2", "--rounds=1", *_ON_DIGITS))
