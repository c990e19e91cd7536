"""A switch selects as its first part does before the number of labels, and as its second from then on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import acquisition
from al_jax import checks
from al_jax import from_flax
from al_jax import loop
from al_jax import posterior
from al_jax import rounds
from al_jax import states
from al_jax import types
from al_jax import views
from tests.conftest import MODEL

pytestmark = pytest.mark.usefixtures("fast_compilation")

SIZE, NUM = 31, 4
FIRST, SECOND = acquisition.kcenter(), acquisition.margin()


def view_with(labels: int) -> types.PoolView:
  """A view of random rows with that many labels; one row is neither labeled nor a candidate."""
  rng = np.random.default_rng(labels)
  place = jnp.array(rng.permutation(SIZE))
  log_probs = jax.nn.log_softmax(jnp.array(rng.normal(size=(SIZE, 3, 4)), jnp.float32))
  embedding = jnp.array(rng.normal(size=(SIZE, 5)), jnp.float32)
  return types.PoolView(place < labels, (place >= labels) & (place < SIZE - 1), log_probs, embedding=embedding)


@functools.cache
def selector(part: types.Acquisition):
  return jax.jit(functools.partial(part.select, num=NUM))


def test_each_phase_selects_as_its_part_alone():
  made = acquisition.switch(FIRST, SECOND, labels=6)
  key, seen = jax.random.key(3), set()
  for labels in (0, 1, 5, 6, 7, SIZE - 1 - NUM):
    view = view_with(labels)
    ids, first, second = (selector(part)(key, view).tolist() for part in (made, FIRST, SECOND))
    assert first != second and ids == (first if labels < 6 else second)
    seen.add(labels < 6)
  assert seen == {True, False}


@pytest.mark.slow
def test_a_batch_of_views_in_both_phases_under_vmap_and_scan():
  made = acquisition.switch(FIRST, SECOND, labels=6)
  views = [view_with(labels) for labels in (3, 5, 6, 9)]
  keys = jax.random.split(jax.random.key(0), len(views))
  expected = [selector(made)(key, view).tolist() for key, view in zip(keys, views, strict=True)]
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *views)
  select = functools.partial(made.select, num=NUM)
  assert jax.jit(jax.vmap(select))(keys, stacked).tolist() == expected
  assert jax.jit(lambda *pairs: jax.lax.map(lambda pair: select(*pair), pairs))(keys, stacked).tolist() == expected


def test_needs_are_those_of_either_part_and_the_labels():
  made = acquisition.switch(acquisition.badge(), acquisition.epig(), labels=9)
  parts = acquisition.badge().needs, acquisition.epig().needs
  for name in types.Needs._fields:
    expected = True if name == "labels" else max(getattr(part, name) for part in parts)
    assert getattr(made.needs, name) == expected and isinstance(getattr(made.needs, name), type(expected))
  assert made.score is None and made.pointwise is None and hash(made) == hash(made)


@pytest.mark.slow
@pytest.mark.parametrize("subset", [None, 20])
def test_a_run_changes_its_strategy_in_the_round_with_that_many_labels(subset, data, make_learner):
  """Also with a random part of the pool, whose view has no labeled rows unless the acquisition reads them."""
  learner = make_learner(rounds=3, pool_subset=subset)
  made = acquisition.switch(acquisition.kcenter(), acquisition.margin(), labels=learner.plan.init_labels + 1)
  if subset:  # two parts that read predictions alone
    made = acquisition.switch(acquisition.entropy(), acquisition.margin(), labels=learner.plan.init_labels + 1)
  key, own = jax.random.key(0), learner._replace(acquisition=made)
  checks.check_learner(own, data)
  _, info = jax.jit(loop.run, static_argnames="learner")(key, data, learner=own)

  state = loop.init_state(key, data, learner)
  parts = [acquisition.entropy() if subset else acquisition.kcenter(), *3 * [acquisition.margin()]]
  for r, part in enumerate(parts):
    state, expected = loop.round_fn(state, data, learner._replace(acquisition=part), rounds.JITTED_PHASES)
    assert info.selected[r].tolist() == expected.selected.tolist()
  assert np.isnan(info.scores).all()


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: acquisition.switch(acquisition.kcenter, SECOND, labels=5), "switch takes two Acquisitions, not kcenter"),
    (lambda: acquisition.switch(FIRST, "margin", labels=5), "switch takes two Acquisitions, not 'margin'"),
    (lambda: acquisition.switch(FIRST, SECOND, labels=0), "labels must be at least 1, not 0"),
    (lambda: acquisition.switch(FIRST, SECOND, labels=5.5), "labels must be a whole number, not 5.5"),
    (lambda: acquisition.power(acquisition.switch(FIRST, SECOND, labels=5)), "only an acquisition that scores"),
  ],
)
def test_mistakes(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_a_posterior_too_small_for_either_part_is_refused(data, make_learner):
  learner = make_learner()
  made = acquisition.switch(FIRST, acquisition.bald(), labels=12)
  with pytest.raises(ValueError, match="needs at least 2 posterior samples"):
    checks.check_learner(learner._replace(acquisition=made), data)


def test_a_part_may_read_the_head_and_the_other_an_ensemble(data, make_learner):
  """The head is that of the first network, whose features the view has."""
  ensemble = posterior.ensemble(2)
  both = acquisition.switch(acquisition.dropquery(), acquisition.bald(), labels=15)
  network = from_flax(MODEL, head="Dense_1")
  learner = make_learner("bald", network=network, members=2)._replace(acquisition=both, posterior=ensemble)
  checks.check_learner(learner, data)
  state = jax.eval_shape(lambda key, data: states.initial(key, data, learner.trainer), jax.random.key(0), data)
  view, _ = jax.eval_shape(lambda state, data: views.pool_view(state, data, learner), state, data)
  assert view.head.kernel.shape == (16, 10) and view.log_probs.shape == (97, 2, 10)
