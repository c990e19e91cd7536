"""Resolution of flags to a Config: presets, precedence, and one-sentence errors."""

import dataclasses
import sys

from absl.testing import flagsaver
import pytest

from experiments import mnist
from experiments.config import command_line
from experiments.config import flag_groups
from experiments.config import flags
from experiments.config.resolve import Config


@pytest.fixture
def printed(monkeypatch, capsys):
  """`(*words) -> (exit code or message, stdout, stderr)` of parsing flags that end the main program."""
  monkeypatch.setitem(sys.modules, "__main__", mnist)  # --help begins with its docstring

  def parse(*words):
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as ended:
      command_line.parse(["mnist", *words])
    return ended.value.code, *capsys.readouterr()

  return parse


def test_precedence_of_defaults_preset_and_typed_flags(resolve):
  plain, blog, typed, steps, epochs, posted, fixed = resolve(
    [],
    ["--preset=blog"],
    ["--preset=blog", "--batch_size=64", "--init_labels=100"],
    ["--preset=blog", "--train_steps=7"],
    ["--epochs=3"],
    ["--preset=blog_posted"],
    ["--preset=blog_fixed"],
  )
  assert plain["acq"] == ["entropy"] and plain["seeds"] == 1 and plain["seed"] == 0
  assert (plain["init_labels"], plain["acq_size"], plain["init"]) == (20, 10, "balanced")
  assert (plain["epochs"], plain["dataset"], plain["driver"]) == (None, "mnist", "python")

  assert (blog["init_labels"], blog["acq_size"], blog["rounds"]) == (18_760, 100, 200)
  assert (blog["epochs"], blog["train_steps"], blog["batch_size"]) == (10, None, 32)
  assert (blog["optimizer"], blog["learning_rate"], blog["val_last"]) == ("adadelta", 1e-3, 0.15)
  assert (typed["batch_size"], typed["init_labels"], typed["acq_size"]) == (64, 100, 100)
  assert (steps["train_steps"], steps["epochs"]) == (7, None)
  assert (epochs["train_steps"], epochs["epochs"]) == (None, 3)
  assert (posted["init_labels"], posted["acq_size"], posted["rounds"]) == (23_450, 50, 200)

  assert {"random", "entropy"} < set(fixed["acq"]) and fixed["optimizer"] == "adam"
  assert fixed["init_labels"] + fixed["rounds"] * fixed["acq_size"] == 1000
  assert fixed["train_steps"] == fixed["full_train_steps"] and fixed["val_size"] > 0 and fixed["val_last"] == 0


@pytest.mark.parametrize(
  ("words", "expected"),
  [
    (["--acq=bold"], ["'bold'", "least_confidence", "entropy"]),
    (["--acq="], ["''", "entropy"]),
    (["--acq=margin,margin"], ["twice"]),
    (["--acq=random", "--acq=margin"], ["--acq is given 2 times"]),
    (["--preset=blag"], ["'blag'", "blog_fixed", "study"]),
    (["--optimizer=lion"], ["lion", "adam|adamw|nadam|sgd|adadelta"]),
    (["--rounds=-1"], ["rounds", "-1"]),
    (["--seeds=0"], ["seeds"]),
    ([f"--seed={2**32}"], ["seed"]),
    ([f"--pool_seed={2**32}"], ["pool_seed"]),
    ([f"--seed={2**32 - 2}", "--seeds=3"], ["the largest seed, 4294967295"]),
    (["--learning_rate=0"], ["learning_rate"]),
    (["--imbalance=nan"], ["--imbalance=nan", "finite"]),
    (["--weight_decay=inf"], ["--weight_decay=inf", "finite"]),
    (["--decay_layers=Dense_0"], ["--decay_layers", "has no effect", "--weight_decay=0"]),
    (["--decay_over_labels"], ["--decay_over_labels", "has no effect", "--weight_decay=0"]),
    (["--train_steps=5", "--epochs=2"], ["--train_steps", "--epochs"]),
    (["--resume", "--overwrite"], ["--resume", "--overwrite"]),
    (["--nonsense=1"], ["nonsense"]),
    (["entropy"], ["unexpected argument", "'entropy'"]),
    (["--workdir="], ["--workdir"]),
    (["--coldness=8"], ["--coldness", "power_", "--acq=entropy names none of them"]),
    (["--acq=power_bald", "--coldness=0"], ["coldness must be positive"]),
    (["--acq=power_bald(coldness=1),power_bald"], ["twice"]),
    (["--acq=power_random"], ["does not score single images", "bald"]),
    (["--acq=bald(posterior=maybe)"], ["'maybe'", "deterministic, dropout, laplace, ensemble"]),
    (["--posterior=maybe"], ["maybe", "deterministic|dropout|laplace|ensemble"]),
    (["--pool_noise=-1"], ["pool_noise", "-1"]),
    (["--inspect", "--driver=scan"], ["--inspect", "--driver=python"]),
    (["--imbalance=0.5"], ["imbalance", "0.5"]),
    (["--label_noise=1"], ["label_noise", "1"]),
    (["--init=file"], ["--init=file and --init_file=PATH go together"]),
    (["--init_file=ids.json"], ["--init=file and --init_file=PATH go together"]),
    (["--init=file", "--init_file=nowhere.json"], ["--init_file=nowhere.json cannot be read"]),
    (["--init=batchbald", "--dataset=fashion_mnist"], ["set of MNIST images", "fashion_mnist"]),
    (["--init=batchbald", "--init_labels=30"], ["has 20 images, but --init_labels is 30"]),
    (["--init=batchbald", "--init_file=ids.json"], ["--init=file and --init_file=PATH go together"]),
    (["--preset=batchbald", "--dataset=digits"], ["--init=batchbald", "digits"]),
    (["--train_steps=5", "--epoch_draws=64"], ["--train_steps", "--epoch_draws"]),
    (["--train_steps=5", "--drop_last"], ["--drop_last leaves out the last minibatch", "--train_steps"]),
    (["--hidden=64,0", "--model=mlp"], ["--hidden=64,0 must be widths of hidden layers"]),
    (["--hidden=64"], ["--hidden=64: --model=cnn offers no choice of hidden layers"]),
    (["--kernel_init=torch"], ["--kernel_init=torch: --model=cnn offers no choice of initial weights"]),
    (["--kernel_init=zeros", "--model=mlp"], ["gives the hidden layers of --model=mlp no gradient"]),
    (["--first_early_stop=9"], ["--first_early_stop has no effect without --early_stop"]),
    (["--preset=cdalbench_dna"], ["needs --dataset=DIR/dna.csv", "StatLog DNA"]),
    (["--nesterov"], ["--nesterov has no effect without --optimizer=sgd"]),
    (["--keep_optimizer"], ["--keep_optimizer has no effect without --warm_start"]),
    (["--augment=crop,blur"], ["unknown 'blur'", "crop, flip, cutout"]),
    (["--norm=batch"], ["--norm=batch: --model=cnn offers no choice"]),
    (["--model=resnet18", "--norm=layer"], ["layer", "group|batch"]),
    (["--schedule=linear"], ["linear", "constant|cosine"]),
    (["--first_epochs=3"], ["--first_epochs needs --epochs"]),
    (["--optimizer=adamw", "--weight_decay=1", "--decay_over_labels"], ["adamw uses decoupled weight decay"]),
    (["--early_stop_keep=first"], ["first", "best|last"]),
    (["--input_std=0"], ["input_std", "0"]),
    (["--input_mean=nan"], ["--input_mean=nan", "finite"]),
    (["--label_noise=0.1", "--vmap_over=label_noise=0,0.1", "--driver=scan"], ["--label_noise and --vmap_over"]),
    (["--model=linear", "--dropout_rate=0.5"], ["--dropout_rate: --model=linear has no dropout", "--model=mlp"]),
    (["--model=linear", "--vmap_over=dropout_rate=0.1", "--driver=scan"], ["--model=linear has no dropout"]),
    (["--model=linear", "--train_steps=5"], ["--train_steps is for training on minibatches", "such as sgd"]),
    (["--model=linear", "--epochs=5"], ["--epochs is for training on minibatches"]),
    (["--model=linear", "--learning_rate=0.1"], ["--learning_rate is for training on minibatches"]),
    (["--model=linear", "--warm_start"], ["--warm_start is for training on minibatches"]),
    (["--model=linear", "--augment=flip"], ["--augment is for training on minibatches"]),
    (["--model=linear", "--early_stop=3"], ["--early_stop is for training on minibatches"]),
    (["--model=linear", "--full_train_steps=3"], ["--full_train_steps is for training on minibatches"]),
    (["--model=linear", "--vmap_over=learning_rate=1,2", "--driver=scan"], ["--learning_rate is for training on"]),
    (["--model=linear", "--optimizer=sgd", "--l2=2"], ["--l2 is the penalty of newton", "sgd", "--weight_decay"]),
    (["--l2=2"], ["--l2 is the penalty of newton, and the optimizer is adam"]),
    (["--model=linear", "--l2=0"], ["l2", "0"]),
    (["--model=mlp", "--optimizer=newton"], ["--optimizer=newton is for --model=linear, and --model is mlp"]),
    (["--features="], ["--features is empty: give a path"]),
    (["--features=f.npy", "--features_dtype=float64"], ["float64", "float32|float16"]),
    (["--features=f.npy", "--init=batchbald"], ["--init=batchbald finds its images by content"]),
    (["--scale=none"], ["--scale applies only to a path"]),
    (["--model=transformer", "--vmap_over=dropout_rate=0.1", "--driver=scan"], ["cannot set", "one study per rate"]),
  ],
)
def test_mistakes_are_one_sentence(words, expected, resolve):
  (message,) = resolve(words)
  assert isinstance(message, str), f"{words} was accepted"
  assert "\n" not in message.strip() and "Traceback" not in message
  for part in expected:
    assert part in message


def test_every_flag_is_in_the_config_and_in_help(printed):
  names = [name for group in flag_groups.GROUPS.values() for name in group]
  elsewhere = {*flags.HYPER, "list_acquisitions"}  # part of the spelling in --acq, or never part of a run
  read = {"init_ids"}  # read from the file of --init_file
  assert sorted(set(names) - elsewhere | read) == sorted(field.name for field in dataclasses.fields(Config))
  assert elsewhere <= set(names)
  code, out, _ = printed("--help")
  assert code == 0 and "Runs pool-based active learning" in out and "absl" not in out
  for heading, group in flag_groups.GROUPS.items():
    assert f"{heading}:" in out
    for name in group:
      assert f"--{name}" in out


@pytest.mark.parametrize(
  ("words", "expected"),
  [
    (["--acq=typiclust@20:margin"], "acquires with 20 to 110: give a number from 21 to 110"),
    (["--acq=typiclust@111:margin"], "switches at 111 labels, but the run acquires with 20 to 110"),
    (["--acq=typiclust@30:margin", "--init_labels=40"], "acquires with 40 to 130: give a number from 41 to 130"),
    (["--acq=typiclust@30:margin", "--rounds=1"], "acquires with 20 to 20: give more --rounds"),
    (["--acq=typiclust@30:margin", "--rounds=0"], "--rounds=0 acquires nothing"),
  ],
)
def test_a_switch_outside_the_run_is_refused(words, expected, resolve):
  (message,) = resolve(words)
  assert expected in message


def test_a_switch_within_the_run(resolve):
  first, last, typed = resolve(
    ["--acq=typiclust@21:margin"], ["--acq=typiclust@110:margin"], ["--acq=margin@50:typiclust", "--neighbors=5"]
  )
  assert first["acq"] == ["typiclust@21:margin"] and last["acq"] == ["typiclust@110:margin"]
  assert typed["acq"] == ["margin@50:typiclust(neighbors=5)"]


def test_hyper_parameters_become_part_of_the_spelling(resolve):
  (config,) = resolve(["--acq=power_bald,bald,softmax_entropy(coldness=2)", "--coldness=8", "--mc_samples=5"])
  assert config["acq"] == ["power_bald(coldness=8)", "bald", "softmax_entropy(coldness=2)"]
  assert config["mc_samples"] == 5 and config["posterior"] is None


def test_a_linear_head_is_fitted_by_newton_unless_an_optimizer_is_named(resolve):
  plain, blog, sgd, chunk, full, features = resolve(
    ["--model=linear"],
    ["--model=linear", "--preset=blog", "--l2=0.5"],  # the preset sets an optimizer, and so that is used
    ["--model=linear", "--optimizer=sgd", "--epochs=3", "--learning_rate=0.1"],
    ["--model=linear", "--chunk_size=7"],
    ["--model=linear", "--full_data"],
    ["--model=linear", "--features=~/f.npy", "--scale=none", "--features_dtype=float16"],
  )
  assert (plain["optimizer"], plain["l2"], plain["train_steps"], plain["epochs"]) == ("newton", 1.0, None, None)
  assert plain["chunk_size"] == flags.LINEAR_CHUNK == full["chunk_size"] and chunk["chunk_size"] == 7
  assert not plain["warm_start"] and plain["early_stop"] is None and full["optimizer"] == "newton"
  assert "--l2 is the penalty of newton, and the optimizer is adadelta" in blog
  assert (sgd["optimizer"], sgd["epochs"], sgd["train_steps"], sgd["learning_rate"]) == ("sgd", 3, None, 0.1)
  assert (features["scale"], features["features_dtype"]) == ("none", "float16") and "~" not in features["features"]
  (cnn,) = resolve([])
  assert (cnn["optimizer"], cnn["train_steps"], cnn["chunk_size"]) == ("adam", 200, 50)


def test_given_initial_ids_are_part_of_the_config_and_set_the_number_of_initial_labels(tmp_path, resolve):
  (tmp_path / "ids.json").write_text("[5, 3, 8]")
  given = ["--init=file", f"--init_file={tmp_path / 'ids.json'}"]
  plain, typed, preset = resolve(given, [*given, "--init_labels=20"], [*given, "--preset=blog"])
  assert plain["init_ids"] == preset["init_ids"] == [5, 3, 8] and plain["init_labels"] == preset["init_labels"] == 3
  assert typed["init_labels"] == 20  # `check_initial` refuses it later, for it differs from the number of ids


def test_list_acquisitions_prints_and_ends(printed):
  code, out, complaint = printed("--list_acquisitions")
  assert code == 0 and complaint == ""
  assert "\nbald\n" in out and "power_(coldness=1)" in out and "Houlsby" in out


def test_a_wrong_flag_ends_the_program_with_one_sentence(printed):
  sentence, out, _ = printed("--rounds=-1")
  assert out == "" and sentence.startswith("error: ") and "\n" not in sentence
