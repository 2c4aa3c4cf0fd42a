"""Corpus scores that sacreBLEU (Post, 2018) computes, each with what is done to texts before."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tfx_jax.errors import UserError, nearest

# The longest n-grams of BLEU: bleu1 and bleu2 are what papers on dialogue report.
_BLEU_ORDERS = {"bleu": 4, "bleu1": 1, "bleu2": 2}
CORPUS_METRICS = (*_BLEU_ORDERS, "chrf", "bleu_moses")


class CorpusMetric(NamedTuple):
  """One of sacreBLEU's metrics.

  Attributes:
    scorer: sacreBLEU's object.
    prepare: what is done to every prediction and reference before the scorer sees it.
    prepared: what the signature says of that, or of what sacreBLEU's own leaves out.
  """

  scorer: Any
  prepare: Callable[[str], str] = str
  prepared: str = ""

  def inputs(
    self, predictions: Sequence[str], references: Sequence[Sequence[str]]
  ) -> tuple[list[str], list[list[str | None]]]:
    """Prepared predictions and references as sacreBLEU takes them.

    Args:
      predictions: one detokenized text per example.
      references: for each prediction its one or several references; their number may vary.

    Returns:
      the predictions, and one stream per reference number, with None where an example has fewer.

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
    """The score in 0..100 and the signature of how it was computed; see `inputs`."""
    score = self.scorer.corpus_score(*self.inputs(predictions, references)).score
    return score, self.signature()

  def signature(self) -> str:
    """SacreBLEU's, of what was scored last, and what was done before."""
    return str(self.scorer.get_signature()) + self.prepared


def corpus_metric(
  name: str, tokenize: str = "13a", lowercase: bool = False, language: str = "en"
) -> CorpusMetric:
  """The metric of a name in CORPUS_METRICS.

  Args:
    name: 'bleu' (Papineni et al., 2002); 'bleu1' and 'bleu2', the same of n-grams up to 1 and up
      to 2: brevity penalty times the geometric mean of their precisions, counted over the corpus;
      'chrf' (Popović, 2015), or 'bleu_moses', see `bleu_moses`.
    tokenize: sacreBLEU's tokenizer for BLEU: '13a', 'intl', 'zh', 'ja-mecab', 'char', 'none' …
    lowercase: whether BLEU and 'chrf' ignore case.
    language: of the texts, for 'bleu_moses'.

  Raises:
    UserError: an unknown tokenizer, or one whose package or model is missing.
  """
  if name == "chrf":
    from sacrebleu.metrics import CHRF

    return CorpusMetric(CHRF(lowercase=lowercase))
  if name == "bleu_moses":
    return bleu_moses(language)
  return _bleu(tokenize, lowercase, _BLEU_ORDERS[name])


def bleu_moses(language: str) -> CorpusMetric:
  """BLEU of lowercased Moses tokens, the usual figure of papers on Multi30k (Wu et al., 2021).

  Predictions and references alike go through Moses' normalize-punctuation, tokenizer (its
  defaults: hyphens kept, special characters escaped) and lowercase, in sacremoses' versions, and
  are compared token by token.

  Args:
    language: a code such as 'de', or a locale such as 'pt_BR', of which the part before the
      first '_' or '-' counts. sacremoses knows the abbreviations and apostrophes of some
      languages; any other has the abbreviations of English, and apostrophes cut off on both sides.
  """
  import sacremoses
  from sacrebleu.metrics import BLEU

  language = language.replace("-", "_").split("_")[0].lower()
  normalizer = sacremoses.MosesPunctNormalizer(language)
  tokenizer = sacremoses.MosesTokenizer(language)

  def prepare(text: str) -> str:
    return tokenizer.tokenize(normalizer.normalize(text), return_str=True).lower()

  done = f"|moses:punct+tok+lc|lang:{language}|sacremoses:{sacremoses.__version__}"
  # Forced: that texts look tokenised is no surprise.
  return CorpusMetric(BLEU(tokenize="none", force=True), prepare, done)


def check(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
  """Looks whether every prediction has its references.

  Raises:
    UserError: if there is nothing to score.
  """
  check_any(predictions)
  if len(predictions) != len(references):
    raise ValueError(f"{len(predictions)} predictions but {len(references)} lists of references")
  for number, group in enumerate(references, 1):
    if isinstance(group, str):
      raise TypeError("references must be a list of references for each prediction, not a text")
    if not group:
      raise UserError(f"example {number} has no reference to score against")


def check_any(predictions: Sequence[str]) -> None:
  """Raises the UserError of nothing to score."""
  if not predictions:
    raise UserError("no predictions to score: the data split is empty")


def _bleu(tokenize: str, lowercase: bool, order: int) -> CorpusMetric:
  from sacrebleu.metrics import BLEU

  if tokenize not in BLEU.TOKENIZERS:
    raise UserError(f"unknown BLEU tokenizer '{tokenize}'{nearest(tokenize, BLEU.TOKENIZERS)}")
  try:
    scorer = BLEU(tokenize=tokenize, lowercase=lowercase, max_ngram_order=order)
  except (ImportError, OSError, RuntimeError) as e:
    reason = " ".join(str(e).split())
    raise UserError(f"BLEU tokenizer '{tokenize}' is not available here: {reason}") from e
  # sacreBLEU's signature does not tell the order.
  return CorpusMetric(scorer, prepared="" if order == 4 else f"|order:{order}")
