import math
import subprocess
import sys

import pytest
import sacrebleu

from tfx_jax import metrics
from tfx_jax.errors import UserError

PREDICTIONS = ["The cat sat on the mat.", "A dog runs in the park today.", "Hello there, world!"]
REFERENCES = ["The cat sat on a mat.", "A dog ran in the park today.", "Hello there, World!"]
SINGLE = [[r] for r in REFERENCES]


def test_bleu_and_chrf_are_sacrebleus_own():
  score, signature = metrics.bleu(PREDICTIONS, SINGLE)
  assert score == sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES]).score
  assert 0 < score < 100
  assert "nrefs:1" in signature and "tok:13a" in signature and "case:mixed" in signature
  score, signature = metrics.chrf(PREDICTIONS, SINGLE)
  assert score == sacrebleu.corpus_chrf(PREDICTIONS, [REFERENCES]).score
  assert "version:" in signature


def test_any_of_a_varying_number_of_references_counts():
  references = [["Nothing like it.", PREDICTIONS[0]], [PREDICTIONS[1]], ["x", "y", PREDICTIONS[2]]]
  for metric in (metrics.bleu, metrics.chrf):
    score, signature = metric(PREDICTIONS, references)
    assert score == pytest.approx(100)
    assert "nrefs:var" in signature
  assert metrics.exact_match(PREDICTIONS, references) == {"exact_match": 100}


def test_lowercase_reaches_both():
  upper = [p.upper() for p in PREDICTIONS]
  for metric in (metrics.bleu, metrics.chrf):
    assert (
      metric(upper, SINGLE, lowercase=True)[0] == metric(PREDICTIONS, SINGLE, lowercase=True)[0]
    )
    assert metric(upper, SINGLE)[0] < metric(PREDICTIONS, SINGLE)[0]
  figures = metrics.text_metrics(["bleu", "chrf"], upper, SINGLE, tokenize="intl", lowercase=True)
  assert "case:lc" in figures["bleu_signature"] and "tok:intl" in figures["bleu_signature"]
  assert "case:lc" in figures["chrf_signature"]


def test_chinese_is_scored_by_character():
  predictions, references = ["今天天气很好我们去公园"], [["今天天气很好我们去学校"]]
  assert metrics.bleu(predictions, references)[0] == 0
  assert metrics.bleu(predictions, references, tokenize="zh")[0] > 50


def test_exact_match_by_kind_strips_outer_whitespace_only():
  figures = metrics.exact_match(
    ["a b", " c ", "d", "e  f"],
    [["a b"], ["c\n"], ["D"], ["e f"]],
    kinds=["date", "time", "date", "time"],
  )
  assert figures == {"exact_match": 50, "exact_match/date": 50, "exact_match/time": 50}


def test_text_metrics_gathers_what_was_named(tmp_path, monkeypatch):
  (tmp_path / "my_metric.py").write_text(
    "def length_ratio(predictions, references):\n"
    '  return {"length_ratio": len(predictions[0]) / len(references[0][0])}\n'
    "def wrong(predictions, references):\n"
    "  return 3.0\n"
  )
  monkeypatch.syspath_prepend(tmp_path)
  names = ["exact_match", "bleu", "my_metric:length_ratio"]
  metrics.check_names(names)
  figures = metrics.text_metrics(names, ["a b"], [["a bcd"]], kinds=["k"])
  assert list(figures) == [
    "exact_match",
    "exact_match/k",
    "bleu",
    "bleu_signature",
    "length_ratio",
  ]
  assert figures["length_ratio"] == 0.6
  with pytest.raises(UserError, match="must return a dict of figures, not float"):
    metrics.text_metrics(["my_metric:wrong"], ["a"], [["a"]])
  with pytest.raises(UserError, match="did you mean 'length_ratio'"):
    metrics.check_names(["my_metric:length_ration"])


@pytest.mark.parametrize(
  ("call", "words"),
  [
    (lambda: metrics.check_names(["blue"]), "unknown metric 'blue', did you mean 'bleu'"),
    (lambda: metrics.text_metrics(["x"], ["a"], [["a"]]), "known: bleu, chrf, exact_match"),
    (lambda: metrics.check_names(["no_such_package:f"]), "cannot import 'no_such_package'"),
    (lambda: metrics.bleu(["a"], [["a"]], tokenize="13b"), "did you mean '13a'"),
    (lambda: metrics.bleu([], []), "split is empty"),
    (lambda: metrics.chrf(["a", "b"], [["a"], []]), "example 2 has no reference"),
  ],
)
def test_what_the_user_can_mend_is_one_line(call, words):
  with pytest.raises(UserError, match=words) as error:
    call()
  assert "\n" not in str(error.value)


def test_a_tokenizer_without_its_package_is_one_line(monkeypatch):
  from sacrebleu.tokenizers import tokenizer_ja_mecab

  monkeypatch.setattr(tokenizer_ja_mecab, "MeCab", None)
  with pytest.raises(UserError, match=r"pip install sacrebleu\[ja\]") as error:
    metrics.bleu(["a"], [["a"]], tokenize="ja-mecab")
  assert "\n" not in str(error.value)


def test_plain_texts_as_references_are_refused():
  with pytest.raises(TypeError, match="a list of references for each"):
    metrics.bleu(["abc"], ["abc"])
  with pytest.raises(ValueError, match="2 predictions but 1"):
    metrics.bleu(["a", "b"], [["a"]])


def test_perplexity_never_overflows():
  assert metrics.perplexity(math.log(7)) == pytest.approx(7)
  assert metrics.perplexity(1e6) == math.inf
  assert metrics.perplexity(math.inf) == math.inf
  assert math.isnan(metrics.perplexity(math.nan))


def test_importing_costs_no_heavy_library():
  code = (
    "import sys, tfx_jax.metrics, tfx_jax.report, tfx_jax.curves\n"
    "heavy = {'jax', 'numpy', 'sacrebleu', 'matplotlib', 'tensorboardX', 'tqdm'}\n"
    "print(sorted(heavy & set(sys.modules)))"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[]"
