"""A small fake model, and the rules on its next token in plain Python."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from tfx_jax.decoding.phrases import END, START, Phrases
from tfx_jax.decoding.rules import Rules

EOS, PAD = 1, 0
STATES = 997


class FakeModel:
  """A model whose next-token logits depend on the whole history, through a hash of it."""

  def __init__(self, vocab: int, seed: int, eos_bonus: float = 0.0):
    rng = np.random.default_rng(seed)
    self.vocab = vocab
    self.table = rng.normal(size=(STATES, vocab)).astype(np.float32) * 2
    self.table[:, EOS] += eos_bonus
    self.log_probs = log_softmax(self.table)

  @staticmethod
  def advance(history, token):
    return (history * 31 + token + 7) % STATES

  def prefill(self, rows):
    """Logits of the first token for `rows` inputs, or for the inputs with these numbers."""
    return jnp.asarray(self.table)[self.begin(rows)]

  @staticmethod
  def begin(rows):
    return (jnp.arange(rows) if isinstance(rows, int) else jnp.asarray(rows)) * 13 % STATES

  def step(self, tokens, parents, history):
    history = jnp.take_along_axis(history, parents, axis=1)
    history = self.advance(history, tokens)
    return jnp.asarray(self.table)[history], history

  def history(self, rows, width: int):
    history = self.begin(rows)
    return jnp.broadcast_to(history[:, None], (len(history), width))

  def state_after(self, row, tokens):
    history = row * 13 % STATES
    for token in tokens:
      history = self.advance(history, token)
    return history

  def log_prob_of(self, row, tokens):
    return sum(
      self.log_probs[self.state_after(row, tokens[:n]), token] for n, token in enumerate(tokens)
    )


def log_softmax(logits):
  logits = np.asarray(logits, np.float64)
  shifted = logits - logits.max(axis=-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def cut(tokens):
  return tuple(tokens[: tokens.index(EOS) + 1]) if EOS in tokens else tuple(tokens)


@dataclasses.dataclass
class PlainRules:
  """The rules for one sequence at a time."""

  min_length: int = 1
  max_length: int = 5
  forbidden: tuple = (PAD,)
  prefix: tuple = ()
  ngram: int = 0
  penalty: float = 1.0
  presence: float = 0.0
  phrases: tuple = ()

  def log_probs(self, logits, tokens):
    """Log-probabilities [V] of the token after `tokens`."""
    logits, tokens = np.array(logits, np.float64), tuple(tokens)
    for token in set(tokens):
      logits[token] = min(logits[token] / self.penalty, logits[token] * self.penalty)
      logits[token] -= self.presence
    log_probs = log_softmax(logits)
    if len(tokens) < len(self.prefix):
      allowed = [self.prefix[len(tokens)]]
    elif len(tokens) + 1 == self.max_length:
      allowed = [EOS]
    else:
      words = [
        t
        for t in range(len(logits))
        if t != EOS
        and t not in self.forbidden
        and not self.repeats((*tokens, t))
        and not any((*tokens, t)[-len(phrase) :] == phrase for phrase in self.phrases)
      ]
      allowed = words + [EOS] * (len(tokens) + 1 >= self.min_length or not words)
    kept = np.full(len(logits), -np.inf)
    kept[allowed] = log_probs[allowed]
    return kept

  def repeats(self, tokens):
    """Returns whether the last n-gram has occurred before."""
    grams = [tokens[i : i + self.ngram] for i in range(len(tokens) - self.ngram + 1)]
    return bool(self.ngram) and tokens[-self.ngram :] in grams[:-1]


def graph(phrases):
  """Makes `Phrases` of token sequences, each as a separate path."""
  arcs, nodes = [], END + 1
  for phrase in phrases:
    inner = range(nodes, nodes + len(phrase) - 1)
    arcs += zip([START, *inner], phrase, [*inner, END], strict=True)
    nodes += len(inner)
  return Phrases(*jnp.array(arcs, jnp.int32).T, num_nodes=nodes, longest=max(map(len, phrases)))


def batched(plain, vocab, capacity):
  """Makes `Rules` of one `PlainRules` per row; rules that rows share are taken from the first."""
  first = plain[0]
  prefix = np.zeros((len(plain), capacity), np.int32)
  for row, rules in zip(prefix, plain, strict=True):
    row[: len(rules.prefix)] = rules.prefix
  return Rules(
    forbidden=jnp.isin(jnp.arange(vocab), jnp.asarray(first.forbidden)),
    min_length=jnp.array([rules.min_length for rules in plain], jnp.int32),
    max_length=jnp.array([rules.max_length for rules in plain], jnp.int32),
    eos=(EOS,),
    prefix=jnp.asarray(prefix) if any(rules.prefix for rules in plain) else None,
    prefix_length=jnp.array([len(rules.prefix) for rules in plain], jnp.int32)
    if any(rules.prefix for rules in plain)
    else None,
    no_repeat_ngram_size=jnp.int32(first.ngram) if first.ngram else None,
    repetition_penalty=jnp.float32(first.penalty) if first.penalty != 1 else None,
    presence_penalty=jnp.float32(first.presence) if first.presence else None,
    phrases=graph(first.phrases) if first.phrases else None,
  )
