import random

from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.codecs.text.tokenizer import ByteTokenizer, CharacterTokenizer
from tfx_jax.generation.text.stop import find_stop, settled

LETTERS, BYTES = CharacterTokenizer("abcd"), ByteTokenizer()


def plain(text, stops, given):
  """The number of characters that are kept, and the text; a token is a character."""
  for length in range(given + 1, len(text) + 1):
    ended = [length - len(stop) for stop in stops if text[:length].endswith(stop)]
    if ended:
      return length, text[: min(ended)]
  return None


def test_the_first_token_that_completes_a_stop_ends_the_output():
  rng, found = random.Random(0), []
  for _ in range(500):
    text = "".join(rng.choices("abcd", k=rng.randint(0, 8)))
    stops = ["".join(rng.choices("abcd", k=rng.randint(1, 3))) for _ in range(rng.randint(1, 3))]
    given = rng.randint(0, min(3, len(text)))
    found.append(find_stop(LETTERS.decode, [*LETTERS.encode([text])[0], EOS], stops, given))
    assert found[-1] == plain(text, stops, given), (text, stops, given)
  assert 100 < found.count(None) < 400


def test_of_those_that_one_token_completes_the_one_that_begins_first_counts():
  assert find_stop(LETTERS.decode, LETTERS.encode(["aabc"])[0], ("bc", "abc", "c")) == (4, "a")


def test_a_stop_of_several_bytes_is_complete_with_the_last():
  ids = BYTES.encode(["häß€x"])[0]
  assert find_stop(BYTES.decode, ids, ("€",)) == (8, "häß")
  assert find_stop(BYTES.decode, ids, ("ä",)) == (3, "h")
  assert find_stop(BYTES.decode, ids[:7], ("€",)) is None


def test_what_is_settled_stays_whatever_comes():
  """No stop can begin in it, and no character change; and it is as much as can be said."""
  assert settled("abc", ()) == settled("abc", ("d",)) == 3
  assert settled("abc", ("cd",)) == settled("abc", ("cd", "c d")) == 2
  assert settled("abab", ("abc",)) == 2 and settled("abab", ("ababa", "bd")) == 0
  assert settled("ab\ufffd", ()) == 2 and settled("ab\ufffd", ("bß",)) == 1
  assert settled("a\ufffdb", ()) == 3
