import json

import pytest

from tfx_jax.data.example import Example
from tfx_jax.errors import UserError
from tfx_jax.metrics.rouge import ROUGE_METRICS, rouge
from tfx_jax.sources.formats import open_source
from tfx_jax.tasks.summarize import Summarize

SEVERAL = Summarize("dialogue", "summary", references=("summary1", "summary2"))
RECORD = {"dialogue": "a b c", "summary1": "a", "summary2": "c"}


def test_an_example_is_a_text_and_its_summary():
  task = Summarize("document", "summary")
  for split in ("train", "validation", "test"):
    assert task.fields(split) == ("document", "summary")
  (example,) = task.examples({"document": "a b", "summary": "a", "kind": "k"})
  assert example == Example("a b", "a", "k")


def test_the_test_set_may_have_several_summaries():
  assert SEVERAL.fields("train") == SEVERAL.fields("validation") == ("dialogue", "summary")
  assert SEVERAL.fields("test") == ("dialogue", "summary1", "summary2")
  assert list(SEVERAL.examples({"dialogue": "a b c", "summary": "b"})) == [Example("a b c", "b")]
  assert list(SEVERAL.examples(RECORD)) == [Example("a b c", "a", "", ("a", "c"))]
  assert list(SEVERAL.eval_examples(RECORD)) == list(SEVERAL.examples(RECORD))
  assert SEVERAL.identity != Summarize("dialogue", "summary").identity


def test_the_target_may_be_one_of_the_references():
  task = Summarize("text", "first", references=("first", "second"))
  assert next(task.examples({"text": "t", "first": "a"})) == Example("t", "a")
  both = next(task.examples({"text": "t", "first": "a", "second": "b"}))
  assert both == Example("t", "a", "", ("a", "b"))


def test_scores_are_rouge_over_all_references():
  examples = [next(SEVERAL.examples(RECORD)), Example("d e", "d e f")]
  outputs, references = ["c", "d f"], [["a", "c"], ["d e f"]]
  assert SEVERAL.score(outputs, examples) == rouge(ROUGE_METRICS, outputs, references)
  mean = Summarize("dialogue", "summary", rouge_references="mean", rouge_stemmer=False)
  assert mean.score(outputs, examples) == rouge(
    ROUGE_METRICS, outputs, references, stemmer=False, over_references="mean"
  )
  assert mean.score(outputs, examples)["rouge1"] < SEVERAL.score(outputs, examples)["rouge1"]


def test_scores_may_compare_with_the_source():
  task = Summarize("dialogue", "summary", metrics=("novelty", "length_ratio", "bleu_moses"))
  scores = task.score(["a b x"], [Example("a b c", "a b")])
  assert scores["novelty1"] == pytest.approx(100 / 3) and scores["length_ratio"] == 1.5
  assert "|lang:en|" in scores["bleu_moses_signature"]


@pytest.mark.parametrize(
  ("settings", "told"),
  [
    ({"metrics": ("rouge3",)}, "task.metrics='rouge3' is unknown, did you mean 'rouge"),
    ({"rouge_references": "best"}, "task.rouge_references='best'; known: max, mean"),
  ],
)
def test_a_wrong_setting_is_told_at_once(settings, told):
  with pytest.raises(UserError, match=told):
    Summarize("dialogue", "summary", **settings)


def test_a_line_without_a_reference_is_told(tmp_path):
  path = tmp_path / "test.jsonl"
  lines = [RECORD, {key: RECORD[key] for key in ("dialogue", "summary1")}]
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))
  with pytest.raises(UserError, match=r"test.jsonl, line 2: no key 'summary2', did you mean"):
    list(open_source("jsonl", str(path), SEVERAL.fields("test")))
