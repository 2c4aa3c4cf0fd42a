"""Rules on the next token, which every search applies in the same order."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from tfx_jax.decoding import logits as on
from tfx_jax.decoding.phrases import Phrases, forbid_phrases


@struct.dataclass
class Rules:
  """Rules on the next token. A rule that is None is not in the program; numbers are traced.

  All rules look at the output only, not at the prompt.

  Attributes:
    forbidden: bool [U], true for tokens that are never generated, never for EOS. Tokens from U on
      are never generated either.
    min_length: int32 [B], least tokens of an output, EOS counted.
    max_length: int32 [B], most tokens of an output, EOS counted.
    eos: ids of the end tokens; the first of them in an output is its last token.
    prefix: int32 [B,P], tokens that the outputs of each row begin with.
    prefix_length: int32 [B], number of real tokens in each prefix, less than `max_length`.
    no_repeat_ngram_size: scalar n; no n-gram occurs twice in an output.
    repetition_penalty: scalar, divides the logits of tokens that are in the output so far.
    presence_penalty: scalar, subtracted from the logits of the same tokens.
    phrases: phrases that never occur in an output.
  """

  forbidden: jax.Array | np.ndarray
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
  """Returns the next token's log-probabilities by the model and under the rules.

  First the repetition penalty, then the presence penalty change the distribution. All other rules
  only make tokens impossible and do not change the log-probabilities of the rest. Their order is:
  forbidden tokens, forbidden phrases, repeated n-grams, and the bounds on the length, which always
  leave a token. A prefix overrules them all.

  Args:
    rules: see `Rules`.
    logits: [B,W,V].
    tokens: int32 [B,W,T], the hypotheses so far, without EOS.
    length: scalar, number of tokens so far.

  Returns:
    Log-probabilities [B,W,V] by the model, and under the rules: minus infinity for tokens that the
    rules do not allow.
  """
  # Log-probabilities are summed over many tokens, so bfloat16 is not precise enough.
  logits = logits.astype(jnp.float32)
  # The penalties come first: they change the distribution, and the masks below only remove tokens.
  penalized = logits
  if rules.repetition_penalty is not None:
    penalized = on.penalize_repetition(penalized, tokens, length, rules.repetition_penalty)
  if rules.presence_penalty is not None:
    penalized = on.penalize_presence(penalized, tokens, length, rules.presence_penalty)
  # `model` is reported, `unmasked` is what the search ranks by. Each [B,W,V].
  model, unmasked = on.log_softmax(logits), on.log_softmax(penalized)
  # The model may pad its vocabulary, for speed or sharding; those logits are no tokens.
  padding = logits.shape[-1] - rules.forbidden.shape[0]
  forbidden = jnp.pad(rules.forbidden, (0, padding), constant_values=True)  # [U] -> [V]
  ruled = on.forbid(unmasked, forbidden)
  if rules.phrases is not None:
    ruled = forbid_phrases(ruled, tokens, length, rules.phrases)
  if rules.no_repeat_ngram_size is not None:
    ruled = on.block_ngrams(ruled, tokens, length, rules.no_repeat_ngram_size)
  if rules.phrases is None and rules.no_repeat_ngram_size is None:
    # The same for all hypotheses, so that no pass over [B,W,V] is needed.
    others = ~forbidden.at[np.array(rules.eos)].set(True).all()
  else:
    others = on.others_left(ruled, rules.eos)
  # After all rules that forbid, so that it sees whether they left anything but EOS.
  bounds = rules.min_length, rules.max_length
  ruled = on.limit_length(ruled, length + 1, *bounds, rules.eos, others)
  # Last, because a prefix is written even where other rules forbid it.
  if rules.prefix is not None and rules.prefix_length is not None:
    ruled = on.force_prefix(ruled, unmasked, length, rules.prefix, rules.prefix_length)
  return model, ruled
