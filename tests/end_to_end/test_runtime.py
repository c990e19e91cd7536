"""The compilation cache, the device and the profiler of the main program."""

import json
import sys

import pytest

from tests.support import programs

pytestmark = pytest.mark.slow

RUN = ("--dataset=digits", "--model=mlp", "--rounds=0", "--train_steps=2", "--acq=random", "--driver=scan")


@pytest.fixture
def study(program, tmp_path):
  """`(*flags, expect=0)` runs a study with a separate cache folder and returns its printed output."""

  def run(*flags, expect=0):
    words = ("experiments.mnist", *RUN, *flags, f"--workdir={tmp_path / 'run'}", "--overwrite")
    return program.run(*words, expect=expect, XDG_CACHE_HOME=str(tmp_path / "cache"))

  return run


def test_programs_are_kept_for_the_next_process_where_only_this_user_reads(study, tmp_path):
  study("--platform=cpu")
  (folder,) = (tmp_path / "cache" / "al_jax" / "programs").iterdir()
  kept = sorted(path.name for path in folder.iterdir() if path.name.endswith("-cache"))
  assert any("sweep" in name for name in kept)
  assert folder.stat().st_mode & 0o777 == 0o700
  before = {path.name for path in folder.iterdir()}
  study("--platform=cpu")
  assert {path.name for path in folder.iterdir()} == before
  config = json.loads((tmp_path / "run" / "config.json").read_text())
  assert config["flags"]["platform"] == "cpu" and config["platform"] == "cpu"


def test_a_folder_that_others_may_write_to_is_refused(study, tmp_path):
  shared = tmp_path / "shared"
  shared.mkdir()
  shared.chmod(0o777)
  message = study(f"--compilation_cache={shared}", expect=1)
  assert message.startswith("error: --compilation_cache=") and message.count("\n") == 1


def test_a_device_that_is_not_there_is_one_sentence(tmp_path):
  words = (sys.executable, "-m", "experiments.mnist", *RUN, "--platform=tpu", f"--workdir={tmp_path}")
  message = programs.run(*words, expect=1, JAX_PLATFORMS="")  # as in a user's environment
  assert "--platform=tpu: JAX finds no such device" in message and "Traceback" not in message


def test_a_trace_is_written(study, tmp_path):
  study("--profile", "--compilation_cache=none")
  names = {path.name for path in (tmp_path / "run" / "profile").rglob("*") if path.is_file()}
  assert any(name.endswith(".xplane.pb") for name in names) and "perfetto_trace.json.gz" in names
