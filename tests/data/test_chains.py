import numpy as np
import pytest
from support.token_arrays import ragged, sequences

from tfx_jax.codecs.codec import Tokens
from tfx_jax.codecs.special_tokens import BOS, DEFAULT, EOS
from tfx_jax.data.chains import unroll
from tfx_jax.data.corpus import Corpus
from tfx_jax.data.layout import SequenceLayout

OPEN_ENDED = Tokens(20, DEFAULT._replace(source_suffix=()))
# Turns of two dialogues; the pieces 4 and 5 are the speakers' marks.
DIALOGUES = [[[4, 10, 11], [5, 12], [4, 13, 14, 15]], [[4, 10, 11], [5, 12, 16], [4, 17]]]


def pairs_of(dialogue):
  """The answers of a dialogue: all that was said and the speaker's mark, and what is answered."""
  for place in range(1, len(dialogue)):
    said = [token for turn in dialogue[:place] for token in turn]
    yield [*said, dialogue[place][0]], [*dialogue[place][1:], EOS]


PAIRS = [pair for dialogue in DIALOGUES for pair in pairs_of(dialogue)]


def corpus_of(pairs):
  return Corpus(*(ragged(side) for side in zip(*pairs, strict=True)), {})


def test_the_answers_of_a_dialogue_are_a_chain():
  assert corpus_of(PAIRS).chains.tolist() == [0, 2, 4]


@pytest.mark.parametrize(
  "second",
  [
    ([4, 10, 5, 12, 4], [13, EOS]),
    ([4, 10, 11, 5, 13, 4], [13, EOS]),
    ([4, 10, 11, 5, 12], [13, EOS]),
    ([10, 11, 5, 12, 4], [13, EOS]),
    ([], [13, EOS]),
    ([4, 10, 11, 5], [12, EOS]),
  ],
  ids=["cut", "another answer", "nothing between", "another start", "no source", "the same"],
)
def test_what_does_not_go_on_begins_a_chain(second):
  first = ([4, 10, 11, 5], [12, EOS])
  assert corpus_of([first, second]).chains.tolist() == [0, 1, 2]


def test_texts_without_sources_are_no_chain():
  texts = [([], [7, EOS]), ([7, 8], [9, EOS]), ([], [7, 8, EOS])]
  assert corpus_of(texts).chains.tolist() == [0, 1, 2, 3]


def test_every_target_is_predicted_in_a_chain_from_what_it_is_predicted_from_alone():
  tokens, predicted, weights = unroll(PAIRS[:2])
  read = [BOS, *tokens[:-1]]
  found = [(read[: i + 1], int(predicted[i])) for i in np.flatnonzero(weights)]
  alone = []
  for source, target in PAIRS[:2]:
    whole = [BOS, *source, *target]
    alone += [(whole[: len(source) + 1 + i], t) for i, t in enumerate(target)]
  assert [(list(map(int, r)), t) for r, t in found] == alone


def test_rows_hold_every_answer_once_and_what_is_shared_once():
  corpus, layout = corpus_of(PAIRS), SequenceLayout(24, element=OPEN_ENDED)
  for rows in (layout.epoch(corpus, 0, 1), layout.once(corpus)):
    batch = layout.arrays([*rows, layout.empty])
    assert sorted(n for row in range(len(rows)) for n in rows.examples(row)) == [0, 1, 2, 3]
    found = list(sequences(batch))
    assert sorted(len(s["targets"]) for s in found) == sorted(
      len(PAIRS[last][0]) + len(PAIRS[last][1]) for last in (1, 3)
    )
    learnt = sorted(t for s in found for t, w in zip(s["targets"], s["weights"], strict=True) if w)
    assert learnt == sorted(t for _, target in PAIRS for t in target)
    assert layout.describe(corpus, len(rows)) == (
      f"{(batch['targets_segments'] > 0).sum() / (24 * len(rows)):.1%} of 24 tokens real"
    )
