"""Spellings of strategies, and the posterior each of them looks at."""

import dataclasses

import pytest

from al_jax import acquisition
from experiments.common.errors import UsageError
from experiments.config import flags
from experiments.config import strategies
from experiments.config.resolve import Config
from experiments.config.resolve import resolve
from experiments.runs import build


def config(**changes) -> Config:
  """The default flags, resolved."""
  flags.FLAGS.unparse_flags()
  flags.FLAGS(["main"])
  return dataclasses.replace(resolve(), **changes)


@pytest.mark.parametrize(
  ("text", "parts"),
  [
    ("random,entropy", ["random", "entropy"]),
    ("power_bald(coldness=8, chunk_size=9), random", ["power_bald(coldness=8, chunk_size=9)", "random"]),
    ("bald", ["bald"]),
  ],
)
def test_a_comma_list_keeps_brackets_whole(text, parts):
  assert strategies.split(text) == parts


@pytest.mark.parametrize(
  ("text", "spelling", "posterior"),
  [
    ("entropy", "entropy", None),
    ("entropy(posterior=dropout)", "entropy(posterior=dropout)", "dropout"),
    ("power_bald( posterior=ensemble , coldness=8)", "power_bald(coldness=8, posterior=ensemble)", "ensemble"),
    ("power_bald(coldness=8.0,posterior=ensemble)", "power_bald(coldness=8, posterior=ensemble)", "ensemble"),
    ("power_bald(coldness=1)", "power_bald", None),
  ],
)
def test_one_spelling(text, spelling, posterior):
  strategy = strategies.parse(text)
  assert (strategy.spelling, strategy.posterior) == (spelling, posterior)
  assert strategies.parse(spelling).spelling == spelling


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("entropy(posterior=dropot)", "unknown posterior 'dropot'; choose from deterministic, dropout, ensemble"),
    ("entrpy", "unknown acquisition 'entrpy'"),
    ("power_kcenter", "gives no image a score"),
    ("entropy(coldness=8)", "entropy has no hyper-parameter 'coldness'"),
    ("power_bald(coldness=-1)", "coldness must be positive, not -1"),
  ],
)
def test_mistakes(text, message):
  with pytest.raises(UsageError, match=message):
    strategies.parse(text)


def test_flags_tell_all_that_take_them_and_brackets_win():
  told = lambda text: strategies.told(strategies.parse(text), {"coldness": 8.0, "neighbors": 5}).spelling
  assert told("power_bald") == "power_bald(coldness=8)"
  assert told("power_bald(coldness=2)") == "power_bald(coldness=2)"
  assert told("entropy") == "entropy"


def test_every_hyper_parameter_is_a_flag():
  for name in [*acquisition.REGISTRY, *(f"{wrapper}_bald" for wrapper in acquisition.WRAPPERS)]:
    for key, default in acquisition.hyper_parameters(name).items():
      assert key == "chunk_size" or key in flags.FLAGS, (name, key)
      assert isinstance(default, int | float), (name, key)


def test_the_listing_names_everything():
  listing = strategies.listing()
  for name in [*acquisition.REGISTRY, *acquisition.WRAPPERS]:
    described = acquisition.describe(name)
    assert f"\n{described.name}" in f"\n{listing}"
    assert described.formula in listing and described.source in listing


@pytest.mark.parametrize(
  ("spelling", "changes", "kind", "samples"),
  [
    ("entropy", {}, "deterministic", 1),
    ("bald", {}, "dropout", 20),
    ("bald", {"mc_samples": 7}, "dropout", 7),
    ("entropy", {"posterior": "dropout"}, "dropout", 20),
    ("entropy(posterior=ensemble)", {"posterior": "dropout"}, "ensemble", 5),
    ("bald", {"posterior": "ensemble", "ensemble_size": 3}, "ensemble", 3),
    ("random", {"posterior": "dropout"}, "deterministic", 1),
    ("random", {"eval_posterior": "ensemble"}, "ensemble", 5),
    ("kcenter", {"posterior": "dropout"}, "deterministic", 1),
  ],
)
def test_the_posterior_is_the_strategys(spelling, changes, kind, samples):
  (learner,) = build.learners(config(acq=(spelling,), **changes), 10).values()
  assert (learner.posterior.kind, learner.posterior.samples) == (kind, samples)


def test_strategies_share_a_network_but_not_a_posterior():
  made = build.learners(config(acq=("entropy", "bald", "entropy(posterior=dropout)")), 10)
  assert len({id(learner.model) for learner in made.values()}) == 1
  assert [learner.posterior.kind for learner in made.values()] == ["deterministic", "dropout", "dropout"]
