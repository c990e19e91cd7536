"""Uncertainty scores against slow references, their bounds, and what must not matter to them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import uncertainty
from tests import reference

SCORES = ["least_confidence", "margin", "entropy"]
CLASSES = 5


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
@pytest.mark.parametrize("name", SCORES)
def test_equals_the_reference(name, kind, samples, debug_nans):
  log_probs = examples(kind, samples)
  expected = [getattr(reference, name)(example) for example in log_probs]
  np.testing.assert_allclose(vmapped(name)(log_probs), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["ordinary", "sharp"])
def test_log_mean_is_the_log_of_the_mean(kind):
  log_probs = examples(kind, 8)
  expected = [np.log(reference.mean_probs(example)) for example in log_probs]
  np.testing.assert_allclose(vmapped("log_mean")(log_probs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["least_confidence", "margin"])
@pytest.mark.parametrize("doubt", [1e-3, 1e-6, 1e-9, 1e-12])
def test_small_doubts_keep_their_digits(name, doubt):
  # In float32, 1 - p itself would be 0 for the last two.
  log_probs = jnp.array([[math.log1p(-doubt), math.log(doubt)]], jnp.float32)
  expected = {"least_confidence": doubt, "margin": 2 * doubt}[name]
  np.testing.assert_allclose(getattr(uncertainty, name)(log_probs), expected, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 3, 10])
@pytest.mark.parametrize("kind", ["flat", "ordinary", "sharp", "extreme", "certain"])
def test_bounds(kind, samples):
  log_probs = examples(kind, samples)
  highest = {"least_confidence": 1 - 1 / CLASSES, "margin": 1.0, "entropy": math.log(CLASSES)}
  for name in SCORES:
    scores = vmapped(name)(log_probs)
    assert scores.shape == (200,) and scores.dtype == jnp.float32
    assert np.isfinite(scores).all()
    # Float32 rounds a mean of S probabilities: a few units in the last place of 1, never more.
    assert scores.min() >= -1e-6 and scores.max() <= highest[name] + 1e-6


@pytest.mark.parametrize("name", SCORES)
def test_least_and_most_uncertain(name):
  score = getattr(uncertainty, name)
  certain = jnp.array([[0.0, -jnp.inf, -jnp.inf]])
  uniform = jnp.full((1, 3), -math.log(3.0))
  disagreeing = jnp.where(jnp.eye(3, dtype=bool), 0.0, -jnp.inf)  # three sure samples, three answers
  most = {"least_confidence": 2 / 3, "margin": 1.0, "entropy": math.log(3.0)}[name]
  np.testing.assert_allclose(score(certain), 0.0, atol=1e-7)
  np.testing.assert_allclose([score(uniform), score(disagreeing)], most, rtol=1e-6)


@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize("name", SCORES)
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


@pytest.mark.parametrize("name", ["log_mean", *SCORES])
def test_refuses_other_shapes_and_integers(name):
  function = getattr(uncertainty, name)
  with pytest.raises(AssertionError):
    function(jnp.zeros(3))
  with pytest.raises(AssertionError):
    function(jnp.zeros((2, 2, 3)))
  with pytest.raises(AssertionError):
    function(jnp.zeros((2, 3), jnp.int32))
