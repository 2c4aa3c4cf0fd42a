"""What a next token may be: the rules that every search applies, in one order."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from tfx_jax.decoding import logits as on
from tfx_jax.decoding.phrases import Phrases, forbid_phrases


@struct.dataclass
class Rules:
  """Rules on the next token. A rule that is None is not in the program; numbers are traced.

  They look at the output only, whatever the prompt holds.

  Attributes:
    forbidden: bool [U], tokens that are never generated; nor are those from U on. EOS is none.
    min_length: int32 [B], least tokens of an output, EOS counted.
    max_length: int32 [B], most tokens of an output, EOS counted.
    eos: ids of the tokens that end an output; the first of them in an output is its last token.
    prefix: int32 [B,T], tokens that outputs begin with.
    prefix_length: int32 [B], how many of them, fewer than `max_length`.
    no_repeat_ngram_size: scalar n, no n-gram occurs twice in an output.
    repetition_penalty: scalar, what logits of tokens of the output so far are divided by.
    presence_penalty: scalar, what is subtracted from them.
    phrases: that outputs never hold.
  """

  forbidden: jax.Array
  min_length: jax.Array
  max_length: jax.Array
  eos: tuple[int, ...] = struct.field(pytree_node=False)
  prefix: jax.Array | None = None
  prefix_length: jax.Array | None = None
  no_repeat_ngram_size: jax.Array | None = None
  repetition_penalty: jax.Array | None = None
  presence_penalty: jax.Array | None = None
  phrases: Phrases | None = None


def apply_rules(
  rules: Rules, logits: jax.Array, tokens: jax.Array, length: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """The next token's log-probabilities, of the model and under the rules.

  The penalties on repetition and presence, in this order, change the distribution. All other rules
  only make tokens impossible and leave the log-probabilities of the rest as they are: forbidden
  tokens, forbidden phrases and repeated n-grams first, then the bounds on the length, which always
  leave a token; a prefix overrules them all.

  Args:
    rules: see `Rules`.
    logits: [B,W,V].
    tokens: int32 [B,W,T], the hypotheses so far, which hold no EOS.
    length: scalar, how many of the tokens are real.

  Returns:
    Log-probabilities [B,W,V] of the model, and those under the rules, minus infinity for what they
    do not allow.
  """
  logits = logits.astype(jnp.float32)
  penalized = logits
  if rules.repetition_penalty is not None:
    penalized = on.penalize_repetition(penalized, tokens, length, rules.repetition_penalty)
  if rules.presence_penalty is not None:
    penalized = on.penalize_presence(penalized, tokens, length, rules.presence_penalty)
  model, unruled = on.log_softmax(logits), on.log_softmax(penalized)
  padding = logits.shape[-1] - rules.forbidden.shape[0]
  forbidden = jnp.pad(rules.forbidden, (0, padding), constant_values=True)
  ruled = on.forbid(unruled, forbidden)
  if rules.phrases is not None:
    ruled = forbid_phrases(ruled, tokens, length, rules.phrases)
  if rules.no_repeat_ngram_size is not None:
    ruled = on.block_ngrams(ruled, tokens, length, rules.no_repeat_ngram_size)
  if rules.phrases is None and rules.no_repeat_ngram_size is None:
    # The same for all hypotheses, so that the [B,W,V] need not be gone through.
    others = ~forbidden.at[np.array(rules.eos)].set(True).all()
  else:
    others = on.others_left(ruled, rules.eos)
  bounds = rules.min_length, rules.max_length
  ruled = on.limit_length(ruled, length + 1, *bounds, rules.eos, others)
  if rules.prefix is not None:
    ruled = on.force_prefix(ruled, unruled, length, rules.prefix, rules.prefix_length)
  return model, ruled
