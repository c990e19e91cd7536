"""Max-pooling and ReLU with a backward pass of its own, against autodiff of the plain functions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from al_jax import models
from al_jax.models import layers
from al_jax.models import pooling

pytestmark = pytest.mark.usefixtures("fast_compilation")


@pytest.mark.parametrize("sides", [(6, 4), (7, 5), (2, 3)])
def test_equals_autodiff_where_inputs_differ(sides):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(3, *sides, 5)).astype(np.float32)
  weights = rng.normal(size=(3, sides[0] // 2, sides[1] // 2, 5)).astype(np.float32)
  of = lambda function: jax.jit(jax.value_and_grad(lambda x: jnp.sum(function(x) * weights)))(x)
  (value, grad), (expected, expected_grad) = map(
    of, (pooling.relu_max_pool_2x2, lambda x: nn.relu(layers.max_pool_2x2(x)))
  )
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  np.testing.assert_array_equal(grad, expected_grad)


def test_the_first_of_equal_inputs_gets_the_gradient():
  x = jnp.array([[1.0, 2.0], [2.0, 2.0]]).reshape(1, 2, 2, 1)
  grad = jax.grad(lambda x: 3 * pooling.relu_max_pool_2x2(x).sum())
  np.testing.assert_array_equal(grad(x).ravel(), [0, 3, 0, 0])
  np.testing.assert_array_equal(grad(x * 0).ravel(), 0)  # ReLU has no gradient at 0
  np.testing.assert_array_equal(grad(-x).ravel(), 0)


@pytest.mark.slow
def test_the_network_trains_alike_in_both_ways():
  x = np.random.default_rng(1).random((4, 16, 16, 1)).astype(np.float32)
  plain = models.BatchBALDNet(num_classes=3, dropout_rate=0.0)
  params = plain.init(jax.random.key(0), x)["params"]

  def loss(params, lowering):
    return jnp.sum(plain.clone(lowering=lowering).apply({"params": params}, x, train=True) ** 2)

  of = lambda lowering: jax.jit(jax.value_and_grad(loss), static_argnums=1)(params, lowering)
  (value, grads), (expected, expected_grads) = of("winograd"), of("auto")
  np.testing.assert_allclose(value, expected, rtol=1e-4)
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * float(jnp.abs(b).max()))
  jax.tree.map(close, grads, expected_grads)
