"""Forbidden phrases: never generated, in whatever tokens they could be spelled."""

import jax
import jax.numpy as jnp
from flax import struct

from tfx_jax.decoding.logits import NEG_INF

# Nodes of every graph of phrases.
START, END = 0, 1


@struct.dataclass
class Phrases:
  """Graph of all spellings of all phrases: each is a path of tokens from `START` to `END`.

  Attributes:
    source: int32 [A], node that each arc leaves.
    token: int32 [A], token on the arc.
    target: int32 [A], node that the arc leads to.
    num_nodes: N, `START` and `END` included.
    longest: tokens of the longest path, or more.
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
    length: scalar, number of tokens so far.
    phrases: see `Phrases`.
  """
  rows, width, _ = log_probs.shape
  # A phrase may begin at any token, so START is reached before every one; all phrases that have
  # begun are followed at once. [B,W,N]
  start = jnp.zeros((rows, width, phrases.num_nodes), bool).at[..., START].set(True)

  # The last `longest` - 1 tokens are enough: a longer path cannot end with the next token.
  def follow(i: jax.Array, reached: jax.Array) -> jax.Array:
    back = phrases.longest - 1 - i
    token = jax.lax.dynamic_index_in_dim(tokens, length - back, axis=2)  # [B,W,T] -> [B,W,1]
    # Arcs that leave a reached node with this token: [B,W,N] -> [B,W,A]
    taken = reached[..., phrases.source] & (token == phrases.token[None, None])
    # Before the first token nothing is followed. [B,W,A] -> [B,W,N]
    return start.at[..., phrases.target].max(taken & (back <= length))

  reached = jax.lax.fori_loop(0, phrases.longest - 1, follow, start)
  # Arcs from a reached node to END, then their tokens: [B,W,N] -> [B,W,A] -> [B,W,V]
  completes = reached[..., phrases.source] & (phrases.target == END)[None, None]
  banned = jnp.zeros(log_probs.shape, bool).at[..., phrases.token].max(completes)
  return jnp.where(banned, NEG_INF, log_probs)
