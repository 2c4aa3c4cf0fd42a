import itertools
import json

import numpy as np
import pytest
import sentences

from tfx_jax import builders
from tfx_jax.codecs.special_tokens import EOS, PAD


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """A folder of batches, the lengths of their pairs, and V."""
  from support.tiny_run import make_config, write_pairs

  folder = tmp_path_factory.mktemp("batches")
  write_pairs(folder)
  config = make_config({"data.batch_size": 4}, folder)
  return folder, config, *sentences.write_batches(str(folder), config, updates=6, per_round=3)


def test_padded_and_packed_batches_hold_the_same_sentences_in_each_round(written):
  folder, _, lengths, _ = written
  packed = sentences.read_batches(folder / "packed.npz")
  padded = sentences.read_batches(folder / "padded.npz")
  assert len(packed) == len(padded) == 6
  for first in (0, 3):
    found = []
    for batches in (packed, padded):
      texts = []
      for batch in batches[first : first + 3]:
        names = ("inputs", "targets") if "inputs" in batch else ("sources", "targets")
        # Each sentence ends with its only EOS.
        texts += [tuple(tuple(text.split()) for text in _sentences(batch[name])) for name in names]
      sources = [text for side in texts[::2] for text in side]
      targets = [text for side in texts[1::2] for text in side]
      found.append(sorted(zip(sources, targets, strict=True)))
    assert found[0] == found[1]
  for number, batch in enumerate(packed):
    assert batch["weights"].sum() == lengths.targets[number].sum()
    assert (batch["inputs_segments"] > 0).sum() == lengths.sources[number].sum()


def _sentences(rows):
  tokens = " ".join(str(token) for token in rows[rows != PAD].ravel())
  return [part for part in f" {tokens} ".split(f" {EOS} ") if part.strip()]


def test_real_tokens_per_update_differ_by_a_sentence(written):
  folder, _, lengths, _ = written
  longest = max(map(max, lengths.targets))
  padded = sentences.read_batches(folder / "padded.npz")
  for first in (0, 3):
    each = [(batch["targets"] != PAD).sum() for batch in padded[first : first + 3]]
    assert sum(each) == sum(x.sum() for x in lengths.targets[first : first + 3])
    assert max(each) - min(each) <= 2 * longest


def test_the_configuration_and_tokenizer_are_there_to_make_the_model_again(written):
  folder, config, _, vocab_size = written
  saved = builders.saved_codecs(config, str(folder))
  assert saved[1].vocab_size == vocab_size
  assert json.loads((folder / "config.json").read_text())["config"]["data"]["batch_size"] == 4


def test_parts_of_similar_length_hold_equally_many_target_tokens():
  rng = np.random.default_rng(0)
  pairs = [tuple(np.zeros(n, int) for n in rng.integers(3, 40, 2)) for _ in range(300)]
  parts = sentences.length_sorted(pairs, 6)
  assert sorted(id(pair) for part in parts for pair in part) == sorted(map(id, pairs))
  counts = [sum(len(target) for _, target in part) for part in parts]
  assert max(counts) - min(counts) <= 2 * 40
  longest = [[max(map(len, pair)) for pair in part] for part in parts]
  assert all(max(a) <= min(b) for a, b in itertools.pairwise(longest))


def test_unequal_work_is_refused():
  assert sentences.check_equal_work({"a": [[90, 110]], "b": [[101, 101]]}) == pytest.approx(0.01)
  with pytest.raises(ValueError, match=r"b has 103\.0 real target tokens per update, a 100\.0"):
    sentences.check_equal_work({"a": [[100], [100, 100]], "b": [[100], [100, 106]]})
  with pytest.raises(ValueError):
    sentences.check_equal_work({"a": [[100, 100]], "b": [[100]]})
