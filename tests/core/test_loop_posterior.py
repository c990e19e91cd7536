"""Rounds on posterior samples, ensembles, parts of the pool and pools of copies."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import acquisition
from al_jax import checks
from al_jax import inference
from al_jax import loop
from al_jax import pool
from al_jax import rounds
from al_jax import types
from al_jax import uncertainty
from al_jax import views
from tests.core.test_loop import by_hand
from tests.core.test_loop import view_of

pytestmark = pytest.mark.usefixtures("fast_compilation")

KEY = jax.random.key(3)
ENSEMBLE = types.Posterior("ensemble", 3)


def spied(needs=(), targets=0):
  """An acquisition that keeps the views it is shown, and the list of them."""
  seen = []

  def select(key, view, *, num):
    jax.debug.callback(seen.append, view)
    return pool.random_subset(key, view.candidates, num=num)

  return types.Acquisition(select, needs=frozenset(needs), targets=targets), seen


def test_an_ensembles_first_member_is_the_lone_network(data, make_learner):
  lone, committee = make_learner("bald"), make_learner("bald")._replace(posterior=ENSEMBLE)
  start = loop.init_state(KEY, data, committee)
  alone = loop.init_state(KEY, data, lone)
  assert start.labeled.tolist() == alone.labeled.tolist()
  params, info = rounds.JITTED_PHASES.fit(start, data, learner=committee)
  expected, _ = rounds.JITTED_PHASES.fit(alone, data, learner=lone)
  jax.tree.map(lambda some, one: np.testing.assert_allclose(some[0], one, rtol=1e-3, atol=1e-4), params, expected)
  kernels = np.asarray(params["Dense_0"]["kernel"])
  assert kernels.shape[0] == 3 and np.abs(kernels[1:] - kernels[:1]).max(axis=(1, 2)).min() > 0.1
  assert info.steps == 12 and info.first_bad_step == -1 and np.isfinite(info.loss)

  first = jax.tree.map(lambda leaf: leaf[0], params)
  measured = rounds.JITTED_PHASES.evaluate(params, start, data, learner=committee)
  np.testing.assert_array_equal(measured, rounds.JITTED_PHASES.evaluate(first, alone, data, learner=lone))

  together = rounds.JITTED_PHASES.evaluate(params, start, data, learner=committee._replace(eval_posterior=ENSEMBLE))
  each = [
    inference.predict(
      lone.model, jax.tree.map(lambda leaf, m=m: leaf[m], params), data.test_images, data, chunk_size=20
    )
    for m in range(3)
  ]
  mean = np.exp(np.concatenate(each, axis=1)).mean(axis=1)
  np.testing.assert_allclose(together.test_nll, -np.log(mean[np.arange(len(mean)), data.test_labels]).mean(), rtol=1e-4)


PER_EXAMPLE = types.Posterior("dropout", 3, per_example=True)
JOINT = acquisition.make("batchbald")


def test_every_acquisition_of_joint_predictions_says_so():
  joint = {name for name in acquisition.REGISTRY if "joint" in acquisition.make(name).needs}
  assert joint == {"batchbald", "epig"}
  assert "joint" in acquisition.power(acquisition.epig()).needs


@pytest.mark.parametrize(
  ("kind", "changes", "refused"),
  [
    ("unsafe_rbg", {}, "not independent by role"),
    ("rbg", {}, None),
    ("rbg", {"posterior": PER_EXAMPLE}, "draws of its own"),
    ("rbg", {"posterior": types.Posterior("ensemble", 3)}, "draws of its own"),
    ("threefry2x32", {"posterior": PER_EXAMPLE}, None),
  ],
)
def test_keys_whose_draws_are_not_what_they_are_taken_for_are_refused(kind, changes, refused, data, make_learner):
  learner, key = make_learner("bald")._replace(**changes), jax.random.key(0, impl=kind)
  if refused is None:
    checks.check_key(key, learner, data)
  for start in (loop.init_state, loop.run, loop.fit_full) if refused else ():
    with pytest.raises(ValueError, match=refused):
      start(key, data, learner)
  noisy = dataclasses.replace(data, noise=0.1, noise_key=key)
  if kind == "rbg":
    with pytest.raises(ValueError, match="draws of its own"):
      checks.check_key(jax.random.key(0), make_learner("random"), noisy)
    with pytest.raises(ValueError, match="pack by map"):
      loop.sweep(key[None], data, (learner,), pack="vmap")


def test_a_bad_member_is_told(data, make_learner):
  learner = make_learner("bald")._replace(posterior=ENSEMBLE)
  start = loop.init_state(KEY, data, learner)
  broken = dataclasses.replace(data, images=np.full(data.images.shape, np.nan, np.float32))
  _, info = rounds.JITTED_PHASES.fit(start, broken, learner=learner)
  assert info.first_bad_step == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dropout", "ensemble"])
def test_drivers_agree_on_every_posterior(kind, data, make_learner):
  """The deterministic one, and dropout for what compares samples, are those of the tests of both drivers."""
  posterior = types.Posterior(kind, 3)
  learner = make_learner("entropy")._replace(posterior=posterior)
  _, infos = loop.run(KEY, data, learner)
  state = loop.init_state(KEY, data, learner)
  for r in range(3):
    state, info = loop.round_fn(state, data, learner, rounds.JITTED_PHASES)
    assert info.selected.tolist() == infos.selected[r].tolist()
    np.testing.assert_allclose(info.scores, infos.scores[r], rtol=1e-5)


def test_samples_are_of_the_fitted_model_and_new_each_round(data, make_learner):
  acquired, seen = spied({"posterior"})
  learner = make_learner("bald")._replace(acquisition=acquired)
  state = loop.init_state(KEY, data, learner)
  for r in (0, 1):
    rounds.JITTED_PHASES.acquire(state.params, state._replace(round=jnp.int32(r)), data, learner=learner)
  jax.effects_barrier()
  first, second = (np.asarray(view.log_probs) for view in seen)
  assert first.shape == (97, 3, 10)
  assert np.abs(first - second).max() > 0.1  # another round, other masks
  predicted = views.predict_pool(state, data, jnp.array([5, 60]), learner)
  np.testing.assert_allclose(predicted, jax.vmap(uncertainty.log_mean)(first[[5, 60]]), rtol=1e-4, atol=1e-5)


def test_scores_are_those_of_the_selected(data, make_learner):
  learner = make_learner("entropy")
  state = loop.init_state(KEY, data, learner)
  ids, scores = rounds.JITTED_PHASES.acquire(state.params, state, data, learner=learner)
  log_probs = inference.predict(learner.model, state.params, data.images, data, chunk_size=30)
  np.testing.assert_allclose(scores, jax.vmap(uncertainty.entropy)(log_probs)[ids], rtol=1e-5)
  assert (np.diff(scores) <= 1e-6).all()


def test_targets_are_a_random_part_of_the_pool(data, make_learner):
  acquired, seen = spied({"posterior"}, targets=9)
  learner = make_learner("bald", pool_subset=20)._replace(acquisition=acquired)
  state = loop.init_state(KEY, data, learner)
  rounds.JITTED_PHASES.acquire(state.params, state, data, learner=learner)
  whole, all_seen = spied({"posterior"})
  rounds.JITTED_PHASES.acquire(state.params, state, data, learner=make_learner("bald")._replace(acquisition=whole))
  jax.effects_barrier()
  targets, everything = np.asarray(seen[0].target_log_probs), np.asarray(all_seen[0].log_probs)
  assert targets.shape == (9, 3, 10)
  # By the same samples: each target is some image of the whole pool, under the same masks.
  distances = np.abs(targets[:, None] - everything[None]).max(axis=(2, 3))
  assert (distances.min(axis=1) < 1e-4).all()
  assert len(set(distances.argmin(axis=1).tolist())) == 9


@pytest.mark.parametrize("needs", [{"samples"}, {"embedding"}])
def test_pool_subset_shows_a_fresh_part_and_returns_global_ids(needs, data, make_learner):
  acquired, _ = spied(needs)
  learner = make_learner("entropy", pool_subset=20, rounds=3)._replace(acquisition=acquired)
  state, ids_seen = loop.init_state(KEY, data, learner), []
  for _ in range(3):
    view, ids = view_of(state.params, state, data, learner=learner)
    shown = ids[np.asarray(view.candidates)].tolist()
    assert len(shown) == len(set(shown)) == 20
    assert not np.asarray(state.labeled)[shown].any()
    held = ids[np.asarray(view.labeled)].tolist()
    assert held == ([] if needs == {"samples"} else np.flatnonzero(state.labeled).tolist())
    x = np.asarray(data.images, np.float32).reshape(97, -1)[ids] / 16
    dense = jax.device_get(state.params["Dense_0"])
    hidden = np.maximum(x @ dense["kernel"] + dense["bias"], 0)
    if needs == {"embedding"}:
      np.testing.assert_allclose(view.embedding, hidden, rtol=1e-4, atol=1e-5)
    selected, _ = rounds.JITTED_PHASES.acquire(state.params, state, data, learner=learner)
    assert set(selected.tolist()) <= set(shown) and not np.asarray(state.labeled)[np.asarray(selected)].any()
    state = loop.label(state, selected, learner.protocol)
    ids_seen.append(tuple(shown))
  assert len(set(ids_seen)) == 3


@pytest.mark.parametrize("needs", [{"samples"}, {"embedding"}])
def test_pool_subset_when_fewer_are_left(needs, data, make_learner):
  acquired, _ = spied(needs)
  learner = make_learner("entropy", pool_subset=60, init_labels=50, acq_size=40, rounds=1)._replace(
    acquisition=acquired
  )
  state = loop.init_state(KEY, data, learner)
  view, ids = view_of(state.params, state, data, learner=learner)
  shown = ids[np.asarray(view.candidates)].tolist()
  assert sorted(shown) == np.flatnonzero(~np.asarray(state.labeled)).tolist() and len(shown) == 47
  selected, _ = rounds.JITTED_PHASES.acquire(state.params, state, data, learner=learner)
  assert len(set(selected.tolist())) == 40 and not np.asarray(state.labeled)[np.asarray(selected)].any()


@pytest.mark.parametrize("name", ["margin", "kcenter"])
def test_a_subset_of_everything_is_everything(name, data, make_learner):
  state = loop.init_state(KEY, data, make_learner(name))
  for _ in range(2):
    whole, subset = (
      rounds.JITTED_PHASES.acquire(state.params, state, data, learner=make_learner(name, pool_subset=part))[0]
      for part in (None, 97)
    )
    assert subset.tolist() == whole.tolist()
    state = loop.label(state, whole, make_learner(name).protocol)


def copied(data, copies=3, noise=0.1):
  return dataclasses.replace(
    data, labels=np.tile(data.labels, copies), noise=noise, noise_key=jax.random.key(9) if noise else None
  )


@pytest.mark.slow
def test_a_pool_of_copies_runs_and_its_labels_are_its_originals(data, make_learner):
  copies = copied(data)
  learner = make_learner("margin")
  state, infos = by_hand(KEY, copies, learner)
  assert state.labeled.shape == (3 * 97,) and state.labeled.sum() == 24
  assert max(info.selected.max() for info in infos[:2]) >= 97
  log_probs = inference.outputs(
    None,
    learner.model,
    state.params,
    functools.partial(inference.pool_inputs, copies),
    jnp.arange(3 * 97),
    chunk_size=30,
  ).log_probs
  assert np.abs(np.asarray(log_probs[:97]) - np.asarray(log_probs[97 : 2 * 97])).max() > 1e-3


def test_training_sees_the_noise_of_the_ids_it_was_given(data, make_learner):
  learner = make_learner()
  clean, noisy = copied(data, noise=0.0), copied(data)
  start = loop.init_state(KEY, clean, learner)._replace(labeled=pool.mask_of(jnp.arange(10), size=3 * 97))
  elsewhere = start._replace(labeled=jnp.roll(start.labeled, 97))  # the same originals, by their second copies
  fit = lambda state, pool_data: rounds.JITTED_PHASES.fit(state, pool_data, learner=learner)[0]["Dense_0"]["kernel"]
  np.testing.assert_array_equal(fit(start, clean), fit(elsewhere, clean))
  assert np.abs(fit(start, noisy) - fit(elsewhere, noisy)).max() > 1e-3
  assert np.abs(fit(start, noisy) - fit(start, clean)).max() > 1e-3


def test_no_copy_of_a_validation_image_is_for_sale(data, make_learner):
  copies, protocol = copied(data), make_learner(val_size=20).protocol
  held_out = views.validation_ids(KEY, copies, protocol)
  assert len(set(held_out.tolist())) == 20 and held_out.max() < 97
  sale = np.asarray(views.for_sale(KEY, copies, protocol)).reshape(3, 97)
  assert (sale == sale[:1]).all() and np.flatnonzero(~sale[0]).tolist() == sorted(held_out.tolist())


def test_caller_given_features_reach_those_who_compare_images(data, make_learner):
  embedding = np.random.default_rng(0).normal(size=(97, 6)).astype(np.float32)
  acquired, seen = spied({"embedding", "features"})
  learner = make_learner()._replace(acquisition=acquired)
  state = loop.init_state(KEY, data, learner)
  for pool_data in (dataclasses.replace(copied(data, 2, 0.0), embedding=embedding), data):
    start = state if pool_data is data else loop.init_state(KEY, pool_data, learner)
    rounds.JITTED_PHASES.acquire(start.params, start, pool_data, learner=learner)
  jax.effects_barrier()
  np.testing.assert_array_equal(seen[0].embedding, np.tile(embedding, (2, 1)))
  assert seen[0].features.shape == (2 * 97, 16)
  np.testing.assert_array_equal(seen[1].embedding, seen[1].features)


class Plain(nn.Module):
  """A network without dropout."""

  @nn.compact
  def __call__(self, x, *, train=False):
    return nn.Dense(10)(x.reshape((x.shape[0], -1)))


@pytest.mark.parametrize(
  ("changes", "sentence"),
  [
    ({"posterior": types.Posterior()}, "compares posterior samples and has one"),
    ({"posterior": types.Posterior("dropout", 1)}, "compares posterior samples and has one"),
    ({"model": Plain()}, "MC dropout needs a network with dropout, and Plain drops nothing"),
    ({"acquisition": JOINT, "posterior": PER_EXAMPLE}, "which per-example dropout masks do not give"),
    ({"eval_posterior": types.Posterior("ensemble", 3)}, "can be evaluated only where it is"),
    ({"acquisition": types.Acquisition(None, needs=frozenset({"gradients"}))}, "unknown need 'gradients'"),
    ({"acquisition": acquisition.make("bald")._replace(targets=98)}, "98 targets are more than the pool's 97"),
  ],
)
def test_a_learner_whose_parts_do_not_fit_is_refused(changes, sentence, data, make_learner):
  learner = make_learner("bald")._replace(**changes)
  with pytest.raises(ValueError, match=sentence) as caught:
    loop.init_state(KEY, data, learner)
  assert "\n" not in str(caught.value)
  if "model" in changes:
    checks.check_learner(learner._replace(posterior=ENSEMBLE), data)  # a committee needs no dropout


@pytest.mark.parametrize(
  ("change", "sentence"),
  [
    ({"labels": np.zeros(98, np.int32)}, "98 labels are no whole number of copies of 97 images"),
    ({"noise": 0.1}, "a pool with noise 0.1 needs a noise_key"),
    ({"num_classes": 1}, "num_classes must be at least 2, not 1"),
    ({"embedding": np.zeros((5, 2), np.float32)}, "the embedding has 5 rows, but there are 97 images"),
  ],
)
def test_a_pool_that_does_not_fit_together_is_refused(change, sentence, data, make_learner):
  with pytest.raises(ValueError, match=sentence):
    checks.check(make_learner().protocol, dataclasses.replace(data, **change))


@pytest.mark.parametrize("subset", [6, 98])
def test_pool_subset_outside_its_range_is_refused(subset, data, make_learner):
  with pytest.raises(ValueError, match=rf"pool_subset={subset} must lie between acq_size, 7, and the pool's 97 images"):
    checks.check(make_learner(pool_subset=subset).protocol, data)
