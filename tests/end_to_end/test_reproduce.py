"""The program that reproduces publications, on small plans: resuming runs, archiving rows, error messages."""

import json
import math
import os
import shutil
import signal
import time

import numpy as np
import pytest

from experiments.data import digits
from experiments.papers.base import StudyCommand
from experiments.reproduction import archive
from experiments.reproduction import processes
from tests.support.programs import untimed
from tests.support.reproductions import made_about
from tests.support.reproductions import made_config
from tests.support.reproductions import made_rows

pytestmark = pytest.mark.slow

ON_DIGITS = ("--dataset=digits", "--train_steps=5", "--model=mlp", "--pool_subset=100")
SMALL = StudyCommand("small", "study", ("--acq=random,margin", "--seeds=2", "--rounds=2", *ON_DIGITS))
OTHER = StudyCommand("other", SMALL.preset, SMALL.flags)
BAD = StudyCommand("bad", "study", ("--dataset=nonsense", "--acq=random", "--seeds=1"))


def with_plan(folder, *studies) -> list[str]:
  """The command line that runs the program in `folder` on another plan."""
  plan = json.dumps([(study.name, study.preset, study.flags) for study in studies])
  return ["tests.support.small_plan", plan, f"--workdir={folder}/runs", f"--out={folder}"]


def pages(folder):
  """The text of all written pages."""
  return "\n".join(page.read_text() for page in sorted((folder / "docs/reproductions").iterdir()))


def kept(folder):
  return folder / "results/reproductions/quick/small.jsonl"


def rows_of(found: archive.Archived) -> list[dict]:
  return [untimed(row) for row in found.rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, program):
  """The folder of a plan that ran without a stop, next to a study with a wrong flag; and what was printed."""
  folder = tmp_path_factory.mktemp("whole")
  return folder, program.run(*with_plan(folder, BAD, SMALL), expect=1)


def test_the_mistake_of_one_study_keeps_no_other_from_being_run_kept_and_drawn(whole):
  folder, printed = whole
  assert "bad is incomplete: it ended with exit code 1" in printed and "small is incomplete" not in printed
  text = pages(folder)
  assert "| Small | quick |" in text and "margin above random" in text
  assert kept(folder).with_suffix(".png").exists() and len(archive.read(kept(folder)).rows) == 12


def test_pages_are_written_anew_from_what_is_kept(whole, tmp_path, program):
  folder = shutil.copytree(whole[0], tmp_path / "copy")
  text, rows, words = pages(folder), kept(folder).read_text(), (*with_plan(folder, BAD, SMALL), "--page_only")
  program.run(*words)
  assert kept(folder).read_text() == rows and pages(folder) == text
  results = folder / "runs/quick/small/results.jsonl"
  results.write_text("".join(line for line in results.read_text().splitlines(True) if '"acq": "margin"' in line))
  program.run(*words)  # as on another machine, which has run only margin
  assert pages(folder) == text


def test_a_study_that_is_stopped_in_the_middle_goes_on_to_the_same_rows(whole, tmp_path, program):
  words, results = with_plan(tmp_path, SMALL), tmp_path / "runs/quick/small/results.jsonl"
  assert "small is incomplete: the time was up" in program.run(*words, "--minutes=0")
  with program.start(*words) as started:
    while not (results.exists() and results.read_bytes().count(b"\n")):
      os.kill(started.pid, 0)  # raises if the process has ended
      time.sleep(0.01)
    started.send_signal(signal.SIGTERM)
    assert started.wait() == 130, started.printed()
  assert 1 <= results.read_bytes().count(b"\n") < 12
  # Unfinished runs are not archived.
  assert not kept(tmp_path).exists() or len(archive.read(kept(tmp_path)).rows) in (3, 6, 9)
  program.run(*words)
  assert rows_of(archive.read(kept(tmp_path))) == rows_of(archive.read(kept(whole[0])))


def test_seeds_run_side_by_side_are_those_of_one_run(whole, tmp_path, monkeypatch):
  bound = {}
  monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: bound.update({pid: cores}), raising=False)
  pieces = processes.pieces([SMALL, BAD], tmp_path, 2)
  missing = processes.run(pieces, tmp_path, [], [{0}, {1}], math.inf)
  assert missing == {"bad-0": f"it ended with exit code 1, see {tmp_path}/bad-0/log"}
  assert "nonsense" in (tmp_path / "bad-0/log").read_text()
  assert sorted(bound.values(), key=min) in ([{0}, {0}, {1}], [{0}, {1}, {1}])
  folders = {folder: archive.from_workdir(folder) for folder in tmp_path.glob("small-*")}
  assert len(folders) == 2
  assert rows_of(archive.joined(folders)) == rows_of(archive.from_workdir(whole[0] / "runs/quick/small"))


def test_kept_rows_of_other_draws_are_neither_compared_nor_gone_on_with(tmp_path, program):
  words = with_plan(tmp_path, SMALL, OTHER)
  rows = [*made_rows("margin", 0, [0.5, 0.7]), *made_rows("random", 0, [0.5, 0.6])]
  archive.write(archive.Archived(made_about(1), rows, []), kept(tmp_path))
  printed = program.run(*words, expect=1)
  assert "small.jsonl holds rows from another random generator" in printed
  assert "--out=FOLDER" in printed and "Traceback" not in printed and not (tmp_path / "runs").exists()
  program.run(*words, "--page_only")
  assert "| small | 4 | 0 | cpu | 0.10.2 | 1 |" in pages(tmp_path)
  archive.write(archive.Archived(made_about(1) | {"draws": 2}, rows, []), kept(tmp_path).with_name("other.jsonl"))
  printed = program.run(*words, "--page_only", expect=1)
  assert "small, other differ in their random draws" in printed


def test_a_study_that_cannot_be_joined_keeps_no_other_from_the_page(tmp_path, program):
  words = [*with_plan(tmp_path, SMALL, OTHER), "--page_only"]
  rows = [*made_rows("margin", 0, [0.5, 0.7]), *made_rows("random", 0, [0.5, 0.6])]
  for name in ("small", "other"):
    folder = tmp_path / "runs/quick" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(made_config(0, 1)))
    further = made_rows("bald", 0, [0.5, 0.9])  # a strategy that the study does not name
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + further))
  archive.write(archive.Archived(made_about(1) | {"data_sha256": "other"}, rows[:2], []), kept(tmp_path))
  text = kept(tmp_path).read_text()
  printed = program.run(*words, expect=1)
  assert "small: the page omits its new runs" in printed and "their data differ" in printed
  assert kept(tmp_path).read_text() == text
  page = pages(tmp_path)
  assert "| other | 4 |" in page and "| small | 2 |" in page
  kept(tmp_path).write_text(text[:-9])
  printed = program.run(*words, expect=1)
  assert f"error: {kept(tmp_path)} is damaged" in printed and "Traceback" not in printed


def test_features_are_read_from_the_users_folder_which_no_archive_names(tmp_path, program):
  heads = StudyCommand("heads", "vae_features", ("--dataset=digits", "--init_labels=10", "--seed=4", "--seeds=2"))
  own = tmp_path / "own"
  words = [*with_plan(tmp_path, heads), f"--files_dir={own}"]
  printed = program.run(*words, expect=1)
  assert f"error: {own}/vae_train.npy is missing: get embeddings_vae" in printed and not (tmp_path / "runs").exists()
  own.mkdir()
  found = digits.load()
  for name, images in (("train", found.inputs), ("test", found.test_inputs)):
    np.save(own / f"vae_{name}.npy", images.reshape(len(images), -1).astype(np.float32))
  program.run(*words)
  path = tmp_path / "results/reproductions/quick/heads.jsonl"
  kept = archive.read(path)
  assert [(row["seed"], row["num_labeled"]) for row in kept.rows] == [(4, 10), (5, 10)]
  assert min(row["test_accuracy"] for row in kept.rows) > 0.4 and str(own) not in path.read_text() + pages(tmp_path)
  assert "--features=DIR/vae_train.npy,DIR/vae_test.npy" in pages(tmp_path)
  assert "small are left out: give --files_dir" in program.run(*words[:-1])


@pytest.mark.parametrize(
  ("words", "sentence"),
  [
    (["--only=vae_features"], "github.com/fbickfordsmith/vae-embeddings"),
    (["--only=batchbold"], "unknown protocol 'batchbold'; choose from blog"),
    (["--only=gal2017"], "gal2017 is not part of --scale=quick, only of cpu and full"),
    (["quick"], "unexpected argument 'quick'"),
  ],
)
def test_mistakes_are_refused_in_one_sentence(words, sentence, program):
  message = program.run("experiments.reproduce", *words, expect=1)
  assert message.startswith("error: ") and sentence in message and message.count("\n") == 1
