"""The flags of the labeling program."""

import numpy as np
import pytest

from experiments.common.errors import UsageError
from experiments.labeling import flags
from tests.support import folders

command = folders.command


def test_defaults():
  plain = command()
  assert plain.source == "."
  assert plain.config.acq == ("margin",)
  assert plain.config.model == "linear"
  assert plain.features == "auto"
  assert plain.classes == []
  assert plain.image_size is None
  assert (plain.values.host, plain.values.port, plain.values.audit, plain.values.target) == ("127.0.0.1", 0, 0.1, 0.95)


def test_the_worker_reads_the_same_flags():
  given = command("--acq=bald", "--model=mlp", "--hidden=8", "--nonesterov", "--image_size=20x30", "--seed=4")
  with folders.flags_kept():
    flags.study_flags.FLAGS(["experiments.label", *given.words])
    assert flags.resolve() == given.config
  assert given.image_size == (20, 30)


def test_the_demonstration_has_the_classes_of_its_digits():
  with folders.flags_kept():
    demo = flags.parse(["experiments.label", "--demo"], "")
  assert demo.source is None
  assert demo.classes == list("1234567890")


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--acq=margin,entropy"], "--acq=margin,entropy names 2 strategies: give one"),
    (["--acq=greedy_oracle"], "labels that nobody has given yet"),
    (["--acq=nothing"], "nothing"),
    (["--acq="], "acq"),
    (["--model=nothing"], "nothing"),
    (["--audit=1"], "no image to train on"),
    (["--audit=nan"], "--audit=nan is not a number"),
    (["--audit=-0.1"], "audit"),
    (["--target=1"], "--target=1 is never reached"),
    (["--target=nan"], "--target=nan is not a number"),
    (["--target=1.5"], "target"),
    (["--overlap=nan"], "--overlap=nan is not a number"),
    (["--port=-1"], "port"),
    (["--port=65536"], "port"),
    (["--host="], "names no address"),
    (["--image_size=0"], "--image_size=0 must be a size"),
    (["--image_size=3x4x5"], "must be a size"),
    (["--image_size=big"], "must be a size"),
    (["--classes=cat,dog,cat"], "names 'cat' twice"),
    (["--classes=cat, cat"], "names 'cat' twice"),
    (["--classes=cat,,dog"], "'' is no class name"),
    (["--classes=cat\x00"], "is no class name"),
    (["--classes=" + "x" * 101], "is no class name"),
    (["--features=nothing"], "neither auto, pixels, pretrained nor a .npy file"),
    (["--features=missing.npy"], "nor a .npy file that exists"),
    (["--features=pyproject.toml"], "nor a .npy file that exists"),
    (["--dataset=mnist"], "dataset"),
    (["--early_stop=3"], "early_stop"),
    (["--seed=1", "--seed=2"], "given 2 times"),
    (["another"], "another"),
    (["--demo"], "both are given"),
  ],
  ids=lambda words: " ".join(words)[:30] if isinstance(words, list) else "",
)
def test_mistakes_are_one_sentence(words, message):
  with pytest.raises(UsageError) as error:
    command(*words)
  assert message in str(error.value)
  assert "\n" not in str(error.value)


def test_neither_a_folder_nor_the_demonstration():
  with folders.flags_kept(), pytest.raises(UsageError, match="neither is given"):
    flags.parse(["experiments.label"], "")


@pytest.mark.parametrize("share", ["0", "0.5", "0.99"])
def test_shares_of_audit_images(share):
  assert command(f"--audit={share}").values.audit == float(share)


def test_a_file_of_features_is_found_from_everywhere(tmp_path, monkeypatch):
  np.save(tmp_path / "rows.npy", np.zeros((2, 3)))
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir(tmp_path)
  for given in ("rows.npy", "~/rows.npy", str(tmp_path / "rows.npy")):
    assert command(f"--features={given}").features == str(tmp_path / "rows.npy")


def test_help_names_every_flag(capsys):
  with pytest.raises(SystemExit) as ended:
    flags.parse(["experiments.label", "--help"], "Labels a folder.")
  text = capsys.readouterr().out
  assert ended.value.code == 0
  for name in ("classes", "demo", "workdir", "audit", "target", "acq", "model", "l2", "platform", "export", "import"):
    assert f"--{name} " in text
  assert "--dataset" not in text
