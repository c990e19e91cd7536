"""Uncertainty scores: comparison with slow references, bounds and invariances."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import uncertainty
from tests.support import reference

SCORES = ["least_confidence", "margin", "entropy"]
# Measures of disagreement: 0 if all samples agree.
DISAGREEMENT = ["mutual_information", "variation_ratio", "mean_std", "vote_entropy"]
CLASSES = 5


@functools.cache
def vmapped(name: str):
  return jax.jit(jax.vmap(getattr(uncertainty, name)))


def examples(kind: str, samples: int) -> np.ndarray:
  """`[200, samples, CLASSES]` float32 log-probabilities of one kind."""
  rng = np.random.default_rng(samples)
  shape = (200, samples, CLASSES)
  if kind == "certain":  # probabilities of exactly 0 and 1
    return np.where(np.eye(CLASSES, dtype=bool)[rng.integers(0, CLASSES, shape[:2])], 0.0, -np.inf).astype(np.float32)
  scale = {"flat": 0.01, "ordinary": 1.0, "sharp": 10.0, "extreme": 1e4}[kind]
  logits = rng.normal(size=shape) * scale
  if kind == "extreme":
    logits = np.sign(logits) * scale  # ties at the top among them
  return np.asarray(jax.nn.log_softmax(jnp.array(logits, jnp.float32)))


@pytest.mark.parametrize("samples", [1, 2, 8])
@pytest.mark.parametrize("kind", ["flat", "ordinary", "sharp", "extreme", "certain"])
@pytest.mark.parametrize("name", [*SCORES, *DISAGREEMENT])
def test_equals_the_reference(name, kind, samples, debug_nans):
  log_probs = examples(kind, samples)
  expected = [getattr(reference, name)(example) for example in log_probs]
  np.testing.assert_allclose(vmapped(name)(log_probs), expected, rtol=2e-5, atol=1e-6)


def test_the_mean_of_one_sample_is_that_sample_in_every_bit():
  for kind in ("ordinary", "extreme", "certain"):
    log_probs = examples(kind, 1)
    np.testing.assert_array_equal(vmapped("log_mean")(log_probs), log_probs[:, 0])


def test_margin_of_equal_classes_is_one():
  """The second class is another one than the first, also if both are equally probable."""
  halves = jnp.log(jnp.array([[[0.5, 0.5]], [[1.0, 0.0]], [[0.0, 1.0]]]))
  assert vmapped("margin")(halves).tolist() == [1.0, 0.0, 0.0]
  assert vmapped("margin")(jnp.full((1, 1, 4), -jnp.log(4.0))).tolist() == [1.0]


@pytest.mark.parametrize("kind", ["ordinary", "sharp"])
def test_log_mean_is_the_log_of_the_mean(kind):
  log_probs = examples(kind, 8)
  expected = [np.log(reference.mean_probs(example)) for example in log_probs]
  np.testing.assert_allclose(vmapped("log_mean")(log_probs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("samples", [2, 20])
def test_mutual_information_of_what_is_barely_possible_is_finite(samples):
  """Log-probabilities where one sample's probability is positive and the mean rounds to 0."""
  others = jnp.log1p(-jnp.exp(jnp.float32(-60.0)))
  for exponent in np.linspace(-87.3 + np.log(samples) - 3, -87.0, 40):
    log_probs = jnp.full((samples, 2), jnp.array([others, -200.0])).at[0, 1].set(exponent)
    score = jax.jit(uncertainty.mutual_information)(log_probs)
    assert 0 <= score < 1e-30, exponent


@pytest.mark.parametrize("apart", [1e-2, 1e-3, 1e-4])
def test_mutual_information_keeps_its_digits_near_agreement(apart):
  rng = np.random.default_rng(0)
  log_probs = np.asarray(jax.nn.log_softmax(jnp.array(rng.normal(size=(50, 1, CLASSES)) + np.zeros((50, 8, 1)))))
  log_probs = np.asarray(jax.nn.log_softmax(log_probs + apart * rng.normal(size=log_probs.shape)), np.float32)
  expected = [reference.mutual_information(example) for example in log_probs]
  # Inputs are rounded to about 1e-7, and the score is quadratic in differences of size `apart`.
  np.testing.assert_allclose(vmapped("mutual_information")(log_probs), expected, rtol=1e-6 / apart)


def test_the_mean_of_samples_that_disagree_keeps_its_digits():
  log_probs = jnp.full((1000, 2), -200.0).at[0, 1].set(0.0)
  np.testing.assert_allclose(uncertainty.log_mean(log_probs)[1], -np.log(1000), rtol=1e-6)


@pytest.mark.parametrize("doubt", [1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("name", ["least_confidence", "margin", "entropy"])
def test_means_of_sure_samples_keep_their_digits(name, doubt):
  doubts = doubt * np.linspace(0.5, 1.5, 20)
  log_probs = np.stack([np.log1p(-doubts), np.log(doubts)], axis=-1).astype(np.float32)
  mean = doubts.mean()
  entropy = -mean * np.log(mean) - (1 - mean) * np.log1p(-mean)
  expected = {"least_confidence": mean, "margin": 2 * mean, "entropy": entropy}[name]
  np.testing.assert_allclose(getattr(uncertainty, name)(jnp.array(log_probs)), expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["least_confidence", "margin"])
@pytest.mark.parametrize("doubt", [1e-3, 1e-6, 1e-9, 1e-12])
def test_small_doubts_keep_their_digits(name, doubt):
  # In float32, 1 - p itself would be 0 for the last two.
  log_probs = jnp.array([[math.log1p(-doubt), math.log(doubt)]], jnp.float32)
  expected = {"least_confidence": doubt, "margin": 2 * doubt}[name]
  np.testing.assert_allclose(getattr(uncertainty, name)(log_probs), expected, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 8])
@pytest.mark.parametrize("kind", ["flat", "ordinary", "sharp", "extreme", "certain"])
def test_bounds(kind, samples):
  log_probs = examples(kind, samples)
  most = min(samples, CLASSES)
  highest = {"least_confidence": 1 - 1 / CLASSES, "margin": 1.0, "entropy": math.log(CLASSES)}
  highest |= {"mutual_information": math.log(most), "vote_entropy": math.log(most), "mean_std": 0.5}
  highest |= {"variation_ratio": 1 - 1 / most}
  for name in highest:
    scores = vmapped(name)(log_probs)
    assert scores.shape == (200,) and scores.dtype == jnp.float32
    assert np.isfinite(scores).all()
    # Float32 rounding of a mean of S probabilities is at most a few units in the last place of 1.
    assert scores.min() >= -1e-6 and scores.max() <= highest[name] + 1e-6


@pytest.mark.parametrize("name", SCORES)
def test_least_and_most_uncertain(name):
  score = getattr(uncertainty, name)
  certain = jnp.array([[0.0, -jnp.inf, -jnp.inf]])
  uniform = jnp.full((1, 3), -math.log(3.0))
  disagreeing = jnp.where(jnp.eye(3, dtype=bool), 0.0, -jnp.inf)  # three certain samples, three different classes
  most = {"least_confidence": 2 / 3, "margin": 1.0, "entropy": math.log(3.0)}[name]
  np.testing.assert_allclose(score(certain), 0.0, atol=1e-7)
  np.testing.assert_allclose([score(uniform), score(disagreeing)], most, rtol=1e-6)


@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize("name", [*SCORES, *DISAGREEMENT])
def test_order_of_classes_and_samples_does_not_matter(name, samples):
  log_probs = examples("ordinary", samples)
  rng = np.random.default_rng(1)
  shuffled = log_probs[:, rng.permutation(samples)][:, :, rng.permutation(CLASSES)]
  np.testing.assert_allclose(vmapped(name)(shuffled), vmapped(name)(log_probs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SCORES)
def test_repeating_a_sample_changes_nothing(name):
  log_probs = examples("sharp", 1)
  np.testing.assert_allclose(
    vmapped(name)(np.repeat(log_probs, 4, axis=1)), vmapped(name)(log_probs), rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("kind", ["ordinary", "sharp", "extreme", "certain"])
@pytest.mark.parametrize("name", DISAGREEMENT)
def test_samples_that_agree_score_exactly_nothing(name, kind):
  log_probs = np.repeat(examples(kind, 1), 7, axis=1)
  scores = np.asarray(vmapped(name)(log_probs))
  if name == "mean_std":  # a mean of seven equal numbers may have a rounding error
    np.testing.assert_allclose(scores, 0, atol=1e-7)
  else:
    assert (scores == 0).all()


def test_mutual_information_is_the_difference_of_two_entropies():
  log_probs = examples("ordinary", 8)
  expected = vmapped("entropy")(log_probs) - vmapped("expected_entropy")(log_probs)
  np.testing.assert_allclose(vmapped("mutual_information")(log_probs), expected, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(
    vmapped("mutual_information")(log_probs), [reference.consensus_kl(example) for example in log_probs], rtol=1e-4
  )


def test_mutual_information_by_enumerating_samples_and_labels():
  # I[y; w] of the joint distribution p(s, y) = p_s(y) / S, from its definition.
  for example in examples("ordinary", 4)[:20].astype(np.float64):
    joint = np.exp(example) / len(example)
    independent = joint.sum(axis=0, keepdims=True) * joint.sum(axis=1, keepdims=True)
    expected = (joint * np.log(joint / independent)).sum()
    np.testing.assert_allclose(uncertainty.mutual_information(jnp.float32(example)), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["log_mean", "expected_entropy", *SCORES, *DISAGREEMENT])
def test_refuses_other_shapes_and_integers(name):
  function = getattr(uncertainty, name)
  with pytest.raises(AssertionError):
    function(jnp.zeros(3))
  with pytest.raises(AssertionError):
    function(jnp.zeros((2, 2, 3)))
  if name in ("log_mean", *SCORES):
    with pytest.raises(AssertionError):
      function(jnp.zeros((2, 3), jnp.int32))
