"""The contract that every registered acquisition meets, and tests of single acquisitions.

A new entry is covered as soon as it is registered; `view_of` makes every field that an entry may need.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import acquisition
from al_jax import pool
from al_jax import types
from tests.support import reference
from tests.support import wrapped
from tests.support.views import ties_by_id
from tests.support.wrapped import NAMES
from tests.support.wrapped import hyper_parameters

pytestmark = pytest.mark.usefixtures("fast_compilation")

CLASSES, SAMPLES, FEATURES = 4, 3, 5
NUM = 8  # batch size; an ordinary view has 17 candidates

# Sampling begins at the third pick: with more configurations, compilation takes several times as long.
SMALL = {"batchbald": {"max_configs": 20}}


def make(name: str, **hyper) -> types.Acquisition:
  """The acquisition, with sizes that suit the views of this file; equal arguments give the same object."""
  return wrapped.make(name, **SMALL.get(name, {}) | hyper)


SCORED = [name for name in NAMES if make(name).score is not None]
SIZED = [name for name in NAMES if "chunk_size" in hyper_parameters(name)]


@functools.cache
def compiled_select(name: str, **hyper):
  """The jitted `(key, view, num=...) -> ids` of an acquisition."""
  return jax.jit(make(name, **hyper).select, static_argnames="num")


@functools.cache
def compiled_score(name: str):
  return jax.jit(make(name).score)


def select(name: str, view: types.PoolView, *, seed: int = 1, num: int = NUM, **hyper) -> jax.Array:
  """Ids that an acquisition selects, by a compiled program."""
  return compiled_select(name, **hyper)(jax.random.key(seed), view, num=num)


def log_probs_of(kind: str, size: int, seed: int = 0) -> jax.Array:
  """`[size, SAMPLES, CLASSES]` log-probabilities of one of `KINDS`."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(size, SAMPLES, CLASSES)) * 2
  if kind == "tied":
    logits = np.broadcast_to(logits[:1], logits.shape)
  elif kind == "duplicated":  # every image three times
    logits = logits[np.arange(size) // 3]
  elif kind == "extreme":
    logits = np.sign(logits) * 1e4
  elif kind == "certain":  # probabilities of exactly 0 and 1
    logits = np.where(np.eye(CLASSES, dtype=bool)[rng.integers(0, CLASSES, logits.shape[:2])], 0.0, -np.inf)
  return jax.nn.log_softmax(jnp.array(logits, jnp.float32))


def features_of(kind: str, size: int, seed: int = 0) -> jax.Array:
  """`[size, FEATURES]` features of one of `KINDS`."""
  features = np.random.default_rng(seed + 100).normal(size=(size, FEATURES))
  if kind == "tied":
    features = np.broadcast_to(features[:1], features.shape)
  elif kind == "duplicated":
    features = features[np.arange(size) // 3]
  elif kind == "extreme":
    features = features * 1e4
  elif kind == "certain":  # a network whose last activations are all 0
    features = np.zeros_like(features)
  return jnp.array(features, jnp.float32)


KINDS = ["ordinary", "tied", "duplicated", "extreme", "certain"]


def head_of(seed: int = 0) -> types.Head:
  rng = np.random.default_rng(seed + 200)
  return types.Head(*(jnp.array(rng.normal(size=shape), jnp.float32) for shape in ((FEATURES, CLASSES), CLASSES)))


def view_of(acquired: types.Acquisition, kind: str = "ordinary", size: int = 23, seed: int = 0) -> types.PoolView:
  """A view with only the fields that the acquisition needs; some images are labeled, others not available."""
  fields = {
    "log_probs": log_probs_of(kind, size, seed),
    "features": features_of(kind, size, seed),
    "embedding": features_of(kind, size, seed + 1),
  }
  place = (jnp.arange(size) + seed) % 5
  needed = {name: fields[name] for name in acquired.needs.fields}
  if acquired.needs.targets:
    needed["target_log_probs"] = log_probs_of(kind, acquired.needs.targets, seed + 2)
  if acquired.needs.head:
    needed["head"] = head_of(seed)
  if acquired.needs.labels:
    needed["labels"] = jnp.where(place == 0, jnp.arange(size) % CLASSES, types.UNKNOWN)
  return ties_by_id(types.PoolView(labeled=place == 0, candidates=(place > 0) & (jnp.arange(size) != 6), **needed))


def assert_valid(ids: jax.Array, view: types.PoolView, num: int) -> None:
  """Exactly `num` distinct int32 ids of candidates."""
  assert ids.dtype == jnp.int32 and ids.shape == (num,)
  assert len(set(ids.tolist())) == num
  assert np.asarray(view.candidates)[np.asarray(ids)].all()


@pytest.mark.parametrize("name", NAMES)
def test_signature(name):
  made = make(name)
  assert isinstance(made, types.Acquisition)
  key, view, num = inspect.signature(made.select).parameters.values()
  assert (key.name, view.name, num.name) == ("key", "view", "num")
  assert num.kind is num.KEYWORD_ONLY and num.default is num.empty
  if made.score is not None:
    assert list(inspect.signature(made.score).parameters) == ["view"]
  assert hash(made) == hash(made)  # a learner is a static argument
  assert isinstance(made.needs, types.Needs) and all(type(value) in (bool, int) for value in made.needs)


@pytest.mark.parametrize("name", [*acquisition.REGISTRY, *acquisition.WRAPPERS])
def test_the_factory_is_public_and_takes_numbers_by_name(name):
  entry = acquisition.WRAPPERS.get(name) or acquisition.REGISTRY[name]
  assert getattr(acquisition, name) is entry.factory
  for parameter in inspect.signature(entry.factory).parameters.values():
    if parameter.name != "base":
      assert parameter.default is not parameter.empty, f"{name}: {parameter.name} has no default"
      assert parameter.kind is parameter.KEYWORD_ONLY, name
  assert entry.cost


def test_needs_are_fields_of_the_view():
  assert set(types.Needs(samples=1, features=True, embedding=True).fields) <= set(types.PoolView._fields)


def test_view_carries_labels_where_asked_for_alone():
  assert [field for field in types.PoolView._fields if "label" in field] == ["labeled", "labels", "val_labels"]
  assert [name for name in acquisition.REGISTRY if acquisition.make(name).needs.labels] == ["alfamix"]
  assert not {"test_inputs", "data", "inputs"} & set(types.PoolView._fields)


def test_unknown_name_lists_the_choices():
  with pytest.raises(ValueError, match=r"'entrpy'.*random.*entropy"):
    acquisition.make("entrpy")
  with pytest.raises(ValueError, match="only an acquisition that scores each image"):
    acquisition.power(acquisition.random())
  with pytest.raises(ValueError, match="entropy has no hyper-parameter 'coldness'"):
    acquisition.make("entropy", coldness=2)
  with pytest.raises(ValueError, match="coldness must be positive, not 0"):
    acquisition.power(acquisition.bald(), coldness=0)
  with pytest.raises(ValueError, match=r"neighbors must be a whole number, not 2\.5"):
    acquisition.typiclust(neighbors=2.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_distinct_candidates_whatever_the_pool(name, kind):
  view = view_of(make(name), kind)
  assert_valid(select(name, view), view, NUM)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
  "name",
  [
    name if name in ("margin", "badge", "kcenter", "typiclust") else pytest.param(name, marks=pytest.mark.slow)
    for name in NAMES
  ],
)
def test_all_candidates_are_acquired_whatever_the_pool(name, kind):
  view = view_of(make(name), kind)
  num = int(view.candidates.sum())
  assert_valid(select(name, view, num=num), view, num)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "num"), [(2, 1), (64, 3)])
@pytest.mark.parametrize("name", NAMES)
def test_every_pool_size(name, size, num):
  view = view_of(make(name), size=size)
  assert_valid(select(name, view, num=num), view, num)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCORED)
def test_selects_the_highest_scores_best_first(name, kind, debug_nans):
  view = view_of(make(name), kind)
  scores = compiled_score(name)(view)
  assert scores.shape == view.labeled.shape and scores.dtype == jnp.float32
  assert np.isfinite(scores).all()
  ids = select(name, view).tolist()
  assert ids == reference.masked_top_k(np.asarray(scores), np.asarray(view.candidates), NUM)
  assert (np.diff(np.asarray(scores)[ids]) <= 0).all()


@pytest.mark.parametrize("name", SCORED)
def test_a_score_is_of_its_row_alone(name):
  view = view_of(make(name))
  rows = jnp.array([5, 0, 17])
  part = {field: x[rows] for field, x in view._asdict().items() if x is not None and field != "target_log_probs"}
  alone = make(name).score(view._replace(**part))
  np.testing.assert_allclose(alone, compiled_score(name)(view)[rows], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SCORED])
def test_no_nan_on_the_way(name, kind, debug_nans):
  view = view_of(make(name), kind)
  assert_valid(select(name, view), view, NUM)


@pytest.mark.parametrize("name", SCORED)
def test_ties_go_to_the_highest_draw(name):
  view = view_of(make(name), "tied")
  view = view._replace(tie_break=jax.random.uniform(jax.random.key(5), view.candidates.shape))
  by_draw = np.argsort(-np.asarray(view.tie_break))
  assert select(name, view).tolist() == by_draw[np.asarray(view.candidates)[by_draw]][:NUM].tolist()


# One for each kind of selection: top scores, draws by score, a joint batch.
ONE_PER_KIND = ("margin", "power_bald", "badge")


@pytest.mark.parametrize(
  "name",
  [
    name if name in ONE_PER_KIND else pytest.param(name, marks=pytest.mark.slow)
    for name in NAMES
    if make(name).needs.fields
  ],
)
def test_without_draws_ties_are_broken_by_the_key(name):
  view = view_of(make(name), "tied")._replace(tie_break=None)
  first = [select(name, view, seed=seed).tolist()[0] for seed in range(8)]
  assert len(set(first)) > 2, "8 keys pick at most two of 17 ties with probability 5e-6"


def test_few_samples_of_a_pool_sorted_by_class_acquire_more_than_its_first_classes():
  # Two samples either agree or not, so large parts of the pool are tied.
  votes = jnp.array(np.random.default_rng(0).integers(0, 10, (1000, 2)))
  log_probs = jnp.log(jnp.where(jax.nn.one_hot(votes, 10) > 0, 0.91, 0.01))
  everything = jnp.ones(1000, bool)
  view = types.PoolView(~everything, everything, log_probs=log_probs)
  for name in ("variation_ratio", "vote_entropy"):
    ids = np.asarray(acquisition.make(name).select(jax.random.key(0), view, num=100))
    assert len(set((ids // 100).tolist())) == 10


def broken_rows(view: types.PoolView, needs: types.Needs, how: float) -> tuple[types.PoolView, np.ndarray]:
  """The view with three rows set to `how`, two candidates and a labeled one, and the `[N]` mask of these rows."""
  size = view.candidates.shape[0]
  rows = [int(i) for i in (*np.flatnonzero(view.candidates)[[2, 9]], np.flatnonzero(view.labeled)[1])]
  spoiled = {}
  for field in needs.fields:
    if field != "log_probs" or not np.isfinite(how):  # log-probabilities stop being finite long before 1e20
      spoiled[field] = getattr(view, field).at[jnp.array(rows), ..., 0].set(how)
  return view._replace(**spoiled), np.isin(np.arange(size), rows)


@pytest.mark.parametrize(
  ("name", "how"),
  [(name, how) for name in NAMES if make(name).needs.fields for how in (np.nan, np.inf)]
  + [(name, 1e20) for name in NAMES if {"features", "embedding"} & set(make(name).needs.fields)],
)
def test_a_row_that_is_not_finite_comes_last_and_touches_no_other(name, how):
  made = make(name)
  view = view_of(made)
  spoiled, broken = broken_rows(view, made.needs, how)
  without = view._replace(labeled=view.labeled & ~broken, candidates=view.candidates & ~broken)
  assert select(name, spoiled).tolist() == select(name, without).tolist()
  have = int(view.candidates.sum())
  everything = select(name, spoiled, num=have)
  assert_valid(everything, view, have)
  assert set(everything.tolist()[-2:]) == set(np.flatnonzero(broken & np.asarray(view.candidates)))


def test_a_broken_target_does_not_count():
  view = view_of(make("epig"))
  targets = view.target_log_probs
  spoiled = view._replace(target_log_probs=targets.at[3].set(jnp.nan))
  rest = jnp.concatenate([targets[:3], targets[4:]])
  np.testing.assert_allclose(
    make("epig").score(spoiled), make("epig").score(view._replace(target_log_probs=rest)), rtol=1e-5, atol=1e-7
  )


@pytest.mark.parametrize("name", SCORED)
def test_scored_strategies_do_not_depend_on_the_key(name):
  view = view_of(make(name))
  assert select(name, view, seed=1).tolist() == select(name, view, seed=2).tolist()


ONE_PER_KIND_FIRST = [pytest.param(name, {}, marks=() if name in ONE_PER_KIND else pytest.mark.slow) for name in NAMES]
# Their own test files compare them with a reference in several chunks, so here these tests are slow.
REFERENCED = {"batchbald", "bait", "typiclust", "probcover", "kmeans", "kcenter", "cluster_margin"}
REFERENCED |= {"dropquery", "alfamix"}
CHUNKED = [pytest.param(name, {}, marks=pytest.mark.slow if name in REFERENCED else ()) for name in SIZED]
MANY = pytest.param("batchbald", {"max_configs": 10_000}, marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "hyper"), [*ONE_PER_KIND_FIRST, MANY])
def test_same_ids_under_vmap(name, hyper):
  made = make(name, **hyper)
  views = [view_of(made, seed=seed) for seed in (0, 1)]
  alone = [select(name, view, seed=seed, **hyper).tolist() for seed, view in enumerate(views)]
  assert alone[0] != alone[1]
  keys = jnp.stack([jax.random.key(seed) for seed in (0, 1)])
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *views)
  together = jax.jit(jax.vmap(functools.partial(made.select, num=NUM)))(keys, stacked)
  assert together.tolist() == alone


@pytest.mark.parametrize(("name", "hyper"), [*CHUNKED, MANY])
def test_same_ids_whatever_the_chunk_size(name, hyper):
  view = view_of(make(name))
  in_one = select(name, view, **hyper).tolist()
  assert select(name, view, chunk_size=7, **hyper).tolist() == in_one  # the last chunk is not full


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZED)
def test_same_ids_image_by_image(name):
  view = view_of(make(name))
  assert select(name, view, chunk_size=1).tolist() == select(name, view).tolist()


@pytest.mark.parametrize("name", SIZED)
def test_chunk_size_is_at_least_one(name):
  with pytest.raises(ValueError, match="chunk_size must be at least 1, not 0"):
    make(name, chunk_size=0)


@pytest.mark.parametrize("name", NAMES)
def test_later_rounds_compile_nothing(name):
  program, view = compiled_select(name), view_of(make(name))
  ids = program(jax.random.key(0), view, num=NUM)
  compiled = program._cache_size()
  labeled = pool.reveal(view.labeled, ids)
  later = view._replace(labeled=labeled, candidates=view.candidates & ~labeled)
  rest = program(jax.random.key(1), later, num=NUM)
  assert program._cache_size() == compiled
  assert len({*ids.tolist(), *rest.tolist()}) == 2 * NUM


@pytest.mark.parametrize("name", [name for name in NAMES if make(name).needs.fields])
def test_rows_out_of_the_game_may_hold_anything(name):
  made = make(name)
  view = view_of(made)
  compares = {"features", "embedding"} & set(made.needs.fields)  # these compare candidates with labeled images
  in_use = view.candidates | view.labeled if compares else view.candidates
  fields = {}
  for field in made.needs.fields:
    values = getattr(view, field)
    fields[field] = jnp.where(in_use.reshape((-1, *[1] * (values.ndim - 1))), values, jnp.nan)
  spoiled = view._replace(**fields)
  assert select(name, spoiled).tolist() == select(name, view).tolist()


POINTWISE = {
  "least_confidence": reference.least_confidence,
  "margin": reference.margin,
  "entropy": reference.entropy,
  "variation_ratio": reference.variation_ratio,
  "mean_std": reference.mean_std,
  "bald": reference.mutual_information,
  "vote_entropy": reference.vote_entropy,
  "consensus_kl": reference.consensus_kl,
}


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise_scores_equal_the_reference(name):
  view = view_of(make(name))
  expected = [POINTWISE[name](example) for example in view.log_probs]
  np.testing.assert_allclose(compiled_score(name)(view), expected, rtol=1e-5, atol=1e-7)


def test_random_looks_at_no_image_and_differs_by_key():
  made = acquisition.make("random")
  assert made.needs == types.Needs() and made.score is None
  view = view_of(made)
  draws = {tuple(select("random", view, seed=seed, num=6).tolist()) for seed in range(8)}
  assert len(draws) == 8  # two draws are equal with probability 2e-6
  assert tuple(select("random", view, seed=0, num=6).tolist()) in draws


def test_random_is_uniform():
  made = acquisition.make("random")
  view = view_of(made, size=11)
  draw = jax.jit(jax.vmap(lambda key: made.select(key, view, num=3)))
  count, have = 5000, int(view.candidates.sum())
  counts = np.bincount(np.asarray(draw(jax.random.split(jax.random.key(0), count))).ravel(), minlength=11)
  assert (counts[~np.asarray(view.candidates)] == 0).all()
  # Each candidate is in a draw with probability 3 / have. 4 standard errors, because about ten counts are compared.
  standard_error = np.sqrt(count * 3 / have * (1 - 3 / have))
  assert (np.abs(counts[np.asarray(view.candidates)] - count * 3 / have) < 4 * standard_error).all()
