import jax.numpy as jnp
import numpy as np
from support.fake_model import graph

from tfx_jax.decoding.phrases import Phrases, forbid_phrases

VOCAB, CAPACITY = 6, 9
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(2, 5, (4, 3, CAPACITY)).astype(np.int32)
LOG_PROBS = jnp.zeros((4, 3, VOCAB))


def banned(phrases, length):
  return np.isneginf(forbid_phrases(LOG_PROBS, TOKENS, jnp.int32(length), phrases))


def test_tokens_that_complete_a_phrase_are_impossible():
  """Phrases of different lengths; some begin, end or repeat others."""
  phrases = [(5,), (2, 3), (2, 2, 3), (3, 3), (4, 2, 4, 2), (2, 3, 4)]
  seen = set()
  for length in range(CAPACITY + 1):
    found = banned(graph(phrases), length)
    for row, beam, token in np.ndindex(found.shape):
      text = (*TOKENS[row, beam, :length].tolist(), token)
      complete = {phrase for phrase in phrases if text[-len(phrase) :] == phrase}
      assert found[row, beam, token] == bool(complete)
      seen |= complete
  assert seen == set(phrases)


def test_spellings_share_a_graph():
  """Two spellings, (2 or 3, then 4), share node 2; the third is the single token 5."""
  phrases = Phrases(*jnp.array([(0, 2, 2), (0, 3, 2), (2, 4, 1), (0, 5, 1)]).T, 3, 2)
  for length in range(1, CAPACITY + 1):
    found = banned(phrases, length)
    assert found[..., 5].all() and not found[..., :4].any()
    np.testing.assert_array_equal(found[..., 4], np.isin(TOKENS[..., length - 1], (2, 3)))
