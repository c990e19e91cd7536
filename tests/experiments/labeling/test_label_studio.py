"""Tasks for Label Studio, and its exports: each answer comes back once, with its annotator and its image.

The exports here have the form that Label Studio 1.23.2 writes; tests/end_to_end/label_studio.py tries the program.
"""

import json
import urllib.parse
import xml.etree.ElementTree

import pytest

from experiments.common.errors import UsageError
from experiments.labeling import journal
from experiments.labeling.exchange import folder
from experiments.labeling.exchange import run_export
from experiments.labeling.exchange import run_import
from tests.support import labeled_folders

NAMES = [*labeled_folders.ODD_NAMES, "p.png", "q.png", "r.png"]


@pytest.fixture
def workdir(tmp_path):
  labeled_folders.write_images(tmp_path / "my photos", NAMES)
  return labeled_folders.begin(tmp_path / "my photos", classes=("cat", 'do<g "&'))[0]


def written(workdir, file):
  """The tasks, by path."""
  run_export(f"label_studio:{file}", workdir)
  return {task["data"]["path"]: task for task in json.loads(file.read_text())}


def exported(file, tasks, user=1):
  """Writes tasks as Label Studio exports them as JSON after they were imported; returns the specification."""
  for number, task in enumerate(tasks, 1):
    task["id"] = number
    task["annotations"] = [
      {"id": 10 * number + i, "completed_by": user, "created_at": f"2026-11-30T12:00:0{i}Z", "prediction": {}} | own
      for i, own in enumerate(task.get("annotations", []))
    ]
  file.write_text(json.dumps(tasks))
  return f"label_studio:{file}"


def chosen(*labels, **facts):
  value = {"type": "choices", "from_name": "label", "to_name": "image", "value": {"choices": list(labels)}}
  return {"result": [value], "was_cancelled": False, "lead_time": 2.25} | facts


def refused(workdir, spec, *words):
  before = (workdir / journal.NAME).read_bytes()
  with pytest.raises(UsageError) as caught:
    run_import(spec, workdir)
  for word in words:
    assert word in str(caught.value), caught.value
  assert (workdir / journal.NAME).read_bytes() == before


def test_tasks_have_every_answer_and_the_guess_and_addresses_lead_to_the_files(workdir, tmp_path):
  labeled_folders.answer(workdir, dict.fromkeys(labeled_folders.ODD_NAMES, 'do<g "&'), guess="cat")
  labeled_folders.answer(workdir, {"p.png": "skip"})
  labeled_folders.answer(workdir, {"p.png": "cat"}, annotator="ben")
  labeled_folders.answer(workdir, {"q.png": "unusable"})
  text = run_export(f"label_studio:{tmp_path / 'tasks.json'}", workdir)
  assert "7 tasks, 6 of them with annotations" in text and "1 unusable image left out" in text
  tasks = json.loads((tmp_path / "tasks.json").read_text())
  assert {task["data"]["path"] for task in tasks} == {*NAMES} - {"q.png"}
  for task in tasks:
    address = urllib.parse.urlsplit(task["data"]["image"])
    assert address.path == "/data/local-files/"
    (place,) = urllib.parse.parse_qs(address.query)["d"]
    assert place == "my photos/" + task["data"]["path"] and (tmp_path / place).is_file()
    if task["data"]["path"] in labeled_folders.ODD_NAMES:
      (annotation,), (prediction,) = task["annotations"], task["predictions"]
      assert annotation["result"][0]["value"] == {"choices": ['do<g "&']} and annotation["lead_time"] == 1.5
      assert prediction["result"][0]["value"] == {"choices": ["cat"]} and prediction["score"] == 0.75
  (skipped, labeled) = next(task["annotations"] for task in tasks if task["data"]["path"] == "p.png")
  assert skipped["was_cancelled"] and not skipped["result"] and labeled["result"][0]["meta"] == {"annotator": "ben"}
  config = xml.etree.ElementTree.parse(tmp_path / "tasks.xml")
  assert [choice.get("value") for choice in config.iter("Choice")] == ["cat", 'do<g "&']
  control = config.find("Choices")
  assert control is not None and (control.get("name"), control.get("choice")) == ("label", "single")


def test_nothing_marks_audit_images(tmp_path):
  labeled_folders.write_images(tmp_path / "photos", NAMES)
  workdir, found = labeled_folders.begin(tmp_path / "photos", audit=0.5)
  read = folder.read(workdir)
  audits = [image.path for image in found.images if read.is_audit(image)]
  labeled_folders.answer(workdir, {audits[0]: "cat"}, guess="dog")
  tasks = written(workdir, tmp_path / "tasks.json")
  assert len(audits) == 4 and set(tasks) == set(NAMES)
  assert not any(task["predictions"] for task in tasks.values())  # a guess would bias the audit
  assert {tuple(task["data"]) for task in tasks.values()} == {("image", "path", "sha256")}


def test_own_answers_come_back_as_nothing_new_and_others_once(workdir, tmp_path):
  labeled_folders.answer(workdir, {"p.png": "cat", "q.png": "skip"})
  labeled_folders.answer(workdir, {"p.png": 'do<g "&'}, annotator="ben")
  tasks = written(workdir, tmp_path / "tasks.json")
  assert "nothing new: 3 answers" in run_import(exported(tmp_path / "same.json", [*tasks.values()]), workdir)
  tasks["r.png"]["annotations"] = [chosen("cat"), chosen("emu")]
  tasks["sub/[brackets].png"]["annotations"] = [{"result": [], "was_cancelled": True, "lead_time": None}]
  tasks["=1+1.png"]["annotations"] = [{"result": [], "was_cancelled": False, "lead_time": 1}]
  tasks["p.png"]["annotations"].append(chosen("cat"))
  spec = exported(tmp_path / "more.json", [*tasks.values()], user={"id": 7, "email": "eva@example.org"})
  assert "3 answers imported, 2 of them labels; 1 new class: emu; 3 were there already" in run_import(spec, workdir)
  # The last annotation of a person counts.
  assert labeled_folders.labels(workdir) == {
    "p.png": "cat",
    "q.png": "skip",
    "r.png": "emu",
    "sub/[brackets].png": "skip",
  }
  own = labeled_folders.answers(workdir).last_of("eva@example.org", 9)
  assert [(event["path"], event["source"], event["seconds"]) for event in own] == [
    ("p.png", "label_studio", 2.25),
    ("r.png", "label_studio", 2.25),
    ("sub/[brackets].png", "label_studio", None),
  ]
  assert "nothing new" in run_import(spec, workdir)


def test_addresses_of_other_tools_are_matched_by_path(workdir, tmp_path):
  root, odd = workdir.parent, 'a "quoted", name.png'
  addresses = {
    f"/data/local-files/?d={urllib.parse.quote(str(root / 'p.png').lstrip('/'))}": "p.png",
    "http://localhost:8080/data/local-files/?d=my%20photos/q.png": "q.png",
    "/data/local-files/?d=sub/%F0%9F%98%80+%C3%BC%2B%26%3F%3D%2520%23.png": "sub/😀 ü+&?=%20#.png",
    "sub/[brackets].png": "sub/[brackets].png",
    f"file://{root}/r.png": "r.png",
    odd: odd,
  }
  tasks = [{"data": {"image": address}, "annotations": [chosen("cat")]} for address in addresses]
  tasks[0]["data"] = {"$undefined$": tasks[0]["data"]["image"]}  # of a synchronized local storage
  assert "6 answers imported" in run_import(exported(tmp_path / "in.json", tasks), workdir)
  assert labeled_folders.labels(workdir) == dict.fromkeys(addresses.values(), "cat")
  known = labeled_folders.answers(workdir)
  assert len(known.last_of("Label Studio user 1", 9)) == 6


def test_an_address_that_fits_two_images_is_refused(tmp_path):
  labeled_folders.write_images(tmp_path / "photos", ["a.png", "photos/a.png"])
  workdir, _ = labeled_folders.begin(tmp_path / "photos")
  task = {"data": {"image": "/data/local-files/?d=photos/a.png"}, "annotations": [chosen("cat")]}
  refused(workdir, exported(tmp_path / "in.json", [task]), "1 of 1 answer ", "d=photos/a.png")
  tasks = written(workdir, tmp_path / "tasks.json")
  tasks["a.png"]["annotations"] = [chosen("cat")]
  run_import(exported(tmp_path / "hash.json", [*tasks.values()]), workdir)
  assert labeled_folders.labels(workdir) == {"a.png": "cat"}


def test_json_min_gives_the_labels(workdir, tmp_path):
  labeled_folders.answer(workdir, {"p.png": "cat", "q.png": 'do<g "&'})
  tasks = written(workdir, tmp_path / "tasks.json")
  facts = {"annotator": 1, "annotation_id": 5, "created_at": "", "updated_at": "", "lead_time": 3}
  rows = [
    tasks[path]["data"] | {"id": i, "label": label} | facts
    for i, (path, label) in enumerate({"p.png": "cat", "q.png": "cat", "r.png": "emu"}.items())
  ]
  rows.append(tasks["=1+1.png"]["data"] | {"id": 9} | facts | {"annotation_id": None})
  (tmp_path / "min.json").write_text(json.dumps(rows))
  spec = f"label_studio:{tmp_path / 'min.json'}"
  # Whose the label of p.png is cannot be known: it is taken for the one that was exported.
  assert "2 answers imported, 2 of them labels; 1 new class: emu; 1 were there already" in run_import(spec, workdir)
  assert labeled_folders.labels(workdir) == {"p.png": "cat", "q.png": 'do<g "&', "r.png": "emu"}
  assert "nothing new: 3 answers" in run_import(spec, workdir)
  for row in rows:
    row["kind"] = row.pop("label", "cat")
  (tmp_path / "min.json").write_text(json.dumps(rows))
  refused(workdir, spec, "no choices named label")
  rows[0]["label"] = [{"choices": ["cat", "emu"]}]
  (tmp_path / "min.json").write_text(json.dumps(rows))
  refused(workdir, spec, "task 0 has no single choice named label")


@pytest.mark.parametrize(
  ("task", "words"),
  [
    ({"data": {"image": "p.png"}, "annotations": [chosen("cat", "emu")]}, "task 1 has 2 choices"),
    ({"data": {"image": "p.png"}, "annotations": [{"result": [{"type": "rectanglelabels"}]}]}, "0 choices"),
    ({"data": {"image": "x.png"}, "annotations": [chosen("cat")]}, "'x.png': nothing is imported"),
    ({"data": {"image": "http://[p.png"}, "annotations": [chosen("cat")]}, "1 of 1 answer are"),
    ({"data": {"text": "p.png"}, "annotations": [chosen("cat")]}, "has no image: name it $image"),
    ({"data": {"image": "p.png"}, "annotations": [chosen("\n")]}, "cannot be a name"),
    ({"data": "p.png", "annotations": [chosen("cat")]}, "has no data or no list of annotations"),
    ({"data": {"image": "p.png", "sha256": "0" * 64}, "annotations": [chosen("cat")]}, "1 of 1 answer"),
  ],
)
def test_wrong_tasks_are_refused_as_a_whole(workdir, tmp_path, task, words):
  right = {"data": {"image": "q.png"}, "annotations": [chosen("cat")]}
  spec = exported(tmp_path / "in.json", [task])
  tasks = [*json.loads((tmp_path / "in.json").read_text()), right]
  (tmp_path / "in.json").write_text(json.dumps(tasks))
  refused(workdir, spec, words.replace("1 of 1 answer", "1 of 2 answers"))


def test_files_that_are_no_exports_are_refused(workdir, tmp_path):
  file = tmp_path / "in.json"
  for text, words in {
    "{": "cannot be read as JSON",
    "[": "as JSON",
    "{}": "a list of tasks",
    "[]": "a list of tasks",
  }.items():
    file.write_text(text)
    refused(workdir, f"label_studio:{file}", words)
  file.write_text('[{"id": 1}]')
  refused(workdir, f"label_studio:{file}", "no single choice named label")
  file.write_text('[{"id": 1, "data": {"image": "p.png"}}]')
  assert "it has no answers" in run_import(f"label_studio:{file}", workdir)


def test_places_that_are_taken_are_refused(workdir, tmp_path):
  (tmp_path / "tasks.xml").touch()
  for name, words in {"tasks.json": "tasks.xml is for", "tasks.xml": "tasks.xml is for"}.items():
    with pytest.raises(UsageError, match=words):
      run_export(f"label_studio:{tmp_path / name}", workdir)
  labeled_folders.write_images(tmp_path / "photos", ["a.png", "b.png"])
  empty, _ = labeled_folders.begin(tmp_path / "photos", classes=())
  with pytest.raises(UsageError, match="has no classes"):
    run_export(f"label_studio:{tmp_path / 'other.json'}", empty)
