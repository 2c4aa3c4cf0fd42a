import itertools
import math
import re

import jax
import numpy as np
import pytest
from absl import logging
from sacrebleu.metrics import CHRF

from tfx_jax.codecs.special_tokens import BOS, EOS, PAD, UNK
from tfx_jax.data.packing import pack
from tfx_jax.errors import UserError
from tfx_jax.evaluation.align import Aligner
from tfx_jax.evaluation.score import Scorer
from tfx_jax.generation import batches
from tfx_jax.generation.generator import Generator, Hypothesis

BEAM, ALPHA, LONGEST = 4, 0.6, 16


@pytest.fixture(scope="module")
def found(small, texts):
  return small.generator(small.params, texts)


@pytest.fixture(scope="module")
def next_log_probs(small):
  """Of each pair of a source and a prefix, both token lists: a full pass, nothing kept."""

  def log_probs(params, batch):
    bound = small.model.bind({"params": params})
    return bound.logits(bound(batch))

  forward, rows = jax.jit(log_probs), 400

  def call(sources, prefixes):
    assert len(sources) <= rows
    filled = [[]] * (rows - len(sources))
    # `pack` shifts the targets: the decoder reads BOS and the prefix.
    batch = pack(
      [[source] for source in sources] + filled,
      [[[*prefix, EOS]] for prefix in prefixes] + filled,
      24,
      LONGEST,
    )
    with small.parallel.context():
      logits = np.asarray(forward(small.params, batch), np.float64)
    last = np.array([logits[row, len(prefix)] for row, prefix in enumerate(prefixes)])
    top = last.max(axis=-1, keepdims=True)
    return last - top - np.log(np.exp(last - top).sum(axis=-1, keepdims=True))

  return call


def limit(source):
  return min(LONGEST, math.ceil(0.5 * len(source)) + 10)


def plain_beam(next_log_probs, sources, beam=BEAM, at_end=None):
  """Beam search by lists and sorting, to the greatest length, whatever has ended before.

  `at_end` gives, of sources and hypotheses, what is added to their scores.
  """
  live = [[(0.0, [])] for _ in sources]
  done = [[] for _ in sources]
  for length in range(1, LONGEST + 1):
    rows = [(i, p, tokens) for i, beams in enumerate(live) for p, tokens in beams]
    log_probs = next_log_probs([sources[i] for i, _, _ in rows], [tokens for *_, tokens in rows])
    grown = [[] for _ in sources]
    for (i, p, tokens), row in zip(rows, log_probs, strict=True):
      last = length == limit(sources[i])
      allowed = [EOS] if last else [t for t in range(len(row)) if t not in (PAD, BOS)]
      grown[i] += [(p + row[t], [*tokens, t]) for t in allowed]
    for i, candidates in enumerate(grown):
      candidates.sort(key=lambda item: -item[0])
      for p, tokens in candidates[:beam]:
        if tokens[-1] == EOS:
          done[i].append((p / ((5 + length) / 6) ** (ALPHA if beam > 1 else 0.0), p, tokens))
      live[i] = [item for item in candidates if item[1][-1] != EOS][:beam]
      if length == limit(sources[i]):
        live[i] = []
    if not any(live):
      break
  if at_end is not None:
    added = iter(
      at_end([(source, h[-1]) for source, ended in zip(sources, done, strict=True) for h in ended])
    )
    done = [[(s + next(added), p, tokens) for s, p, tokens in ended] for ended in done]
  return [sorted(ended, key=lambda item: -item[0])[:beam] for ended in done]


def encoded(small, texts):
  return [[*ids, EOS] for ids in small.tokenizer.encode(texts)]


def equal(a, b):
  """Whether hypotheses are of the same tokens and, up to rounding, the same figures."""
  return [h.tokens for h in a] == [h.tokens for h in b] and np.allclose(
    [(h.score, h.log_prob) for h in a], [(h.score, h.log_prob) for h in b], atol=1e-5
  )


def test_it_is_the_beam_search_that_recomputes_everything(small, texts, found, next_log_probs):
  assert len({len(best[0].tokens) for best in found}) > 8
  assert len({best[0].text for best in found}) > 25
  expected = plain_beam(next_log_probs, encoded(small, texts))
  for hypotheses, plain in zip(found, expected, strict=True):
    assert [h.tokens for h in hypotheses] == [tokens for *_, tokens in plain]
    np.testing.assert_allclose([h.score for h in hypotheses], [s for s, *_ in plain], atol=1e-4)
    np.testing.assert_allclose(
      [h.log_prob for h in hypotheses], [p for _, p, _ in plain], atol=1e-4
    )


def test_caches_grow_where_outputs_are_long(small, texts, monkeypatch):
  greedy = {"beam_size": 1, "num_return": 1}
  found = small.generator(small.params, texts, **greedy)
  short = [text for text, (best,) in zip(texts, found, strict=True) if len(best.tokens) <= 4]
  lengths = []
  grow = small.generator._programs.grow

  def counted(cache_length, **others):
    lengths.append(cache_length)
    return grow(cache_length=cache_length, **others)

  monkeypatch.setattr(small.generator._programs, "grow", counted)
  small.generator(small.params, texts)
  assert (min(lengths), max(lengths)) == (8, 16)
  lengths.clear()
  small.generator(small.params, short, **greedy)
  assert short and not lengths


def test_the_coverage_penalty_is_that_of_the_whole_hypothesis(small, texts, next_log_probs):
  texts, beta = [text for text in texts if len(text) < 8][:20], 0.7
  aligner = Aligner(small.model, small.parallel, small.layout, 64, -1)

  def at_end(pairs):
    for weights in aligner(small.params, *zip(*pairs, strict=True)):
      yield beta * np.log(np.minimum(weights.sum(axis=0), 1.0)).sum()

  expected = plain_beam(next_log_probs, encoded(small, texts), at_end=at_end)
  found = small.generator(small.params, texts, coverage_penalty=beta)
  for hypotheses, plain in zip(found, expected, strict=True):
    assert [h.tokens for h in hypotheses] == [tokens for *_, tokens in plain]
    np.testing.assert_allclose([h.score for h in hypotheses], [s for s, *_ in plain], atol=1e-4)
    np.testing.assert_allclose(
      [h.log_prob for h in hypotheses], [p for _, p, _ in plain], atol=1e-4
    )
  without = small.generator(small.params, texts)
  assert [h[0].tokens for h in found] != [h[0].tokens for h in without]

  programs = small.generator._programs.begin.jitted._cache_size()
  small.generator(small.params, texts, coverage_penalty=0.1)
  assert small.generator._programs.begin.jitted._cache_size() == programs


def test_attention_is_looked_at_for_the_coverage_penalty_only(small, monkeypatch):
  asked = []
  begin = small.generator._programs.begin

  def asking(*, batch, **others):
    asked.append(batch.coverage_weight)
    return begin(batch=batch, **others)

  monkeypatch.setattr(small.generator._programs, "begin", asking)
  small.generator(small.params, ["ab"], coverage_penalty=0.0)
  (best,) = small.generator(small.params, ["ab"], coverage_penalty=0.7, beam_size=1, num_return=1)[
    0
  ]
  small.generator(small.params, ["ab"], coverage_penalty=0.7)
  assert asked == [None, None, np.float32(0.7)]
  assert best.score == best.log_prob
  with pytest.raises(UserError, match="alignment_layer=3: use -1 to 0"):
    small.generator(small.params, ["ab"], coverage_penalty=0.7, alignment_layer=3)


def test_a_beam_of_one_takes_the_likeliest_token(small, texts, next_log_probs):
  few = texts[:8]
  greedy = small.generator(small.params, few, beam_size=1, num_return=1)
  sources = encoded(small, few)
  tokens = [[] for _ in few]
  for _ in range(LONGEST):
    log_probs = next_log_probs(sources, tokens)
    log_probs[:, [PAD, BOS]] = -np.inf
    for row, prefix, source in zip(log_probs, tokens, sources, strict=True):
      if EOS not in prefix:
        prefix.append(EOS if len(prefix) + 1 == limit(source) else int(row.argmax()))
  assert [best[0].tokens for best in greedy] == tokens
  for (best,) in greedy:
    assert best.score == best.log_prob  # no penalty


def test_hypotheses_are_sorted_and_end_with_eos(small, found):
  for hypotheses in found:
    assert 1 <= len(hypotheses) <= 4
    scores = [h.score for h in hypotheses]
    assert scores == sorted(scores, reverse=True)
    assert len({tuple(h.tokens) for h in hypotheses}) == len(hypotheses)
    for h in hypotheses:
      assert h.tokens.index(EOS) == len(h.tokens) - 1
      assert h.text == small.tokenizer.decode([h.tokens])[0]
      assert h.score == pytest.approx(h.log_prob / ((5 + len(h.tokens)) / 6) ** ALPHA, rel=1e-5)


def test_outputs_are_in_the_order_of_the_inputs(small, texts, found):
  order = np.random.default_rng(3).permutation(len(texts))
  shuffled = small.generator(small.params, [texts[i] for i in order])
  assert all(equal(shuffled[n], found[i]) for n, i in enumerate(order))


def test_outputs_do_not_depend_on_the_batch(small, texts, found):
  chosen = [*range(0, len(texts), 13)]
  alone = [small.generator(small.params, [texts[i]])[0] for i in chosen]
  assert all(equal(hypotheses, found[i]) for hypotheses, i in zip(alone, chosen, strict=True))
  # Beside other texts, by eights, which is the program that a single text runs too.
  others = small.generator(small.params, texts[:30], batch_size=8)
  assert all(equal(a, b) for a, b in zip(others, found, strict=False))


def test_programs_are_few(small, texts, found):
  """Three lengths, full and small batches: whatever else is asked for compiles nothing more."""
  begin, asked = small.generator._programs.begin, set()

  def asking(*, batch, shape, **others):
    asked.add((batch.prompt["inputs"].shape, shape.capacity))
    return begin(batch=batch, shape=shape, **others)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(small.generator._programs, "begin", asking)
    for count in (1, 3, 8, 9, 64, 65, 100):
      small.generator(small.params, texts[:count])
    programs = begin.jitted._cache_size()
    small.generator(small.params, texts[:9], length_penalty=1.0, length_penalty_form="power")
    small.generator(small.params, texts[:9], min_length=3)
  beams, devices = small.generator.settings.width, small.parallel.batch_shards
  full = -(-(batches.CPU_HYPOTHESES // beams) // devices) * devices
  assert len(asked) <= 6 and {shape[0] for shape, _ in asked} == {8, full}
  assert begin.jitted._cache_size() == programs


def test_empty_and_blank_texts_have_one_empty_hypothesis(small, texts, found):
  mixed = ["", texts[0], "   ", texts[1], "\t"]
  done = []
  outputs = small.generator(small.params, mixed, done.append)
  for place in (0, 2, 4):
    assert outputs[place] == [Hypothesis("", 0.0, 0.0, [])]
  assert equal(outputs[1], found[0]) and equal(outputs[3], found[1])
  assert done == [2]
  assert small.generator(small.params, []) == []
  assert small.generator(small.params, [""]) == [[Hypothesis("", 0.0, 0.0, [])]]


def test_progress_counts_every_text_once(small, texts):
  done = []
  small.generator(small.params, texts, done.append)
  assert sum(done) == len(texts) and len(done) > 1


def test_a_long_input_is_cut_with_a_warning(small, monkeypatch):
  warnings = []
  monkeypatch.setattr(logging, "warning", lambda text, *args: warnings.append(text % args))
  text = "abcdef" * 5
  cut, fits, too_long = small.generator(small.params, [text, text[:23], text[:24]])
  assert equal(cut, fits) and equal(too_long, fits)
  small.generator(small.params, [text] * 7)
  assert warnings == [
    f"{inputs} inputs cut to 24 tokens (generate.max_source_length): {numbers}"
    for inputs, numbers in (("2 of 3", "1, 3"), ("7 of 7", "1, 2, 3, 4, 5, …"))
  ]


def test_lengths_are_kept_to(small, texts):
  # The same programs: 8 rows, room for 16 tokens.
  long = small.generator(small.params, texts[:8], min_length=9)
  assert min(len(h.tokens) for hypotheses in long for h in hypotheses) == 9
  for text, hypotheses in zip(texts, long, strict=False):
    assert max(len(h.tokens) for h in hypotheses) <= limit([*text, EOS])
  # There is one output of one token, though four are asked for.
  assert [
    [h.tokens for h in best] for best in small.generator(small.params, ["a"], max_length=1)
  ] == [[[EOS]]]


SAMPLING = {"search": "sample", "num_return": 3, "temperature": 0.8, "top_k": 6}


@pytest.fixture(scope="module")
def samples(small, texts):
  return small.generator(small.params, texts, **SAMPLING)


def sums(small, next_log_probs, texts, hypotheses):
  """The log-probability of each output, by a full pass for each of its tokens."""
  asked = [
    (source, best.tokens[:n], token)
    for source, best in zip(encoded(small, texts), hypotheses, strict=True)
    for n, token in enumerate(best.tokens)
  ]
  log_probs = next_log_probs([source for source, *_ in asked], [start for _, start, _ in asked])
  each = [row[token] for row, (*_, token) in zip(log_probs, asked, strict=True)]
  parts = np.split(each, np.cumsum([len(best.tokens) for best in hypotheses])[:-1])
  return [part.sum() for part in parts]


def test_samples_are_the_models_and_sorted(small, texts, samples, next_log_probs):
  for hypotheses in samples:
    assert len(hypotheses) == 3
    assert all(h.score == h.log_prob and h.tokens.index(EOS) == len(h.tokens) - 1
               for h in hypotheses)  # fmt: skip
    scores = [h.score for h in hypotheses]
    assert scores == sorted(scores, reverse=True)
  few = [best[0] for best in samples[:25]]
  expected = sums(small, next_log_probs, texts[:25], few)
  np.testing.assert_allclose([h.log_prob for h in few], expected, atol=1e-4)


@pytest.mark.parametrize(
  "settings",
  [
    {},
    {"top_p": 0.8, "min_p": 0.05},
    # <unk> leaves no text: what stands on both sides of it would be a phrase.
    {"typical_p": 0.8, "forbidden_phrases": ("ef", "bad"), "forbidden": ("<unk>",)},
  ],
  ids=str,
)
def test_samples_do_not_depend_on_the_batch(small, texts, settings):
  """A sample's numbers are its input's place and its own, however inputs are batched."""
  settings, few = SAMPLING | settings, [text for text in texts if len(text) < 8][:9]
  samples = small.generator(small.params, few, **settings)
  for count in (1, 3, 8):
    found = small.generator(small.params, few[:count], batch_size=8, **settings)
    assert all(equal(a, b) for a, b in zip(found, samples, strict=False))
  again = small.generator(small.params, few, seed=1, **settings)
  assert not all(equal(a, b) for a, b in zip(again, samples, strict=True))
  for phrase in settings.get("forbidden_phrases", ()):
    assert not any(phrase in h.text for hypotheses in samples for h in hypotheses)


@pytest.mark.parametrize(
  "settings", [{"beam_size": 1, "num_return": 1}, SAMPLING, SAMPLING | {"prefixes": ["ee"] * 8}]
)
def test_an_output_ends_before_the_first_stop(small, texts, settings):
  """As if it had gone on and been cut; whatever the prefix holds does not stop it."""
  few, stops = [text for text in texts if len(text) < 8][:8], ("ee", "c", "fa")
  settings = settings | {"forbidden": ("<unk>",)}  # so that every token is a character
  whole = small.generator(small.params, few, **settings)
  cut = small.generator(small.params, few, stop=stops, **settings)
  given = 2 if "prefixes" in settings else 0
  stopped = 0
  for before, after in zip(whole, cut, strict=True):
    expected = []
    for h in before:
      ends = [
        (place + len(stop), place)
        for stop in stops
        for place in range(len(h.text))
        if h.text.startswith(stop, place) and place + len(stop) > given
      ]
      end, place = min(ends, default=(len(h.tokens), len(h.text)))
      expected.append((h.text[:place], h.tokens[:end]))
      stopped += bool(ends)
    assert sorted((h.text, h.tokens) for h in after) == sorted(expected)
    assert [h.score for h in after] == sorted([h.log_prob for h in after], reverse=True)
  assert stopped > 3
  if not given:
    flat = [(text, h) for text, hypotheses in zip(few, cut, strict=True) for h in hypotheses]
    scores = Scorer(small.model, small.parallel, small.layout, 64)(
      small.params, encoded(small, [text for text, _ in flat]), [h.tokens for _, h in flat]
    )
    np.testing.assert_allclose([h.log_prob for _, h in flat], scores, atol=1e-4)


def test_groups_of_beams_give_different_outputs(small, texts):
  few = [text for text in texts if len(text) < 8][:8]
  settings = {"beam_size": 4, "num_return": 4}
  plain = small.generator(small.params, few, **settings)
  diverse = small.generator(small.params, few, beam_groups=4, diversity_penalty=5.0, **settings)
  for hypotheses in diverse:
    assert len({tuple(h.tokens) for h in hypotheses}) == len(hypotheses) > 1
    scores = [h.score for h in hypotheses]
    assert scores == sorted(scores, reverse=True)

  def words(found):
    return np.mean([len({h.text[:1] for h in hypotheses}) for hypotheses in found])

  assert words(diverse) > words(plain)


def test_minimum_bayes_risk_ranks_the_samples(small, texts):
  few, settings = texts[:5], SAMPLING | {"temperature": 1.0, "num_return": 16}
  drawn = small.generator(small.params, few, **settings)
  best = small.generator(
    small.params, few, **settings | {"search": "mbr", "num_samples": 16, "num_return": 2}
  )
  for hypotheses, ranked in zip(drawn, best, strict=True):
    outputs = [h.text for h in hypotheses]
    means = {
      text: np.mean([CHRF().sentence_score(text, [other]).score for other in outputs])
      for text in dict.fromkeys(outputs)
    }
    scores = [h.score for h in ranked]
    np.testing.assert_allclose(scores, sorted(means.values(), reverse=True)[:2], rtol=1e-6)
    for h in ranked:
      assert h.score == pytest.approx(means[h.text])
      same = [other for other in hypotheses if other.text == h.text]
      assert h.log_prob == pytest.approx(max(other.log_prob for other in same), abs=1e-5)


def test_outputs_begin_with_their_prefixes(small, texts, found, next_log_probs):
  few = texts[:8]
  prefixes = ["fa", "", "b c", [8, 8, 8], "d", "", [], "e"]
  begun = small.generator(small.params, few, prefixes=prefixes)
  for place, (prefix, hypotheses) in enumerate(zip(prefixes, begun, strict=True)):
    ids = small.tokenizer.encode([prefix])[0] if isinstance(prefix, str) else prefix
    assert all(h.tokens[: len(ids)] == ids for h in hypotheses)
    assert equal(hypotheses, found[place]) == (not ids)
  expected = sums(small, next_log_probs, few, [best[0] for best in begun])
  np.testing.assert_allclose([best[0].log_prob for best in begun], expected, atol=1e-4)
  same = small.generator(small.params, few, prefix="fa")
  assert equal(same[0], begun[0])
  assert all(best[0].text.startswith("fa") for best in same)


def test_rules_are_kept_to_and_log_probabilities_stay_the_models(
  small, texts, found, next_log_probs
):
  few = texts[:20]
  settings = {"forbidden": ("c", "<unk>"), "no_repeat_ngram_size": 2, "repetition_penalty": 1.2}
  for search in ({}, {"search": "sample"}):
    ruled = [best[0] for best in small.generator(small.params, few, **settings, **search)]
    for best in ruled:
      grams = [*itertools.pairwise(best.tokens)]
      assert len(set(grams)) == len(grams)
      assert "c" not in best.text and UNK not in best.tokens
    expected = sums(small, next_log_probs, few, ruled)
    np.testing.assert_allclose([best.log_prob for best in ruled], expected, atol=1e-4)
  assert all({UNK, *small.tokenizer.encode("c")[0]} & {*best[0].tokens} for best in found[:3])


def test_what_outputs_must_hold_is_checked_when_the_generator_is_made(small):
  for changes, told in (
    ({"forbidden": ("<unx>",)}, "no piece '<unx>', did you mean '<unk>'?"),
    ({"prefix": "abcdef" * 3}, "generate.prefix has 18 tokens, no fewer than"),
  ):
    settings = small.generator.settings.replace(**changes)
    with pytest.raises(UserError, match=re.escape(told)):
      Generator(small.model, small.parallel, *[small.tokenizer] * 2, small.layout, settings)
