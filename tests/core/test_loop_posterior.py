"""Rounds with posterior samples, ensembles, pool subsets and pools with copies."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import acquisition
from al_jax import checks
from al_jax import evaluation
from al_jax import from_flax
from al_jax import inputs
from al_jax import loop
from al_jax import pool
from al_jax import posterior
from al_jax import rounds
from al_jax import splits
from al_jax import types
from al_jax import uncertainty
from al_jax.sweep import sweep
from tests.core.test_loop import by_hand
from tests.core.test_loop import view_of
from tests.support.learners import changed

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(3)
ENSEMBLE = posterior.ensemble(3)


def committee_of(learner, **changes):
  """The learner with an ensemble of three."""
  return changed(learner, members=3, posterior=ENSEMBLE, **changes)


def spied(**needs):
  """An acquisition that records its views, and the list of these views."""
  seen = []

  def select(key, view, *, num):
    jax.debug.callback(seen.append, view)
    return pool.random_subset(key, view.candidates, num=num)

  return types.Acquisition(select, needs=types.Needs(**needs)), seen


def predicted(learner, variables, data) -> jax.Array:
  """`[M, C]` log-probabilities of the test set, dropout off."""
  logits, _ = learner.trainer.network.sample(None, variables, inputs.of_test(data, jnp.arange(data.test_size)))
  return jax.nn.log_softmax(logits)


@pytest.mark.slow
def test_an_ensembles_first_member_is_the_lone_network(data, make_learner):
  lone, committee = make_learner("bald"), committee_of(make_learner("bald"))
  start = loop.init_state(KEY, data, committee)
  alone = loop.init_state(KEY, data, lone)
  assert start.labeled.tolist() == alone.labeled.tolist()
  fitted, info = rounds.JITTED_PHASES.fit(start, data, trainer=committee.trainer)
  expected, _ = rounds.JITTED_PHASES.fit(alone, data, trainer=lone.trainer)
  variables = fitted.variables
  jax.tree.map(
    lambda some, one: np.testing.assert_allclose(some[0], one, rtol=1e-3, atol=1e-4), variables, expected.variables
  )
  kernels = np.asarray(variables["params"]["Dense_0"]["kernel"])
  assert kernels.shape[0] == 3 and np.abs(kernels[1:] - kernels[:1]).max(axis=(1, 2)).min() > 0.1
  assert info.steps == 12 and info.first_bad_step == -1 and np.isfinite(info.loss)

  first = alone._replace(variables=jax.tree.map(lambda leaf: leaf[0], variables))
  measured = rounds.JITTED_PHASES.evaluate(fitted, data, trainer=committee.trainer)
  alone_measured = rounds.JITTED_PHASES.evaluate(first, data, trainer=lone.trainer)
  jax.tree.map(np.testing.assert_array_equal, measured, alone_measured)

  by_all = committee.trainer._replace(eval_posterior=ENSEMBLE)
  together = rounds.JITTED_PHASES.evaluate(fitted, data, trainer=by_all)
  each = [predicted(lone, jax.tree.map(lambda leaf, m=m: leaf[m], variables), data) for m in range(3)]
  mean = np.exp(np.stack(each)).mean(axis=0)
  np.testing.assert_allclose(together.test_nll, -np.log(mean[np.arange(len(mean)), data.test_labels]).mean(), rtol=1e-4)


PER_EXAMPLE = posterior.mc_dropout(3, per_example=True)
JOINT = acquisition.make("batchbald")


def test_every_acquisition_of_joint_predictions_says_so():
  joint = {name for name in acquisition.REGISTRY if acquisition.make(name).needs.joint}
  assert joint == {"batchbald", "epig"}
  assert acquisition.power(acquisition.epig()).needs.joint


@pytest.mark.parametrize(
  ("kind", "changes", "refused"),
  [
    ("unsafe_rbg", {}, "independent draws for different purposes"),
    ("rbg", {}, None),
    ("rbg", {"posterior": PER_EXAMPLE}, "independent draws per image"),
    ("rbg", {"eval_posterior": PER_EXAMPLE}, "independent draws per image"),
    ("rbg", {"posterior": ENSEMBLE, "members": 3}, "independent draws per image"),
    ("rbg", {"members": 3}, "independent draws per image"),
    ("threefry2x32", {"posterior": PER_EXAMPLE}, None),
  ],
)
def test_keys_whose_draws_are_not_what_they_are_taken_for_are_refused(kind, changes, refused, data, make_learner):
  learner, key = changed(make_learner("bald"), **changes), jax.random.key(0, impl=kind)
  if refused is None:
    checks.check_key(key, data, learner.trainer, learner)
  for start in (loop.init_state, loop.run) if refused else ():
    with pytest.raises(ValueError, match=refused):
      start(key, data, learner)
  if refused and changes != {"posterior": PER_EXAMPLE}:  # the trainer does not include the posterior of the acquisition
    with pytest.raises(ValueError, match=refused):
      loop.fit_full(key, data, learner.trainer)
  noisy = dataclasses.replace(data, noise=0.1, noise_key=key)
  if kind == "rbg":
    with pytest.raises(ValueError, match="independent draws per image"):
      checks.check_key(jax.random.key(0), noisy, make_learner("random").trainer)
    for pack in ("vmap", "heads"):
      with pytest.raises(ValueError, match=f"packed by {pack} would share their draws: use pack='map'"):
        sweep(key[None], data, (learner,), pack=pack)


def test_a_bad_member_is_told(data, make_learner):
  learner = committee_of(make_learner("bald"))
  start = loop.init_state(KEY, data, learner)
  broken = dataclasses.replace(data, inputs=np.full(data.inputs.shape, np.nan, np.float32))
  _, info = rounds.JITTED_PHASES.fit(start, broken, trainer=learner.trainer)
  assert info.first_bad_step == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dropout", "ensemble"])
def test_drivers_agree_on_every_posterior(kind, data, make_learner):
  """Deterministic and dropout posteriors are covered by the tests of both drivers."""
  learner = make_learner("entropy")
  learner = committee_of(learner) if kind == "ensemble" else learner._replace(posterior=posterior.mc_dropout(3))
  _, infos = loop.run(KEY, data, learner)
  state = loop.init_state(KEY, data, learner)
  for r in range(3):
    state, info = loop.round_fn(state, data, learner, rounds.JITTED_PHASES)
    assert info.selected.tolist() == infos.selected[r].tolist()
    np.testing.assert_allclose(info.scores, infos.scores[r], rtol=1e-5)


def test_samples_are_of_the_fitted_model_and_new_each_round(data, make_learner):
  acquired, seen = spied(samples=2)
  learner = make_learner("bald")._replace(acquisition=acquired)
  state = loop.init_state(KEY, data, learner)
  for r in (0, 1):
    rounds.JITTED_PHASES.acquire(state._replace(round=jnp.int32(r)), data, learner=learner)
  jax.effects_barrier()
  first, second = (np.asarray(view.log_probs) for view in seen)
  assert first.shape == (97, 3, 10)
  assert np.abs(first - second).max() > 0.1  # another round has other masks
  predicted = evaluation.predict_pool(state, data, jnp.array([5, 60]), learner)
  np.testing.assert_allclose(predicted, jax.vmap(uncertainty.log_mean)(first[[5, 60]]), rtol=1e-4, atol=1e-5)


def test_scores_are_those_of_the_selected(data, make_learner):
  learner = make_learner("entropy")
  state = loop.init_state(KEY, data, learner)
  ids, scores = rounds.JITTED_PHASES.acquire(state, data, learner=learner)
  logits, _ = learner.trainer.network.sample(None, state.variables, inputs.of_pool(data, jnp.arange(97)))
  log_probs = jax.nn.log_softmax(logits)[:, None]
  np.testing.assert_allclose(scores, jax.vmap(uncertainty.entropy)(log_probs)[ids], rtol=1e-5)
  assert (np.diff(scores) <= 1e-6).all()


def test_targets_are_a_random_part_of_the_pool(data, make_learner):
  acquired, seen = spied(samples=2, targets=9)
  learner = make_learner("bald", pool_subset=20)._replace(acquisition=acquired)
  state = loop.init_state(KEY, data, learner)
  rounds.JITTED_PHASES.acquire(state, data, learner=learner)
  whole, all_seen = spied(samples=2)
  rounds.JITTED_PHASES.acquire(state, data, learner=make_learner("bald")._replace(acquisition=whole))
  jax.effects_barrier()
  targets, everything = np.asarray(seen[0].target_log_probs), np.asarray(all_seen[0].log_probs)
  assert targets.shape == (9, 3, 10)
  # The same samples: each target is a row of the whole pool with the same masks.
  distances = np.abs(targets[:, None] - everything[None]).max(axis=(2, 3))
  assert (distances.min(axis=1) < 1e-4).all()
  assert len(set(distances.argmin(axis=1).tolist())) == 9


@pytest.mark.parametrize("needs", [{"samples": 1}, {"embedding": True}], ids=["samples", "embedding"])
def test_pool_subset_shows_a_fresh_part_and_returns_global_ids(needs, data, make_learner):
  acquired, _ = spied(**needs)
  learner = make_learner("entropy", pool_subset=20, rounds=3)._replace(acquisition=acquired)
  state, ids_seen = loop.init_state(KEY, data, learner), []
  for _ in range(3):
    view, ids = view_of(state, data, learner=learner)
    shown = ids[np.asarray(view.candidates)].tolist()
    assert len(shown) == len(set(shown)) == 20
    assert not np.asarray(state.labeled)[shown].any()
    held = ids[np.asarray(view.labeled)].tolist()
    assert held == ([] if "samples" in needs else np.flatnonzero(state.labeled).tolist())
    x = np.asarray(data.inputs, np.float32).reshape(97, -1)[ids] / 16
    dense = jax.device_get(state.variables["params"]["Dense_0"])
    hidden = np.maximum(x @ dense["kernel"] + dense["bias"], 0)
    if "embedding" in needs:
      np.testing.assert_allclose(view.embedding, hidden, rtol=1e-4, atol=1e-5)
    selected, _ = rounds.JITTED_PHASES.acquire(state, data, learner=learner)
    assert set(selected.tolist()) <= set(shown) and not np.asarray(state.labeled)[np.asarray(selected)].any()
    state = rounds.label(state, selected, learner.plan)
    ids_seen.append(tuple(shown))
  assert len(set(ids_seen)) == 3


@pytest.mark.parametrize("needs", [{"samples": 1}, {"embedding": True}], ids=["samples", "embedding"])
def test_pool_subset_when_fewer_are_left(needs, data, make_learner):
  acquired, _ = spied(**needs)
  learner = make_learner("entropy", pool_subset=60, init_labels=50, acq_size=40, rounds=1)._replace(
    acquisition=acquired
  )
  state = loop.init_state(KEY, data, learner)
  view, ids = view_of(state, data, learner=learner)
  shown = ids[np.asarray(view.candidates)].tolist()
  assert sorted(shown) == np.flatnonzero(~np.asarray(state.labeled)).tolist() and len(shown) == 47
  selected, _ = rounds.JITTED_PHASES.acquire(state, data, learner=learner)
  assert len(set(selected.tolist())) == 40 and not np.asarray(state.labeled)[np.asarray(selected)].any()


@pytest.mark.parametrize("name", ["margin", "kcenter"])
def test_a_subset_of_everything_is_everything(name, data, make_learner):
  state = loop.init_state(KEY, data, make_learner(name))
  for _ in range(2):
    whole, subset = (
      rounds.JITTED_PHASES.acquire(state, data, learner=make_learner(name, pool_subset=part))[0] for part in (None, 97)
    )
    assert subset.tolist() == whole.tolist()
    state = rounds.label(state, whole, make_learner(name).plan)


def copied(data, copies=3, noise=0.1):
  return dataclasses.replace(
    data,
    labels=np.tile(data.labels, copies),
    copies=copies,
    noise=noise,
    noise_key=jax.random.key(9) if noise else None,
  )


@pytest.mark.slow
def test_a_pool_of_copies_runs_and_its_labels_are_its_originals(data, make_learner):
  copies = copied(data)
  learner = make_learner("margin")
  state, infos = by_hand(KEY, copies, learner)
  assert state.labeled.shape == (3 * 97,) and state.labeled.sum() == 24
  assert max(info.selected.max() for info in infos[:2]) >= 97
  everything = inputs.of_pool(copies, jnp.arange(3 * 97))
  log_probs = jax.nn.log_softmax(learner.trainer.network.sample(None, state.variables, everything)[0])
  assert np.abs(np.asarray(log_probs[:97]) - np.asarray(log_probs[97 : 2 * 97])).max() > 1e-3


@pytest.mark.slow
def test_training_sees_the_noise_of_the_ids_it_was_given(data, make_learner):
  learner = make_learner()
  clean, noisy = copied(data, noise=0.0), copied(data)
  start = loop.init_state(KEY, clean, learner)._replace(labeled=pool.mask_of(jnp.arange(10), size=3 * 97))
  elsewhere = start._replace(labeled=jnp.roll(start.labeled, 97))  # second copies of the same originals

  def fit(state, pool_data):
    fitted, _ = rounds.JITTED_PHASES.fit(state, pool_data, trainer=learner.trainer)
    return fitted.variables["params"]["Dense_0"]["kernel"]

  np.testing.assert_array_equal(fit(start, clean), fit(elsewhere, clean))
  assert np.abs(fit(start, noisy) - fit(elsewhere, noisy)).max() > 1e-3
  assert np.abs(fit(start, noisy) - fit(start, clean)).max() > 1e-3


def test_no_copy_of_a_validation_row_is_for_labeling(data, make_learner):
  copies, plan = copied(data), make_learner(val_size=20).plan
  held_out = splits.validation_ids(KEY, copies, plan)
  assert len(set(held_out.tolist())) == 20 and held_out.max() < 97
  may = np.asarray(splits.for_labeling(KEY, copies, plan)).reshape(3, 97)
  assert (may == may[:1]).all() and np.flatnonzero(~may[0]).tolist() == sorted(held_out.tolist())


def test_caller_given_features_reach_those_who_compare_rows(data, make_learner):
  embedding = np.random.default_rng(0).normal(size=(97, 6)).astype(np.float32)
  acquired, seen = spied(embedding=True, features=True)
  learner = make_learner()._replace(acquisition=acquired)
  state = loop.init_state(KEY, data, learner)
  for pool_data in (dataclasses.replace(copied(data, 2, 0.0), embedding=embedding), data):
    start = state if pool_data is data else loop.init_state(KEY, pool_data, learner)
    rounds.JITTED_PHASES.acquire(start, pool_data, learner=learner)
  jax.effects_barrier()
  np.testing.assert_array_equal(seen[0].embedding, np.tile(embedding, (2, 1)))
  assert seen[0].features.shape == (2 * 97, 16)
  np.testing.assert_array_equal(seen[1].embedding, seen[1].features)


class Plain(nn.Module):
  """A network without dropout."""

  @nn.compact
  def __call__(self, x, *, train=False):
    return nn.Dense(10)(x.reshape((x.shape[0], -1)))


PLAIN = from_flax(Plain())


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    ({"posterior": posterior.deterministic()}, "at least 2 posterior samples, but the posterior has 1"),
    ({"posterior": posterior.mc_dropout(1)}, "at least 2 posterior samples, but the posterior has 1"),
    ({"network": PLAIN}, "MC dropout needs a network with dropout, and Plain has none"),
    ({"acquisition": JOINT, "posterior": PER_EXAMPLE}, "needs joint predictions"),
    ({"eval_posterior": ENSEMBLE}, "eval_posterior is an ensemble of 3"),
    ({"posterior": ENSEMBLE}, "is an ensemble of 3, but the trainer has members=1"),
    ({"posterior": posterior.ensemble(2), "members": 3}, "is an ensemble of 2, but the trainer has members=3"),
    ({"members": 0}, "members must be at least 1, not 0"),
    (
      {"acquisition": acquisition.make("bald")._replace(needs=types.Needs(samples=2, targets=98))},
      "98 targets are more than the pool's 97",
    ),
  ],
)
def test_a_learner_whose_parts_do_not_fit_is_refused(changes, sentence, data, make_learner):
  learner = changed(make_learner("bald"), **changes)
  with pytest.raises(ValueError, match=sentence) as caught:
    loop.init_state(KEY, data, learner)
  assert "\n" not in str(caught.value)
  if "network" in changes:
    checks.check_learner(committee_of(learner), data)  # a committee needs no dropout


def test_a_module_in_place_of_a_network_is_refused(data, make_learner):
  with pytest.raises(ValueError, match=r"takes a Network, not Plain: use al_jax\.from_flax\(module\)"):
    loop.init_state(KEY, data, changed(make_learner(), network=Plain()))


@pytest.mark.parametrize(
  ("change", "sentence"),
  [
    ({"labels": np.zeros(98, np.int32)}, "inputs has 97 rows, but there are 98 labels"),
    ({"copies": 2}, "97 labels cannot be split into copies=2"),
    ({"noise": 0.1}, "noise=0.1 needs a noise_key"),
    ({"num_classes": 1}, "num_classes must be .*at least 2, not 1"),
    ({"embedding": np.zeros((5, 2), np.float32)}, "the embedding has 5 rows, but inputs have 97"),
  ],
)
def test_a_pool_that_does_not_fit_together_is_refused(change, sentence, data, make_learner):
  with pytest.raises(ValueError, match=sentence):
    checks.check_trainer(make_learner().trainer, dataclasses.replace(data, **change))


@pytest.mark.parametrize("subset", [6, 98])
def test_pool_subset_outside_its_range_is_refused(subset, data, make_learner):
  with pytest.raises(ValueError, match=rf"pool_subset={subset} must be between acq_size=7 and the pool size, 97"):
    checks.check(make_learner(pool_subset=subset).plan, data)
