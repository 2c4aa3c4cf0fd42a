"""From hidden states to a distribution over the vocabulary."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from tfx_jax.layers import axes
from tfx_jax.layers.linear import add
from tfx_jax.layers.thin_products import inputs_first

# The parameter that is the table as [D,V].
_INPUTS_FIRST = "inputs_first"


class VocabularyHead(nn.Module):
  """[B,T,D] -> logits [B,T,V]; the vocabulary's padding is never likely.

  Attributes:
    features: D.
    vocab_size: V, padding included.
    num_tokens: tokens that exist; the logits of the others are float32's lowest.
    tied: whether the kernel is the embedding table given to the call.
    use_bias: whether each token has a bias.
    dtype: of what is multiplied; logits are float32.
    scale: what hidden states are multiplied by, D^-0.5 in T5 (Raffel et al. 2020) where it is tied.
  """

  features: int
  vocab_size: int
  num_tokens: int
  tied: bool
  use_bias: bool = False
  dtype: jnp.dtype = jnp.float32
  scale: float = 1.0

  @nn.compact
  def __call__(self, hidden: jax.Array, table: jax.Array | None = None) -> jax.Array:
    if self.has_variable("params", _INPUTS_FIRST):
      table = self.get_variable("params", _INPUTS_FIRST).T
    elif not self.tied:
      init = nn.initializers.normal(self.features**-0.5)
      shape = (self.vocab_size, self.features)
      table = axes.param(self, "kernel", init, shape, (axes.VOCAB, axes.EMBED))
    hidden, table = (hidden * self.scale).astype(self.dtype), table.astype(self.dtype)
    # A narrower output would tie tokens that beam search must tell apart.
    logits = _product(hidden, table)
    if self.use_bias:
      zeros = nn.initializers.zeros
      logits = add(logits, axes.param(self, "bias", zeros, (self.vocab_size,), (axes.VOCAB,)))
    if self.num_tokens < self.vocab_size:
      token = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 2)
      logits = jnp.where(token < self.num_tokens, logits, jnp.finfo(jnp.float32).min)
    return axes.constrain(logits, axes.BATCH, axes.LENGTH, axes.ACT_VOCAB)


def prepared_head(params: Any, table: jax.Array) -> Any:
  """The parameters of a head as it decodes fastest: on some CPUs its table as [D,V].

  Args:
    params: of the head.
    table: the embedding's [V,D]; looked at only if the head has none of its own.
  """
  if jax.default_backend() != "cpu" or not inputs_first():
    return params
  others = {name: x for name, x in params.items() if name != "kernel"}
  return {**others, _INPUTS_FIRST: params.get("kernel", table).T}


@jax.custom_vjp
def _product(hidden: jax.Array, table: jax.Array) -> jax.Array:
  """Float32 logits [B,T,V] of hidden states [B,T,D] and a table [V,D].

  The table's gradient is made as [D,V] and then turned: made as [V,D], all of the logits' gradient
  would be computed and written a second time, turned.
  """
  return jnp.einsum("btd,vd->btv", hidden, table, preferred_element_type=jnp.float32)


def _forward(hidden: jax.Array, table: jax.Array) -> tuple:
  return _product(hidden, table), (hidden, table)


def _backward(saved: tuple, grad: jax.Array) -> tuple[jax.Array, jax.Array]:
  hidden, table = saved
  grad = grad.astype(hidden.dtype)
  return jnp.einsum("btv,vd->btd", grad, table), jnp.einsum("btd,btv->dv", hidden, grad).T


_product.defvjp(_forward, _backward)
