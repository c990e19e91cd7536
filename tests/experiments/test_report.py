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
  main(studies.workdir(tmp_path / "a", studies.three_seeds()), f"--out={tmp_path / 'out'}")
  printed = capsys.readouterr().out
  assert "│ margin      │     3 │" in printed and f"report in {tmp_path}/out/report.html" in printed
  written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
  assert {"report.md", "report.html", "learning_curve.png", "learning_curve.svg", "penalties.png"} <= set(written)
  assert len(written["report.html"]) < 3_000_000
  begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".html": b"<!", ".md": b"# "}
  assert all(content.startswith(begins[Path(name).suffix]) for name, content in written.items())


def test_nothing_is_written_of_a_damaged_study(tmp_path):
  folder = studies.workdir(tmp_path / "a", studies.three_seeds())
  (folder / "results.jsonl").write_text('{"acq": "random"}\n')
  message = refusal(folder)
  assert f"{folder}/results.jsonl is damaged in line 1" in message
  assert not (folder / "report").exists()


def test_the_program_says_what_is_wrong_in_one_sentence(tmp_path):
  assert "no workdir given" in refusal()
  assert "it needs a results.jsonl" in refusal(tmp_path)
