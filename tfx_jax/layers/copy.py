"""Copying from the source: a pointer-generator (See et al. 2017, arXiv:1704.04368, section 2.2)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from tfx_jax.layers import axes
from tfx_jax.layers.cache import CopyMemory
from tfx_jax.layers.linear import Linear
from tfx_jax.layers.mask import Mask, lower


class Pointed(struct.PyTreeNode):
  """Hidden states, and the source positions that each of them points to.

  Attributes:
    states: [B,T,D].
    weights: float32 [B,T,S], a distribution over source positions.
    gate: float32 [B,T], the logit of p_gen, the probability that a token is not copied.
  """

  states: jax.Array
  weights: jax.Array
  gate: jax.Array


class CopyAttention(nn.Module):
  """One additional attention, from the decoder's last states to the encoder's.

  Scores are bilinear (Luong et al. 2015, arXiv:1508.04025, "general"), scaled by sqrt(D). p_gen is
  that of See et al., eq. 8, without the decoder's input, which a Transformer's states contain
  already.

  Attributes:
    features: D.
    dtype: dtype of the products with the states; softmax and gate are float32.
  """

  features: int
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    square = (self.features, self.features)
    self.score = Linear(*square, (axes.EMBED, None), use_bias=False, dtype=self.dtype)
    self.source_gate = Linear(self.features, 1, (axes.EMBED, None), use_bias=False)
    self.target_gate = Linear(self.features, 1, (axes.EMBED, None))

  def project_memory(self, memory: jax.Array, tokens: jax.Array) -> CopyMemory:
    """Projects the encoder's states [B,S,D] of `tokens` [B,S]; it does not depend on the target."""
    keys = axes.constrain(self.score(memory), axes.BATCH, axes.KEY_LENGTH, axes.ACT_EMBED)
    return CopyMemory(keys, self.source_gate(memory)[..., 0], tokens)  # gate: [B,S,1] -> [B,S]

  def __call__(self, states: jax.Array, memory: CopyMemory, mask: Mask) -> Pointed:
    """Returns where states [B,T,D] point; one that sees no source points everywhere, never NaN."""
    query = states.astype(self.dtype) * self.features**-0.5
    scores = jnp.einsum("btd,bsd->bts", query, memory.keys, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(lower(mask), scores, jnp.finfo(jnp.float32).min))
    weights = axes.constrain(weights, axes.BATCH, axes.LENGTH, None)
    # See et al. apply the gate to the mean of the states. It is linear: the mean of the gates.
    gate = self.target_gate(states)[..., 0] + jnp.einsum("bts,bs->bt", weights, memory.gate)
    return Pointed(states, weights, gate)


def with_copies(logits: jax.Array, pointed: Pointed, tokens: jax.Array) -> jax.Array:
  """Returns log-probabilities of tokens that are generated or copied (See et al. 2017, eq. 9).

  P(w) = p_gen P_vocab(w) + (1 - p_gen) * sum of the weights of the source positions that hold w.
  log P is log(p_gen P_vocab), plus a gain for the tokens of the source only.

  Args:
    logits: float32 [B,T,V] of P_vocab; float32's minimum, of tokens that do not exist, is kept.
    pointed: see `Pointed`.
    tokens: int32 [B,S], of the source.

  Returns:
    float32 [B,T,V]; their softmax is P.
  """
  generated = jax.nn.log_softmax(logits) + jax.nn.log_sigmoid(pointed.gate)[..., None]
  # Source tokens may be anywhere in the vocabulary, so its axis is gathered from all devices.
  generated = axes.constrain(generated, axes.BATCH, axes.LENGTH, None)
  same = tokens[:, :, None] == tokens[:, None, :]  # [B,S,S]
  # Weight of the token at each source position, wherever else it occurs: [B,T,S].
  share = jnp.einsum("bts,bsr->btr", pointed.weights, same.astype(jnp.float32))
  # log(1) in place of log(0), whose second derivative times 0 would be NaN.
  has_share = share > jnp.finfo(jnp.float32).tiny
  copied = jnp.log(jnp.where(has_share, share, 1.0))
  copied = copied + jax.nn.log_sigmoid(-pointed.gate)[..., None]
  # log(e^g + e^c) = g + softplus(c - g); g: [B,T,V] -> [B,T,S]
  gain = jax.nn.softplus(copied - jnp.take_along_axis(generated, tokens[:, None], axis=-1))
  # A token that occurs several times has one gain, added at its first position.
  first = same.argmax(axis=1) == jnp.arange(tokens.shape[1])[None]
  gain = jnp.where(first[:, None] & has_share, gain, 0.0)
  # [B,T,S] is added into [B,T,V] at the tokens [B,S].
  log_probs = jax.vmap(lambda row, ids, gain: row.at[:, ids].add(gain))(generated, tokens, gain)
  return axes.constrain(log_probs, axes.BATCH, axes.LENGTH, axes.ACT_VOCAB)
