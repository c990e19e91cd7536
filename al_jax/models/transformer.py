"""A small transformer encoder for tokens."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Transformer(nn.Module):
  """A pre-norm transformer encoder; its output, averaged over tokens, enters the head.

  Takes `[B, length]` integers from 0 to `vocabulary - 1`, all rows of one length, and returns `[B, num_classes]`
  logits. Dropout acts on attention weights, on the output of each sublayer, and on the mean before the head.

  Source: Vaswani et al. (2017); Xiong et al. (2020) for pre-norm.
  """

  num_classes: int = 10
  vocabulary: int = 1000  # number of distinct tokens
  features: int = 64  # width of a token's representation
  heads: int = 4  # attention heads
  blocks: int = 2
  dropout_rate: float = 0.1  # one number per program, not a traced one

  head = "head"

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
    if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.integer):
      raise ValueError(f"a transformer takes [B, L] integer tokens, not {x.dtype} rows of shape {x.shape[1:]}")
    if isinstance(self.dropout_rate, jax.Array):
      raise ValueError("the attention of a transformer takes one dropout_rate per program, not a traced one")
    drop = lambda x: nn.Dropout(self.dropout_rate, deterministic=not train)(x)
    places = self.param("places", nn.initializers.normal(0.02), (1, x.shape[1], self.features))
    x = nn.Embed(self.vocabulary, self.features)(x) + places
    for _ in range(self.blocks):
      attend = nn.MultiHeadDotProductAttention(
        self.heads, dropout_rate=self.dropout_rate, deterministic=not train, qkv_features=self.features
      )
      x = x + drop(attend(nn.LayerNorm()(x)))
      x = x + drop(nn.Dense(self.features)(nn.gelu(nn.Dense(4 * self.features)(nn.LayerNorm()(x)))))
    x = drop(nn.LayerNorm()(x).mean(axis=1))
    return nn.Dense(self.num_classes, name="head")(x)
