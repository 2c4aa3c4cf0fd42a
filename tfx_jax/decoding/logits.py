"""Pure functions on the next token's logits or log-probabilities; numbers are traced."""

import functools

import jax
import jax.numpy as jnp

NEG_INF = -jnp.inf


def forbid(log_probs: jax.Array, banned: jax.Array) -> jax.Array:
  """Makes the tokens that the mask `banned`, bool [V], names impossible in `log_probs` [B,W,V]."""
  return jnp.where(banned[None, None], NEG_INF, log_probs)


def log_softmax(logits: jax.Array) -> jax.Array:
  """Log-probabilities [B,W,V] in nats, of logits [B,W,V].

  Of `jax.nn.log_softmax` XLA writes down one array [B,W,V] more: logits less the greatest.
  """
  return logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)


def is_end(ids: jax.Array, eos: tuple[int, ...]) -> jax.Array:
  """Whether each token id is one of `eos`, bool of their shape."""
  return functools.reduce(jnp.logical_or, [ids == end for end in eos])


def others_left(log_probs: jax.Array, eos: tuple[int, ...]) -> jax.Array:
  """Whether anything but EOS is possible, bool [B,W,1]."""
  others = jnp.where(is_end(_ids(log_probs), eos), NEG_INF, log_probs)
  return others.max(axis=-1, keepdims=True) > NEG_INF


def limit_length(
  log_probs: jax.Array,
  length: jax.Array,
  min_length: jax.Array,
  max_length: jax.Array,
  eos: tuple[int, ...],
  others: jax.Array | bool,
) -> jax.Array:
  """Forbids EOS before `min_length` tokens, and everything else at `max_length`.

  Args:
    log_probs: [B,W,V], of token number `length` (counted from 1, EOS counted).
    length: scalar.
    min_length: [B], the least number of tokens of a finished hypothesis.
    max_length: [B], the greatest number; it wins over `min_length`.
    eos: ids of the end tokens.
    others: [B,W,1] or scalar, whether other rules have left anything but EOS; else it is allowed.
  """
  is_eos = is_end(_ids(log_probs), eos)
  last = (length >= max_length)[:, None, None]
  early = (length < min_length)[:, None, None] & ~last & others
  return jnp.where((is_eos & early) | (~is_eos & last), NEG_INF, log_probs)


def penalize_repetition(
  logits: jax.Array, tokens: jax.Array, length: jax.Array, penalty: jax.Array
) -> jax.Array:
  """Divides the logits of tokens that a hypothesis already holds by `penalty`.

  This is eq. 2 of Keskar et al. (2019, arXiv:1909.05858) for positive logits. A negative one is
  multiplied, as dividing it would reward repetition.

  Args:
    logits: [B,W,V].
    tokens: int32 [B,W,T].
    length: scalar, how many of the tokens are real.
    penalty: scalar above 0; below 1 it rewards repetition.
  """
  real = jnp.broadcast_to(jnp.arange(tokens.shape[2]) < length, tokens.shape)
  penalized = jnp.where(logits > 0, logits / penalty, logits * penalty)
  return jnp.where(_named(tokens, real, logits.shape[2]), penalized, logits)


def penalize_presence(
  logits: jax.Array, tokens: jax.Array, length: jax.Array, penalty: jax.Array
) -> jax.Array:
  """Subtracts `penalty` from the logits of tokens that a hypothesis already holds.

  This is the presence penalty of OpenAI's API (its reference, "Frequency and presence penalties");
  below 0 it makes them likelier.

  Args:
    logits: [B,W,V].
    tokens: int32 [B,W,T].
    length: scalar, how many of the tokens are real.
    penalty: scalar.
  """
  real = jnp.broadcast_to(jnp.arange(tokens.shape[2]) < length, tokens.shape)
  return jnp.where(_named(tokens, real, logits.shape[2]), logits - penalty, logits)


def block_ngrams(
  log_probs: jax.Array, tokens: jax.Array, length: jax.Array, size: jax.Array
) -> jax.Array:
  """Forbids every token that would make an n-gram occur twice (Paulus et al. 2017, section 2.5).

  Args:
    log_probs: [B,W,V].
    tokens: int32 [B,W,T].
    length: scalar, how many of the tokens are real.
    size: scalar, n, at least 1.
  """
  places = jnp.arange(tokens.shape[2])
  # Of each place: whether an n-gram that begins as the next one will has its last token there.
  ends = jnp.broadcast_to((places < length) & (places >= size - 1), tokens.shape)

  def compare(back: jax.Array, ends: jax.Array) -> jax.Array:
    newest = jax.lax.dynamic_index_in_dim(tokens, length - back, axis=2)
    return ends & (jnp.roll(tokens, back, axis=2) == newest)

  ends = jax.lax.fori_loop(1, size, compare, ends)
  return jnp.where(_named(tokens, ends, log_probs.shape[2]), NEG_INF, log_probs)


def force_prefix(
  log_probs: jax.Array,
  unruled: jax.Array,
  length: jax.Array,
  prefix: jax.Array,
  prefix_length: jax.Array,
) -> jax.Array:
  """Makes everything but a prefix's token impossible, and that token possible, as long as it goes.

  Args:
    log_probs: [B,W,V], after other rules.
    unruled: [B,W,V], before them; where the forced token's log-probability is taken from.
    length: scalar, tokens so far.
    prefix: int32 [B,P].
    prefix_length: int32 [B], how many of them are real.
  """
  forced = jax.lax.dynamic_index_in_dim(prefix, length, axis=1, keepdims=False)
  is_forced = _ids(log_probs) == forced[:, None, None]
  inside = (length < prefix_length)[:, None, None]
  return jnp.where(inside, jnp.where(is_forced, unruled, NEG_INF), log_probs)


def _ids(log_probs: jax.Array) -> jax.Array:
  """Token ids along the last axis, of the shape of `log_probs`."""
  return jax.lax.broadcasted_iota(jnp.int32, log_probs.shape, log_probs.ndim - 1)


def _named(tokens: jax.Array, where: jax.Array, vocab: int) -> jax.Array:
  """Of which tokens one of `tokens` [B,W,T] is, `where` [B,W,T] is true: bool [B,W,V]."""

  def mark(tokens: jax.Array, where: jax.Array) -> jax.Array:
    return jnp.zeros(vocab, bool).at[tokens].max(where)

  return jax.vmap(jax.vmap(mark))(tokens, where)
