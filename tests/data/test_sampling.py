import os

import pytest

from tfx_jax.codecs.text.loading import train_tokenizer
from tfx_jax.codecs.text.tokenizer import ByteTokenizer
from tfx_jax.data import corpus as corpora
from tfx_jax.data.example import Example
from tfx_jax.data.layout import EncoderDecoderLayout
from tfx_jax.data.loader import Loader, Position
from tfx_jax.data.sampling import ResampledCorpus, SampledTokenizer
from tfx_jax.errors import UserError

WORDS = ["haus", "maus", "katze", "tatze", "hund", "mund", "wald", "bald"]
TEXTS = [f"{one} {two} {three}" for one in WORDS for two in WORDS for three in WORDS][:200]


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def tokenizer(request):
  return train_tokenizer(iter(TEXTS), request.param, 24, 1.0, "identity", False, 0)


def test_segmentations_differ_and_read_the_same(tokenizer):
  best = tokenizer.encode(TEXTS)
  sampled = tokenizer.sample(TEXTS, 0.3, seed=1)
  changed = sum(one != other for one, other in zip(best, sampled, strict=True))
  assert changed > len(TEXTS) / 100
  assert tokenizer.decode(sampled) == TEXTS
  assert tokenizer.sample(TEXTS, 0.3, seed=1) == sampled
  assert tokenizer.sample(TEXTS, 0.3, seed=2) != sampled


def test_a_bpe_rate_is_the_share_of_merges_left_out():
  tokenizer = train_tokenizer(iter(TEXTS), "bpe", 24, 1.0, "identity", False, 0)
  best = sum(map(len, tokenizer.encode(TEXTS)))
  few, many = (sum(map(len, tokenizer.sample(TEXTS, rate, 0))) for rate in (0.01, 0.9))
  characters = sum(len(text) + 1 for text in TEXTS)
  assert best < few < 1.1 * best
  assert 0.8 * characters < many < characters


def test_seeds_and_the_number_of_the_call_decide_the_draw(tokenizer):
  def calls(*seeds):
    sampled = SampledTokenizer(tokenizer, 0.3, seeds)
    return [sampled.encode(TEXTS) for _ in range(2)]

  assert calls(0, 1) == calls(0, 1)
  first, second = calls(0, 1)
  assert first != second
  assert first not in (calls(1, 0)[0], calls(0, 2)[0])
  fingerprints = {
    SampledTokenizer(tokenizer, rate, seeds).fingerprint
    for rate, seeds in ((0.3, (0, 1)), (0.2, (0, 1)), (0.3, (0, 2)))
  }
  assert len(fingerprints | {tokenizer.fingerprint}) == 4


def test_a_tokenizer_that_cannot_draw_is_refused():
  with pytest.raises(UserError, match=r"need tokenizer\.kind='bpe' or 'unigram'"):
    SampledTokenizer(ByteTokenizer(), 0.1, (0,))


@pytest.fixture
def make(tokenizer, tmp_path):
  """Makes the corpus of an epoch, and writes down which were asked for."""

  def make(epoch):
    make.asked.append(epoch)
    pairs = (Example(text, text.upper().lower()) for text in TEXTS)
    sampled = SampledTokenizer(tokenizer, 0.2, (0, epoch))
    return corpora.prepare(pairs, "f", sampled, tokenizer, str(tmp_path), 40, 40)

  make.asked = []
  return make


def test_epochs_are_made_one_ahead_and_deleted_when_read(make, tmp_path):
  resampled = ResampledCorpus(make)
  folders = [resampled(epoch).folder for epoch in (0, 0, 1, 2, 3)]
  resampled(3), resampled(4)
  assert len(set(folders)) == 4
  assert make.asked[:5] == [0, 1, 2, 3, 4]
  assert [os.path.isdir(folder) for folder in folders] == [False, False, False, False, True]


def test_a_resumed_run_reads_the_same_batches(make, tokenizer):
  def loader():
    return Loader(ResampledCorpus(make), 3, EncoderDecoderLayout(40, 40), batch_size=16)

  whole, position, batches, positions = loader(), Position(), [], []
  while position.epoch < 3:
    positions.append(position)
    batch, position = whole.batch(position)
    batches.append(batch["inputs"].tolist())
  middle = len(batches) // 2
  assert positions[middle].epoch == 1
  resumed, position = loader(), positions[middle]
  for expected in batches[middle:]:
    batch, position = resumed.batch(position)
    assert batch["inputs"].tolist() == expected
