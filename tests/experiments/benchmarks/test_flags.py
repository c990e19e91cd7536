"""The flags of the benchmark: refusals, and the defaults of a suite."""

import pytest

from experiments import bench
from experiments.benchmarks.flags import DEFAULTS
from experiments.benchmarks.flags import parse
from experiments.common.errors import UsageError


@pytest.mark.parametrize(
  ("word", "sentence"),
  [
    ("--suite=everything", "everything"),
    ("--batch_size=32,x", "--batch_size=32,x"),
    ("--batch_size=", "--batch_size="),
    ("--batch_size=0", "--batch_size=0"),
    ("--batch_size=32,32", "twice"),
    ("--repeats=0", "repeats"),
    ("--images=many", "images"),
    ("--out=/no/such/folder/x.json", "/no/such/folder/x.json"),
    ("--run_args='", "--run_args"),
    ("--nonsense=1", "nonsense"),
    ("step", "unexpected argument 'step'"),
    ("--acq=", "cannot parse acquisition ''"),
  ],
)
def test_a_wrong_flag_is_one_sentence(word, sentence):
  with pytest.raises(SystemExit) as exit_info:
    bench.main(["bench", word])
  assert exit_info.value.code.startswith("error: ")
  assert sentence in exit_info.value.code


def test_a_flag_given_twice_is_refused():
  with pytest.raises(UsageError, match="--steps is given 2 times"):
    parse(["bench", "--steps=1", "--steps=2"])


def test_help_names_every_flag(capsys):
  with pytest.raises(SystemExit) as exit_info:
    parse(["bench", "--help"])
  assert exit_info.value.code == 0
  text = capsys.readouterr().out
  for name in (
    "suite",
    "repeats",
    "batch_size",
    "steps",
    "images",
    "chunk_size",
    "data_dir",
    "run_args",
    "out",
    "features",
  ):
    assert f"--{name} " in text
  assert (
    f"--{'pool':<12}pool sizes of --suite=acquisition; one size for --suite=loop, heads and labeling"
    " [10000,60000; loop: 60000; heads: 60000; labeling: 5000]" in text
  )


@pytest.mark.parametrize("suite", DEFAULTS)
def test_a_suites_own_defaults_give_way_to_what_is_typed(suite):
  own = parse(["bench", f"--suite={suite}"])
  everywhere = parse(["bench", "--suite=step"])
  for name, value in DEFAULTS[suite].items():
    assert own[name].value == value != everywhere[name].value
    typed = everywhere[name].value[:1] if isinstance(value, list) else everywhere[name].value
    typed = ["margin"] if name == "acq" else typed  # heads take no random acquisition
    word = typed[0] if isinstance(value, list) else typed
    assert parse(["bench", f"--suite={suite}", f"--{name}={word}"])[name].value == typed


def test_runs_are_needed_to_compare_them():
  with pytest.raises(UsageError, match="--seeds=0 leaves --suite=agreement without a run"):
    parse(["bench", "--suite=agreement", "--seeds=0"])
