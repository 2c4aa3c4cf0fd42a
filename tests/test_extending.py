"""The examples of docs/extending.md do what the page says; mistakes in such code are one line."""

import sys

import jax.numpy as jnp
import pytest
from support.extending import BLOCKS, module
from support.fake_model import FakeModel, PlainRules, batched

from tfx_jax.builders import make_task
from tfx_jax.config import base
from tfx_jax.data.corpus import prepare
from tfx_jax.data.example import Example
from tfx_jax.decoding import sample
from tfx_jax.errors import UserError
from tfx_jax.metrics.text import text_metrics
from tfx_jax.sources.formats import open_source


@pytest.fixture
def mycode(monkeypatch):
  """The name of a module that holds the page's first example."""
  monkeypatch.setitem(sys.modules, "mycode", module(0))
  return "mycode"


def test_the_source_reads(mycode, tmp_path):
  (tmp_path / "pairs.csv").write_text("de,en,kind\nJa.,Yes.,a\nNein.,No.,b\n")
  reader = open_source(f"{mycode}:Csv", str(tmp_path / "pairs.csv"), ("en", "de"))
  assert [*reader] == [*reader] == [{"en": "Yes.", "de": "Ja."}, {"en": "No.", "de": "Nein."}]


def test_the_metric_scores(mycode):
  name = f"{mycode}:first_word"
  references = [("A dog.",), ("No.", "A cat.")]
  assert text_metrics((name,), ["A dog runs.", "Cats."], references) == {"first_word": 50.0}


def test_the_task_makes_examples(mycode):
  config = base()
  config.task.name = f"{mycode}:Uncased"
  (example,) = make_task(config).examples({"en": "A Dog.", "de": "Ein Hund."})
  assert (example.source, example.target) == ("a dog.", "Ein Hund.")


def test_the_codec_is_lossless_and_makes_a_corpus(tmp_path):
  codec, values = module(1).BaseCodec(), ["GATTACA", "", "CC"]
  assert codec.decode(codec.encode(values)) == values
  ended = [codec.element.as_target(ids) for ids in codec.encode(values)]
  assert ended[1] and codec.decode(ended) == values
  assert codec.fingerprint != module(1).BaseCodec("ACGU").fingerprint
  examples = [Example(value, value[::-1]) for value in values]
  corpus = prepare(examples, "bases", codec, codec, str(tmp_path), 9, 9)
  assert corpus.report["pairs_kept"] == 2 and corpus.report["pairs_empty"] == 1
  codec.save(tmp_path / "codec")
  assert (tmp_path / "codec" / "codec.json").exists()


def test_the_search_is_greedy_however_its_steps_are_divided():
  greedy, model = module(2), FakeModel(8, seed=1, eos_bonus=1.0)
  rules, active = batched([PlainRules(max_length=6)] * 3, 8, 6), jnp.ones(3, bool)
  plain = sample.SampleSettings(rules)
  expected = sample.begin(model.prefill(3), plain, active, width=1, capacity=6)
  expected, _ = sample.advance(model.step, expected, model.history(3, 1), plain, 6)
  for parts in ((6,), (1, 2, 3)):
    settings = greedy.GreedySettings(rules)
    state = greedy.begin(model.prefill(3), settings, active, width=1, capacity=6)
    cache = model.history(3, 1)
    for steps in parts:
      state, cache = greedy.advance(model.step, state, cache, settings, steps)
    assert (state.tokens == expected.tokens).all() and state.finished.all()


INIT = "class Csv:\n  def __init__(self, path, fields): pass\n"


@pytest.mark.parametrize(
  ("format", "body", "told"),
  [
    ("Csv", INIT, "is no source: it has no __iter__"),
    ("Csv", f"{INIT}  def __iter__(self): yield {{}}\n", "is no source: it has no fingerprint"),
    ("Csv", INIT.replace("path, fields", "file"), "cannot be called with (path, fields)"),
    ("Tsv", "class Csv:\n  pass\n", "did you mean 'Csv'?"),
  ],
)
def test_a_source_without_a_member_is_one_line_that_names_it(
  format, body, told, tmp_path, monkeypatch
):
  (tmp_path / "wrong.py").write_text(body)
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.delitem(sys.modules, "wrong", raising=False)
  with pytest.raises(UserError) as info:
    open_source(f"wrong:{format}", "a.csv", ("en",))
  assert told in str(info.value) and "\n" not in str(info.value)


def test_an_unknown_format_says_how_to_name_code():
  for name in ("csv", "myreader.Csv"):
    with pytest.raises(UserError, match=r"data.format='.*' is unknown.*package\.module:Name"):
      open_source(name, "a.csv", ("en",))


def test_the_page_has_the_examples_that_are_tested():
  assert len(BLOCKS) == 3
