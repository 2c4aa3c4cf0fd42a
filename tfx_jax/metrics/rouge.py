"""ROUGE (Lin, 2004, ACL W04-1013) as the rouge-score library computes it."""

import importlib.metadata
import re
import statistics
from collections.abc import Sequence

from tfx_jax.metrics.corpus import check

ROUGE_METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
# Combines the scores against several references of a text into one.
REFERENCE_RULES = {"max": max, "mean": statistics.fmean}

# End of a sentence: one of . ! ? …, white space, and a character that a sentence may begin with …
_END = re.compile(r"[.!?…]+[\"'\u201d\u2019)\]]*\s+(?=[\"'\u201c\u2018(\[#]*[A-Z0-9])")
# … unless the period belongs to a title, an abbreviation or an initial.
_ABBREVIATED = re.compile(
  r"(?<![\w.])(?:Mr|Mrs|Ms|Dr|Prof|Rev|Gen|Gov|Sen|Rep|Lt|Col|Sgt|Capt|St|Mt|vs|cf|e\.g|i\.e"
  r"|[A-HJ-Z](?:\.[A-Z])*)\.\s+$"
)


def rouge(
  names: Sequence[str],
  predictions: Sequence[str],
  references: Sequence[Sequence[str]],
  stemmer: bool = True,
  over_references: str = "max",
) -> dict[str, float | str]:
  """Mean F-measure over all texts, 0 to 100, and a signature of how it was computed.

  'rouge1' and 'rouge2' count common words and common pairs of words (Lin, 2004, section 2).
  'rougeL' takes the longest common subsequence of two texts, each as one sentence (section 3.1),
  'rougeLsum' the union of the longest common subsequences of their sentences (section 3.2), which
  `sentences` splits.
  Words are runs of the letters a to z and digits, and case is ignored. So texts in other scripts
  have no words and score 0.

  Args:
    names: metrics of ROUGE_METRICS.
    predictions: one text per example.
    references: one or several references for each prediction.
    stemmer: whether words are compared by their Porter stems.
    over_references: with several references, 'max' takes the highest F-measure, separately for each
      metric, as rouge-score does; 'mean' takes the mean of the F-measures.

  Returns:
    The score of each name, and 'rouge_signature'.

  Raises:
    UserError: if there are no predictions, or one has no reference.
  """
  from rouge_score.rouge_scorer import RougeScorer
  from rouge_score.tokenizers import DefaultTokenizer

  check(predictions, references)
  scorer = RougeScorer(list(names), tokenizer=DefaultTokenizer(stemmer))
  combine = REFERENCE_RULES[over_references]
  scores = {name: [] for name in names}
  for prediction, group in zip(predictions, references, strict=True):
    # rougeLsum expects one sentence per line; for the others a line feed is just white space.
    prediction = "\n".join(sentences(prediction))
    by_reference = [
      scorer.score("\n".join(sentences(reference)), prediction) for reference in group
    ]
    for name in names:
      scores[name].append(combine([score[name].fmeasure for score in by_reference]))
  means = {name: 100 * statistics.fmean(values) for name, values in scores.items()}
  counts = {len(group) for group in references}
  return means | {
    "rouge_signature": f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}|refs:{over_references}"
    f"|stem:{'porter' if stemmer else 'no'}|sent:lines-or-tfx"
    f"|rouge_score:{importlib.metadata.version('rouge-score')}"
  }


def sentences(text: str) -> list[str]:
  """Splits a text into sentences: its lines if it has several, otherwise by punctuation.

  A sentence then ends after one of . ! ? … and closing quotes or brackets, if white space and a
  capital letter or a digit follow. It does not end after an English title, an initial or similar
  abbreviation.
  """
  lines = [line for line in text.split("\n") if line.strip()]
  if len(lines) > 1:
    return lines
  parts, start = [], 0
  for end in _END.finditer(text):
    if not _ABBREVIATED.search(text, start, end.end()):
      parts.append(text[start : end.end()].rstrip())
      start = end.end()
  return [*parts, text[start:].rstrip()]
