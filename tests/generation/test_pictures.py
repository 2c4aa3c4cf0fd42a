"""Outputs that are pictures: all have one length, and only tokens of patches."""

import numpy as np
import pytest
from support.random_run import small_run
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.codecs.image.patches import PatchCodec
from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer

CODES = np.arange(0, 250, 50, dtype=np.uint8).reshape(-1, 1, 1, 1)
PICTURES = {
  "task.name": "draw",
  "task.metrics": ("exact_match",),
  "model.share_embeddings": False,
  # None of them is read: a picture has its own length.
  "generate.max_length": 5,
  "generate.max_length_ratio": 0.5,
  "generate.min_length": 1,
}
INPUTS = ["abc", "fed cab", "d"]


@pytest.fixture(scope="module", params=["encoder_decoder", "decoder_only"])
def painter(request, random_params):
  changes = PICTURES | {"model.architecture": request.param}
  codecs = CharacterTokenizer("abcdef "), PatchCodec(CODES, (3, 4))
  codecs = builders.as_configured(make_config(changes), codecs)
  return small_run(random_params, changes, codecs)


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"beam_size": 1, "num_return": 1, "guidance": 2.0},
    {"search": "sample", "num_return": 3, "temperature": 3.0},
  ],
)
def test_outputs_are_whole_pictures(painter, changes):
  first = painter.codecs[1].element.others
  for row in painter.generator(painter.params, INPUTS, **changes):
    for output in row:
      *patches, end = output.tokens
      assert end == EOS and len(patches) == 12
      assert all(first <= i < first + len(CODES) for i in patches)
      assert output.value.shape == (3, 4, 1) and set(output.value.ravel()) <= set(CODES.ravel())
      (again,) = painter.codecs[1].encode([output.value])
      assert again == patches


def test_both_sides_have_ids_of_their_own_in_one_vocabulary(random_params):
  codecs = CharacterTokenizer("abcdef "), PatchCodec(CODES, (3, 4))
  config = make_config(PICTURES | {"model.architecture": "decoder_only"})
  text, image = builders.as_configured(config, codecs)
  ids = {i for sequence in text.encode(INPUTS) for i in sequence}
  pixels = {i for sequence in image.encode([np.full((3, 4, 1), 50, np.uint8)]) for i in sequence}
  assert not ids & pixels and max(ids) < text.vocab_size <= min(pixels)
  model = builders.make_model(config, (text, image))
  turned = builders.make_model(config, (image, text))
  sizes = {m.head().num_tokens for m in (model, turned)}
  assert sizes == {text.vocab_size + len(CODES)}
