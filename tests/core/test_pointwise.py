"""Acquisitions whose scores are computed chunk by chunk: the scores, the ids and the memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from al_jax import from_flax
from al_jax import inputs
from al_jax import loop
from al_jax import models
from al_jax import posterior
from al_jax import rounds
from al_jax import states
from al_jax import types
from al_jax import views
from al_jax.learner import Learner
from al_jax.learner import Trainer
from tests.conftest import ACQUISITIONS
from tests.core.test_acquisition import SCORED
from tests.core.test_acquisition import compiled_score
from tests.core.test_acquisition import make
from tests.core.test_acquisition import select
from tests.core.test_acquisition import view_of
from tests.support import wrapped
from tests.support.learners import changed

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(2)
POINTWISE = [name for name in wrapped.NAMES if make(name).pointwise is not None]
view_by = jax.jit(views.pool_view, static_argnames="learner")


def slow_but(names: tuple[str, ...]) -> list:
  return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in POINTWISE]


def test_every_scored_acquisition_and_every_wrapper_of_one_is_pointwise():
  assert set(POINTWISE) == {*SCORED, "power_bald", "softmax_bald", "softrank_bald"}
  assert not any(make(name).needs.features or make(name).needs.embedding for name in POINTWISE)


@pytest.mark.parametrize("name", slow_but(("margin", "epig", "power_bald", "softrank_bald")))
def test_the_scores_of_the_view_are_all_that_select_reads(name):
  view = view_of(make(name))
  base = name.partition("_")[2] if name.endswith("_bald") else name
  scores = compiled_score(base)(view)
  alone = view._replace(log_probs=None, target_log_probs=None, scores=scores)
  assert select(name, alone).tolist() == select(name, view).tolist()
  order = jnp.arange(1.0, 1 + scores.shape[0])  # other scores, other ids
  assert select(name, alone._replace(scores=order)).tolist() != select(name, view).tolist()


def learner_of(name: str, make_learner, **changes) -> Learner:
  made = ACQUISITIONS.get(name) or wrapped.make(name)
  return changed(make_learner("bald"), acquisition=made, **changes)


@pytest.mark.parametrize(
  "kind", ["plain", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("subset", "noisy copies"))]
)
@pytest.mark.parametrize("name", slow_but(("margin",)))
def test_scores_in_chunks_are_those_of_the_whole_view(name, kind, data, make_learner):
  """Same samples, targets and noise in every chunk; the last chunk overlaps the one before it."""
  learner = learner_of(name, make_learner, pool_subset=41 if kind == "subset" else None, chunk_size=30)
  pool = data
  if kind == "noisy copies":
    pool = dataclasses.replace(data, labels=np.tile(data.labels, 2), copies=2, noise=0.3, noise_key=jax.random.key(9))
  state = loop.init_state(KEY, pool, learner)
  view, ids = view_by(state, pool, learner)
  whole_learner = learner._replace(acquisition=learner.acquisition._replace(pointwise=None))
  whole, whole_ids = view_by(state, pool, whole_learner)
  assert ids.tolist() == whole_ids.tolist() and len(ids) == {"plain": 97, "subset": 41, "noisy copies": 194}[kind]
  assert view.log_probs is None and view.features is None and view.target_log_probs is None and whole.scores is None
  for field in ("labeled", "candidates", "tie_break"):
    np.testing.assert_array_equal(getattr(view, field), getattr(whole, field))
  expected = learner.acquisition.pointwise(whole)
  assert np.ptp(expected) > 1e-4
  np.testing.assert_allclose(view.scores, expected, rtol=1e-4, atol=1e-6)
  chosen, scores = rounds.JITTED_PHASES.acquire(state, pool, learner=learner)
  assert set(chosen.tolist()) <= set(ids[np.asarray(view.candidates)].tolist())
  if learner.acquisition.score is not None:
    place = {i: row for row, i in enumerate(ids.tolist())}
    np.testing.assert_allclose(scores, [view.scores[place[i]] for i in chosen.tolist()], rtol=1e-5, atol=1e-7)
    lowest = np.sort(np.asarray(view.scores)[np.asarray(view.candidates)])[-7]
    assert (np.asarray(scores) >= lowest - 1e-6).all()


def test_an_acquisition_of_ones_own_may_read_features_and_labels_in_chunks(data, make_learner):
  """Every field of a chunk belongs to its rows."""

  def pointwise(view: types.PoolView) -> jax.Array:
    assert view.candidates.shape == view.features.shape[:1] == (30,)
    return view.features[:, 0] + 10 * view.labels + view.log_probs[:, 0, 3] + view.embedding.sum(axis=1)

  needs = types.Needs(samples=1, features=True, embedding=True, labels=True)
  embedding = np.random.default_rng(0).normal(size=(97, 3)).astype(np.float32)
  pool = dataclasses.replace(data, embedding=embedding)
  own = types.Acquisition(lambda key, view, *, num: jnp.arange(num), needs=needs, pointwise=pointwise)
  learner = changed(make_learner(), acquisition=own, posterior=posterior.deterministic())
  state = loop.init_state(KEY, pool, learner)
  view, _ = view_by(state, pool, learner)
  whole, _ = view_by(state, pool, learner._replace(acquisition=own._replace(pointwise=None)))
  expected = (
    np.asarray(whole.features)[:, 0]
    + 10 * np.where(state.labeled, data.labels, -1)
    + np.asarray(whole.log_probs)[:, 0, 3]
    + embedding.sum(axis=1)
  )
  np.testing.assert_allclose(view.scores, expected, rtol=1e-4, atol=1e-4)


@functools.cache
def temporary_bytes(rows: int, name: str, *, samples: int) -> int:
  """Temporary memory of one acquisition with a linear head of 20 classes, scored 64 rows at a time."""
  plan = types.Plan(10, 5, 1, types.TrainPlan(full_batch=types.FullBatch()), init_balanced=False, chunk_size=64)
  trainer = Trainer(from_flax(models.Linear(20)), optax.identity(), plan)
  learner = Learner(trainer, wrapped.make(name), posterior.laplace(samples))
  floats = lambda size: jax.ShapeDtypeStruct((size, 4), jnp.float32)
  ints = lambda size: jax.ShapeDtypeStruct((size,), jnp.int32)
  data = types.Dataset(floats(rows), ints(rows), floats(10), ints(10), 20, inputs.as_they_are)
  state = jax.eval_shape(lambda key, data: states.initial(key, data, trainer), jax.eval_shape(jax.random.key, 0), data)
  compiled = rounds.JITTED_PHASES.acquire.lower(state, data, learner=learner).compile()
  return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("name", slow_but(("bald",)))
def test_the_predictions_of_the_pool_are_never_stored(name):
  """Memory grows by some numbers per row, whatever the number of samples; with 2 samples, predictions are 40."""
  small, large = 5_000, 25_000
  for samples in (2, 20):
    per_row = (temporary_bytes(large, name, samples=samples) - temporary_bytes(small, name, samples=samples)) / 20_000
    assert per_row < 4 * 20, f"{per_row} bytes per row"
