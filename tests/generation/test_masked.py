"""Models that predict masked tokens: texts of predicted lengths, and pictures."""

import jax
import numpy as np
import pytest
from support.random_run import small_run
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.builders.validation import validate
from tfx_jax.codecs.image.patches import PatchCodec
from tfx_jax.codecs.special_tokens import DEFAULT, EOS, PAD
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.errors import UserError
from tfx_jax.training.masked_objective import MaskedObjective

INPUTS = ["abc", "fed cab bad", "d"]
TEXTS = {"model.architecture": "masked", "generate.beam_size": 3, "generate.num_return": 3}
CODES = np.arange(0, 250, 50, dtype=np.uint8).reshape(-1, 1, 1, 1)
PICTURES = {
  "model.architecture": "masked",
  "task.name": "draw",
  "task.metrics": ("exact_match",),
  "model.share_embeddings": False,
  "generate.search": "sample",
  "generate.beam_size": 1,
}


@pytest.fixture(scope="module")
def writer(random_params):
  return small_run(random_params, TEXTS)


@pytest.fixture(scope="module")
def painter(random_params):
  codecs = CharacterTokenizer("abcdef "), PatchCodec(CODES, (3, 4))
  return small_run(random_params, PICTURES, codecs)


def tokens(outputs):
  return [[output.tokens for output in row] for row in outputs]


def test_texts_have_the_likeliest_lengths_and_end_there(writer):
  outputs = writer.generator(writer.params, INPUTS)
  for row in outputs:
    assert len({len(output.tokens) for output in row}) == len(row) == 3
    for output in row:
      *ids, end = output.tokens
      assert end == EOS and not {EOS, PAD, DEFAULT.mask} & {*ids}
      assert writer.tokenizer.decode([output.tokens]) == [output.text]
      assert output.score == pytest.approx(output.log_prob / max(len(ids), 1))
    assert [o.score for o in row] == sorted((o.score for o in row), reverse=True)


def test_pictures_are_whole(painter):
  for row in painter.generator(painter.params, INPUTS, num_return=2, temperature=5.0):
    for output in row:
      assert len(output.tokens) == 13 and output.tokens[-1] == EOS
      assert output.value.shape == (3, 4, 1) and set(output.value.ravel()) <= set(CODES.ravel())
    assert row[0].tokens != row[1].tokens


@pytest.mark.parametrize("name", ["writer", "painter"])
def test_outputs_do_not_depend_on_the_batch(name, request):
  run = request.getfixturevalue(name)
  for guidance in (1.0, 2.0):
    together = tokens(run.generator(run.params, INPUTS, guidance=guidance))
    assert tokens(run.generator(run.params, INPUTS, guidance=guidance, batch_size=1)) == together
    more = run.generator(run.params, [*INPUTS, "ab"], guidance=guidance)
    assert tokens(more)[:-1] == together


def test_guidance_near_1_changes_nothing_and_0_ignores_the_source(painter):
  changes = {"search": "beam"}
  plain = tokens(painter.generator(painter.params, INPUTS, **changes))
  assert tokens(painter.generator(painter.params, INPUTS, guidance=1 + 1e-6, **changes)) == plain
  blind = tokens(painter.generator(painter.params, INPUTS, guidance=0.0, **changes))
  assert blind[0] == blind[1] == blind[2]


def test_one_token_is_the_likeliest_given_all_others(painter):
  """With more steps than tokens, the one that is kept last."""
  ((best,),) = painter.generator(painter.params, ["abc"], search="beam", steps=200)
  bound = painter.model.bind({"params": painter.params})
  (source,) = painter.codecs[0].encode(["abc"])
  batch = painter.layout.pairs([painter.layout.source(source)], [best.tokens], 1)
  ids = np.array(best.tokens)
  hits = []
  for place in range(12):
    inputs = np.array(batch["targets"])
    inputs[0, place] = DEFAULT.mask
    logits = np.array(bound.logits(bound(batch | {"decoder_inputs": inputs}))[0, place])
    logits[: painter.codecs[1].element.others] = -np.inf
    hits.append(logits[: painter.codecs[1].element.vocab_size].argmax() == ids[place])
  assert any(hits)


def test_a_known_place_is_predicted_from_both_sides(writer):
  """A later token changes what is predicted before it, unlike in a causal decoder."""
  bound = writer.model.bind({"params": writer.params})
  batch = writer.layout.pairs([writer.layout.source([4, 5])], [[4, 5, 6, EOS]], 1)
  changed = np.array(batch["targets"])
  changed[0, 2] = 7
  outputs = [bound(batch | {"decoder_inputs": x})[0, 0] for x in (batch["targets"], changed)]
  assert not np.allclose(*outputs)


def test_only_masked_tokens_have_weight_in_the_loss(writer):
  objective = MaskedObjective(writer.model, DEFAULT.mask)
  pairs = [writer.layout.source([4, 5])] * 4, [[4, 5, 6, EOS]] * 4
  batch = writer.layout.pairs(*pairs, 4)
  sums = jax.jit(objective)(writer.params, batch, jax.random.key(0))
  _, weight = sums.metrics["loss"]
  assert 0 < float(weight) < 16 and float(sums.metrics["length_loss"][1]) == 4
  assert float(sums.weight) == float(weight) + 4
  # Without a key the same places are masked each time.
  first, second = (jax.jit(objective)(writer.params, batch) for _ in range(2))
  assert float(first.metrics["loss"][0]) == float(second.metrics["loss"][0])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"no_repeat_ngram_size": 2}, r"no_repeat_ngram_size=2 has no effect with model\.architecture"),
    ({"search": "mbr"}, "mbr' does not go with"),
    ({"prefix": "a"}, "prefix='a' has no effect"),
  ],
)
def test_settings_of_generation_from_left_to_right_are_refused(writer, changes, message):
  with pytest.raises(UserError, match=message):
    writer.generator(writer.params, INPUTS, **changes)


def test_what_needs_left_to_right_is_refused(writer):
  with pytest.raises(UserError, match="stream"):
    writer.generator.stream(writer.params, "abc")
  with pytest.raises(UserError, match="prefixes"):
    writer.generator(writer.params, ["abc"], prefixes=["a"])
  for changes in (
    {"task.name": "text"},
    {"model.copy_head": True},
    {"train.r_drop": 1.0},
    {"train.token_dropout": 0.1},
    {"model.windows": (3,)},
    {"generate.stop": ("a",)},
  ):
    with pytest.raises(UserError, match=r"masked|generate\.stop"):
      config = make_config(TEXTS | changes)
      validate(config)
      builders.make_generator(config, writer.model, (writer.tokenizer,) * 2, writer.parallel)
