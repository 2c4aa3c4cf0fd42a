import pytest

from tfx_jax.data.example import Example
from tfx_jax.errors import UserError
from tfx_jax.metrics.corpus import corpus_metric
from tfx_jax.tasks.translate import Translate

EXAMPLES = [Example("a", "eins zwei drei vier"), Example("b", "fünf sechs sieben acht")]


def test_an_example_is_two_fields_of_a_record():
  task = Translate("en", "de")
  assert task.fields("train") == ("en", "de")
  assert [*task.examples({"de": "ein", "en": "one", "fr": "un"})] == [Example("one", "ein", "")]
  (example,) = task.examples({"de": "ein", "en": "one", "kind": "number"})
  assert example.kind == "number"
  (example,) = Translate("de", "en").examples({"de": "ein", "en": "one"})
  assert example == Example("ein", "one", "")


def test_scores_are_those_of_the_metrics_named():
  outputs = ["eins zwei drei vier", "fünf sechs Sieben acht"]
  references = [[example.target] for example in EXAMPLES]
  scores = Translate("en", "de").score(outputs, EXAMPLES)
  for name in ("bleu", "chrf"):
    expected = corpus_metric(name).score(outputs, references)
    assert (scores[name], scores[f"{name}_signature"]) == expected
  assert set(scores) == {"bleu", "bleu_signature", "chrf", "chrf_signature"}
  assert Translate("en", "de", metrics=("chrf",)).score(outputs, EXAMPLES).keys() == {
    "chrf",
    "chrf_signature",
  }


def test_settings_reach_the_metrics():
  outputs = ["eins zwei drei vier", "fünf sechs Sieben acht"]
  lower = Translate("en", "de", lowercase=True).score(outputs, EXAMPLES)
  assert lower["bleu"] == pytest.approx(100) and lower["chrf"] == pytest.approx(100)
  by_character = Translate("a", "b", metrics=("bleu",), bleu_tokenize="char")
  assert "tok:char" in by_character.score(outputs, EXAMPLES)["bleu_signature"]


def test_the_language_is_the_target_of_the_task():
  for target in ("de", "translation.de"):
    task = Translate("en", target, metrics=("chrf", "exact_match", "bleu_moses"))
    assert list(task.corpus_metrics()) == ["chrf", "bleu_moses"]
    outputs = [example.target.upper() for example in EXAMPLES]
    scores = task.score(outputs, EXAMPLES)
    assert "|lang:de|" in scores["bleu_moses_signature"]
    assert scores["bleu_moses"] == pytest.approx(100)


def test_exact_match_is_told_by_kind_where_kinds_are_known():
  task = Translate("en", "de", metrics=("exact_match",))
  outputs = ["eins zwei drei vier", "fünf"]
  assert task.score(outputs, EXAMPLES) == {"exact_match": 50.0}
  kinds = [example._replace(kind=kind) for example, kind in zip(EXAMPLES, "xy", strict=True)]
  assert task.score(outputs, kinds) == {
    "exact_match": 50.0,
    "exact_match/x": 100.0,
    "exact_match/y": 0.0,
  }


def test_a_metric_that_does_not_exist_is_told_at_once():
  for settings in ({"metrics": ("blue",)}, {"bleu_tokenize": "14a"}):
    with pytest.raises(UserError, match="did you mean"):
      Translate("en", "de", **settings)
  Translate("en", "de", metrics=("chrf",), bleu_tokenize="14a")  # not used


def test_pairs_are_alike_that_have_the_same_source():
  task = Translate("en", "de")
  keys = [[*task.overlap_keys({"en": en, "de": de})] for en, de in (("A b!", "x"), ("a  B", "y"))]
  assert keys == [["ab"], ["ab"]]
