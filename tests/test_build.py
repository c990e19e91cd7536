"""What the flags ask for: the optimisers, as their libraries document them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import build
from tests import reference
from tests.test_strategies import config

pytestmark = pytest.mark.usefixtures("fast_compilation")

STEPS = 200
_rng = np.random.default_rng(0)
START, NUDGES = _rng.normal(size=7), _rng.normal(size=(STEPS, 7)) * np.logspace(-3, 1, 7)
CURVATURE = np.logspace(-2, 1, 7)


def path(flags) -> np.ndarray:
  """`[STEPS, 7]` parameters under the gradients of a noisy quadratic, by the optimiser of the flags; in float64."""
  optimizer = build.optimizer(flags)

  def step(carry, nudge):
    params, state = carry
    updates, state = optimizer.update(CURVATURE * params + nudge, state, params)
    return (params + updates, state), params + updates

  with jax.enable_x64(True):
    out = jax.jit(lambda: jax.lax.scan(step, (jnp.array(START), optimizer.init(jnp.array(START))), NUDGES)[1])()
    assert out.dtype == jnp.float64
    return np.asarray(out)


def keras_adadelta(learning_rate: float):
  """Keras's `Adadelta.update_step`: rho 0.95, epsilon 1e-7."""
  grads, deltas = np.zeros(7), np.zeros(7)
  params = START.copy()
  for nudge in NUDGES:
    gradient = CURVATURE * params + nudge
    grads[:] = 0.95 * grads + 0.05 * gradient**2
    delta = -np.sqrt(deltas + 1e-7) * gradient / np.sqrt(grads + 1e-7)
    deltas[:] = 0.95 * deltas + 0.05 * delta**2
    params = params + learning_rate * delta
    yield params


def pytorch_adam(learning_rate: float, weight_decay: float):
  """PyTorch's `Adam`, whose weight decay is added to the gradient: betas 0.9 and 0.999, eps 1e-8."""
  params, first, second = START.copy(), np.zeros(7), np.zeros(7)
  for t, nudge in enumerate(NUDGES, start=1):
    gradient = CURVATURE * params + nudge + weight_decay * params
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    denominator = np.sqrt(second) / np.sqrt(1 - 0.999**t) + 1e-8
    params = params - learning_rate / (1 - 0.9**t) * first / denominator
    yield params


@pytest.mark.parametrize(
  ("flags", "its_librarys", "settings"),
  [
    ({"optimizer": "adadelta", "learning_rate": 1e-3}, keras_adadelta, (1e-3,)),
    ({"optimizer": "adadelta", "learning_rate": 1.0}, keras_adadelta, (1.0,)),
    ({"learning_rate": 1e-3}, pytorch_adam, (1e-3, 0.0)),
    ({"learning_rate": 1e-3, "weight_decay": 5e-4}, pytorch_adam, (1e-3, 5e-4)),
    ({"learning_rate": 1e-2, "weight_decay": 0.5}, pytorch_adam, (1e-2, 0.5)),
  ],
)
def test_an_optimiser_of_the_flags_is_its_librarys(flags, its_librarys, settings):
  expected = np.array(list(its_librarys(*settings)))
  assert len(expected) == STEPS and np.abs(expected[-1] - START).max() > 1e-4
  np.testing.assert_allclose(path(config(**flags)) - START, expected - START, rtol=1e-6, atol=1e-9)


def test_sgd_of_the_flags_has_their_momentum():
  flags = config(optimizer="sgd", learning_rate=1e-3, momentum=0.7, weight_decay=0.1)
  update, params, memory, expected = reference.sgd(1e-3, 0.7), START.copy(), 0.0, []
  for t, nudge in enumerate(NUDGES, start=1):
    change, memory = update(CURVATURE * params + nudge + 0.1 * params, memory, t)
    params = params + change
    expected.append(params)
  np.testing.assert_allclose(path(flags), expected, rtol=1e-6)
