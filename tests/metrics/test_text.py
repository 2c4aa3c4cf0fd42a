import subprocess
import sys

import pytest

from tfx_jax.errors import UserError
from tfx_jax.metrics import text as metrics


def test_exact_match_by_kind_strips_outer_whitespace_only():
  scores = metrics.exact_match(
    ["a b", " c ", "d", "e  f"],
    [["a b"], ["c\n"], ["D"], ["e f"]],
    kinds=["date", "time", "date", "time"],
  )
  assert scores == {"exact_match": 50, "exact_match/date": 50, "exact_match/time": 50}
  assert metrics.exact_match(["b"], [["a", "b"]]) == {"exact_match": 100}


def test_all_named_metrics_are_computed(tmp_path, monkeypatch):
  (tmp_path / "my_metric.py").write_text(
    "def length_ratio(predictions, references):\n"
    '  return {"length_ratio": len(predictions[0]) / len(references[0][0])}\n'
    "def wrong(predictions, references):\n"
    "  return 3.0\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  names = ["exact_match", "bleu", "length", "my_metric:length_ratio"]
  metrics.check_names(names)
  scores = metrics.text_metrics(names, ["a b"], [["a bcd"]], kinds=["k"])
  assert list(scores) == [
    "exact_match",
    "exact_match/k",
    "bleu",
    "bleu_signature",
    "length",
    "length_ratio",
  ]
  assert scores["length_ratio"] == 0.6
  with pytest.raises(UserError, match="must return a dict of metrics, not float"):
    metrics.text_metrics(["my_metric:wrong"], ["a"], [["a"]])
  with pytest.raises(UserError, match="did you mean 'length_ratio'"):
    metrics.check_names(["my_metric:length_ration"])


def test_settings_reach_the_corpus_metrics():
  scores = metrics.text_metrics(
    ["bleu", "chrf", "bleu_moses"], ["A B C D"], [["a b c d"]],
    tokenize="intl", lowercase=True, language="fr",
  )  # fmt: skip
  assert "case:lc" in scores["bleu_signature"] and "tok:intl" in scores["bleu_signature"]
  assert "case:lc" in scores["chrf_signature"]
  assert "lang:fr" in scores["bleu_moses_signature"] and scores["bleu_moses"] > 0


def test_rouge_and_metrics_of_form_are_computed_too():
  names = ["novelty", "rougeL", "length_ratio", "rouge1"]
  metrics.check_names(names)
  scores = metrics.text_metrics(
    names, ["cats"], [["cat"]], sources=["a cat"], rouge_settings={"stemmer": False}
  )
  assert list(scores)[:3] == ["rougeL", "rouge1", "rouge_signature"]
  assert scores["rouge1"] == 0 and "stem:no" in scores["rouge_signature"]
  assert scores["novelty1"] == 100 and scores["length_ratio"] == 1


@pytest.mark.parametrize(
  ("call", "words"),
  [
    (lambda: metrics.check_names(["blue"]), "task.metrics='blue' is unknown, did you mean 'bleu'"),
    (
      lambda: metrics.text_metrics(["x"], ["a"], [["a"]]),
      "known: bleu, bleu1, bleu2, chrf, bleu_moses, rouge1, .*, novelty, distinct1",
    ),
    (lambda: metrics.check_names(["no_such_package:f"]), "cannot import 'no_such_package'"),
  ],
)
def test_errors_of_the_user_are_one_line(call, words):
  with pytest.raises(UserError, match=words) as error:
    call()
  assert "\n" not in str(error.value)


def test_importing_costs_no_heavy_library():
  code = (
    "import sys, tfx_jax.metrics.text, tfx_jax.report.metrics_log, tfx_jax.report.curves\n"
    "heavy = {'jax', 'numpy', 'sacrebleu', 'sacremoses', 'rouge_score', 'nltk', 'matplotlib'}\n"
    "heavy |= {'tensorboardX', 'tqdm'}\n"
    "print(sorted(heavy & set(sys.modules)))"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
  ("name", "references", "order"),
  [
    ("bleu", [["eins"], ["zwei drei vier", "fünf"]], 4),
    ("bleu2", [["eins"], ["zwei", "fünf"]], 2),
    ("bleu", [["eins"], ["eins zwei drei vier"]], None),
    ("bleu1", [["eins"], ["zwei"]], None),
    ("chrf", [["eins"], ["zwei"]], None),
  ],
)
def test_a_bleu_that_can_only_be_zero_is_explained_once(name, references, order, caplog):
  metrics._warn_of_zero.cache_clear()
  for _ in range(2):
    scores = metrics.text_metrics([name], ["x", "y"], references)
    assert scores[name] == 0
  assert f"nrefs:{'var' if len(references[1]) > 1 else 1}" in scores[f"{name}_signature"]
  told = f"{name} is 0 because it counts sequences of {order} words, and no reference has as many: "
  told += "for short texts use task.metrics=(exact_match,chrf)"
  assert caplog.messages == ([told] if order else [])
