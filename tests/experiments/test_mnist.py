"""The main program, run in this process: it refuses impossible plans before it writes anything."""

from absl.testing import flagsaver
import pytest

from experiments import mnist
from experiments.config import command_line
from experiments.config import flag_groups
from experiments.config import flags


@pytest.fixture
def main(tmp_path):
  """`(*flags)` runs the main program on digits, with the workdir `run`."""

  def run(*words):
    with flagsaver.flagsaver():
      flags.FLAGS.unparse_flags()
      for name in [name for group in flag_groups.GROUPS.values() for name in group]:
        flags.FLAGS[name].unparse()
      own = ("--dataset=digits", "--compilation_cache=none", f"--workdir={tmp_path / 'run'}")
      mnist.main(command_line.parse(["mnist", *own, *words]))

  return run


@pytest.mark.parametrize(
  ("words", "expected"),
  [
    (["--rounds=200"], ["1297", "2020"]),
    (["--init_labels=5"], ["balanced", "10"]),
    (["--val_size=1290"], ["validation", "1297"]),
    (["--dataset=mnsit"], ["is given 2 times"]),
  ],
)
def test_impossible_plans_are_refused_before_anything_is_written(words, expected, main, tmp_path):
  with pytest.raises(SystemExit) as ended:
    main(*words)
  message = ended.value.code
  assert message.startswith("error: ") and "\n" not in message and all(part in message for part in expected)
  assert not (tmp_path / "run").exists()
