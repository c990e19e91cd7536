"""BAIT compared with explicit matrices, and its invariances."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import types
from al_jax.acquisition import _bait as module
from al_jax.acquisition._bait import bait
from tests.support import reference_bait
from tests.support.views import ties_by_id

pytestmark = [pytest.mark.usefixtures("fast_compilation"), pytest.mark.filterwarnings("error")]

SIZE, SAMPLES, CLASSES, FEATURES = 29, 2, 4, 5


def view_of(seed: int, *, size: int = SIZE, length: float = 1.0, labeled: int = 6) -> types.PoolView:
  """Random predictions, from certain to uncertain, and features; three rows are neither labeled nor candidates."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(size, SAMPLES, CLASSES)) * rng.uniform(0.3, 4, (size, 1, 1))
  features = np.maximum(rng.normal(size=(size, FEATURES)) + 0.3, 0) * length
  place = rng.permutation(size)
  return ties_by_id(
    types.PoolView(
      labeled=jnp.array(place < labeled),
      candidates=jnp.array(place >= labeled + 3),
      log_probs=jax.nn.log_softmax(jnp.array(logits, jnp.float32)),
      features=jnp.array(features, jnp.float32),
    )
  )


@functools.cache
def selector(num: int, **hyper):
  """A compiled selection, cached for each setting."""
  return jax.jit(functools.partial(bait(**hyper).select, num=num))


def select(view: types.PoolView, num: int, **hyper) -> list[int]:
  return selector(num, **hyper)(jax.random.key(0), view).tolist()


def expected(view: types.PoolView, num: int, **hyper) -> tuple[list[int], list[int]]:
  """The reference's forward picks and final batch."""
  return reference_bait.bait(view.log_probs, view.features, view.labeled, view.candidates, num, **hyper)


def min_regularization(view: types.PoolView) -> float:
  """The minimum regularization: a thousandth of the largest trace of a row's information."""
  traces = [np.trace(reference_bait.information(p, h)) for p, h in zip(probs_of(view), view.features, strict=True)]
  return 1e-3 * np.max(np.array(traces)[np.asarray(view.labeled | view.candidates)])


fisher = jax.jit(functools.partial(module.fisher, module.EXACT.moments), static_argnames="chunk_size")


def probs_of(view: types.PoolView) -> jax.Array:
  return jnp.exp(view.log_probs).mean(axis=1)


@pytest.mark.parametrize("hyper", [{}, {"oversample": 1.0}, {"oversample": 3.5, "regularization": 0.01}])
def test_batches_equal_the_reference(hyper):
  pruned = 0
  for seed in range(8):
    view = view_of(seed)
    picked, kept = expected(view, 4, **hyper)
    assert select(view, 4, **hyper) == kept
    pruned += kept != picked[:4]
  assert (pruned > 0) == (
    "oversample" not in hyper or hyper["oversample"] > 1
  )  # the picks removed are not always the last ones


def test_without_labeled_images():
  for seed in range(3):
    view = view_of(seed, labeled=0)
    assert select(view, 4) == expected(view, 4)[1]


def test_long_features_leave_the_backward_phase_its_digits():
  # All but some ten-thousandths of the information about a pick come from itself: the rest must not be rounding error.
  for seed in range(8):
    view = view_of(seed, length=100.0)
    assert select(view, 4) == expected(view, 4, regularization=min_regularization(view))[1]


def test_features_beyond_the_range_have_their_regularization():
  view = view_of(0, length=1e4)
  assert select(view, 4) == expected(view, 4, regularization=min_regularization(view))[1]


@pytest.mark.slow
@pytest.mark.parametrize("oversample", [pytest.param(1.0, marks=pytest.mark.slow), 2.0])
def test_at_the_least_regularization_a_batch_that_spans_the_space_is_float64_s(oversample):
  """Twelve images with four classes and five features give M full rank, the worst case for its inverse."""
  for seed in range(4):
    view = view_of(seed, size=60, labeled=0 if seed % 2 else 6)
    batch = select(view, 12, oversample=oversample, regularization=1e-9)
    assert batch == expected(view, 12, oversample=oversample, regularization=min_regularization(view))[1]


@pytest.mark.slow
def test_all_candidates():
  for seed in range(4):
    view = view_of(seed)
    have = int(view.candidates.sum())
    assert select(view, have) == expected(view, have)[0]
    assert select(view, have - 1) == expected(view, have - 1)[1]  # forward picks stop when no candidate is left


def test_factors_and_fisher_information():
  view = view_of(1)
  probs = probs_of(view)
  factors = module.fisher_roots(probs)[:, :, :, None] * view.features[:, None, None]
  explicit = np.array([reference_bait.fisher_factor(p, h) for p, h in zip(probs, view.features, strict=True)])
  np.testing.assert_allclose(factors.reshape(explicit.shape), explicit, rtol=1e-5, atol=1e-6)

  valid = np.arange(SIZE) % 3 != 0  # 19 rows: two full chunks and a partial one
  expected = sum(v.T @ v for v in explicit[valid])
  got = fisher(probs, view.features, jnp.array(valid), chunk_size=8)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


@pytest.mark.slow
def test_sure_predictions_keep_their_digits():
  # In float32, 1 - p would have a relative error of 1e-3 here.
  rest = np.array([1e-5, 2e-5, 3e-6])
  probs = np.array([1 - rest.sum(), *rest])
  got = fisher(jnp.array(probs[None], jnp.float32), jnp.ones((1, 1)), jnp.ones(1, bool), chunk_size=1)
  np.testing.assert_allclose(got, np.diag(probs) - np.outer(probs, probs), rtol=1e-5)
  assert not np.asarray(module.fisher_roots(jnp.eye(CLASSES))).any()  # certain


@pytest.mark.slow
def test_forms_follow_a_batch_that_grows_and_shrinks():
  view = view_of(2)
  probs = probs_of(view)
  rows = module.Rows(module.fisher_roots(probs), view.features)
  explicit = np.array([reference_bait.fisher_factor(p, h) for p, h in zip(probs, view.features, strict=True)])
  target = np.mean([v.T @ v for v in explicit], axis=0)
  matrix = 0.5 * np.eye(target.shape[0])
  inverse = jnp.array(np.linalg.inv(matrix), jnp.float32)
  as_floats = jnp.array(target, jnp.float32)
  forms = module.Forms(*(jax.jit(module.quadratic_forms)(x, rows) for x in (inverse, inverse @ as_floats @ inverse)))
  rank_update = jax.jit(module.rank_update, static_argnames="sign")
  update_forms = jax.jit(module.update_forms, static_argnames="sign")

  for i, sign in [(3, -1), (8, -1), (8, -1), (5, -1), (3, 1), (8, 1)]:
    inner = np.eye(CLASSES) - sign * np.asarray(forms.inverse_form[i], np.float64)
    root = jnp.array(np.linalg.cholesky(np.linalg.inv(inner)), jnp.float32)
    gain = float(module.gains(forms)[i]) if sign == -1 else None
    row = jax.tree.map(lambda leaf, i=i: leaf[i], rows)
    inverse, directions = rank_update(inverse, as_floats, row, root, sign=sign)
    forms = update_forms(rows, forms, directions, sign=sign)

    before = reference_bait.objective(target, matrix)
    matrix = matrix - sign * explicit[i].T @ explicit[i]
    if gain is not None:
      np.testing.assert_allclose(gain, before - reference_bait.objective(target, matrix), rtol=1e-4)
    exact = np.linalg.inv(matrix)
    np.testing.assert_allclose(inverse, exact, atol=1e-5)
    np.testing.assert_allclose(np.trace(inverse @ as_floats), reference_bait.objective(target, matrix), rtol=1e-5)
    np.testing.assert_allclose(forms.inverse_form, explicit @ exact @ explicit.swapaxes(1, 2), atol=3e-5)
    np.testing.assert_allclose(
      forms.target_form, explicit @ exact @ target @ exact @ explicit.swapaxes(1, 2), atol=3e-5
    )


@pytest.mark.slow
def test_close_to_the_best_of_all_batches():
  ratios = []
  for seed in range(6):
    view = view_of(seed)
    ids = np.flatnonzero(view.candidates)
    fields = view.log_probs, view.features, view.labeled, view.candidates
    target, matrix, each = reference_bait.problem(*fields, 4, 1.0)
    value = lambda batch, t=target, m=matrix, e=each: reference_bait.objective(t, m + e[list(batch)].sum(axis=0))
    every = [value(batch) for batch in itertools.combinations(ids, 4)]
    got = value(select(view, 4))
    assert got <= 1.01 * min(every)
    ratios.append((np.mean(every) - got) / (np.mean(every) - min(every)))
  assert np.mean(ratios) > 0.98  # share of the best batch's gain over a random batch


def test_neither_the_names_of_classes_nor_the_axes_of_features_matter():
  view = view_of(4)
  rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(FEATURES, FEATURES)))[0]
  turned = view._replace(
    log_probs=view.log_probs[..., jnp.array([2, 0, 3, 1])], features=view.features @ jnp.array(rotation, jnp.float32)
  )
  assert select(turned, 4) == select(view, 4)


def test_a_sure_network_gives_the_lowest_ids():
  view = view_of(5)
  certain = jnp.where(jnp.eye(CLASSES, dtype=bool)[jnp.arange(SIZE) % CLASSES], 0.0, -jnp.inf)[:, None]
  view = view._replace(log_probs=jnp.repeat(certain, SAMPLES, axis=1).astype(jnp.float32))
  assert select(view, 4) == np.flatnonzero(view.candidates)[:4].tolist()


def test_what_is_certain_comes_last():
  view = view_of(6)
  ids = np.flatnonzero(view.candidates)
  unsure = ids[[3, 9, 17]]
  certain = jnp.where(jnp.arange(CLASSES) == 1, 0.0, -jnp.inf)
  keep = np.isin(np.arange(SIZE), unsure)
  view = view._replace(log_probs=jnp.where(keep[:, None, None], view.log_probs, certain[None, None]))
  batch = select(view, 4)
  assert set(batch[:3]) == set(unsure) and batch[3] == min(set(ids) - set(unsure))


def test_no_image_is_bought_twice():
  # Four kinds of images in different directions, seven copies of each: a batch of four has one of each kind.
  kinds = jnp.arange(SIZE) % 4
  view = ties_by_id(
    types.PoolView(
      labeled=jnp.zeros(SIZE, bool),
      candidates=jnp.ones(SIZE, bool),
      log_probs=jnp.full((SIZE, SAMPLES, CLASSES), -np.log(CLASSES), jnp.float32),
      features=5.0 * jnp.eye(FEATURES)[kinds],
    )
  )
  assert sorted(np.asarray(kinds)[select(view, 4)]) == [0, 1, 2, 3]


def test_no_nans(debug_nans):
  for length in (1.0, 1e4):
    view = view_of(7, length=length)
    for log_probs in (view.log_probs, jnp.where(view.log_probs > -1.5, view.log_probs, -jnp.inf)):
      assert len(set(select(view._replace(log_probs=log_probs), 4))) == 4


def test_hyper_parameters():
  with pytest.raises(ValueError, match="regularization must be positive, not 0"):
    bait(regularization=0)
  with pytest.raises(ValueError, match=r"oversample must be at least 1, not 0\.5"):
    bait(oversample=0.5)
