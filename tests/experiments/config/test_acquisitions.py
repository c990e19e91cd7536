"""Spellings of strategies, and the posterior that each of them reads."""

import dataclasses

import pytest

from al_jax import acquisition
from experiments.common import spelling
from experiments.common.errors import UsageError
from experiments.config import acquisitions
from experiments.config import flags
from experiments.config.resolve import Config
from experiments.config.resolve import resolve
from experiments.runs import build
from tests.support.wrapped import NAMES
from tests.support.wrapped import hyper_parameters


def config(**changes) -> Config:
  """The Config of the default flags, with changes."""
  flags.FLAGS.unparse_flags()
  flags.FLAGS(["main"])
  return dataclasses.replace(resolve(), **changes)


@pytest.mark.parametrize(
  ("text", "parts"),
  [
    ("random,entropy", ["random", "entropy"]),
    ("power_bald(coldness=8, chunk_size=9), random", ["power_bald(coldness=8, chunk_size=9)", "random"]),
    ("bald", ["bald"]),
    ("bald(a=1, b=2)@50:power_bald(c=3, d=4),margin", ["bald(a=1, b=2)@50:power_bald(c=3, d=4)", "margin"]),
  ],
)
def test_a_comma_list_keeps_brackets_whole(text, parts):
  assert spelling.split(text) == parts


SWITCH = "power_bald(coldness=8)@100:entropy(posterior=dropout)"


@pytest.mark.parametrize(
  ("text", "canonical", "posterior"),
  [
    ("entropy", "entropy", None),
    ("entropy(posterior=dropout)", "entropy(posterior=dropout)", "dropout"),
    ("power_bald( posterior=ensemble , coldness=8)", "power_bald(coldness=8, posterior=ensemble)", "ensemble"),
    ("power_bald(coldness=8.0,posterior=ensemble)", "power_bald(coldness=8, posterior=ensemble)", "ensemble"),
    ("power_bald(coldness=1)", "power_bald", None),
    (" power_bald ( coldness = 8.0 ) ", "power_bald(coldness=8)", None),
    ("softmax_margin(chunk_size=7,coldness=0.5)", "softmax_margin(coldness=0.5, chunk_size=7)", None),
    ("power_bald()", "power_bald", None),
    ("typiclust@50:margin", "typiclust@50:margin", None),
    (" power_bald(coldness=8.0) @ 0100 : entropy( posterior=dropout )", SWITCH, None),
    ("kcenter@9:softmax_bald(chunk_size=7,coldness=2)", "kcenter@9:softmax_bald(coldness=2, chunk_size=7)", None),
  ],
)
def test_one_spelling(text, canonical, posterior):
  strategy = acquisitions.parse(text)
  assert (acquisitions.canonical(strategy), strategy.posterior) == (canonical, posterior)
  assert acquisitions.canonical(acquisitions.parse(canonical)) == canonical
  assert acquisitions.parse(str(strategy)) == strategy


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("entropy(posterior=dropot)", "unknown posterior 'dropot'; choose from deterministic, dropout, laplace, ensemble"),
    ("entrpy", r"unknown acquisition 'entrpy'; choose from random.*or put power_"),
    ("power_entrpy", "unknown acquisition 'power_entrpy'"),
    ("power_", "unknown acquisition 'power_'"),
    ("power_bald(8)", "8 has no value"),
    ("power_bald(warmth=8)", "no hyper-parameter 'warmth'; it takes coldness"),
    ("power_bald(coldness=cold)", "coldness must be a number"),
    ("power_bald(coldness=True)", "coldness must be a number"),
    ("power_bald(coldness=2, coldness=3)", "names coldness twice"),
    ("power_bald(coldness", "cannot parse"),
    ("", "cannot parse"),
    ("power_kcenter", "kcenter does not score single images"),
    ("entropy(coldness=8)", "entropy has no hyper-parameter 'coldness'"),
    ("power_bald(coldness=-1)", "coldness must be positive, not -1"),
    ("typiclust@50:margn", "unknown acquisition 'margn'"),
    ("typclust@50:margin", "unknown acquisition 'typclust'"),
    ("typiclust@50:margin(coldness=8)", "margin has no hyper-parameter 'coldness'"),
    ("power_kcenter@50:margin", "kcenter does not score single images"),
    ("typiclust@50", "write a switch at 50 labels like typiclust@50:margin"),
    ("typiclust@fifty:margin", "write a switch"),
    ("typiclust@-5:margin", "write a switch"),
    ("@50:margin", "write a switch"),
    ("typiclust@50:", "write a switch"),
    ("typiclust>margin@50", "write a switch"),
    ("typiclust@50:margin@90:bald", "switches twice"),
    ("greedy_oracle@50:margin", "greedy_oracle is no acquisition and cannot be a part of a switch"),
    ("greedy_oracle(trials=0)", "trials must be an integer of at least 1"),
    ("greedy_oracle(candidates=3)", "has no hyper-parameter 'candidates'; it takes trials"),
    ("greedy_oracle(posterior=dropout)", "greedy_oracle reads no posterior samples"),
    ("power_greedy_oracle", "unknown acquisition 'power_greedy_oracle'"),
    ("typiclust@0:margin", "labels must be at least 1, not 0"),
    ("bald(posterior=dropout)@50:bald(posterior=ensemble)", "names the posteriors dropout and ensemble"),
  ],
)
def test_mistakes(text, message):
  with pytest.raises(UsageError, match=message):
    acquisitions.parse(text)


def test_flags_tell_all_that_take_them_and_brackets_win():
  typed = {"coldness": 8.0, "neighbors": 5}
  spelled = lambda text: acquisitions.canonical(acquisitions.with_flags(acquisitions.parse(text), typed))
  assert spelled("power_bald") == "power_bald(coldness=8)"
  assert spelled("power_bald(coldness=2)") == "power_bald(coldness=2)"
  assert spelled("entropy") == "entropy"
  assert spelled("typiclust@50:power_bald") == "typiclust(neighbors=5)@50:power_bald(coldness=8)"


def test_every_hyper_parameter_is_a_flag():
  for name in NAMES:
    for key, default in hyper_parameters(name).items():
      assert key == "chunk_size" or key in flags.FLAGS, (name, key)
      assert isinstance(default, int | float), (name, key)


def test_the_listing_names_everything():
  listing = acquisitions.listing()
  assert len(acquisitions.NAMES) == len(acquisition.REGISTRY) + len(acquisition.WRAPPERS)
  for described in map(acquisitions.describe, acquisitions.NAMES):
    assert f"\n{described.name}" in f"\n{listing}" and described.summary
    assert described.formula in listing and described.source in listing
  assert "FIRST@LABELS:SECOND" in listing


@pytest.mark.parametrize(
  ("label", "name"),
  [
    ("mean_std", "mean_std"),
    ("power_bald(coldness=8)", "power_bald"),
    ("power_bald [learning_rate=0.1]", "power_bald"),
    ("batchbald(max_configs=40000), 5 a round", "batchbald"),
    ("power_bald(coldness=8)@50:margin [learning_rate=0.1]", "power_bald@50:margin"),
  ],
)
def test_a_label_begins_with_its_acquisition(label, name):
  assert spelling.named(label).name == name
  assert spelling.named(label).wrapper == ("power" if name.startswith("power") else None)


def test_wrappers_are_those_of_the_registry():
  assert tuple(acquisition.WRAPPERS) == spelling.WRAPPERS


@pytest.mark.parametrize(
  ("text", "changes", "kind", "samples", "members"),
  [
    ("entropy", {}, "deterministic", 1, 1),
    ("bald", {}, "dropout", 20, 1),
    ("bald", {"mc_samples": 7}, "dropout", 7, 1),
    ("entropy", {"posterior": "dropout"}, "dropout", 20, 1),
    ("entropy(posterior=ensemble)", {"posterior": "dropout"}, "ensemble", 5, 5),
    ("bald", {"posterior": "ensemble", "ensemble_size": 3}, "ensemble", 3, 3),
    ("random", {"posterior": "dropout"}, "deterministic", 1, 1),
    ("random", {"eval_posterior": "ensemble"}, "deterministic", 1, 5),
    ("kcenter", {"posterior": "dropout"}, "deterministic", 1, 1),
    ("typiclust@50:margin", {}, "deterministic", 1, 1),
    ("margin@50:bald", {}, "dropout", 20, 1),
    ("kcenter@50:margin", {"posterior": "ensemble"}, "ensemble", 5, 5),
    ("kcenter@50:entropy(posterior=dropout)", {}, "dropout", 20, 1),
  ],
)
def test_the_posterior_is_the_strategys(text, changes, kind, samples, members):
  (learner,) = build.learners(config(acq=(text,), **changes), 10).values()
  assert (learner.posterior.name, learner.posterior.samples, learner.trainer.members) == (kind, samples, members)


def test_strategies_share_a_network_but_not_a_posterior():
  made = build.learners(config(acq=("entropy", "bald", "entropy(posterior=dropout)")), 10)
  assert len({learner.trainer for learner in made.values()}) == 1
  assert [learner.posterior.name for learner in made.values()] == ["deterministic", "dropout", "dropout"]
