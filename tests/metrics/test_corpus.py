import collections
import math
import subprocess
import sys

import pytest
import sacrebleu
import sacremoses

from tfx_jax.errors import UserError
from tfx_jax.metrics.corpus import CORPUS_METRICS, corpus_metric

PREDICTIONS = ["The cat sat on the mat.", "A dog runs in the park today.", "Hello there, world!"]
REFERENCES = ["The cat sat on a mat.", "A dog ran in the park today.", "Hello there, World!"]
SINGLE = [[r] for r in REFERENCES]
GERMAN = "Der alte Mann sagt: „Ich geh\u2019 nach Hause“, und lacht."  # a curly apostrophe


def score(name, predictions, references, **settings):
  return corpus_metric(name, **settings).score(predictions, references)


def test_bleu_and_chrf_equal_sacrebleu():
  found, signature = score("bleu", PREDICTIONS, SINGLE)
  assert found == sacrebleu.corpus_bleu(PREDICTIONS, [REFERENCES]).score
  assert 0 < found < 100
  assert "nrefs:1" in signature and "tok:13a" in signature and "case:mixed" in signature
  found, signature = score("chrf", PREDICTIONS, SINGLE)
  assert found == sacrebleu.corpus_chrf(PREDICTIONS, [REFERENCES]).score
  assert "version:" in signature


@pytest.mark.parametrize(("name", "order"), [("bleu1", 1), ("bleu2", 2), ("bleu", 4)])
def test_bleu_equals_the_formula_at_every_order(name, order):
  """Clipped counts over the corpus, their geometric mean, and the brevity penalty."""
  predictions = ["a a b c d e f", "x y z w", "k l m n"]
  references = ["a b c d e g h i j", "x y z w", "k l m o"]
  precisions = []
  for n in range(1, order + 1):
    hits = total = 0
    for pair in zip(predictions, references, strict=True):
      found, wanted = (
        collections.Counter(zip(*(text.split()[i:] for i in range(n)), strict=False))
        for text in pair
      )
      hits, total = hits + (found & wanted).total(), total + found.total()
    precisions.append(hits / total)
  penalty = math.exp(1 - 17 / 15)
  expected = 100 * penalty * math.prod(precisions) ** (1 / order)
  found, signature = score(name, predictions, [[text] for text in references])
  assert found == pytest.approx(expected)
  assert signature.endswith(f"|order:{order}") == (order != 4)


def test_a_match_with_any_reference_counts():
  references = [["Nothing like it.", PREDICTIONS[0]], [PREDICTIONS[1]], ["x", "y", PREDICTIONS[2]]]
  for name in CORPUS_METRICS:
    found, signature = score(name, PREDICTIONS, references)
    assert found == pytest.approx(100)
    assert "nrefs:var" in signature


def test_lowercase_applies_to_bleu_and_chrf():
  upper = [p.upper() for p in PREDICTIONS]
  for name in ("bleu", "chrf"):
    found, signature = score(name, upper, SINGLE, lowercase=True)
    assert found == score(name, PREDICTIONS, SINGLE, lowercase=True)[0]
    assert score(name, upper, SINGLE)[0] < score(name, PREDICTIONS, SINGLE)[0]
    assert "case:lc" in signature


def test_chinese_is_scored_by_character():
  predictions, references = ["今天天气很好我们去公园"], [["今天天气很好我们去学校"]]
  assert score("bleu", predictions, references)[0] == 0
  assert score("bleu", predictions, references, tokenize="zh")[0] > 50


@pytest.mark.parametrize("language", ["de", "en", "fr", "cs", "xx"])
def test_bleu_moses_is_bleu_of_moses_tokens(language):
  predictions = [GERMAN, "L'homme n'a rien dit .", "It's Dr. Smith's (old) dog-house .", ""]
  references = [
    [GERMAN.replace("alte", "junge")],
    ["L\u2019homme  n\u2019a  rien  dit!"],
    ["It 's dr. Smith's dog-house.", "is it his?"],
    ["nothing"],
  ]
  normalizer = sacremoses.MosesPunctNormalizer(lang=language)
  tokenizer = sacremoses.MosesTokenizer(lang=language)

  def moses(text):
    return " ".join(tokenizer.tokenize(normalizer.normalize(text))).lower()

  streams = [[moses(g[i]) if i < len(g) else None for g in references] for i in range(2)]
  expected = sacrebleu.BLEU(tokenize="none", force=True)
  expected_score = expected.corpus_score([moses(text) for text in predictions], streams).score
  found, signature = score("bleu_moses", predictions, references, language=language)
  assert found == expected_score and 0 < found < 100
  own, moses_part = signature.split("|moses:")
  assert own == str(expected.get_signature()) and "tok:none" in own
  assert moses_part == f"punct+tok+lc|lang:{language}|sacremoses:{sacremoses.__version__}"


def test_bleu_moses_logs_no_warning_about_tokenized_texts(caplog):
  texts = [f"{number}." for number in range(200)]
  corpus_metric("bleu_moses").score(texts, [[text] for text in texts])
  assert not caplog.records


def test_bleu_moses_ignores_only_case_and_forms_of_punctuation():
  def same(prediction, language="de"):
    return score("bleu_moses", [prediction], [[GERMAN]], language=language)[0] > 99.99

  forgiven = [
    GERMAN.upper(),
    GERMAN.replace("„", '"').replace("“", '"'),
    GERMAN.replace("\u2019", "'"),
    GERMAN.replace(" und", "   und"),
    GERMAN.replace(":", " :").replace(".", " ."),
    GERMAN.replace("„", "«\u00a0").replace("“", "\u00a0»"),
  ]
  assert [same(text) for text in forgiven] == [True] * len(forgiven)
  counted = [
    GERMAN.replace(",", ""),
    GERMAN.replace(".", "!"),
    GERMAN.replace("lacht", "lachte"),
    GERMAN.replace("ä", "a").replace("alte", "älte"),
    GERMAN.replace("geh\u2019", "gehe"),
  ]
  assert [same(text) for text in counted] == [False] * len(counted)
  assert score("bleu", [forgiven[0]], [[GERMAN]])[0] < 50


def test_bleu_moses_takes_the_language_from_a_locale():
  english = "Mr. Smith's dog."
  plain = corpus_metric("bleu_moses", language="en").prepare(english)
  assert plain == "mr. smith &apos;s dog ."
  assert corpus_metric("bleu_moses", language="en_GB").prepare(english) == plain
  assert corpus_metric("bleu_moses", language="EN-us").prepare(english) == plain
  unknown = corpus_metric("bleu_moses", language="target").prepare(english)
  assert unknown == "mr. smith &apos; s dog ."


@pytest.mark.parametrize(
  ("call", "words"),
  [
    (lambda: corpus_metric("bleu", tokenize="13b"), "did you mean '13a'"),
    (lambda: score("bleu", [], []), "split is empty"),
    (lambda: score("chrf", ["a", "b"], [["a"], []]), "example 2 has no reference"),
  ],
)
def test_errors_of_the_user_are_one_line(call, words):
  with pytest.raises(UserError, match=words) as error:
    call()
  assert "\n" not in str(error.value)


def test_error_of_a_missing_tokenizer_package_is_one_line(monkeypatch):
  from sacrebleu.tokenizers import tokenizer_ja_mecab

  monkeypatch.setattr(tokenizer_ja_mecab, "MeCab", None)
  with pytest.raises(UserError, match=r"pip install sacrebleu\[ja\]") as error:
    corpus_metric("bleu", tokenize="ja-mecab")
  assert "\n" not in str(error.value)


def test_plain_texts_as_references_are_refused():
  with pytest.raises(TypeError, match="a list of references for each"):
    score("bleu", ["abc"], ["abc"])
  with pytest.raises(ValueError, match="2 predictions but 1"):
    score("bleu", ["a", "b"], [["a"]])


def test_sacremoses_is_imported_when_texts_are_scored():
  code = (
    "import sys; from tfx_jax.metrics.corpus import corpus_metric;"
    "metric = corpus_metric('bleu_moses'); before = 'sacremoses' in sys.modules;"
    "print(before, metric.score(['a b c d'], [['A b c d']])[0], 'sacremoses' in sys.modules)"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  before, score, after = done.stdout.split()
  assert (before, after) == ("False", "True") and float(score) == pytest.approx(100)
