"""The whole model against NumPy: padded, packed, cached; what it may see and what it may not."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import numpy_model
from support.architectures import (
  CONFIGS,
  FEATURES,
  TOKENS,
  VOCABULARY,
  Settings,
  as_prompt,
  build,
  forward,
  layout,
  parameters,
  sentences,
  shapes,
)

from tfx_jax.decoding import beam
from tfx_jax.decoding.loop import NO_TOKEN
from tfx_jax.decoding.rules import Rules

every = pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)


def run(settings, batch):
  return np.asarray(forward(settings)(parameters(settings), batch))


def close(found, expected, tolerance=1e-5):
  """The greatest error is a small part of the greatest value."""
  assert found.shape == expected.shape
  np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def pieces(logits, rows):
  """The logits of each pair that `rows` packs, padding of the vocabulary cut off."""
  for row, pairs in zip(logits, rows, strict=False):
    start = 0
    for _, target in pairs:
      yield row[start : start + len(target), :TOKENS]
      start += len(target)


@every
def test_padded_and_packed_rows_equal_numpy_sentence_by_sentence(settings):
  a, b, c, d, e = sentences(5)
  full = ([*range(9)], [*range(8)])
  rows = [[a], [b, c], [full], []]
  logits = run(settings, layout(rows))
  assert np.isfinite(logits).all(), "a row of padding"
  for found, pair in zip(pieces(logits, rows), [a, b, c, full], strict=True):
    close(found, numpy_model.logits(settings, parameters(settings), *pair))
  rows = [[d, e], [], [c], [b]]
  logits = run(settings, layout(rows))
  for found, pair in zip(pieces(logits, rows), [d, e, c, b], strict=True):
    close(found, numpy_model.logits(settings, parameters(settings), *pair))


@every
def test_no_logit_sees_a_later_target(settings):
  rows = [[([1, 2, 3], [*range(8)])]] * 4
  batch = layout(rows)
  before = run(settings, batch)
  for changed in (3, 6):
    tokens = batch["decoder_inputs"].copy()
    tokens[:, changed] += 9
    after = run(settings, batch | {"decoder_inputs": tokens})
    np.testing.assert_array_equal(after[:, :changed], before[:, :changed])
    moved = np.abs(after - before)[..., :TOKENS].max((0, 2))
    assert (moved[changed:] > 1e-4).all(), "a token that nothing sees shows nothing"


@every
def test_padding_and_neighbours_change_nothing(settings):
  pairs = sentences(4)
  rows = [pairs[:1], pairs[1:3], [], pairs[3:]]
  before, after = (run(settings, layout(rows, seed=seed)) for seed in (0, 1))
  for x, y in zip(pieces(before, rows), pieces(after, rows), strict=True):
    np.testing.assert_array_equal(x, y)
  swapped = [pairs[:1], [pairs[1], ([5] * len(pairs[2][0]), [6] * len(pairs[2][1]))]]
  first = len(pairs[1][1])
  np.testing.assert_array_equal(before[1, :first], run(settings, layout(swapped))[1, :first])


def attended(settings, pair):
  """Each decoder layer's weights [T,S] on the source of a pair."""
  found = []
  numpy_model.logits(settings, parameters(settings), *pair, found)
  return found


@pytest.mark.parametrize("layer", [-1, 0])
def test_attention_to_the_source_equals_numpy_sentence_by_sentence(layer):
  settings = CONFIGS["post_rotary"]
  a, b, c = sentences(3)
  params, batch = {"params": parameters(settings)}, layout([[a], [b, c]], count=2)
  weights = np.asarray(jax.jit(lambda p: build(settings).bind(p).attention(batch, layer))(params))
  np.testing.assert_allclose(weights.sum(-1), np.ones(weights.shape[:2]), rtol=1e-5)
  for row, pairs in enumerate([[a], [b, c]]):
    s = t = 0
    for source, target in pairs:
      found = weights[row, t : t + len(target), s : s + len(source)]
      close(found, attended(settings, (source, target))[layer])
      s, t = s + len(source), t + len(target)


WIDTH, STEPS, PROMPT = 3, 4, 3


@functools.cache
def decoder(settings, length=STEPS, width=WIDTH):
  """Compiled: (params, batch) -> (logits, cache), and one step."""
  model = build(settings)

  def prefill(params, batch):
    return model.bind({"params": params}).prefill(batch, length, width)

  def decode(params, tokens, parents, cache):
    return model.bind({"params": params}).decode(tokens, parents, cache)

  return jax.jit(prefill), jax.jit(decode)


def prompts(seed=0):
  """Ragged sources, padded on the right, and ragged prompts, padded on the left."""
  rng = np.random.default_rng(seed)
  sources = [rng.integers(0, TOKENS, n).tolist() for n in (5, 2, 4)]
  starts = [rng.integers(0, TOKENS, n).tolist() for n in (1, 3, 2)]
  batch = as_prompt(layout([[pair] for pair in zip(sources, starts, strict=True)], 3, 5, PROMPT))
  for row, start in enumerate(starts):
    for name in ("prompt", "prompt_segments", "prompt_positions"):
      batch[name][row] = np.roll(batch[name][row], PROMPT - len(start))
  return sources, starts, batch


def cached_decoding(settings, seed=0):
  """Logits of the cache and the pair that each stands for, over steps of parents at random."""
  rng = np.random.default_rng(seed)
  prefill, decode = decoder(settings)
  params, (sources, starts, batch) = parameters(settings), prompts()
  logits, cache = prefill(params, batch)
  yield from zip(np.asarray(logits), zip(sources, starts, strict=True), strict=True)
  texts = [[start] * WIDTH for start in starts]
  for _ in range(STEPS):
    tokens = rng.integers(0, TOKENS, (3, WIDTH)).astype(np.int32)
    parents = rng.integers(0, WIDTH, (3, WIDTH)).astype(np.int32)
    logits, cache = decode(params, tokens, parents, cache)
    texts = [
      [[*text[parent], token] for token, parent in zip(*row, strict=True)]
      for text, *row in zip(texts, tokens.tolist(), parents.tolist(), strict=True)
    ]
    for row in range(3):
      for found, text in zip(np.asarray(logits)[row], texts[row], strict=True):
        yield found, (sources[row], text)


@every
def test_cached_decoding_equals_numpy_on_the_whole_of_each_beam(settings):
  count = 0
  for found, pair in cached_decoding(settings):
    close(found[:TOKENS], numpy_model.logits(settings, parameters(settings), *pair)[-1])
    count += 1
  assert count == 3 + STEPS * 3 * WIDTH


@pytest.mark.parametrize("layer", [-2, 1])
def test_coverage_is_the_sum_of_each_beams_own_attention(layer):
  settings, rng = CONFIGS["grouped_bucket"], np.random.default_rng(5)
  params, (sources, starts, batch) = parameters(settings), prompts()
  model = build(settings)

  @jax.jit
  def prefill(params, batch):
    return model.bind({"params": params}).prefill(batch, STEPS, WIDTH, layer)[1]

  cache, texts = prefill(params, batch), [[start] * WIDTH for start in starts]
  for step in range(STEPS + 1):
    coverage = np.asarray(cache.coverage())
    for row in range(3):
      for found, text in zip(coverage[row], texts[row], strict=True):
        weights = attended(settings, (sources[row], text))[layer].sum(0)
        close(found[: len(weights)], weights)
        assert not found[len(weights) :].any()
    if step < STEPS:
      tokens, parents = (rng.integers(0, n, (3, WIDTH)).astype(np.int32) for n in (TOKENS, WIDTH))
      _, cache = decoder(settings)[1](params, tokens, parents, cache)
      texts = [
        [[*text[parent], token] for token, parent in zip(*row, strict=True)]
        for text, *row in zip(texts, tokens.tolist(), parents.tolist(), strict=True)
      ]


def test_beams_share_the_prompt_and_the_memory_of_their_row():
  settings = dataclasses.replace(CONFIGS["llama"], copy=True)
  _, cache = decoder(settings)[0](parameters(settings), prompts()[2])
  for layer in cache.layers:
    assert layer.self_kv.values.shape == (3, 2, PROMPT + STEPS * WIDTH, 4)
    assert layer.memory_kv.values.shape == (3, 2, 5, 4)
  assert cache.copied.keys.shape == (3, 5, FEATURES)


@pytest.mark.parametrize("name", ["llama", "copying"])
def test_beam_search_equals_one_that_recomputes_everything(name):
  settings, eos, width, longest = CONFIGS[name], 1, 3, 6
  params, (sources, starts, batch) = parameters(settings), prompts()
  prefill, decode = decoder(settings, longest, width)

  @jax.jit
  def search(params, batch):
    rules = Rules(jnp.zeros(TOKENS, bool), jnp.full(3, 2), jnp.full(3, longest), (eos,))
    numbers = beam.BeamSettings(rules, jnp.float32(0.6), jnp.float32(5.0))
    logits, cache = prefill(params, batch)
    state = beam.begin(
      logits, numbers, jnp.ones(3, bool), width=width, num_return=width, capacity=longest
    )
    return beam.advance(functools.partial(decode, params), state, cache, numbers, longest)[0]

  state = search(params, batch)
  for row in range(3):
    live, done = [(0.0, [])], []
    for n in range(1, longest + 1):
      candidates = []
      for total, text in live:
        pair = sources[row], starts[row] + text
        log_probs = numpy_model.log_probs(settings, params, *pair)[-1]
        allowed = [eos] if n == longest else [t for t in range(TOKENS) if n > 1 or t != eos]
        candidates += [(total + log_probs[token], [*text, token]) for token in allowed]
      candidates = sorted(candidates, reverse=True)[: 2 * width]
      done += [(p / ((5 + n) / 6) ** 0.6, t) for p, t in candidates[:width] if t[-1] == eos]
      live = [(p, t) for p, t in candidates if t[-1] != eos][:width]
    expected = sorted(done, reverse=True)[:width]
    texts = [text + [NO_TOKEN] * (longest - len(text)) for _, text in expected]
    assert state.done_tokens[row].tolist() == texts
    np.testing.assert_allclose(state.done_score[row], [score for score, _ in expected], rtol=1e-5)


@pytest.mark.parametrize(("tying", "tables"), [("all", 1), ("target", 2), ("none", 3)])
def test_tying_saves_one_table_each(tying, tables):
  def count(settings):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(settings)))

  settings, untied = (Settings(tying=t) for t in (tying, "none"))
  table = (VOCABULARY, FEATURES)
  assert sum(x.shape == table for x in jax.tree.leaves(shapes(settings))) == tables
  assert count(untied) - count(settings) == (3 - tables) * VOCABULARY * FEATURES


@pytest.mark.parametrize("name", ["bart", "copying"])
def test_padding_of_the_vocabulary_is_never_likely_and_learns_nothing(name):
  settings = CONFIGS[name]
  pairs = sentences(3)
  batch = layout([pairs[:1], pairs[1:], []])

  def loss(params):
    log_probs = jax.nn.log_softmax(forward(settings)(params, batch))
    nll = -log_probs[..., :TOKENS].mean(-1)
    return jnp.where(batch["targets_segments"] > 0, nll, 0).sum(), log_probs

  grads, log_probs = jax.jit(jax.grad(loss, has_aux=True))(parameters(settings))
  assert np.exp(log_probs[..., TOKENS:]).max() == 0
  for path, grad in jax.tree_util.tree_leaves_with_path(grads):
    assert np.isfinite(grad).all(), path
    if grad.shape[0] == VOCABULARY:
      assert not grad[TOKENS:].any(), path
    # A key's bias moves all scores of a query alike, and softmax does not see it.
    assert np.abs(grad).max() > 1e-4 or "['key']['bias']" in jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", ["llama", "copying"])
def test_bfloat16_is_close_and_keeps_its_parameters_float32(name):
  settings = dataclasses.replace(CONFIGS[name], dtype="bfloat16")
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes(settings))} == {jnp.dtype("float32")}
  pairs = sentences(4)
  rows = [pairs[:1], pairs[1:3], pairs[3:], []]
  logits = run(settings, layout(rows))
  assert logits.dtype == jnp.float32
  assert np.isfinite(logits).all()
  whole = zip(pieces(logits, rows), pairs, strict=True)
  for found in (whole, cached_decoding(settings)):
    found = [(np.atleast_2d(x)[-1, :TOKENS], pair) for x, pair in found]
    expected = [numpy_model.logits(settings, parameters(settings), *pair)[-1] for _, pair in found]
    error = np.stack([x for x, _ in found]).astype(np.float64) - expected
    assert np.sqrt((error**2).mean() / np.square(expected).mean()) < 0.03


def test_dropout_is_active_only_with_a_key():
  settings = Settings(dropout=0.2)
  params, batch = {"params": parameters(settings)}, layout([sentences(1)] * 4)

  def apply(key, settings=settings):
    rngs = {} if key is None else {"dropout": key}
    return build(settings).bind(params, rngs=rngs)(batch)

  first, again, other = (jax.jit(apply)(jax.random.key(seed)) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert np.abs(first - other).max() > 0.1
  assert np.abs(first[0] - first[3]).max() > 0.1, "rows share their zeros"
  with_key = str(jax.make_jaxpr(apply)(jax.random.key(0)))
  embeddings, encoder_layer, decoder_layer = 2, 4, 6
  # Equal layers are traced, and printed, once.
  assert with_key.count("random_bits[") == embeddings + encoder_layer + decoder_layer
  without, never = (
    str(jax.make_jaxpr(lambda s=s: apply(None, s))()) for s in (settings, Settings())
  )
  assert without == never
