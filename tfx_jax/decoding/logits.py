"""Single rules on the logits or log-probabilities of the next token; all numbers are traced."""

import functools

import jax
import jax.numpy as jnp

NEG_INF = -jnp.inf


def forbid(log_probs: jax.Array, banned: jax.Array) -> jax.Array:
  """Makes the tokens of the mask `banned`, bool [V], impossible in `log_probs` [B,W,V]."""
  return jnp.where(banned[None, None], NEG_INF, log_probs)  # [1,1,V], [B,W,V] -> [B,W,V]


def log_softmax(logits: jax.Array) -> jax.Array:
  """Log-probabilities [B,W,V] in nats of logits [B,W,V].

  For `jax.nn.log_softmax`, XLA stores one more array [B,W,V]: the logits minus their maximum.
  """
  return logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)  # [B,W,V] - [B,W,1]


def is_end(ids: jax.Array, eos: tuple[int, ...]) -> jax.Array:
  """Returns whether each token id is one of `eos`, bool of their shape."""
  return functools.reduce(jnp.logical_or, [ids == end for end in eos])


def others_left(log_probs: jax.Array, eos: tuple[int, ...]) -> jax.Array:
  """Returns whether any token but EOS is possible, bool [B,W,1]."""
  others = jnp.where(is_end(_ids(log_probs), eos), NEG_INF, log_probs)
  return others.max(axis=-1, keepdims=True) > NEG_INF  # [B,W,V] -> [B,W,1]


def limit_length(
  log_probs: jax.Array,
  length: jax.Array,
  min_length: jax.Array,
  max_length: jax.Array,
  eos: tuple[int, ...],
  others: jax.Array | bool,
) -> jax.Array:
  """Forbids EOS before `min_length` tokens, and all other tokens at `max_length`.

  Args:
    log_probs: [B,W,V], of token number `length`.
    length: scalar, counted from 1.
    min_length: [B], least number of tokens of a hypothesis, EOS included.
    max_length: [B], greatest number; it overrules `min_length`.
    eos: ids of the end tokens.
    others: [B,W,1] or scalar, whether other rules left any token but EOS. If not, EOS is allowed.
  """
  is_eos = is_end(_ids(log_probs), eos)
  last = (length >= max_length)[:, None, None]  # [B] -> [B,1,1]
  # Never forbids the only token that is left.
  early = (length < min_length)[:, None, None] & ~last & others
  return jnp.where((is_eos & early) | (~is_eos & last), NEG_INF, log_probs)


def penalize_repetition(
  logits: jax.Array, tokens: jax.Array, length: jax.Array, penalty: jax.Array
) -> jax.Array:
  """Divides the logits of tokens that a hypothesis already contains by `penalty`.

  This is eq. 2 of Keskar et al. (2019, arXiv:1909.05858) for positive logits. Negative logits are
  multiplied instead, because dividing them would favour repetition.

  Args:
    logits: [B,W,V].
    tokens: int32 [B,W,T].
    length: scalar, number of tokens so far.
    penalty: scalar above 0; below 1 it rewards repetition.
  """
  real = jnp.broadcast_to(jnp.arange(tokens.shape[2]) < length, tokens.shape)  # [T] -> [B,W,T]
  penalized = jnp.where(logits > 0, logits / penalty, logits * penalty)
  return jnp.where(_occurring(tokens, real, logits.shape[2]), penalized, logits)


def penalize_presence(
  logits: jax.Array, tokens: jax.Array, length: jax.Array, penalty: jax.Array
) -> jax.Array:
  """Subtracts `penalty` from the logits of tokens that a hypothesis already contains.

  This is the presence penalty of OpenAI's API (its reference, "Frequency and presence penalties").
  A penalty below 0 makes these tokens likelier.

  Args:
    logits: [B,W,V].
    tokens: int32 [B,W,T].
    length: scalar, number of tokens so far.
    penalty: scalar.
  """
  real = jnp.broadcast_to(jnp.arange(tokens.shape[2]) < length, tokens.shape)  # [T] -> [B,W,T]
  return jnp.where(_occurring(tokens, real, logits.shape[2]), logits - penalty, logits)


def block_ngrams(
  log_probs: jax.Array, tokens: jax.Array, length: jax.Array, size: jax.Array
) -> jax.Array:
  """Forbids every token that would make an n-gram occur twice.

  Paulus et al. (2017, arXiv:1705.04304, section 2.5).

  Args:
    log_probs: [B,W,V].
    tokens: int32 [B,W,T].
    length: scalar, number of tokens so far.
    size: scalar, n, at least 1.
  """
  places = jnp.arange(tokens.shape[2])
  # True where an n-gram ends whose first n-1 tokens are the last n-1 tokens so far. Starts with all
  # places that have n-1 tokens before them: [T] -> [B,W,T]
  ends = jnp.broadcast_to((places < length) & (places >= size - 1), tokens.shape)

  def compare(back: jax.Array, ends: jax.Array) -> jax.Array:
    # The token `back` places before each place must equal the token `back` places before the next.
    last = jax.lax.dynamic_index_in_dim(tokens, length - back, axis=2)  # [B,W,T] -> [B,W,1]
    return ends & (jnp.roll(tokens, back, axis=2) == last)

  # The last token of such an n-gram would make it occur again.
  ends = jax.lax.fori_loop(1, size, compare, ends)
  return jnp.where(_occurring(tokens, ends, log_probs.shape[2]), NEG_INF, log_probs)


def force_prefix(
  log_probs: jax.Array,
  unmasked: jax.Array,
  length: jax.Array,
  prefix: jax.Array,
  prefix_length: jax.Array,
) -> jax.Array:
  """Makes the prefix's token the only possible one at each of the prefix's places.

  Args:
    log_probs: [B,W,V], after all other rules.
    unmasked: [B,W,V], before any token was made impossible; gives the log-probability of the forced
      token, which other rules may forbid.
    length: scalar, number of tokens so far.
    prefix: int32 [B,P].
    prefix_length: int32 [B], number of real tokens in each prefix.
  """
  forced = jax.lax.dynamic_index_in_dim(prefix, length, axis=1, keepdims=False)  # [B,P] -> [B]
  is_forced = _ids(log_probs) == forced[:, None, None]  # [B,W,V], [B,1,1] -> [B,W,V]
  inside = (length < prefix_length)[:, None, None]  # [B] -> [B,1,1]
  return jnp.where(inside, jnp.where(is_forced, unmasked, NEG_INF), log_probs)


def _ids(log_probs: jax.Array) -> jax.Array:
  """Token ids along the last axis, int32 of the shape of `log_probs`."""
  return jax.lax.broadcasted_iota(jnp.int32, log_probs.shape, log_probs.ndim - 1)


def _occurring(tokens: jax.Array, where: jax.Array, vocab: int) -> jax.Array:
  """Mask [B,W,V] of the tokens that occur in `tokens` [B,W,T] at places where `where` is true."""

  def mark(tokens: jax.Array, where: jax.Array) -> jax.Array:
    return jnp.zeros(vocab, bool).at[tokens].max(where)  # [T] -> [V]

  return jax.vmap(jax.vmap(mark))(tokens, where)  # [B,W,T] -> [B,W,V]
