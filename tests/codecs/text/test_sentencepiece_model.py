import numpy as np

from tfx_jax.codecs.text import sentencepiece_model
from tfx_jax.codecs.text.sentencepiece_model import draw, essence, fields

SETTINGS = dict(vocab_size=17, character_coverage=1.0, input_sentence_size=0)
TEXTS = ["haus maus laus", "hund mund rund"]


def trainer_spec(*fields):
  """A serialized model of nothing but varint settings of training, (number, value) each."""
  content = b"".join(bytes([(n << 3) & 127 | 128, n >> 4, value]) for n, value in fields)
  return bytes([2 << 3 | 2, len(content)]) + content


def test_the_essence_holds_of_the_training_only_what_encoding_reads():
  plain = essence(b"")
  assert essence(trainer_spec((16, 4), (4, 99))) == plain, "threads and size wanted"
  assert essence(trainer_spec((3, 1), (24, 0), (35, 0))) == plain, "defaults written out"
  changed = [essence(trainer_spec(field)) for field in ((3, 2), (24, 1), (35, 1))]
  for i, one in enumerate([plain, *changed]):
    assert one not in changed[i:]


def test_the_essence_holds_all_else():
  model = sentencepiece_model.train(TEXTS, model_type="bpe", **SETTINGS)
  assert essence(model + trainer_spec((16, 4))) == essence(model)
  for extra in (b"\x0a\x02\x0a\x00", b"\x1a\x00", b"\x2a\x00"):
    assert essence(model + extra) != essence(model), "a piece, a rule of normalisation"


def test_the_number_of_threads_is_pinned():
  model = sentencepiece_model.train(TEXTS, model_type="unigram", **SETTINGS)
  assert dict(fields(dict(fields(model))[2]))[16] == 8


def test_texts_are_drawn_over_the_whole_stream():
  texts = [str(i) for i in range(10_000)]
  drawn = draw(iter(texts), 2000)
  assert drawn == draw(iter(texts), 2000) and len(set(drawn)) == 2000
  tenths = np.bincount([int(text) // 1000 for text in drawn])
  assert len(tenths) == 10 and abs(tenths - 200).max() < 60, "deviation is about 13"
  assert draw(iter(texts), 20_000) == texts
