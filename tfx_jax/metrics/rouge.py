"""ROUGE (Lin, 2004) as the rouge-score library computes it."""

import importlib.metadata
import re
import statistics
from collections.abc import Sequence

from tfx_jax.metrics.corpus import check

ROUGE_METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
# How the scores against several references become one.
REFERENCE_RULES = {"max": max, "mean": statistics.fmean}

# A sentence ends at these marks before white space and what a sentence may begin with, …
_END = re.compile(r"[.!?…]+[\"'\u201d\u2019)\]]*\s+(?=[\"'\u201c\u2018(\[#]*[A-Z0-9])")
# … unless the mark belongs to a title, an abbreviation or an initial.
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
  """The mean over texts of the F-measure in percent, and the signature of how it was computed.

  'rouge1' and 'rouge2' compare words and pairs of words; 'rougeL' the longest common subsequence
  of texts that are taken for one sentence; 'rougeLsum' the union of the longest common
  subsequences of sentences (Lin, 2004, sections 2, 3.1 and 3.2), see `sentences`. Words are runs
  of the letters a to z and digits, whatever their case: texts in other scripts have none, and
  score 0.

  Args:
    names: of ROUGE_METRICS.
    predictions: one text an example.
    references: for each prediction its one or several references.
    stemmer: whether words are compared by their Porter stems.
    over_references: of several references, 'max' takes for each metric by itself that of the
      highest F-measure, as rouge-score does; 'mean' takes the mean of the F-measures.

  Returns:
    A figure a name, and 'rouge_signature'.

  Raises:
    UserError: if there is nothing to score.
  """
  from rouge_score.rouge_scorer import RougeScorer
  from rouge_score.tokenizers import DefaultTokenizer

  check(predictions, references)
  scorer = RougeScorer(list(names), tokenizer=DefaultTokenizer(stemmer))
  combine = REFERENCE_RULES[over_references]
  scores = {name: [] for name in names}
  for prediction, group in zip(predictions, references, strict=True):
    # rouge-score wants a sentence a line; to the other metrics a line's end is any white space.
    prediction = "\n".join(sentences(prediction))
    found = [scorer.score("\n".join(sentences(reference)), prediction) for reference in group]
    for name in names:
      scores[name].append(combine([score[name].fmeasure for score in found]))
  figures = {name: 100 * statistics.fmean(values) for name, values in scores.items()}
  counts = {len(group) for group in references}
  return figures | {
    "rouge_signature": f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}|refs:{over_references}"
    f"|stem:{'porter' if stemmer else 'no'}|sent:lines-or-tfx"
    f"|rouge_score:{importlib.metadata.version('rouge-score')}"
  }


def sentences(text: str) -> list[str]:
  """Splits a text: at its line feeds if it has any inside, otherwise where a sentence seems to end.

  That is after one of . ! ? … and closing quotes or brackets, before white space and a capital
  letter or a digit, not after an English title, an initial or the like.
  """
  lines = [line for line in text.split("\n") if line.strip()]
  if len(lines) > 1:
    return lines
  found, start = [], 0
  for end in _END.finditer(text):
    if not _ABBREVIATED.search(text, start, end.end()):
      found.append(text[start : end.end()].rstrip())
      start = end.end()
  return [*found, text[start:].rstrip()]
