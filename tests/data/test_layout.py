import numpy as np
import pytest
from support.token_arrays import ragged, sequences

from tfx_jax.codecs.codec import Tokens
from tfx_jax.codecs.special_tokens import BOS, EOS, SpecialTokens
from tfx_jax.data.corpus import Corpus
from tfx_jax.data.layout import EncoderDecoderLayout, SequenceLayout
from tfx_jax.data.ragged import Ragged
from tfx_jax.data.stream import StreamLayout
from tfx_jax.data.truncation import Truncation

PAIRS = 40


@pytest.fixture(scope="module")
def sides():
  rng = np.random.default_rng(0)
  return [[[*rng.integers(4, 90, n), EOS] for n in rng.integers(1, 6, PAIRS)] for _ in range(2)]


@pytest.fixture(scope="module")
def pairs(sides):
  return Corpus(*map(ragged, sides), {})


@pytest.fixture(scope="module")
def texts(sides):
  """Only written."""
  return Corpus(ragged([[]] * PAIRS), ragged(sides[1]), {})


def test_a_sequence_is_a_source_and_its_target_which_alone_has_weight(pairs, sides):
  layout = SequenceLayout(24)
  for rows in (layout.epoch(pairs, 0, 3), layout.once(pairs)):
    found = list(sequences(layout.arrays([*rows, layout.empty])))
    expected = {(*map(int, s), *map(int, t)): len(s) for s, t in zip(*sides, strict=True)}
    assert {tuple(sequence["targets"]) for sequence in found} == expected.keys()
    assert len(found) == PAIRS
    for sequence in found:
      whole, source = sequence["targets"], expected[tuple(sequence["targets"])]
      assert sequence["decoder_inputs"] == [BOS, *whole[:-1]]
      assert sequence["targets_positions"] == list(range(len(whole)))
      assert sequence["weights"] == [0] * source + [1] * (len(whole) - source)
  batch = layout.arrays(layout.once(pairs))
  assert batch["decoder_inputs"].shape == (len(layout.once(pairs)), 24)
  assert not batch["weights"][batch["targets_segments"] == 0].any()
  real = (batch["targets_segments"] > 0).mean()
  assert layout.describe(pairs, len(layout.once(pairs))) == f"{real:.1%} of 24 tokens real"


@pytest.mark.parametrize("multiple", [1, 3, 4])
def test_targets_begin_at_multiples_and_none_is_lost(pairs, sides, multiple):
  layout = EncoderDecoderLayout(12, 12, target_multiple=multiple)
  batch = layout.arrays(layout.epoch(pairs, 0, 0))
  starts = (batch["targets_positions"] == 0) & (batch["targets_segments"] > 0)
  assert not (np.flatnonzero(starts) % 12 % multiple).any()
  found = sorted(x["targets"] for x in sequences(batch))
  assert found == sorted(list(map(int, t)) for t in sides[1])


def test_texts_without_sources_have_weight_throughout(texts, sides):
  layout = SequenceLayout(8, continues=True)
  found = list(sequences(layout.arrays(layout.once(texts))))
  assert sorted(x["targets"] for x in found) == sorted(list(map(int, t)) for t in sides[1])
  assert all(all(sequence["weights"]) for sequence in found)


@pytest.mark.parametrize("length", [1, 7, 64, 5000])
def test_a_stream_once_through_predicts_every_token_from_those_of_its_row(texts, length):
  layout, stream = StreamLayout(length), texts.targets.values.tolist()
  batch = layout.arrays(layout.once(texts))
  weights = batch["weights"].astype(bool)
  assert batch["targets"][weights].tolist() == stream[1:]
  assert batch["decoder_inputs"][weights].tolist() == stream[:-1]
  assert (batch["targets_segments"] == weights).all()
  for row in range(len(weights)):
    count = weights[row].sum()
    assert batch["targets_positions"][row][:count].tolist() == list(range(count))


def test_rows_of_a_stream_are_full_and_cut_elsewhere_in_every_epoch(texts):
  layout, stream = StreamLayout(7), texts.targets.values.tolist()
  starts = set()
  for epoch in range(20):
    rows = layout.epoch(texts, 0, epoch)
    assert len(rows) >= (len(stream) - 1) // 7 - 1
    cuts = []
    for row in rows:
      assert len(row) == 8
      (start,) = (i for i in range(len(stream)) if stream[i : i + 8] == row.tolist())
      cuts.append(start)
    assert len({cut % 7 for cut in cuts}) == 1 and len(set(cuts)) == len(cuts)
    assert cuts != sorted(cuts)
    starts.add(cuts[0] % 7)
    again = layout.epoch(texts, 0, epoch)
    assert all((a == b).all() for a, b in zip(rows, again, strict=True))
  assert len(starts) == 7


def test_a_stream_shorter_than_a_row_is_a_row():
  short = Corpus(ragged([[]]), ragged([[5, 6, EOS]]), {})
  layout = StreamLayout(8)
  for rows in (layout.epoch(short, 0, 0), layout.once(short)):
    batch = layout.arrays([*rows, layout.empty])
    assert batch["targets"].tolist() == [[6, EOS, 0, 0, 0, 0, 0, 0], [0] * 8]
    assert batch["weights"].sum() == 2


def test_prompts_of_a_decoder_end_together():
  for layout in (SequenceLayout(9), StreamLayout(9)):
    batch = layout.prompts([[5, 6, 7], [8]], 4)
    assert batch["prompt"].tolist() == [[0, 5, 6, 7], [0, 0, 0, 8]]
    assert batch["prompt_segments"].tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]
    assert batch["prompt_positions"].tolist() == [[0, 0, 1, 2], [0, 0, 0, 0]]


def test_prompts_of_an_encoder_decoder_are_its_sources():
  batch = EncoderDecoderLayout(9, 9).prompts([[5, 6, EOS], [EOS]], 4)
  assert batch["inputs"].tolist() == [[5, 6, EOS, 0], [EOS, 0, 0, 0]]
  assert batch["prompt"].tolist() == [[BOS], [BOS]]


@pytest.mark.parametrize(
  ("layout", "prompt", "source", "target"),
  [
    (EncoderDecoderLayout(9, 9), [5, EOS], [5, EOS], [5, EOS]),
    (EncoderDecoderLayout(9, 9, continues=True), [5, EOS], [5, EOS], [5, EOS]),
    (SequenceLayout(9), [BOS, 5, EOS], [5, EOS], [5, EOS]),
    (SequenceLayout(9, continues=True), [BOS, 5], [5], [5, EOS]),
    (StreamLayout(9), [5], [5], [5]),
  ],
)
def test_special_tokens_are_those_of_training(layout, prompt, source, target):
  found = (layout.prompt([5]), layout.source([5]), layout.target([5]))
  assert found == (prompt, source, target)


@pytest.mark.parametrize(
  "layout", [EncoderDecoderLayout(2, 2), SequenceLayout(2), StreamLayout(2)], ids=repr
)
def test_pairs_are_scored_by_their_targets(layout):
  sources, targets = [[5, 6], [], [7]], [[8, 9, EOS], [10, 11, EOS], [12] * 20]
  batch = layout.pairs(sources, targets, 5)
  assert {x.shape[0] for x in batch.values()} == {5}
  assert batch["targets"].shape[1] in (16, 32)
  for row, target in enumerate(targets):
    weighted = batch["targets"][row][batch["weights"][row] > 0].tolist()
    first = isinstance(layout, StreamLayout) and not sources[row]
    assert weighted == target[first:]
  assert not batch["weights"][3:].any()


def test_a_tokenizer_says_which_special_tokens_texts_have():
  """As of mBART: a language before each text, and the decoder begins with EOS."""
  source = SpecialTokens(eos=2, bos=2, unk=3, pad=1, prefix=(57,), source_suffix=(2,))
  target = source._replace(prefix=(58,))
  layout = EncoderDecoderLayout(9, 9, elements=(Tokens(90, source), Tokens(90, target)))
  assert layout.prompt([7]) == layout.source([7]) == [57, 7, 2]
  assert layout.target([8]) == [58, 8, 2]
  batch = layout.prompts([[57, 7, 2]], 4)
  assert batch["prompt"].tolist() == [[2, 58]]
  assert batch["prompt_positions"].tolist() == [[0, 1]] and batch["prompt_segments"].all()
  pairs = ([57, 7, 2], [58, 8, 9, 2]), ([57, 6, 2], [58, 5, 2])
  batch = layout.arrays([tuple(zip(*pairs, strict=True))])
  assert batch["decoder_inputs"][0].tolist() == [2, 58, 8, 9, 2, 58, 5, 0, 0]
  assert batch["targets"][0].tolist() == [58, 8, 9, 2, 58, 5, 2, 0, 0]
  # What is always there is not learnt.
  assert batch["weights"][0].tolist() == [0, 1, 1, 1, 0, 1, 1, 0, 0]
  assert SequenceLayout(9, continues=True, element=Tokens(90, source)).prompt([7]) == [2, 7]
  for limits, expected in (
    ((4, 3, "drop"), [([57, 7, 6, 2], [58, 8, 2])]),
    ((3, 3, "drop"), "too_long"),
    ((3, 3, "cut_end"), [([57, 7, 2], [58, 8, 2])]),
  ):
    assert Truncation(*limits).pairs([7, 6], [8], layout.elements) == expected


@pytest.mark.parametrize("length", [1, 3, 7, 64, 5000])
def test_the_texts_of_a_row_of_a_stream_are_those_it_has_tokens_of(texts, length):
  owners = np.repeat(np.arange(PAIRS), texts.targets.lengths)
  numbered = Corpus(texts.sources, Ragged(owners, texts.targets.offsets), {})
  for rows in (StreamLayout(length).once(numbered), StreamLayout(length).epoch(numbered, 0, 1)):
    for number in range(len(rows)):
      assert rows.examples(number).tolist() == sorted(set(rows[number].tolist()))
