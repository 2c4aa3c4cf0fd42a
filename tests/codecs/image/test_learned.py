"""Pictures as the codes of an autoencoder: here the mean of a patch in four levels."""

import numpy as np

from tfx_jax.codecs.image.frames import PatchFrames
from tfx_jax.codecs.image.grid import FIRST
from tfx_jax.codecs.image.learned import LearnedCodec
from tfx_jax.codecs.special_tokens import EOS


class Means:
  num_codes = 4
  fingerprint = "means"

  def encode(self, frames):
    return np.rint((frames.mean(axis=2) + 1) * 1.5).astype(np.int32)

  def decode(self, codes):
    return np.repeat(codes[:, :, None] / 1.5 - 1, 4, axis=2).astype(np.float32)

  def saved(self):
    return {}, {"means": b"4"}


def codec(first=FIRST):
  return LearnedCodec(PatchFrames((4, 6), (2, 2), 1), Means(), first)


LEVELS = np.array([[0, 1, 2], [3, 2, 0]])
PICTURE = np.kron(LEVELS * 85, np.ones((2, 2))).astype(np.uint8)[:, :, None]


def test_codes_are_tokens_in_the_order_of_reading():
  assert codec().encode([PICTURE, PICTURE]) == [(LEVELS.ravel() + FIRST).tolist()] * 2
  assert np.array_equal(codec().decode(codec().encode([PICTURE]))[0], PICTURE)
  assert codec().encode([]) == [] and codec().decode([]) == []
  element = codec().element
  assert (element.vocab_size, element.others, element.length) == (FIRST + 4, FIRST, 6)


def test_a_sequence_of_another_length_is_a_picture_too():
  (ids,) = codec().encode([PICTURE])
  for longer in ([*ids, EOS, FIRST], [*ids, FIRST, FIRST]):
    assert np.array_equal(codec().decode([longer])[0], PICTURE)
  short = codec().decode([[*ids[:3], EOS]])[0]
  assert np.array_equal(short[:2], PICTURE[:2]) and not short[2:].any()


def test_ids_can_follow_those_of_another_codec():
  behind = codec().behind(50)
  assert behind.encode([PICTURE]) == [(LEVELS.ravel() + 50).tolist()]
  assert np.array_equal(behind.decode(behind.encode([PICTURE]))[0], PICTURE)
  assert behind.fingerprint != codec().fingerprint == codec().fingerprint


def test_its_likelihood_is_not_that_of_pixels():
  assert codec().measure(PICTURE) == {"pictures": 1}


def test_the_autoencoder_is_saved_with_it(tmp_path):
  codec().behind(50).save(str(tmp_path))
  assert (tmp_path / "means").read_bytes() == b"4"
  assert codec().fingerprint in (tmp_path / "codec.json").read_text()
  assert '"kind": "learned"' in (tmp_path / "codec.json").read_text()
