import dataclasses

import numpy as np
import pytest

from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.data.corpus import Corpus
from tfx_jax.data.layout import EncoderDecoderLayout, SequenceLayout
from tfx_jax.data.loader import Loader, Position
from tfx_jax.data.ragged import Ragged
from tfx_jax.errors import UserError

PAIRS, SOURCE_LENGTH, TARGET_LENGTH = 53, 12, 16
LAYOUT = EncoderDecoderLayout(SOURCE_LENGTH, TARGET_LENGTH)


def ragged(lengths, offset):
  """Sequence i consists of the number i + offset, and EOS."""
  sequences = [[i + offset] * (length - 1) + [EOS] for i, length in enumerate(lengths)]
  return Ragged(
    np.concatenate(sequences).astype(np.uint16), np.concatenate([[0], np.cumsum(lengths)])
  )


@pytest.fixture(scope="module")
def corpus():
  lengths = np.random.default_rng(0).integers(2, [9, 11], (PAIRS, 2))
  return Corpus(ragged(lengths[:, 0], 100), ragged(lengths[:, 1], 500), {})


@pytest.fixture
def loader(corpus):
  def make(batch_size=4, seed=0, **process):
    return Loader(lambda epoch: corpus, seed, LAYOUT, batch_size, **process)

  return make


def test_sources_that_are_dropped_are_empty_and_others_unchanged(corpus):
  layout = dataclasses.replace(LAYOUT, source_dropout=0.3)
  sequences = SequenceLayout(SOURCE_LENGTH + TARGET_LENGTH, source_dropout=0.3)
  for epoch in (0, 1):
    plain = LAYOUT.epoch(corpus, 5, epoch)
    rows = layout.epoch(corpus, 5, epoch)
    chains = sequences.epoch(corpus, 5, epoch)
    kept = []
    for number in range(len(plain)):
      (sources, targets), (whole, same) = rows[number], plain[number]
      assert all(map(np.array_equal, targets, same))
      assert all(map(np.array_equal, rows[number][0], sources))
      for source, given in zip(sources, whole, strict=True):
        kept.append(np.array_equal(source, given))
        assert kept[-1] or source.tolist() == [EOS]
    assert 0.5 < np.mean(kept) < 0.9
    pairs = [chain[0] for number in range(len(chains)) for chain in chains[number]]
    empty = [source.tolist() == [EOS] for source, _ in pairs]
    assert 0.1 < np.mean(empty) < 0.5
    for source, target in pairs:
      assert source.tolist() == [EOS] or source[0] == target[0] - 400
  # Another epoch has other draws, and what is measured has none.
  dropout = layout.epoch(corpus, 5, 0).dropout
  many = [np.array([9, EOS])] * 1000
  first, second = (dataclasses.replace(dropout, epoch=epoch)(0, many) for epoch in (0, 1))
  assert [len(s) for s in first] != [len(s) for s in second]
  for each in (layout, sequences):
    assert each.once(corpus).dropout is None


def walk(loader, count, position=Position()):  # noqa: B008
  """`count` batches from a position on, and the position of each."""
  batches, positions = [], []
  for _ in range(count):
    positions.append(position)
    batch, position = loader.batch(position)
    batches.append(batch)
  return batches, positions


def pairs_of(batch, corpus):
  """The pairs of a batch, row by row, each checked to be whole and with its own partner."""
  rows = []
  for row in range(len(batch["inputs"])):
    pairs = []
    for segment in range(1, batch["targets_segments"][row].max(initial=0) + 1):
      source = batch["inputs"][row][batch["inputs_segments"][row] == segment]
      target = batch["targets"][row][batch["targets_segments"][row] == segment]
      pair = int(source[0]) - 100
      assert source.tolist() == corpus.sources[pair].tolist()
      assert target.tolist() == corpus.targets[pair].tolist()
      pairs.append(pair)
    rows.append(pairs)
  return rows


def same(one, other):
  assert one.keys() == other.keys()
  return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("batch_size", [1, 4, 30])
def test_every_epoch_holds_every_pair_once_and_batches_are_full(loader, corpus, batch_size):
  loader = loader(batch_size)
  epochs = 3
  total = sum(loader.rows(epoch) for epoch in range(epochs))
  batches, _ = walk(loader, -(-total // batch_size))
  assert all(len(batch["inputs"]) == batch_size for batch in batches)
  rows = [row for batch in batches for row in pairs_of(batch, corpus)]
  assert all(rows)
  for epoch in range(epochs):
    of_epoch, rows = rows[: loader.rows(epoch)], rows[loader.rows(epoch) :]
    assert sorted(pair for row in of_epoch for pair in row) == list(range(PAIRS))


def test_positions_count_rows_over_the_end_of_an_epoch(loader):
  loader = loader(4)
  _, positions = walk(loader, 20)
  ends = np.cumsum([loader.rows(epoch) for epoch in range(5)])
  for number, (epoch, row) in enumerate(positions):
    assert 0 <= row < loader.rows(epoch)
    assert (ends[epoch - 1] if epoch else 0) + row == 4 * number
  assert positions[-1].epoch >= 2


def test_a_batch_depends_on_its_position_alone(loader):
  batches, positions = walk(loader(), 20)
  assert positions[-1].epoch >= 2
  again = loader()
  for number in [19, 3, 11, 0, 18, 4]:
    assert same(again.batch(positions[number])[0], batches[number])


def test_the_examples_of_a_batch_are_those_in_it(loader, corpus):
  batches, positions = walk(loader(), 12)
  assert positions[-1].epoch >= 1
  again = loader()
  for number in [11, 3, 0, 7]:
    expected = [pair for row in pairs_of(batches[number], corpus) for pair in row]
    assert again.examples(positions[number]) == expected
  # Of the whole batch, whichever share of it is one's own.
  share = loader(shards=(1,), shard_count=2)
  assert share.examples(positions[3]) == again.examples(positions[3])


def test_resumed_equals_uninterrupted(loader):
  batches, positions = walk(loader(), 20)
  # As read back from JSON.
  resumed, _ = walk(loader(), 8, Position(*[int(x) for x in positions[12]]))
  assert all(same(one, other) for one, other in zip(resumed, batches[12:], strict=True))


def test_another_seed_gives_other_batches(loader):
  assert not same(loader(seed=0).batch(Position())[0], loader(seed=1).batch(Position())[0])


@pytest.mark.parametrize("count", [2, 4])
def test_shares_of_processes_make_the_batch_of_one(loader, count):
  whole, _ = walk(loader(8), 6)
  shares = [walk(loader(8, shards=[index], shard_count=count), 6)[0] for index in range(count)]
  for batch, *parts in zip(whole, *shares, strict=True):
    assert all(len(part["inputs"]) == 8 // count for part in parts)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in batch}
    assert same(joined, batch)
  for batch, *parts in zip(
    loader(8).once(),
    *(loader(8, shards=[i], shard_count=count).once() for i in range(count)),
    strict=True,
  ):
    assert same({name: np.concatenate([part[name] for part in parts]) for name in batch}, batch)


@pytest.mark.parametrize("batch_size", [1, 4, 30])
def test_once_through_holds_every_pair_once(loader, corpus, batch_size):
  batches = list(loader(batch_size).once())
  rows = [row for batch in batches for row in pairs_of(batch, corpus)]
  assert len(rows) % batch_size == 0
  assert sorted(pair for row in rows for pair in row) == list(range(PAIRS))
  empty = [not row for row in rows]
  assert empty == sorted(empty)
  assert sum(empty) < batch_size
  assert sum(batch["weights"].sum() for batch in batches) == corpus.targets.lengths.sum()


def test_it_tells_the_share_of_real_tokens(loader):
  loader = loader(1)
  batches, _ = walk(loader, loader.rows(0))
  source, target = (
    np.mean([batch[name] > 0 for batch in batches])
    for name in ("inputs_segments", "targets_segments")
  )
  told = f"{source:.1%} of {SOURCE_LENGTH} source and {target:.1%} of {TARGET_LENGTH} target tokens"
  assert loader.describe() == f"{told} real"


def test_a_batch_that_does_not_divide_is_refused(loader):
  with pytest.raises(UserError, match=r"data\.batch_size=6 does not divide over 4 devices"):
    loader(6, shards=[0], shard_count=4)
