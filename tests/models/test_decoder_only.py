"""A decoder alone against NumPy: packed, cached; what it may see and what it may not."""

import functools

import jax
import numpy as np
import pytest
from support import numpy_model
from support.architectures import CONFIGS, LAYERS, TOKENS, Settings, build, forward, parameters

from tfx_jax.data.layout import SequenceLayout, left_padded

ALONE = {name: settings for name, settings in CONFIGS.items() if not settings.copy}
every = pytest.mark.parametrize("settings", ALONE.values(), ids=ALONE)
LENGTH, WIDTH, STEPS = 10, 3, 4
PROMPTS = [[3, 1, 4, 1], [5], [9, 2, 6]]


def close(found, expected, tolerance=1e-5):
  assert found.shape == expected.shape
  np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def run(settings, batch):
  return np.asarray(forward(settings, True)(parameters(settings, True), batch))


def packed(*rows):
  return SequenceLayout(LENGTH).arrays([[[pair] for pair in row] for row in rows])


@every
def test_packed_rows_equal_numpy_sequence_by_sequence(settings):
  a, b, c, d = ([5, 6], [7]), ([8], [9, 10, 11]), ([], [12, 13]), ([4] * 4, [5] * 6)
  rows = [[a, b], [c], [d], []]
  logits, batch = run(settings, packed(*rows)), packed(*rows)
  assert np.isfinite(logits).all(), "a row of padding"
  for row, pairs in enumerate(rows):
    start = 0
    for source, target in pairs:
      end = start + len(source) + len(target)
      read = batch["decoder_inputs"][row][start:end].tolist()
      expected = numpy_model.decoder_logits(settings, parameters(settings, True), read)
      close(logits[row, start:end, :TOKENS], expected)
      start = end


@every
def test_answers_in_a_chain_are_predicted_as_alone(settings):
  pairs = [([1, 2, 3], [4, 9]), ([1, 2, 3, 4, 6], [7, 8, 9])]
  layout = SequenceLayout(LENGTH)
  chain, alone = layout.arrays([[pairs], []]), layout.arrays([[[pair]] for pair in pairs])
  together, apart = run(settings, chain), run(settings, alone)
  places = [np.flatnonzero(weights) for weights in alone["weights"]]
  expected = np.concatenate([apart[row, place] for row, place in enumerate(places)])
  targets = np.concatenate([alone["targets"][row, place] for row, place in enumerate(places)])
  (place,) = np.nonzero(chain["weights"][0])
  assert chain["targets"][0, place].tolist() == targets.tolist()
  close(together[0, place], expected)


@every
def test_no_logit_sees_a_later_token(settings):
  batch = packed(*[[([1, 2, 3], [*range(7)])]] * 4)
  before = run(settings, batch)
  for changed in (3, 7):
    tokens = batch["decoder_inputs"].copy()
    tokens[:, changed] += 9
    after = run(settings, batch | {"decoder_inputs": tokens})
    np.testing.assert_array_equal(after[:, :changed], before[:, :changed])
    assert (np.abs(after - before)[..., :TOKENS].max((0, 2))[changed:] > 1e-4).all()


@functools.cache
def decoder(settings, window=None):
  model = build(settings, True, window)

  def prefill(params, batch):
    return model.bind({"params": params}).prefill(batch, STEPS, WIDTH)

  def decode(params, tokens, parents, cache):
    return model.bind({"params": params}).decode(tokens, parents, cache)

  return jax.jit(prefill), jax.jit(decode)


def cached(settings, window=None):
  """Logits of the cache and the text that each stands for, over steps of parents at random."""
  rng, params = np.random.default_rng(0), parameters(settings, True)
  prefill, decode = decoder(settings, window)
  logits, cache = prefill(params, left_padded(PROMPTS, 5))
  yield from zip(np.asarray(logits), PROMPTS, strict=True)
  texts = [[prompt] * WIDTH for prompt in PROMPTS]
  for _ in range(STEPS):
    tokens = rng.integers(0, TOKENS, (3, WIDTH)).astype(np.int32)
    parents = rng.integers(0, WIDTH, (3, WIDTH)).astype(np.int32)
    logits, cache = decode(params, tokens, parents, cache)
    texts = [
      [[*text[parent], token] for token, parent in zip(*row, strict=True)]
      for text, *row in zip(texts, tokens.tolist(), parents.tolist(), strict=True)
    ]
    for row in range(3):
      yield from zip(np.asarray(logits)[row], texts[row], strict=True)


@every
def test_cached_decoding_of_ragged_prompts_equals_numpy_on_the_whole_of_each_beam(settings):
  count = 0
  for found, text in cached(settings):
    expected = numpy_model.decoder_logits(settings, parameters(settings, True), text)[-1]
    close(found[:TOKENS], expected)
    count += 1
  assert count == 3 + STEPS * 3 * WIDTH


def test_with_one_layer_a_window_forgets_what_is_before_it():
  # With one layer, what a token sees is its own window and nothing that others have seen.
  settings, window = CONFIGS["llama"], 3
  one_layer = jax.tree.map(lambda x: x, parameters(settings, True))
  stacked = one_layer["decoder_stack"]["layers"]
  # The second layer adds nothing: what it writes is multiplied by zero.
  for name, part in (("self_attention", "out"), ("mlp", "down")):
    kernel = stacked["stacked"][name][part]["kernel"]
    stacked["stacked"][name][part]["kernel"] = kernel * np.reshape(
      [1, 0], (2,) + (1,) * (kernel.ndim - 1)
    )
  assert LAYERS == 2
  prefill, decode = decoder(settings, window)
  _, cache = prefill(one_layer, left_padded(PROMPTS, 5))
  texts, tokens = PROMPTS, np.array([[7], [8], [9]], np.int32).repeat(WIDTH, axis=1)
  parents = np.arange(WIDTH, dtype=np.int32)[None].repeat(3, axis=0)
  for step in range(STEPS):
    logits, cache = decode(one_layer, tokens + step, parents, cache)
    texts = [[*text, int(row[0]) + step] for text, row in zip(texts, tokens, strict=True)]
    for found, text in zip(np.asarray(logits)[:, 0], texts, strict=True):
      expected = numpy_model.decoder_logits(settings, one_layer, text[-window:])[-1]
      close(found[:TOKENS], expected)


def test_the_cache_has_no_memory():
  settings = CONFIGS["llama"]
  _, cache = decoder(settings)[0](parameters(settings, True), left_padded(PROMPTS, 5))
  assert cache.memory_segments is None
  for layer in cache.layers:
    assert layer.self_kv.values.shape == (3, 2, 5 + STEPS * WIDTH, 4)
    assert layer.memory_kv is None


def test_dropout_is_active_only_with_a_key():
  settings = Settings(dropout=0.2)
  params, batch = {"params": parameters(settings, True)}, packed(*[[([1], [2, 3])]] * 4)

  def apply(key):
    rngs = {} if key is None else {"dropout": key}
    return build(settings, True).bind(params, rngs=rngs)(batch)

  first, again, other = (jax.jit(apply)(jax.random.key(seed)) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0.1
  assert "random_bits[" not in str(jax.make_jaxpr(lambda: apply(None))())
