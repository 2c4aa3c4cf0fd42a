"""Two systems compared on the same texts by paired bootstrap resampling (Koehn, 2004)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tfx_jax.data.example import Example
from tfx_jax.errors import UserError
from tfx_jax.metrics.corpus import CorpusMetric

# Characters of a text that an error quotes.
_QUOTED = 40


class Standing(NamedTuple):
  """How a system stands by a metric.

  Attributes:
    score: on the texts as they are.
    mean: of the scores of the resamples.
    interval: half the width of the range that 95 % of those scores are in.
  """

  score: float
  mean: float
  interval: float


class Comparison(NamedTuple):
  """Two systems by one metric.

  Attributes:
    system: how it stands.
    baseline: how that stands.
    p_value: how likely so large a difference, in either direction, is by chance.
    signature: sacreBLEU's, with the number of resamples and the seed.
  """

  system: Standing
  baseline: Standing
  p_value: float
  signature: str


def compare(
  metrics: Mapping[str, CorpusMetric],
  outputs: Sequence[str],
  baseline_outputs: Sequence[str],
  references: Sequence[Sequence[str]],
  samples: int = 1000,
) -> dict[str, Comparison]:
  """The comparison by each metric, as sacreBLEU's `--paired-bs` makes it.

  The same examples are drawn for both systems, with replacement. The seed is sacreBLEU's, 12345
  unless the environment variable SACREBLEU_SEED says otherwise. The one exception: systems that
  stand the same have a p-value of 1, where sacreBLEU's count of differences beyond none would give
  its least.

  Args:
    metrics: by name.
    outputs: of the system, one text an example.
    baseline_outputs: of the baseline.
    references: for each example its one or several references.
    samples: how many times examples are drawn.

  Raises:
    UserError: if there is nothing to score.
  """
  from sacrebleu.significance import PairedTest

  found = {}
  for name, metric in metrics.items():
    system, streams = metric.inputs(outputs, references)
    baseline, _ = metric.inputs(baseline_outputs, references)
    # One test a metric: each has texts of its own, and sacreBLEU calls two of them BLEU.
    test = PairedTest(
      [("baseline", baseline), ("system", system)],
      {name: metric.scorer},
      streams,
      test_type="bs",
      n_samples=samples,
    )
    signatures, scores = test()
    ((title, signature),) = signatures.items()
    before, after = scores[title]
    standings = [Standing(r.score, float(r.mean), float(r.ci)) for r in (after, before)]
    p_value = 1.0 if standings[0] == standings[1] else after.p_value
    found[name] = Comparison(*standings, p_value, str(signature) + metric.prepared)
  return found


def comparison_figures(comparisons: Mapping[str, Comparison]) -> dict[str, float | str]:
  """Comparisons as figures 'METRIC/WHAT' of the metrics log, beside the system's own scores."""
  return {
    f"{name}/{what}": value
    for name, (system, baseline, p_value, signature) in comparisons.items()
    for what, value in (
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
  """Header and rows of a table: two rows a metric, the baseline's first."""
  rows = []
  for name, found in comparisons.items():
    for title, standing, p_value in (
      (f"baseline {baseline}", found.baseline, ""),
      (system, found.system, f"{found.p_value:.4f}"),
    ):
      interval = f"{standing.mean:.2f} ± {standing.interval:.2f}"
      rows.append([title, name, f"{standing.score:.2f}", interval, p_value])
  return ["system", "metric", "score", "mean ± 95 % interval", "p-value"], rows


def check_same(examples: Sequence[Example], others: Sequence[Example]) -> None:
  """Looks whether a baseline has the same examples.

  Raises:
    UserError: that says in what they differ.
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
