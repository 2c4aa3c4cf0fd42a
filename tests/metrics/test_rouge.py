import collections
import itertools
import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from tfx_jax.errors import UserError
from tfx_jax.metrics.rouge import ROUGE_METRICS, rouge, sentences

PREDICTIONS = ["The cats sat on a mat. It was raining.", "Police killed the gunman", ""]
REFERENCES = [
  ["A cat is sitting on the mat. It rains.", "It is raining on the cat."],
  ["The gunman kill police", "Police ended the gunman."],
  ["Nothing.", "Something."],
]


def f_measure(hits, predicted, wanted):
  return 200 * hits / (predicted + wanted)


def longest(a, b):
  """Length of the longest common subsequence, by trying all of them."""
  return max(
    n
    for n in range(len(a) + 1)
    if set(itertools.combinations(a, n)) & set(itertools.combinations(b, n))
  )


def test_rouge_equals_a_count_by_hand():
  rng = random.Random(0)
  texts = [rng.choices("abcd", k=rng.randint(2, 7)) for _ in range(40)]
  predictions, references = texts[:20], texts[20:]
  expected = collections.defaultdict(list)
  for a, b in zip(predictions, references, strict=True):
    for n in (1, 2):
      grams = [collections.Counter(zip(*(t[i:] for i in range(n)), strict=False)) for t in (a, b)]
      hits = (grams[0] & grams[1]).total()
      expected[f"rouge{n}"].append(f_measure(hits, *(g.total() for g in grams)))
    expected["rougeL"].append(f_measure(longest(a, b), len(a), len(b)))
  expected["rougeLsum"] = expected["rougeL"]  # one sentence each
  scores = rouge(ROUGE_METRICS, [" ".join(t) for t in predictions],
                  [[" ".join(t)] for t in references])  # fmt: skip
  for name in ROUGE_METRICS:
    assert scores[name] == pytest.approx(sum(expected[name]) / 20), name
  assert 0 < scores["rouge2"] < scores["rougeL"] < scores["rouge1"] < 100


@pytest.mark.parametrize("stemmer", [True, False])
def test_rouge_equals_the_library_given_one_sentence_per_line(stemmer):
  lines, reference = "The cats sat.\nA dog ran off!", "A cat is running.\nThe dogs ran off."
  wanted = RougeScorer(list(ROUGE_METRICS), use_stemmer=stemmer).score(reference, lines)
  for prediction in (lines, lines.replace("\n", " ")):
    scores = rouge(ROUGE_METRICS, [prediction], [[reference]], stemmer)
    for name in ROUGE_METRICS:
      assert scores[name] == pytest.approx(100 * wanted[name].fmeasure)
  assert f"stem:{'porter' if stemmer else 'no'}|" in scores["rouge_signature"]


def test_only_rouge_l_sum_uses_sentences():
  scores = rouge(
    ROUGE_METRICS, ["Cats sit here. Dogs ran off."], [["Dogs ran off. Cats sit here."]]
  )
  assert scores["rougeL"] == 50 and scores["rougeLsum"] == scores["rouge1"] == 100


def test_several_references_give_the_best_score_or_the_mean():
  scorer = RougeScorer(list(ROUGE_METRICS), use_stemmer=True)

  def alone(i):
    return rouge(ROUGE_METRICS, PREDICTIONS, [[group[i]] for group in REFERENCES])

  best, mean = (
    rouge(ROUGE_METRICS, PREDICTIONS, REFERENCES, True, rule) for rule in ("max", "mean")
  )
  for name in ROUGE_METRICS:
    assert mean[name] == pytest.approx((alone(0)[name] + alone(1)[name]) / 2)
    multi = [
      scorer.score_multi(["\n".join(sentences(r)) for r in group], "\n".join(sentences(prediction)))
      for group, prediction in zip(REFERENCES, PREDICTIONS, strict=True)
    ]
    assert best[name] == pytest.approx(100 * sum(score[name].fmeasure for score in multi) / 3)
    assert best[name] > mean[name]
  assert best["rouge_signature"].startswith("nrefs:2|refs:max|")
  assert mean["rouge_signature"].startswith("nrefs:2|refs:mean|")


def test_only_the_named_metrics_are_returned():
  assert list(rouge(["rougeL"], ["a"], [["a"]])) == ["rougeL", "rouge_signature"]
  varying = rouge(["rouge1"], ["a", "b"], [["a"], ["b", "c"]])
  assert varying["rouge1"] == 100 and varying["rouge_signature"].startswith("nrefs:var|")
  with pytest.raises(UserError, match="no predictions"):
    rouge(["rouge1"], [], [])


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("One here. Two there! Three?", ["One here.", "Two there!", "Three?"]),
    ("Dr. Peters meets Mrs. Ng. They talk.", ["Dr. Peters meets Mrs. Ng.", "They talk."]),
    ("One. Mr. Li e.g. Lee is. So.", ["One.", "Mr. Li e.g. Lee is.", "So."]),
    ('He said "Go." #Person1# went (home.) 3 came.',
     ['He said "Go."', "#Person1# went (home.)", "3 came."]),
    ("J. R. Smith of the U.S. Navy left. You and I. Yes.",
     ["J. R. Smith of the U.S. Navy left.", "You and I.", "Yes."]),
    ("It is 3.5 m. wide, i.e. small.", ["It is 3.5 m. wide, i.e. small."]),
    ("A line. Another.\nThe next\n\n", ["A line. Another.", "The next"]),
    ("One. Two.\n", ["One.", "Two."]),
    ("One\x85 and\u2028more. Two.", ["One\x85 and\u2028more.", "Two."]),
    ("", [""]),
  ],
)  # fmt: skip
def test_sentences(text, expected):
  assert sentences(text) == expected
