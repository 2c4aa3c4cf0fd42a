"""Groups of tokens that share a position: the model of all tokens, in fewer positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.random_run import small_run
from support.tiny_run import make_config

from tfx_jax import builders
from tfx_jax.builders.validation import validate
from tfx_jax.codecs.image.patches import PatchCodec
from tfx_jax.codecs.text.tokenizer import CharacterTokenizer
from tfx_jax.errors import UserError

GROUPED = {
  "model.group_size": 4,
  "model.group_features": 24,
  "model.tie_output": False,
  "model.share_embeddings": False,
}
PIXELS = {
  "task.name": "draw",
  "task.metrics": ("exact_match",),
  "image.size": (4, 6),
  "image.patch": (1, 1),
  "image.block": (2, 2),
  "image.channels": 1,
}
LONG = {"data.target_length": 28}
TEXTS = ["abc", "fed cab", "d"]


@pytest.fixture(scope="module")
def writer(random_params):
  return with_loss(small_run(random_params, GROUPED | {"generate.max_length_ratio": 0.0}))


@pytest.fixture(scope="module")
def painter(random_params):
  codes = np.arange(0, 250, 50, dtype=np.uint8).reshape(-1, 1, 1, 1)
  codecs = CharacterTokenizer("abcdef "), PatchCodec(codes, (4, 6), block=(2, 2))
  changes = GROUPED | PIXELS | {"model.position": "rotary_2d"}
  return with_loss(small_run(random_params, changes, codecs))


def nll(run, sources, targets):
  """The loss of each pair."""
  layout = builders.make_layout(run.config, run.codecs)
  batch = layout.pairs(sources, targets, len(sources))
  rows = [jax.tree.map(lambda x, i=i: x[i : i + 1], batch) for i in range(len(sources))]
  return [run.loss(run.params, row) for row in rows]


def with_loss(run):
  run.objective = builders.make_objective(run.config, run.model, run.parallel)
  jitted = jax.jit(lambda params, batch: run.objective(params, batch).metrics["loss"][0])
  run.loss = lambda params, batch: float(jitted(params, batch))
  return run


@pytest.mark.parametrize(
  ("name", "changes"),
  [
    ("writer", {}),
    ("painter", {"beam_size": 1, "num_return": 1}),
    ("painter", {"search": "sample", "beam_size": 2, "num_return": 2}),
  ],
)
def test_decoding_token_by_token_is_the_whole_pass(name, changes, request):
  run = request.getfixturevalue(name)
  outputs = run.generator(run.params, TEXTS, **changes)
  sources = [run.layout.source(ids) for ids in run.codecs[0].encode(TEXTS)]
  for number in range(len(outputs[0])):
    targets = [row[number].tokens for row in outputs]
    expected = [-row[number].log_prob for row in outputs]
    assert nll(run, sources, targets) == pytest.approx(expected, rel=1e-4)
  lengths = {len(output.tokens) for row in outputs for output in row}
  assert lengths == {25} if name == "painter" else changes or len(lengths) > 1


def test_samples_do_not_depend_on_the_batch(painter):
  changes = {"search": "sample", "beam_size": 1, "num_return": 1}
  together = painter.generator(painter.params, TEXTS, **changes)
  for number, text in enumerate(TEXTS[:1]):
    (alone,) = painter.generator(painter.params, [text], **changes, batch_size=1)
    assert alone[0].tokens == together[number][0].tokens


def test_a_token_sees_those_before_it_alone(painter):
  rng = np.random.default_rng(0)
  source = painter.layout.source([4, 5])
  target = [*rng.integers(8, 12, 24).tolist(), 1]
  layout = builders.make_layout(painter.config, painter.codecs)

  @jax.jit
  def whole(batch):
    bound = painter.model.bind({"params": painter.params})
    return bound.logits(bound(batch))

  def logits(target):
    return np.asarray(whole(layout.pairs([source], [target], 1)))[0, : len(target)]

  plain = logits(target)
  for place in (0, 2, 3, 4, 13, 23):
    changed = [*target]
    changed[place] = 8 + (target[place] - 7) % 4
    differs = np.abs(logits(changed) - plain).max(axis=1) > 1e-5
    assert differs[place + 1 :].mean() > 0.5 and not differs[: place + 1].any()


def test_packed_targets_are_those_of_rows_of_their_own(writer):
  rng = np.random.default_rng(0)
  sources = [[5, 6, 1], [7, 1], [4, 4, 5, 1]]
  targets = [[*rng.integers(4, 10, n).tolist(), 1] for n in (6, 3, 5)]
  layout = builders.make_layout(writer.config, writer.codecs)
  batch = layout.arrays([(sources, targets)])
  starts = np.flatnonzero((batch["targets_positions"][0] == 0) & (batch["targets_segments"][0] > 0))
  assert starts.tolist() == [0, 8, 12]
  assert writer.loss(writer.params, batch) == pytest.approx(
    sum(nll(writer, sources, targets)), rel=1e-5
  )


def test_a_mesh_changes_nothing(writer):
  layout = builders.make_layout(writer.config, writer.codecs)
  rng = np.random.default_rng(0)
  rows = [([rng.integers(4, 10, 5)], [rng.integers(4, 10, 11)]) for _ in range(8)]
  batch = layout.arrays(rows)
  mesh = {"mesh.data": 2, "mesh.sequence": 2, "mesh.tensor": 2}
  config = make_config(GROUPED | mesh)
  parallel = builders.make_parallel(config)
  objective = builders.make_objective(config, writer.model, parallel)
  placed = parallel.place(batch)
  loss = parallel.jit(lambda params: objective(params, placed).metrics["loss"][0])
  assert float(loss(writer.params)) == pytest.approx(writer.loss(writer.params, batch), rel=1e-5)


def test_a_group_is_a_block_of_the_picture(painter):
  codec = painter.codecs[1]
  picture = np.zeros((4, 6, 1), np.uint8)
  picture[2:, 2:4] = 100
  (ids,) = codec.encode([picture])
  assert np.flatnonzero(np.array(ids) != ids[0]).tolist() == [16, 17, 18, 19]
  noise = np.random.default_rng(0).choice(np.arange(0, 250, 50), (4, 6, 1)).astype(np.uint8)
  assert np.array_equal(codec.decode(codec.encode([noise]))[0], noise)
  assert jnp.shape(painter.params["target_embed"]["tokens"]["embedding"])[0] % 4 == 0


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      PIXELS | LONG | {"model.share_embeddings": False},
      r"image.block=\(2, 2\).*model.group_size=4",
    ),
    (GROUPED | {"model.architecture": "decoder_only"}, "needs model.architecture"),
    (GROUPED | {"model.tie_output": True}, "needs model.tie_output=False"),
    (GROUPED | {"data.target_length": 22}, "data.target_length=22 is not a multiple"),
    (PIXELS | LONG | GROUPED | {"image.block": (3, 2)}, "image.block=.* does not divide"),
  ],
)
def test_settings_that_do_not_go_together_are_one_line(changes, message):
  with pytest.raises(UserError, match=message):
    validate(make_config(changes))
