"""Generation and scores of models without an encoder: as answers, and as continuations."""

import types

import jax
import numpy as np
import pytest
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.builders.validation import validate
from tfx_jax.codecs.special_tokens import BOS, EOS
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.errors import UserError
from tfx_jax.evaluation.score import Scorer

LETTERS = CharacterTokenizer("abcdef \n")
DECODER = {
  "model.architecture": "decoder_only",
  "model.decoder_layers": 2,
  "model.position": "rotary",
  "model.tie_output": False,
  "model.output_bias": True,
  "generate.max_source_length": 12,
  "generate.max_length": 6,
  "generate.max_length_ratio": 0.0,
}
KINDS = {
  "answer": {},
  "continue": {"task.name": "text", "task.target": "text"},
  "stream": {"task.name": "text", "task.target": "text", "data.stream": True},
}


@pytest.fixture(scope="module", params=KINDS)
def decoder(request, random_params):
  config = make_config(DECODER | KINDS[request.param])
  validate(config)
  model = builders.make_model(config, (LETTERS, LETTERS))
  parallel = builders.make_parallel(config)
  return types.SimpleNamespace(
    kind=request.param,
    model=model,
    parallel=parallel,
    layout=builders.make_layout(config),
    params=random_params(model, parallel),
    generator=builders.make_generator(config, model, (LETTERS, LETTERS), parallel),
  )


def prompt(kind, text):
  """What is read before the first token of an output."""
  ids = LETTERS.encode([text])[0]
  return {"answer": [BOS, *ids, EOS], "continue": [BOS, *ids], "stream": ids}[kind]


@pytest.fixture(scope="module")
def next_log_probs(decoder):
  """Of the token after a sequence, from the whole of it."""

  @jax.jit
  def log_probs(tokens, count):
    index = np.arange(24)[None]
    batch = {
      "decoder_inputs": tokens,
      "targets_segments": (index < count).astype(np.int32),
      "targets_positions": index,
    }
    bound = decoder.model.bind({"params": decoder.params})
    logits = bound.logits(bound(batch))
    return jax.nn.log_softmax(logits[0, count - 1])[: LETTERS.vocab_size]

  return lambda ids: np.asarray(
    log_probs(np.array([ids + [0] * (24 - len(ids))], np.int32), np.array(len(ids)))
  )


TEXTS = ["abc", "f", "de fa\nb", "a cab fed"]


def test_greedy_outputs_are_those_of_whole_passes(decoder, next_log_probs):
  found = decoder.generator(decoder.params, TEXTS, beam_size=1)
  for text, (best,) in zip(TEXTS, found, strict=True):
    read, expected, total = prompt(decoder.kind, text), [], 0.0
    while EOS not in expected and len(expected) < 6:
      log_probs = np.array(next_log_probs(read + expected))
      log_probs[[0, BOS]] = -np.inf
      token = EOS if len(expected) == 5 else int(log_probs.argmax())
      total += log_probs[token]
      expected.append(token)
    assert best.tokens == expected
    assert best.log_prob == pytest.approx(total, rel=1e-4)


def test_what_is_generated_scores_what_it_was_found_with(decoder):
  found = decoder.generator(decoder.params, TEXTS, beam_size=3, num_return=3)
  pairs = [(text, h) for text, hypotheses in zip(TEXTS, found, strict=True) for h in hypotheses]
  assert len(pairs) == 3 * len(TEXTS)
  sources = [decoder.layout.source(LETTERS.encode([text])[0]) for text, _ in pairs]
  scorer = Scorer(decoder.model, decoder.parallel, decoder.layout, 5)
  scores = scorer(decoder.params, sources, [h.tokens for _, h in pairs])
  np.testing.assert_allclose(scores, [h.log_prob for _, h in pairs], rtol=1e-4)


def test_an_empty_input(decoder):
  if decoder.kind == "stream":
    with pytest.raises(UserError, match="input 2 is empty: give this model the beginning"):
      decoder.generator(decoder.params, ["a", ""])
    return
  first, empty, blank = decoder.generator(decoder.params, ["a", "", "\n"])
  assert first[0].tokens
  if decoder.kind == "answer":
    assert empty[0].tokens == blank[0].tokens == []
  else:
    assert empty[0].tokens and blank[0].tokens


def test_an_input_that_is_too_long_is_cut_where_it_matters_least(decoder, caplog):
  long = "abcdef" * 5
  marks = len(prompt(decoder.kind, ""))
  kept = long[: 12 - marks] if decoder.kind == "answer" else long[marks - 12 :]
  found, expected = decoder.generator(decoder.params, [long, kept], beam_size=1)
  assert found == expected
  assert "1 of 2 inputs cut to 12 tokens (" in caplog.text


def test_a_pair_beyond_the_window_is_not_scored(decoder):
  scorer = Scorer(decoder.model, decoder.parallel, decoder.layout, 5)
  window = decoder.layout.window
  with pytest.raises(UserError, match=f"pair 2 has {window + 1} tokens, .* at most {window}:"):
    scorer(decoder.params, [[4], [4]], [[5, EOS], [5] * window])
  assert np.isfinite(scorer(decoder.params, [[4]], [[5] * (window - 1)]))


@pytest.mark.parametrize(
  ("changes", "told"),
  [
    ({"tokenizer.joint": False, "model.share_embeddings": False}, "needs tokenizer.joint=True"),
    ({"generate.coverage_penalty": 0.2}, "generate.coverage_penalty=0.2 uses the decoder"),
    ({"generate.alignments": True}, "generate.alignments=True uses the decoder"),
    ({"data.stream": True}, "data.stream=True needs"),
    ({"data.stream": True, "model.architecture": "encoder_decoder"}, "data.stream=True needs"),
    ({"model.position": "learned", "model.max_positions": 40}, "the length of a row=48 is more"),
    (
      {"model.position": "learned", "model.max_positions": 50, "generate.max_length": 40},
      "generate.max_source_length + generate.max_length=52 is more than model.max_positions=50",
    ),
    ({"train.loss_chunks": 5}, "train.loss_chunks=5 does not divide a row's 48 target tokens"),
    ({"data.long_sources": "cut_stat"}, "did you mean 'cut_start'?"),
  ],
)
def test_what_a_decoder_cannot_do_is_told(changes, told):
  with pytest.raises(UserError) as info:
    validate(make_config(DECODER | changes))
  assert told in str(info.value)
