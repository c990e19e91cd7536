"""Exports to CSV files and imports from them: nothing is lost, added twice or written by half."""

import csv
import json
import os

import pytest

from experiments.common.errors import UsageError
from experiments.labeling import journal
from experiments.labeling.exchange import run_export
from experiments.labeling.exchange import run_import
from tests.support import labeled_folders

NAMES = [*labeled_folders.ODD_NAMES, "p.png", "q.png", "r.png"]


@pytest.fixture
def workdir(tmp_path):
  labeled_folders.write_images(tmp_path / "photos", NAMES)
  (tmp_path / "photos" / "pcopy.png").write_bytes((tmp_path / "photos" / "p.png").read_bytes())
  return labeled_folders.begin(tmp_path / "photos", audit=0.4)[0]


def rows(file):
  with open(file, encoding="utf-8", newline="") as opened:
    return {row["path"]: row for row in csv.DictReader(opened)}


def table(folder, *lines, head="path,label"):
  file = folder / "in.csv"
  file.write_text("\n".join([head, *lines]) + "\n", "utf-8")
  return f"csv:{file}"


def refused(workdir, spec, *words, run=run_import):
  before = (workdir / journal.NAME).read_bytes()
  with pytest.raises(UsageError) as caught:
    run(spec, workdir)
  assert "\n" not in str(caught.value)
  for word in words:
    assert word in str(caught.value), caught.value
  assert (workdir / journal.NAME).read_bytes() == before


def test_a_table_has_a_row_for_every_file_and_what_is_known_of_it(workdir, tmp_path):
  labeled_folders.answer(workdir, dict.fromkeys(labeled_folders.ODD_NAMES, "cat"), guess="dog")
  labeled_folders.answer(workdir, {"p.png": "dog", "q.png": "skip"})
  labeled_folders.answer(workdir, {"p.png": "cat"}, annotator="ben, the 2nd")
  text = run_export(f"csv:{tmp_path / 'out.csv'}", workdir)
  assert "9 rows" in text and "6 of 8 different images" in text
  assert not (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")
  found = rows(tmp_path / "out.csv")
  assert found.keys() == {*NAMES, "pcopy.png"}
  for name in labeled_folders.ODD_NAMES:
    assert (found[name]["label"], found[name]["guess"], found[name]["probability"]) == ("cat", "dog", "0.75")
  assert found["p.png"] | {"path": "pcopy.png"} == found["pcopy.png"]
  assert (found["p.png"]["label"], found["p.png"]["annotator"], found["p.png"]["agreement"]) == ("dog", "anna", "0.5")
  assert json.loads(found["p.png"]["annotators"]) == ["anna", "ben, the 2nd"]
  assert (found["q.png"]["label"], found["q.png"]["action"], found["q.png"]["guess"]) == ("", "skip", "")
  # Nothing tells an annotator who opens the table which of the images without an answer are for the audit.
  assert set(found["r.png"].values()) == {"r.png", "", found["r.png"]["sha256"]}
  audits = {row["audit"] for row in found.values()}
  assert audits == {"yes", "no", ""}
  refused(workdir, f"csv:{tmp_path / 'out.csv'}", "exists already", run=run_export)


def test_an_exported_table_restores_the_answers_elsewhere_and_changes_nothing_here(workdir, tmp_path):
  labeled_folders.answer(workdir, dict.fromkeys(labeled_folders.ODD_NAMES, "cat") | {"q.png": "skip"})
  labeled_folders.answer(workdir, {"p.png": "a new class", "r.png": "unusable"}, annotator="ben")
  spec = f"csv:{tmp_path / 'out.csv'}"
  run_export(spec, workdir)
  before = (workdir / journal.NAME).read_bytes()
  assert "nothing new: 8 answers" in run_import(spec, workdir)
  assert (workdir / journal.NAME).read_bytes() == before
  labeled_folders.write_images(tmp_path / "again", NAMES)
  other, _ = labeled_folders.begin(tmp_path / "again", classes=())
  text = run_import(spec, other)
  assert "8 answers imported, 6 of them labels; 2 new classes: " in text
  assert labeled_folders.labels(other) == labeled_folders.labels(workdir)
  known = labeled_folders.answers(other)
  assert set(known.classes) == {"cat", "a new class"} and len(known.last_of("ben", 9)) == 2
  assert {event["source"] for event in journal.read(other / journal.NAME)[0][1:]} == {"csv"}
  assert "nothing new" in run_import(spec, other)


def test_a_table_of_paths_and_labels_is_enough(workdir, tmp_path):
  labeled_folders.answer(workdir, {"p.png": "cat", "r.png": "cat"}, guess="dog")
  root = workdir.parent
  spec = table(tmp_path, "pcopy.png,cat", f"{root / 'q.png'}, dog ", "./r.png,dog", "sub/[brackets].png,")
  assert "2 answers imported, 2 of them labels; 1 were there already" in run_import(spec, workdir)
  # Two annotators disagree about r.png; the first label counts.
  assert labeled_folders.labels(workdir) == {"p.png": "cat", "q.png": "dog", "r.png": "cat"}
  assert "nothing new" in run_import(spec, workdir)
  edited = table(tmp_path, "r.png,dog,anna", "q.png,cat,csv", head="path,label,annotator")
  assert "2 answers imported" in run_import(edited, workdir)
  assert labeled_folders.labels(workdir) == {"p.png": "cat", "q.png": "cat", "r.png": "dog"}
  # What the page showed with the first answer stays known, as when a person answers again.
  assert labeled_folders.answers(workdir).last_of("anna", 1)[0]["guess"] == "dog"


def test_paths_that_are_not_utf8_keep_their_bytes(tmp_path):
  labeled_folders.write_images(tmp_path / "photos", ["a.png", "b.png"])
  odd = os.fsdecode(b"caf\xe9.png")
  try:
    os.rename(tmp_path / "photos" / "a.png", tmp_path / "photos" / odd)
  except OSError:  # file systems that allow UTF-8 alone have no such paths
    return
  workdir, _ = labeled_folders.begin(tmp_path / "photos")
  labeled_folders.answer(workdir, {odd: "cat"})
  run_export(f"csv:{tmp_path / 'out.csv'}", workdir)
  assert b"\ncaf\xe9.png,cat," in (tmp_path / "out.csv").read_bytes()
  assert "nothing new: 1 answer," in run_import(f"csv:{tmp_path / 'out.csv'}", workdir)


@pytest.mark.parametrize(
  ("lines", "words"),
  [
    (["p.png,cat", "nowhere.png,cat", "../q.png,dog"], ["2 of 3 answers", "'nowhere.png'", "nothing is imported"]),
    (["p.png,cat", "pcopy.png,dog"], ["row 2", "'dog'", "row 1 'cat'"]),
    (["p.png,cat,more"], ["row 1 has 3 values for 2 columns"]),
    (['p.png,"line\nbreak"'], ["row 1: class", "printable"]),
    ([f"p.png,{'x' * 101}"], ["100 characters"]),
    (['p.png,"cat'], ["cannot be read as a CSV file"]),
  ],
)
def test_a_wrong_table_is_refused_as_a_whole(workdir, tmp_path, lines, words):
  refused(workdir, table(tmp_path, *lines), *words)


def test_wrong_columns_actions_and_places_are_refused(workdir, tmp_path):
  refused(workdir, table(tmp_path, "p.png;cat", head="path;label"), "no column label and no column path", "path;label")
  for row in ("p.png,cat,skip", "p.png,,label", "p.png,cat,burn"):
    refused(workdir, table(tmp_path, row, head="path,label,action"), "row 1 has the action")
  changed = table(tmp_path, f"p.png,cat,{'0' * 64}", head="path,label,sha256")
  refused(workdir, changed, "1 of 1 answer ", "'p.png'")
  refused(workdir, f"csv:{tmp_path / 'nowhere.csv'}", "nowhere.csv cannot be read")
  for spec in ("csv", "csv:", "xml:file", ""):
    refused(workdir, spec, f"--import={spec} must be one of csv:FILE, label_studio:FILE")
    refused(workdir, spec, f"--export={spec} must be one of csv:FILE, folders:DIR", run=run_export)
  refused(workdir, f"csv:{tmp_path / 'nowhere' / 'out.csv'}", "cannot be written", run=run_export)
  (tmp_path / "empty").mkdir()
  with pytest.raises(UsageError, match="on the folder once"):
    run_export("csv:out.csv", tmp_path / "empty")


def test_a_disk_that_refuses_the_events_gets_none(workdir, tmp_path, monkeypatch):
  write = os.write
  monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:-7]))
  refused(workdir, table(tmp_path, "p.png,cat", "q.png,emu"), "none of 3 answers is kept")
  monkeypatch.undo()
  assert labeled_folders.answers(workdir).classes == ["cat", "dog"]
