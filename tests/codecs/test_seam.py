"""Values of any kind pass from a codec to batches: nothing in between knows what they are."""

import numpy as np
import pytest
from support.small_codecs import (
  KINDS,
  PictureCodec,
  VectorCodec,
  make_corpus,
  make_examples,
  make_layout,
)
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.codecs.codec import Tokens
from tfx_jax.data.loader import Loader, Position
from tfx_jax.errors import UserError


@pytest.fixture(params=KINDS)
def kind(request):
  return request.param


def segments_of(batch, side):
  """The sequences of `inputs` or `targets` in a batch, in order."""
  for values, segments in zip(batch[side], batch[f"{side}_segments"], strict=True):
    for segment in range(1, segments.max(initial=0) + 1):
      yield values[segments == segment]


def same_values(found, expected):
  return len(found) == len(expected) and all(map(np.array_equal, found, expected))


def test_values_come_back_from_the_sequences_of_a_corpus(kind, tmp_path):
  examples, (source_codec, target_codec) = make_examples(kind)
  corpus = make_corpus(kind, tmp_path)
  assert same_values(source_codec.decode(list(corpus.sources)), [e.source for e in examples])
  assert same_values(target_codec.decode(list(corpus.targets)), [e.target for e in examples])
  sizes = [target_codec.measure(example.target) for example in examples]
  for unit in sizes[0]:
    assert corpus.report[f"target_{unit}"] == sum(size[unit] for size in sizes)


def test_values_come_back_from_batches_each_once(kind, tmp_path):
  examples, codecs = make_examples(kind)
  corpus, layout = make_corpus(kind, tmp_path), make_layout(kind)
  loader = Loader(lambda epoch: corpus, 0, layout, batch_size=2)
  batches = list(loader.once())
  assert loader.rows(0) < len(examples), "rows are shared"
  numbers = [n for row in range(loader.rows(0)) for n in layout.once(corpus).examples(row)]
  assert sorted(numbers) == list(range(len(examples)))
  for side, codec, name in zip(("inputs", "targets"), codecs, ("source", "target"), strict=True):
    found = codec.decode([s for batch in batches for s in segments_of(batch, side)])
    assert same_values(found, [getattr(examples[number], name) for number in numbers])


def test_packed_equals_unpacked(kind, tmp_path):
  corpus, layout = make_corpus(kind, tmp_path), make_layout(kind)
  rows = layout.once(corpus)
  packed = layout.arrays([rows[row] for row in range(len(rows))])
  numbers = [n for row in range(len(rows)) for n in rows.examples(row)]
  alone = layout.arrays([([corpus.sources[n]], [corpus.targets[n]]) for n in numbers])
  for side, names in (
    ("inputs", ("inputs", "inputs_positions")),
    ("targets", ("decoder_inputs", "targets", "targets_positions", "weights")),
  ):
    for name in names:
      one, other = (
        list(segments_of(batch | {side: batch[name]}, side)) for batch in (packed, alone)
      )
      assert same_values(one, other), name
  pairs = layout.pairs([corpus.sources[0]], [corpus.targets[0]], 2)
  assert pairs["targets"].shape[:2] == (2, 32 if len(corpus.targets[0]) > 16 else 16)


def test_each_target_is_predicted_from_the_elements_before_it(kind, tmp_path):
  corpus, layout = make_corpus(kind, tmp_path), make_layout(kind)
  element = layout.elements[1]
  batch, _ = Loader(lambda epoch: corpus, 0, layout, batch_size=3).batch(Position())
  inputs = segments_of(batch | {"targets": batch["decoder_inputs"]}, "targets")
  first = np.zeros(element.shape) if element.shape else element.special_tokens.bos
  for sequence, shifted in zip(segments_of(batch, "targets"), inputs, strict=True):
    np.testing.assert_array_equal(shifted[0], first)
    np.testing.assert_array_equal(shifted[1:], sequence[:-1])
  for name, side in (("inputs", 0), ("decoder_inputs", 1), ("targets", 1)):
    assert batch[name].dtype == layout.elements[side].dtype
    assert batch[name].shape[2:] == layout.elements[side].shape


def test_prompts_hold_the_source_and_the_first_decoder_input(kind, tmp_path):
  layout = make_layout(kind)
  examples, (codec, _) = make_examples(kind, 2)
  encoded = codec.encode([example.source for example in examples])
  batch = layout.prompts([layout.prompt(sequence) for sequence in encoded], 24)
  assert same_values(codec.decode(list(segments_of(batch, "inputs"))), [e.source for e in examples])
  element = layout.elements[1]
  first = (
    [[element.special_tokens.bos]] if isinstance(element, Tokens) else [[[0] * element.channels]]
  )
  assert batch["prompt"].tolist() == first * 2
  assert batch["prompt_segments"].tolist() == [[1], [1]]
  assert batch["prompt_positions"].tolist() == [[0], [0]]


def test_decoder_only_models_refuse_frames_and_take_pictures():
  config = make_config({"model.architecture": "decoder_only"})
  vectors, pictures = VectorCodec(), PictureCodec()
  for codecs in ((vectors, pictures), (pictures, vectors), (vectors, vectors)):
    with pytest.raises(
      UserError, match=r"^model\.architecture='decoder_only' takes tokens, [^\n]*$"
    ):
      builders.make_layout(config, codecs)
  assert builders.make_layout(config, (pictures, pictures)).element == pictures.element
