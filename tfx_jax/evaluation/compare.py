"""Comparison of two systems on the same texts by paired bootstrap resampling (Koehn, 2004)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfx_jax.data.example import Example
from tfx_jax.errors import UserError
from tfx_jax.metrics.corpus import CorpusMetric

# Number of characters of a text that an error quotes.
_QUOTED = 40


class ScoreWithInterval(NamedTuple):
  """Score of a system by a metric, with its 95 % confidence interval.

  Attributes:
    score: score on all texts.
    mean: mean score of the resamples.
    interval: half the width of the range that contains 95 % of the resamples' scores.
  """

  score: float
  mean: float
  interval: float


class Comparison(NamedTuple):
  """Comparison of two systems by one metric.

  Attributes:
    system: score of the system.
    baseline: score of the baseline.
    p_value: probability of a difference at least as large, in either direction, by chance.
    signature: sacreBLEU's, with the number of resamples and the seed.
  """

  system: ScoreWithInterval
  baseline: ScoreWithInterval
  p_value: float
  signature: str


def compare(
  metrics: Mapping[str, CorpusMetric],
  outputs: Sequence[str],
  baseline_outputs: Sequence[str],
  references: Sequence[Sequence[str]],
  samples: int = 1000,
) -> dict[str, Comparison]:
  """Returns the comparison by each metric, as sacreBLEU's `--paired-bs` computes it.

  The same examples are drawn for both systems, with replacement. The seed is sacreBLEU's, 12345
  unless the environment variable SACREBLEU_SEED sets another. One thing differs: two systems with
  equal scores have a p-value of 1, where sacreBLEU gives the lowest possible one.

  Args:
    metrics: metrics by name.
    outputs: texts of the system, one for each example.
    baseline_outputs: texts of the baseline.
    references: one or several references for each example.
    samples: number of resamples.

  Raises:
    UserError: if there is nothing to score.
  """
  from sacrebleu.significance import PairedTest

  comparisons = {}
  for name, metric in metrics.items():
    system, streams = metric.inputs(outputs, references)
    baseline, _ = metric.inputs(baseline_outputs, references)
    # One test for each metric: each prepares texts differently, and sacreBLEU calls two BLEU.
    test = PairedTest(
      [("baseline", baseline), ("system", system)],
      {name: metric.scorer},
      list[Any](streams),
      test_type="bs",
      n_samples=samples,
    )
    signatures, scores = test()
    ((title, signature),) = signatures.items()
    results: list[Any] = scores[title]
    before, after = (_with_interval(result) for result in results)
    p_value = 1.0 if before == after else results[1].p_value
    comparisons[name] = Comparison(after, before, p_value, str(signature) + metric.prepared)
  return comparisons


def _with_interval(result: Any) -> ScoreWithInterval:
  """Returns a result of sacreBLEU's paired test."""
  return ScoreWithInterval(result.score, float(result.mean), float(result.ci))


def comparison_metrics(comparisons: Mapping[str, Comparison]) -> dict[str, float | str]:
  """Returns comparisons as entries 'METRIC/NAME' of the metrics log."""
  return {
    f"{name}/{entry}": value
    for name, (system, baseline, p_value, signature) in comparisons.items()
    for entry, value in (
      ("interval", system.interval),
      ("baseline", baseline.score),
      ("baseline_interval", baseline.interval),
      ("p_value", p_value),
      ("paired_signature", signature),
    )
  }


def comparison_rows(
  comparisons: Mapping[str, Comparison], system: str, baseline: str
) -> tuple[list[str], list[list[str]]]:
  """Returns the header and the rows of a table: two rows for each metric, the baseline first."""
  rows = []
  for name, comparison in comparisons.items():
    for title, result, p_value in (
      (f"baseline {baseline}", comparison.baseline, ""),
      (system, comparison.system, f"{comparison.p_value:.4f}"),
    ):
      interval = f"{result.mean:.2f} ± {result.interval:.2f}"
      rows.append([title, name, f"{result.score:.2f}", interval, p_value])
  return ["system", "metric", "score", "mean ± 95 % interval", "p-value"], rows


def check_same(examples: Sequence[Example], others: Sequence[Example]) -> None:
  """Checks that a baseline was evaluated on the same examples.

  Raises:
    UserError: naming the first difference.
  """
  if len(examples) != len(others):
    raise UserError(f"its split has {len(others):,} examples, this run's has {len(examples):,}")
  for side in ("source", "target"):
    pairs = [
      (number, getattr(example, side), getattr(other, side))
      for number, (example, other) in enumerate(zip(examples, others, strict=True), 1)
    ]
    differing = [pair for pair in pairs if pair[1] != pair[2]]
    if differing:
      number, here, there = differing[0]
      raise UserError(
        f"{len(differing):,} of {len(examples):,} examples have another {side} than this run's; "
        f"the first is example {number}: {there[:_QUOTED]!r}, here {here[:_QUOTED]!r}"
      )
