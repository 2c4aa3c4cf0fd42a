"""Corpus metrics computed by sacreBLEU (Post, 2018, arXiv:1804.08771): BLEU and chrF."""

import functools
import importlib.metadata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tfx_jax.errors import UserError, nearest

# Longest n-grams of each BLEU. Papers on dialogue report bleu1 and bleu2.
_BLEU_ORDERS = {"bleu": 4, "bleu1": 1, "bleu2": 2}
CORPUS_METRICS = (*_BLEU_ORDERS, "chrf", "bleu_moses")


class CorpusMetric(NamedTuple):
  """A metric of sacreBLEU and the preprocessing before it.

  Attributes:
    scorer: sacreBLEU's metric object.
    prepare: preprocesses every prediction and reference.
    prepared: appended to sacreBLEU's signature: the preprocessing, or a setting it leaves out.
  """

  scorer: Any
  prepare: Callable[[str], str] = str
  prepared: str = ""

  def inputs(
    self, predictions: Sequence[str], references: Sequence[Sequence[str]]
  ) -> tuple[list[str], list[list[str | None]]]:
    """Preprocesses texts and arranges them as sacreBLEU takes them.

    Args:
      predictions: one detokenized text per example.
      references: one or several references for each prediction; their number may vary.

    Returns:
      Predictions, and streams of references: stream i has reference i of every example, or None for
      an example that has fewer.

    Raises:
      UserError: if there is nothing to score.
    """
    check(predictions, references)
    groups = [[self.prepare(reference) for reference in group] for group in references]
    streams = [
      [group[i] if i < len(group) else None for group in groups]
      for i in range(max(map(len, groups)))
    ]
    return [self.prepare(prediction) for prediction in predictions], streams

  def score(
    self, predictions: Sequence[str], references: Sequence[Sequence[str]]
  ) -> tuple[float, str]:
    """Returns the score, 0 to 100, and its signature; for arguments and errors see `inputs`."""
    score = self.scorer.corpus_score(*self.inputs(predictions, references)).score
    return score, self.signature()

  def is_out_of_reach(self, references: Sequence[Sequence[str]]) -> bool:
    """Returns whether no reference is as long as the n-grams that the score needs: it is 0 then."""
    order = getattr(self.scorer, "max_ngram_order", 1)
    texts = [self.prepare(reference) for group in references for reference in group]
    return order > 1 and not self.scorer.corpus_score(texts, [texts]).totals[order - 1]

  def signature(self) -> str:
    """Signature of the last score: sacreBLEU's own, then the preprocessing."""
    return str(self.scorer.get_signature()) + self.prepared


def corpus_metric(
  name: str, tokenize: str = "13a", lowercase: bool = False, language: str = "en"
) -> CorpusMetric:
  """Returns the metric of a name in CORPUS_METRICS; its scores are 0 to 100.

  Args:
    name: 'bleu' (Papineni et al., 2002, ACL P02-1040), with n-grams up to 4; 'bleu1' and 'bleu2',
      the same with n-grams up to 1 and up to 2; 'chrf' (Popović, 2015, ACL W15-3049); or
      'bleu_moses', see `bleu_moses`. BLEU is the brevity penalty times the geometric mean of the
      n-gram precisions, counted over the corpus.
    tokenize: sacreBLEU's tokenizer for BLEU: '13a', 'intl', 'zh', 'ja-mecab', 'char', 'none' …
    lowercase: whether BLEU and 'chrf' ignore case.
    language: language of the texts, for 'bleu_moses'.

  Raises:
    UserError: if the tokenizer is unknown, or its package or model is missing.
  """
  if name == "chrf":
    from sacrebleu.metrics.chrf import CHRF

    return CorpusMetric(CHRF(lowercase=lowercase))
  if name == "bleu_moses":
    return bleu_moses(language)
  return _bleu(tokenize, lowercase, _BLEU_ORDERS[name])


def bleu_moses(language: str) -> CorpusMetric:
  """BLEU of lowercased Moses tokens, which papers on Multi30k usually report (Wu et al., 2021).

  Predictions and references go through the same three steps of Moses, in sacremoses' versions:
  normalize-punctuation, tokenizer (with its defaults: hyphens kept, special characters escaped) and
  lowercase. BLEU then compares them token by token; the score is 0 to 100.

  Args:
    language: a code such as 'de', or a locale such as 'pt_BR', of which only the part before the
      first '_' or '-' is used. sacremoses knows the abbreviations and apostrophes of some
      languages. For any other it uses the abbreviations of English and splits apostrophes off on
      both sides.
  """
  from sacrebleu.metrics.bleu import BLEU

  language = language.replace("-", "_").split("_")[0].lower()
  version = importlib.metadata.version("sacremoses")
  done = f"|moses:punct+tok+lc|lang:{language}|sacremoses:{version}"
  # `force` turns off sacreBLEU's warning that the texts look tokenized, which they are.
  return CorpusMetric(
    BLEU(tokenize="none", force=True), lambda text: _moses_tokenizer(language)(text), done
  )


@functools.cache
def _moses_tokenizer(language: str) -> Callable[[str], str]:
  """Returns text -> its lowercased Moses tokens; sacremoses is slow to import."""
  import sacremoses

  normalizer = sacremoses.MosesPunctNormalizer(language)
  tokenizer = sacremoses.MosesTokenizer(language)
  return lambda text: str(tokenizer.tokenize(normalizer.normalize(text), return_str=True)).lower()


def check(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
  """Checks that there are predictions and that each has at least one reference.

  Raises:
    UserError: if there are no predictions, or one has no reference.
    ValueError: if there are more or fewer lists of references than predictions.
    TypeError: if an example's references are a text, not a list.
  """
  check_predictions(predictions)
  if len(predictions) != len(references):
    raise ValueError(f"{len(predictions)} predictions but {len(references)} lists of references")
  for number, group in enumerate(references, 1):
    if isinstance(group, str):
      raise TypeError("references must be a list of references for each prediction, not a text")
    if not group:
      raise UserError(f"example {number} has no reference to score against")


def check_predictions(predictions: Sequence[str]) -> None:
  """Checks that there are predictions.

  Raises:
    UserError: if there are none.
  """
  if not predictions:
    raise UserError("no predictions to score: the data split is empty")


def _bleu(tokenize: str, lowercase: bool, order: int) -> CorpusMetric:
  from sacrebleu.metrics.bleu import BLEU

  if tokenize not in BLEU.TOKENIZERS:
    raise UserError(f"unknown BLEU tokenizer '{tokenize}'{nearest(tokenize, BLEU.TOKENIZERS)}")
  try:
    scorer = BLEU(tokenize=tokenize, lowercase=lowercase, max_ngram_order=order)
  except (ImportError, OSError, RuntimeError) as e:
    reason = " ".join(str(e).split())
    raise UserError(f"BLEU tokenizer '{tokenize}' is not available here: {reason}") from e
  # sacreBLEU's signature does not contain the order of the n-grams.
  return CorpusMetric(scorer, prepared="" if order == 4 else f"|order:{order}")
