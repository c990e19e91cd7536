"""DropQuery compared with its reference, the batch by clusters, and the head in the view."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import al_jax
from al_jax import acquisition
from al_jax import from_flax
from al_jax import loop
from al_jax import network
from al_jax import pool
from al_jax import rounds
from al_jax import types
from al_jax import views
from al_jax.acquisition import _clustered as clustered
from al_jax.acquisition import _dropquery as dropquery
from tests.support import reference_head_votes as reference
from tests.support.learners import changed
from tests.support.views import ties_by_id

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

SIZE, FEATURES, CLASSES, NUM = 61, 8, 4, 6


def head_of(seed: int) -> types.Head:
  rng = np.random.default_rng(seed)
  return types.Head(
    jnp.array(rng.normal(size=(FEATURES, CLASSES)), jnp.float32), jnp.array(rng.normal(size=CLASSES), jnp.float32)
  )


def ordinary(seed: int) -> types.PoolView:
  """Random rows: five are labeled, and three, neither labeled nor candidates, hold NaN."""
  rng = np.random.default_rng(seed)
  special = rng.permutation(SIZE)
  labeled, out = np.isin(np.arange(SIZE), special[:5]), np.isin(np.arange(SIZE), special[5:8])
  features = np.where(out[:, None], np.nan, rng.normal(size=(SIZE, FEATURES)) + 0.3)
  view = types.PoolView(jnp.array(labeled), jnp.array(~labeled & ~out), features=jnp.array(features, jnp.float32))
  return ties_by_id(view._replace(head=head_of(seed)))


def marked_by_reference(view: types.PoolView, key: jax.Array, wanted: int) -> set[int]:
  """The rows that `dropquery()` marks with this key, by the reference on the same masks."""
  kept = dropquery.keep_masks(
    jax.random.split(key)[0], jnp.arange(SIZE), votes=3, drop_rate=0.75, num_features=FEATURES
  )
  features = np.where(np.asarray(view.candidates)[:, None], view.features, 0)
  differing = reference.differing_votes(features, kept, view.head, 0.75)
  return reference.marked_by_votes(differing, view.candidates, 3, wanted)


@functools.cache
def selector(num: int, **hyper):
  """In several chunks, the last of which is not full."""
  return jax.jit(functools.partial(acquisition.dropquery(**hyper, chunk_size=16).select, num=num))


def chosen(view: types.PoolView, num: int = NUM, seed: int = 0, **hyper) -> list[int]:
  return selector(num, **hyper)(jax.random.key(seed), view).tolist()


@pytest.mark.parametrize(("votes", "drop_rate"), [(3, 0.75), (5, 0.4)])
def test_votes_equal_the_reference(votes, drop_rate):
  rng = np.random.default_rng(votes)
  features = rng.normal(size=(200, FEATURES)).astype(np.float32)
  kept = rng.random((200, votes, FEATURES)) > drop_rate
  differing = dropquery.differing_votes(jnp.array(features), jnp.array(kept), head_of(1), drop_rate=drop_rate)
  assert differing.tolist() == reference.differing_votes(features, kept, head_of(1), drop_rate)
  assert set(differing.tolist()) == set(range(votes + 1))


def test_kept_features_differ_by_row_and_vote_and_depend_on_nothing_else():
  masks = functools.partial(dropquery.keep_masks, jax.random.key(0), votes=4, num_features=100)
  kept = np.asarray(masks(jnp.arange(500), drop_rate=0.75), np.float64)
  error = math.sqrt(0.75 * 0.25)
  assert abs(kept.mean() - 0.25) < 4 * error / math.sqrt(kept.size)
  assert (np.abs(kept.mean(axis=(0, 2)) - 0.25) < 4 * error / math.sqrt(500 * 100)).all()
  flat = (kept - 0.25).transpose(1, 0, 2).reshape(4, -1)
  correlations = np.corrcoef(flat)[np.triu_indices(4, 1)]
  assert (np.abs(correlations) < 4 / math.sqrt(flat.shape[1])).all()
  assert len({row.tobytes() for row in kept.reshape(-1, 100)}) == 2000
  np.testing.assert_array_equal(masks(jnp.array([7, 3, 499]), drop_rate=0.75), kept[[7, 3, 499]])
  less = masks(jnp.arange(500), drop_rate=0.1)
  assert abs(float(less.mean()) - 0.9) < 1e-3 + 4 * 0.3 / math.sqrt(kept.size)


@pytest.mark.parametrize("votes", [1, 2, 3, 4, 5])
def test_enough_votes_are_those_of_the_reference(votes):
  rng = np.random.default_rng(votes)
  candidates = rng.random(40) < 0.8
  for wanted in (0, 3, 12, 30, 1000):
    for _ in range(4):
      differing = rng.integers(0, votes + 1, 40) * (rng.random(40) < rng.random())
      marked = dropquery.mark(jnp.array(differing), jnp.array(candidates), votes=votes, wanted=wanted)
      assert set(np.flatnonzero(marked).tolist()) == reference.marked_by_votes(differing, candidates, votes, wanted)


@pytest.mark.slow
def test_the_batch_is_of_marked_images_or_all_of_them_and_random_others():
  sizes = set()
  for seed in range(5):
    view, key = ordinary(seed), jax.random.key(seed)
    ids = chosen(view, seed=seed)
    assert len(set(ids)) == NUM and set(ids) <= marked_by_reference(view, key, 25 * NUM)
    marked = marked_by_reference(view, key, 0)  # more than half of the votes
    many = chosen(view, 50, seed, candidates_per_image=0)
    sizes.add(len(marked))
    assert set(many[: len(marked)]) == marked
    rest = np.asarray(view.candidates) & ~np.isin(np.arange(SIZE), list(marked))
    assert many[len(marked) :] == np.flatnonzero(rest)[: 50 - len(marked)].tolist()  # by `tie_break`
  assert len(sizes) > 2 and max(sizes) < 50


def blobs(seed: int) -> tuple[types.PoolView, np.ndarray, list[list[int]]]:
  """A view of unmarked rows and marked ones near five directions; the mask, and the marked rows of each direction."""
  rng = np.random.default_rng(seed)
  group = rng.permutation(np.repeat(np.arange(6), [4, 5, 7, 9, 11, 14]))  # 5: not marked
  directions = np.concatenate([np.eye(5, FEATURES), rng.normal(size=(1, FEATURES))])[group]
  features = (directions + 0.03 * rng.normal(size=(50, FEATURES))) * rng.uniform(0.5, 20, (50, 1))
  marked = group < 5
  everything = jnp.ones(50, bool)
  view = ties_by_id(types.PoolView(~everything, everything, features=jnp.array(features, jnp.float32)))
  return view, marked, [np.flatnonzero(group == k).tolist() for k in range(5)]


@pytest.fixture(scope="module")
def clustered_batch():
  return jax.jit(clustered.clustered_batch, static_argnames=("num", "chunk_size"))


def test_the_batch_is_the_nearest_to_the_mean_of_every_cluster_largest_first(clustered_batch):
  for seed in range(6):
    view, marked, groups = blobs(seed)
    expected = reference.representatives(np.asarray(view.features), groups)
    for chunk_size in (7, 1024):
      ids = clustered_batch(jax.random.key(seed), view, jnp.array(marked), num=5, chunk_size=chunk_size)
      assert ids.tolist() == expected
    order = np.random.default_rng(seed).permutation(50)
    moved = view._replace(features=view.features[order], tie_break=view.tie_break[order])
    ids = clustered_batch(jax.random.key(seed), moved, jnp.array(marked[order]), num=5, chunk_size=1024)
    assert order[np.asarray(ids)].tolist() == expected


def test_equal_images_fill_the_batch(clustered_batch, debug_nans):
  view, marked, groups = blobs(0)
  few = view._replace(features=view.features[jnp.array(groups[0])[jnp.arange(50) % 2]])
  ids = clustered_batch(jax.random.key(0), few, jnp.array(marked), num=5, chunk_size=1024).tolist()
  assert len(set(ids)) == 5 and marked[ids].all() and len({i % 2 for i in ids[:2]}) == 2
  nothing = jnp.zeros(50, bool)
  assert clustered_batch(jax.random.key(0), view, nothing, num=5, chunk_size=1024).tolist() == [0, 1, 2, 3, 4]


def test_centers_of_large_pools_are_those_of_a_sample(monkeypatch):
  monkeypatch.setattr(clustered, "sample_size", lambda num: 30)
  view, marked, groups = blobs(1)
  whole = reference.representatives(np.asarray(view.features), groups)
  select = jax.jit(functools.partial(clustered.clustered_batch, num=5, chunk_size=16))
  batches = [select(jax.random.key(seed), view, jnp.array(marked)).tolist() for seed in range(8)]
  group = {i: k for k, ids in enumerate(groups) for i in ids}
  assert all(sorted(group[i] for i in ids) == [0, 1, 2, 3, 4] for ids in batches)
  assert len({tuple(ids) for ids in batches}) > 1 and len({i for ids in batches for i in ids} & set(whole)) >= 4


def test_what_has_no_votes_is_random():
  view = ordinary(0)
  view = view._replace(tie_break=jax.random.uniform(jax.random.key(3), (SIZE,)))
  at_random = pool.masked_top_k(jnp.zeros(SIZE), view.candidates, num=NUM, tie_break=view.tie_break).tolist()
  kernel, bias = view.head
  assert chosen(view) != at_random
  heads = {
    "NaN": types.Head(kernel.at[2, 1].set(jnp.nan), bias),
    "infinite": types.Head(kernel.at[2, 1].set(-jnp.inf), bias),
    "bias": types.Head(kernel, bias.at[0].set(jnp.nan)),
    "equal": types.Head(jnp.zeros(kernel.shape), jnp.zeros(CLASSES)),
    "one class": types.Head(kernel, bias.at[0].set(1e6)),
  }
  assert {name: chosen(view._replace(head=head)) for name, head in heads.items()} == dict.fromkeys(heads, at_random)


@pytest.mark.parametrize(
  ("hyper", "message"),
  [
    ({"votes": 0}, "votes must be at least 1, not 0"),
    ({"votes": 2.5}, "votes must be a whole number"),
    ({"drop_rate": 1.0}, r"drop_rate must be above 0 and below 1, not 1\.0"),
    ({"drop_rate": math.nan}, "drop_rate must be above 0 and below 1, not nan"),
    ({"candidates_per_image": -1}, "candidates_per_image must be at least 0, not -1"),
  ],
)
def test_impossible_hyper_parameters(hyper, message):
  with pytest.raises(ValueError, match=message):
    acquisition.dropquery(**hyper)


def test_a_view_without_a_head_is_refused():
  with pytest.raises(ValueError, match=r"reads head, but the view has none: set PoolView\.head"):
    acquisition.dropquery().select(jax.random.key(0), ordinary(0)._replace(head=None), num=2)


@pytest.mark.parametrize(
  "changes", [{"pool_subset": 40}, {"members": 2, "score_dtype": "bfloat16"}], ids=["part", "ensemble"]
)
def test_the_view_has_the_head_of_the_fitted_network(changes, data, make_learner):
  learner = changed(make_learner("alfamix"), **changes)
  state = loop.init_state(jax.random.key(3), data, learner)
  view_by = jax.jit(views.pool_view, static_argnames="learner")
  view, ids = view_by(state, data, learner)
  dense = state.variables["params"]["Dense_1"]
  kernel, bias = (dense[name][0] if "members" in changes else dense[name] for name in ("kernel", "bias"))
  np.testing.assert_array_equal(view.head.kernel, kernel)
  np.testing.assert_array_equal(view.head.bias, bias)
  assert view.head.kernel.dtype == view.head.bias.dtype == jnp.float32
  held = np.asarray(state.labeled)[np.asarray(ids)] & ~np.asarray(view.candidates)
  assert held.sum() == 10 and (np.asarray(view.labeled) == held).all()
  np.testing.assert_array_equal(view.labels, np.where(held, data.labels[np.asarray(ids)], types.UNKNOWN))
  predicted, _ = view_by(state, data, changed(learner, acquisition=acquisition.badge()))
  by_head = jax.nn.log_softmax(view.features @ view.head.kernel + view.head.bias[None])
  tolerance = 0.05 if "score_dtype" in changes else 1e-5
  np.testing.assert_allclose(by_head, predicted.log_probs[:, 0], atol=tolerance)


def test_a_network_without_a_head_is_refused_before_anything_runs(data, make_learner, model):
  learner = changed(make_learner("dropquery"), network=from_flax(model))
  message = "this acquisition needs a head, and TinyMLP has none: name the layer of the logits"
  for start in (loop.run, al_jax.start, lambda *args: al_jax.sweep(args[0][None], args[1], (args[2],), pack="map")):
    with pytest.raises(ValueError, match=message):
      start(jax.random.key(0), data, learner)
  wrong = changed(learner, network=from_flax(model, head="Dense_0"))
  with pytest.raises(ValueError, match="the head of TinyMLP fails"):
    loop.run(jax.random.key(0), data, wrong)
  with pytest.raises(ValueError, match="TinyMLP has no head: name the layer of the logits"):
    network.dense_head(from_flax(model), {}, num_features=3)


def test_a_score_of_ones_own_may_read_the_head(data, make_learner):
  def score(view: types.PoolView) -> jax.Array:
    return jnp.max(view.features @ view.head.kernel + view.head.bias[None], axis=1)

  def select(key: jax.Array, view: types.PoolView, *, num: int) -> jax.Array:
    del key
    return pool.masked_top_k(score(view), view.candidates, num=num)

  own = types.Acquisition(select, score, types.Needs(features=True, head=True))
  learner = changed(make_learner("dropquery"), acquisition=own)
  state = loop.init_state(jax.random.key(0), data, learner)
  ids, scores = rounds.JITTED_PHASES.acquire(state, data, learner=learner)
  assert (np.diff(scores) <= 0).all() and len(set(ids.tolist())) == 7
  view, _ = views.pool_view(state, data, learner)
  np.testing.assert_allclose(scores, score(view)[ids], rtol=1e-5)
