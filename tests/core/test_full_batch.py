"""Full-batch training of a linear head through the loop: states, ensembles, ask and tell, and refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import al_jax
from al_jax import from_flax
from al_jax import full_batch
from al_jax import inputs
from al_jax import loop
from al_jax import models
from al_jax import oracle
from al_jax import posterior
from al_jax import rounds
from al_jax import splits
from al_jax import types
from tests.core.test_ask import by_asking
from tests.core.test_loop import equal
from tests.core.test_loop import stacked
from tests.support.learners import changed

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(4)
LINEAR = from_flax(models.Linear())


@pytest.fixture
def make_head(make_learner):
  """`(acquisition name, **changes) -> Learner`: as `make_learner`, with a linear head."""

  def make(name: str = "entropy", **changes):
    full = {"network": LINEAR, "steps": None, "full_batch": types.FullBatch()}
    own = {} if "posterior" in changes else {"posterior": posterior.deterministic()}
    return changed(make_learner(name), **full | own | changes)

  return make


def pool_rows(data, ids=slice(None)) -> np.ndarray:
  return (np.asarray(data.inputs, np.float64) / 16).reshape(data.pool_size, -1)[ids]


def probs_of(variables, rows) -> np.ndarray:
  (layer,) = jax.device_get(variables["params"]).values()
  logits = rows @ layer["kernel"].astype(np.float64) + layer["bias"]
  odds = np.exp(logits - logits.max(axis=1, keepdims=True))
  return odds / odds.sum(axis=1, keepdims=True)


def by_sklearn(data, labeled, weights=None, l2=1.0) -> np.ndarray:
  """scikit-learn's probabilities of the whole pool after training on the labeled rows."""
  model = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=5000)
  model.fit(pool_rows(data, labeled), data.labels[labeled], sample_weight=weights)
  probs = np.zeros((data.pool_size, 10))
  probs[:, model.classes_] = model.predict_proba(pool_rows(data))
  return probs


def labeled_of(state) -> np.ndarray:
  return np.flatnonzero(state.labeled)


def test_every_round_of_both_drivers_is_scikit_learns_fit(data, make_head):
  learner = make_head("margin", full_batch=types.FullBatch(l2=0.5))
  state, infos = loop.init_state(KEY, data, learner), []
  for r in range(3):
    labeled = labeled_of(state)
    assert len(labeled) == 10 + 7 * r
    state, info = loop.round_fn(state, data, learner)
    probs = by_sklearn(data, labeled, l2=0.5)
    np.testing.assert_allclose(probs_of(state.variables, pool_rows(data)), probs, atol=5e-4)
    np.testing.assert_allclose(info.fit.loss, -np.log(probs[labeled, data.labels[labeled]]).mean(), rtol=1e-3)
    infos.append(info)
  final, together = loop.run(KEY, data, learner)
  assert equal(final, state) and equal(together, stacked(infos))
  assert (together.fit.first_bad_step == -1).all()


def test_steps_are_newton_steps_and_a_round_starts_from_the_last_solution(data, make_head):
  learner = make_head("random", full_batch=types.FullBatch(max_iterations=2))
  state, info = loop.round_fn(loop.init_state(KEY, data, learner), data, learner)
  assert info.fit.steps == 2  # 0 as start needs more
  before = loop.init_state(KEY, data, learner)._replace(variables=state.variables)
  continued, fit = rounds.JITTED_PHASES.fit(before, data, trainer=learner.trainer)
  whole = make_head("random")
  converged, full_fit = rounds.JITTED_PHASES.fit(loop.init_state(KEY, data, whole), data, trainer=whole.trainer)
  assert 2 < full_fit.steps < 20
  assert 0 < fit.steps <= 2 and not equal(continued.variables, state.variables)
  # A solution is where the next training begins, and there is nothing left to do.
  again, none = rounds.JITTED_PHASES.fit(converged, data, trainer=whole.trainer)
  assert none.steps == 0 and equal(again.variables, converged.variables)


def test_wrong_answers_of_the_oracle_are_trained_on(data, make_head):
  learner = make_head("random", label_noise=0.5)
  state = loop.init_state(KEY, data, learner)
  fitted, _ = rounds.JITTED_PHASES.fit(state, data, trainer=learner.trainer)
  answers = np.asarray(oracle.noisy_labels(KEY, data, 0.5))
  labeled = labeled_of(state)
  assert 1 < (answers != data.labels)[labeled].sum() < 9
  expected = by_sklearn(dataclasses.replace(data, labels=answers), labeled)
  np.testing.assert_allclose(probs_of(fitted.variables, pool_rows(data)), expected, atol=5e-4)


def test_val_last_trains_on_the_first_rows_only(data, make_head):
  learner = make_head("random", val_last=0.4)
  state = loop.init_state(KEY, data, learner)
  fitted, _ = rounds.JITTED_PHASES.fit(state, data, trainer=learner.trainer)
  first = np.asarray(state.order)[:6]
  assert len(labeled_of(state)) == 10
  np.testing.assert_allclose(probs_of(fitted.variables, pool_rows(data)), by_sklearn(data, first), atol=5e-4)


@pytest.mark.slow
def test_an_ensembles_first_member_is_the_head_alone_and_the_others_are_bootstrapped(data, make_head):
  ensemble = make_head("bald", members=4, posterior=posterior.ensemble(4))
  state = loop.init_state(KEY, data, ensemble)
  fitted, info = rounds.JITTED_PHASES.fit(state, data, trainer=ensemble.trainer)
  alone = make_head()
  single, _ = rounds.JITTED_PHASES.fit(loop.init_state(KEY, data, alone), data, trainer=alone.trainer)
  member = lambda m: jax.tree.map(lambda leaf: leaf[m], fitted.variables)
  rows = pool_rows(data)
  np.testing.assert_allclose(probs_of(member(0), rows), probs_of(single.variables, rows), atol=1e-4)
  kernels = [np.asarray(member(m)["params"]["Dense_0"]["kernel"]) for m in range(4)]
  assert min(np.abs(a - b).max() for i, a in enumerate(kernels) for b in kernels[:i]) > 1e-2
  assert info.first_bad_step == -1 and info.steps > 1
  # Each other member is the fit to a multiset of the labeled rows: its gradient at the solution is 0 for some counts.
  labeled = labeled_of(state)
  x = np.pad(rows[labeled], ((0, 0), (0, 1)), constant_values=1)
  for m in range(1, 4):
    wrong = probs_of(member(m), rows[labeled]) - np.eye(10)[data.labels[labeled]]
    # sum_i w_i wrong_i x_i' + l2 K = 0 is linear in the weights.
    design = np.einsum("nc,nf->fcn", wrong, x).reshape(-1, len(labeled))
    penalty = np.append(kernels[m], np.zeros((1, 10)), axis=0).ravel()
    weights, *_ = np.linalg.lstsq(design, -penalty, rcond=None)
    np.testing.assert_allclose(weights, np.round(weights), atol=0.02)
    assert np.round(weights).sum() == 10 and np.round(weights).max() > 1
  _, infos = loop.run(KEY, data, ensemble)
  assert (infos.scores[:-1] > 0).all() and (infos.selected[:-1] >= 0).all()


def test_bootstrap_weights_are_counts_of_draws_with_replacement():
  draw = lambda key, count: full_batch.bootstrap_weights(key, count, size=20)
  keys = jax.random.split(jax.random.key(0), 2000)
  weights = np.asarray(jax.jit(jax.vmap(draw, in_axes=(0, None)))(keys, jnp.int32(12)))
  assert (weights == np.round(weights)).all() and (weights.sum(axis=1) == 12).all() and (weights[:, 12:] == 0).all()
  assert len({tuple(row) for row in weights.tolist()}) > 1990
  # Binomial with 12 draws of probability 1 / 12; four standard errors, because twelve positions are compared.
  error = np.sqrt(12 * (1 / 12) * (11 / 12) / 2000)
  assert np.abs(weights[:, :12].mean(axis=0) - 1).max() < 4 * error
  np.testing.assert_allclose((weights[:, :12] == 0).mean(), (11 / 12) ** 12, atol=4 * np.sqrt(0.25 / 24_000))


@pytest.mark.slow
def test_ask_and_tell_give_the_ids_of_a_run(data, make_head):
  learner = make_head("margin")
  asked, state, _ = by_asking(data, learner, rounds=3)
  _, info = loop.run(jax.random.key(0), data, learner)  # the key of `by_asking`
  for question, selected in zip(asked[1:], info.selected, strict=False):
    assert question.ids.tolist() == selected.tolist()
  assert state.labeled.sum() == 24 and asked[1].fit.steps > 1


@pytest.mark.slow
def test_full_supervision(data, make_head):
  variables, info, metrics = al_jax.fit_full(KEY, data, make_head(val_size=11).trainer)
  rest = np.flatnonzero(splits.for_labeling(KEY, data, make_head(val_size=11).plan))
  assert len(rest) == 86
  np.testing.assert_allclose(probs_of(variables, pool_rows(data)), by_sklearn(data, rest), atol=5e-4)
  assert metrics.test_accuracy > 0.8 and info.first_bad_step == -1


def test_rows_that_are_not_finite_or_overflow_are_told(data, make_head):
  floats = dataclasses.replace(data, inputs=np.float32(data.inputs) / 16, prepare=None)
  ensemble = make_head("bald", members=3, posterior=posterior.ensemble(3))
  for learner in (make_head(), ensemble):
    state = loop.init_state(KEY, data, learner)
    labeled, spared = labeled_of(state)[3], np.flatnonzero(~np.asarray(state.labeled))[0]
    for row, value, expected in [(labeled, np.nan, 0), (labeled, 1e20, 0), (spared, np.nan, -1), (labeled, 1.0, -1)]:
      broken = floats.inputs.copy()
      broken[row, 2, 2] = value
      _, info = rounds.JITTED_PHASES.fit(state, dataclasses.replace(floats, inputs=broken), trainer=learner.trainer)
      assert info.first_bad_step == expected and np.isfinite(info.loss) == (expected == -1)


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    ({"steps": 5}, "give exactly one of steps, epochs and full_batch"),
    ({"epochs": 5}, "give exactly one of steps, epochs and full_batch"),
    ({"full_batch": None}, "give exactly one of steps, epochs and full_batch"),
    ({"full_batch": True}, r"full_batch is True: give FullBatch\(l2=1.0\)"),
    ({"full_batch": (2.0, 1e-5, 100)}, r"full_batch is tuple: give FullBatch\(l2=1.0\)"),
    ({"full_batch": types.FullBatch(l2=0)}, "l2 of full_batch must be a positive number, not 0"),
    ({"full_batch": types.FullBatch(l2=np.nan)}, "l2 of full_batch must be a positive number, not nan"),
    ({"full_batch": types.FullBatch(l2=np.inf)}, "l2 of full_batch must be a positive number, not inf"),
    ({"full_batch": types.FullBatch(l2="1")}, "l2 of full_batch must be a positive number, not '1'"),
    (
      {"full_batch": types.FullBatch(l2=True, max_iterations=7)},
      "l2 of full_batch must be a positive number, not True",
    ),
    ({"full_batch": types.FullBatch(tolerance=-1e-5)}, "tolerance of full_batch must be a positive number"),
    ({"full_batch": types.FullBatch(max_iterations=0)}, "max_iterations of full_batch must be at least 1, not 0"),
    ({"full_batch": types.FullBatch(max_iterations=2.5)}, "max_iterations of full_batch must be an integer"),
    ({"early_stop": types.EarlyStop(2, 3), "val_size": 5}, "early_stop is for training on minibatches"),
    ({"augment": inputs.Flip()}, "augment is for training on minibatches"),
    ({"label_smoothing": 0.1}, "label_smoothing is for training on minibatches"),
    ({"warm_start": True}, "warm_start is for training on minibatches"),
    ({"keep_optimizer": True}, "keep_optimizer"),
    ({"first_epochs": 3}, "first_epochs=3 has no effect on a training by full_batch: give epochs"),
    ({"min_epoch_size": 64}, "min_epoch_size=64 has no effect on a training by full_batch: give epochs"),
    ({"network": from_flax(models.CNN())}, "full_batch trains one dense layer with a bias, .* and CNN has other parts"),
    ({"network": from_flax(models.MLP())}, "full_batch trains one dense layer with a bias, .* and MLP has other parts"),
    ({"posterior": posterior.mc_dropout(3)}, "MC dropout needs a network with dropout, and Linear has none"),
  ],
  ids=lambda value: value if isinstance(value, str) else ",".join(value),  # no addresses, which differ by process
)
def test_what_does_not_go_with_full_batch_is_refused(changes, sentence, data, make_head, compilations):
  learner = make_head(**changes)
  with compilations() as events, pytest.raises(ValueError, match=sentence) as caught:
    loop.run(KEY, data, learner)
  assert "\n" not in str(caught.value) and not events


def test_the_first_training_starts_from_given_variables(data, make_head):
  learner = make_head()
  state = loop.init_state(KEY, data, learner)
  assert all(not leaf.any() for leaf in jax.tree.leaves(state.variables))
  fitted, _ = rounds.JITTED_PHASES.fit(state, data, trainer=learner.trainer)
  given = loop.init_state(KEY, data, learner, fitted.variables)
  again, info = rounds.JITTED_PHASES.fit(given, data, trainer=learner.trainer)
  assert info.steps == 0 and equal(again.variables, fitted.variables)
  with pytest.raises(ValueError, match="variables have"):
    loop.init_state(KEY, data, learner, {"params": {"Dense_0": {"kernel": jnp.zeros((3, 10))}}})
