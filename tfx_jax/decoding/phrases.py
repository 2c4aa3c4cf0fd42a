"""Phrases that are never generated, however a tokenizer's pieces spell them."""

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding.logits import NEG_INF

START, END = 0, 1


@struct.dataclass
class Phrases:
  """All spellings of all phrases as one graph: each is a path of tokens from `START` to `END`.

  Attributes:
    source: int32 [A], the node that each arc leaves.
    token: int32 [A], the token that is read along it.
    target: int32 [A], the node that it leads to.
    num_nodes: `START` and `END` counted.
    longest: at least the most tokens of a path.
  """

  source: jax.Array
  token: jax.Array
  target: jax.Array
  num_nodes: int = struct.field(pytree_node=False)
  longest: int = struct.field(pytree_node=False)


def forbid_phrases(
  log_probs: jax.Array, tokens: jax.Array, length: jax.Array, phrases: Phrases
) -> jax.Array:
  """Makes every token impossible that would complete a phrase.

  Args:
    log_probs: [B,W,V].
    tokens: int32 [B,W,T].
    length: scalar, how many of the tokens are real.
    phrases: see `Phrases`.
  """
  rows, width, _ = log_probs.shape
  # A phrase may begin anywhere; all that have begun are followed at once.
  start = jnp.zeros((rows, width, phrases.num_nodes), bool).at[..., START].set(True)

  def read(step: jax.Array, reached: jax.Array) -> jax.Array:
    back = phrases.longest - 1 - step
    newest = jax.lax.dynamic_index_in_dim(tokens, length - back, axis=2)
    taken = reached[..., phrases.source] & (newest == phrases.token[None, None])
    return start.at[..., phrases.target].max(taken & (back <= length))

  reached = jax.lax.fori_loop(0, phrases.longest - 1, read, start)
  completes = reached[..., phrases.source] & (phrases.target == END)[None, None]
  banned = jnp.zeros(log_probs.shape, bool).at[..., phrases.token].max(completes)
  return jnp.where(banned, NEG_INF, log_probs)
