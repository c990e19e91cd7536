"""The report program, run in this process: its files and its errors."""

from pathlib import Path

from absl import flags
from absl.testing import flagsaver
import pytest

from experiments import report
from tests.support import studies


def main(*words) -> None:
  """Runs the program."""
  with flagsaver.flagsaver():
    report.main(flags.FLAGS(["report", *map(str, words)]))


def refusal(*words) -> str:
  """The error message with which the program exits."""
  with pytest.raises(SystemExit) as ended:
    main(*words)
  assert ended.value.code.startswith("error: ") and "\n" not in ended.value.code
  return ended.value.code


def test_a_report_is_written_and_its_table_printed(tmp_path, capsys):
  own, other = (studies.workdir(tmp_path / name, studies.three_seeds(), data=name) for name in "ab")
  main(own, f"--out={tmp_path / 'out'}", f"--beside={other}", "--regimes=10,15,30")
  printed = capsys.readouterr().out
  assert "│ margin      │     3 │" in printed and f"report in {tmp_path}/out/report.html" in printed
  written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
  assert {"report.md", "report.html", "learning_curve.png", "learning_curve.svg", "penalties.png"} <= set(written)
  assert len(written["report.html"]) < 3_000_000
  assert b"| strategy, b | 10 to 15 labels | 15 to 30 labels |" in written["report.md"]
  begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".html": b"<!", ".md": b"# "}
  assert all(content.startswith(begins[Path(name).suffix]) for name, content in written.items())


@pytest.mark.slow
def test_a_kept_study_gives_the_report_of_its_workdir(tmp_path, capsys):
  config = {"versions": {"jax": "0.10.2"}, "device_kind": "cpu", "platform": "cpu", "pool_ids": [1, 2]}
  rows = [row | {"test_class_accuracy": [0.5] * 5} for row in studies.three_seeds()]
  config["command"] = ["ablation", "--acq=random,margin", "--features=/home/me/train.npy,/home/me/test.npy"]
  folder = studies.workdir(tmp_path / "a", rows, full_data=0.9, **config)
  main(folder, f"--keep={tmp_path / 'kept' / 'a.jsonl'}")
  assert f"study kept in {tmp_path}/kept/a.jsonl: 0.0 MB" in capsys.readouterr().out
  main(tmp_path / "kept" / "a.jsonl")
  texts = [(path / "report.md").read_text() for path in (folder / "report", tmp_path / "kept" / "a" / "report")]
  tables = [[line for line in text.splitlines() if line.startswith("| margin")] for text in texts]
  assert len(tables[0]) > 5 and "## By class" in texts[0] and "## By class" not in texts[1]
  assert set(tables[0]) - set(tables[1]) == {  # what is not kept: class accuracies and peak memory
    next(line for line in tables[0] if line.endswith("| 102 |")),
    "| margin | 0.500 ± 0.000 |",
  }
  kept = (tmp_path / "kept" / "a.jsonl").read_text()
  assert "pool_ids" not in kept and "/home" not in kept and "--features=train.npy,test.npy" in texts[1]


def test_a_file_that_is_no_kept_study_is_refused(tmp_path, monkeypatch):
  folder = studies.workdir(tmp_path / "a", studies.three_seeds())
  assert "results.jsonl is no kept study: name a workdir" in refusal(folder / "results.jsonl")
  assert "must be a .jsonl file" in refusal(folder, f"--keep={tmp_path / 'a.json'}")
  assert "not a results.jsonl" in refusal(folder, f"--keep={folder / 'results.jsonl'}")
  (tmp_path / "file").write_text("")
  monkeypatch.setattr(report.document, "files", lambda *_: {})
  assert "cannot be written" in refusal(folder, f"--keep={tmp_path / 'file' / 'a.jsonl'}")


def test_nothing_is_written_of_a_damaged_study(tmp_path):
  folder = studies.workdir(tmp_path / "a", studies.three_seeds())
  (folder / "results.jsonl").write_text('{"acq": "random"}\n')
  message = refusal(folder)
  assert f"{folder}/results.jsonl is damaged in line 1" in message
  assert not (folder / "report").exists()


def test_studies_beside_each_other_must_fit(tmp_path):
  folder = studies.workdir(tmp_path / "a", studies.three_seeds())
  assert "must differ in their names" in refusal(folder, f"--beside={folder}")
  for words in ("10", "10,x", "20,10", "0,10"):
    assert f"--regimes={words} must be ascending" in refusal(folder, f"--regimes={words}")
  assert "within 10 to 30, the labels of a" in refusal(folder, "--regimes=5,30")
  assert "no is no workdir" in refusal(folder, f"--beside={tmp_path / 'no'}")


def test_the_program_says_what_is_wrong_in_one_sentence(tmp_path):
  assert "no workdir given" in refusal()
  assert "it needs a results.jsonl" in refusal(tmp_path)
