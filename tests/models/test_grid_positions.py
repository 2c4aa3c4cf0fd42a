"""Positions by row and column: decoding step by step is reading the whole picture."""

import jax
import numpy as np
import pytest
from support.random_run import small_run
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.builders.validation import validate
from tfx_jax.codecs.image.patches import PatchCodec
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.errors import UserError

CODES = np.arange(0, 250, 50, dtype=np.uint8).reshape(-1, 1, 1, 1)
SHARED = {
  "task.metrics": ("exact_match",),
  "model.share_embeddings": False,
  "image.size": (3, 4),
  "image.patch": (1, 1),
  "generate.search": "sample",
  "generate.beam_size": 2,
  "generate.num_return": 2,
  "generate.max_source_length": 24,
  "generate.max_length": 8,
  "model.max_positions": 24,
}
TEXTS = ["abc", "fed cab", "d"]
PICTURES = list(np.random.default_rng(0).choice(CODES.ravel(), (3, 3, 4, 1)))


def make_run(random_params, task, architecture, position):
  changes = SHARED | {"task.name": task, "model.architecture": architecture}
  changes |= {"model.position": position}
  codecs = CharacterTokenizer("abcdef "), PatchCodec(CODES, (3, 4))
  codecs = codecs if task == "draw" else codecs[::-1]
  codecs = builders.as_configured(make_config(changes), codecs)
  return small_run(random_params, changes, codecs)


@pytest.mark.parametrize(
  ("task", "architecture", "position"),
  [
    ("draw", "encoder_decoder", "rotary_2d"),
    ("describe", "encoder_decoder", "learned_2d"),
    ("draw", "decoder_only", "learned_2d"),
    ("describe", "decoder_only", "rotary_2d"),
  ],
)
def test_an_output_has_the_likelihood_of_training(task, architecture, position, random_params):
  run = make_run(random_params, task, architecture, position)
  inputs = TEXTS if task == "draw" else PICTURES
  outputs = run.generator(run.params, inputs)
  layout = builders.make_layout(run.config, run.codecs)
  sources = [layout.source(ids) for ids in run.codecs[0].encode(inputs)]
  objective = builders.make_objective(run.config, run.model, run.parallel)
  loss = jax.jit(lambda batch: objective(run.params, batch).metrics["loss"][0])
  for number in range(2):
    targets = [row[number].tokens for row in outputs]
    for source, target, row in zip(sources, targets, outputs, strict=True):
      batch = layout.pairs([source], [target], 1)
      assert float(loss(batch)) == pytest.approx(-row[number].log_prob, rel=1e-4)
    if architecture == "decoder_only":
      # Several pictures share a row.
      packed = builders.make_layout(run.config, run.codecs)
      rows = [[[pair] for pair in zip(sources[:2], targets[:2], strict=True)]]
      whole = loss(packed.arrays(rows))
      assert float(whole) == pytest.approx(-sum(r[number].log_prob for r in outputs[:2]), rel=1e-4)


@pytest.mark.parametrize("position", ["learned_2d", "rotary_2d"])
def test_the_place_of_a_patch_matters(position, random_params):
  run = make_run(random_params, "describe", "encoder_decoder", position)
  scores = []
  for picture in (PICTURES[0], PICTURES[0][::-1], PICTURES[0][:, ::-1]):
    source = run.layout.source(run.codecs[0].encode([picture])[0])
    batch = run.layout.pairs([source], [run.layout.target([5, 6, 7])], 1)
    bound = run.model.bind({"params": run.params})
    scores.append(np.asarray(bound.logits(bound(batch)))[0, 0])
  assert not np.allclose(scores[0], scores[1], atol=1e-3)
  assert not np.allclose(scores[0], scores[2], atol=1e-3)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model.position": "learned_2d"}, "for tasks with pictures.*leave out _2d"),
    (SHARED | {"task.name": "draw", "model.position": "rotary_2d", "model.head_dim": 6},
     "no multiple of 4"),
    (SHARED | {"task.name": "draw", "model.position": "learned_2d", "model.max_positions": 8},
     "data.source_length=24 is more than model.max_positions=8"),
  ],
)  # fmt: skip
def test_settings_that_cannot_be_are_one_line(changes, message):
  with pytest.raises(UserError, match=message):
    validate(make_config(changes))


def test_rows_and_columns_have_few_parameters(random_params):
  run = make_run(random_params, "draw", "encoder_decoder", "learned_2d")
  tables = run.params["target_position"]
  assert {name: len(table["embedding"]) for name, table in tables.items()} == {
    "rows": 4, "columns": 4,
  }  # fmt: skip
  validate(run.config)
