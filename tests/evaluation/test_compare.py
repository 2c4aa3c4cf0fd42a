import numpy as np
import pytest
import sacrebleu
from sacrebleu.significance import PairedTest

from tfx_jax.data.example import Example
from tfx_jax.errors import UserError
from tfx_jax.evaluation.compare import check_same, compare, comparison_metrics, comparison_rows
from tfx_jax.metrics.corpus import corpus_metric

WORDS = "Der Hund läuft schnell über eine grüne Wiese zum Haus".split()
SAMPLES = 40


def corrupted(texts, share, seed):
  rng = np.random.default_rng(seed)
  return [
    " ".join("Katze" if rng.random() < share else word for word in text.split()) for text in texts
  ]


@pytest.fixture(scope="module")
def texts():
  """References, a good system's outputs and a worse one's."""
  rng = np.random.default_rng(0)
  references = [" ".join(rng.permutation(WORDS)) + "." for _ in range(25)]
  return references, corrupted(references, 0.2, 1), corrupted(references, 0.3, 2)


@pytest.fixture(scope="module")
def found(texts):
  references, good, worse = texts
  metrics = {name: corpus_metric(name, language="de") for name in ("bleu", "chrf", "bleu_moses")}
  return compare(metrics, good, worse, [[text] for text in references], SAMPLES)


def test_it_is_the_bootstrap_done_text_by_text(texts, found):
  """Every resample is scored from its texts, as if nothing were known of statistics of them."""
  references, good, worse = texts
  draws = np.random.default_rng(12345).choice(25, size=(SAMPLES, 25), replace=True)

  def scores(outputs):
    return np.array(
      [
        sacrebleu.corpus_bleu([outputs[i] for i in draw], [[references[i] for i in draw]]).score
        for draw in draws
      ]
    )

  system, baseline = scores(good), scores(worse)
  real = [sacrebleu.corpus_bleu(outputs, [references]).score for outputs in (good, worse)]
  differences = abs(system - baseline)
  beyond = np.count_nonzero(differences - differences.mean() > abs(real[0] - real[1]))
  comparison = found["bleu"]
  assert comparison.p_value == (beyond + 1) / (SAMPLES + 1)
  assert [comparison.system.score, comparison.baseline.score] == real
  assert comparison.system.mean == pytest.approx(system.mean(), rel=1e-5)
  assert comparison.baseline.mean == pytest.approx(baseline.mean(), rel=1e-5)
  inner = np.sort(system)[1:-1]  # a fortieth is left out at either end
  assert comparison.system.interval == pytest.approx((inner[-1] - inner[0]) / 2, rel=1e-4)


@pytest.mark.parametrize("name", ["bleu", "chrf", "bleu_moses"])
def test_it_is_sacrebleus_own(texts, found, name):
  metric = corpus_metric(name, language="de")
  references, good, worse = ([metric.prepare(text) for text in side] for side in texts)
  test = PairedTest(
    [("a", worse), ("b", good)], {"x": metric.scorer}, [references], "bs", n_samples=SAMPLES
  )
  signatures, scores = test()
  ((title, signature),) = signatures.items()
  baseline, system = scores[title]
  assert found[name].p_value == system.p_value
  assert found[name].system == (system.score, system.mean, system.ci)
  assert found[name].baseline == (baseline.score, baseline.mean, baseline.ci)
  assert found[name].signature == f"{signature}{metric.prepared}"
  assert f"bs:{SAMPLES}|seed:12345" in found[name].signature


def test_the_texts_of_bleu_moses_are_prepared(texts, found):
  references, good, worse = texts
  upper = [text.upper().replace(".", " .") for text in references]
  metrics = {"bleu_moses": corpus_metric("bleu_moses", language="de")}
  same = compare(metrics, good, worse, [[text] for text in upper], SAMPLES)
  assert same == {"bleu_moses": found["bleu_moses"]}


def test_a_system_does_not_differ_from_itself(texts):
  references, good, worse = texts
  metrics = {"bleu": corpus_metric("bleu")}
  groups = [[text] for text in references]
  assert compare(metrics, good, good, groups, SAMPLES)["bleu"].p_value == 1
  assert compare(metrics, references, worse, groups, SAMPLES)["bleu"].p_value < 0.05


def test_a_table_and_figures_tell_of_both(found):
  header, rows = comparison_rows({"bleu": found["bleu"]}, "runs/b", "runs/a")
  system, baseline = found["bleu"].system, found["bleu"].baseline
  assert header == ["system", "metric", "score", "mean ± 95 % interval", "p-value"]
  assert rows == [
    ["baseline runs/a", "bleu", f"{baseline.score:.2f}",
     f"{baseline.mean:.2f} ± {baseline.interval:.2f}", ""],
    ["runs/b", "bleu", f"{system.score:.2f}", f"{system.mean:.2f} ± {system.interval:.2f}",
     f"{found['bleu'].p_value:.4f}"],
  ]  # fmt: skip
  figures = comparison_metrics(found)
  assert figures["chrf/baseline"] == found["chrf"].baseline.score
  assert figures["chrf/p_value"] == found["chrf"].p_value
  assert len(figures) == 3 * 5


def test_what_examples_differ_in_is_one_line():
  examples = [Example(f"s{i}", f"t{i}") for i in range(5)]
  check_same(examples, list(examples))

  def told(others):
    with pytest.raises(UserError) as error:
      check_same(examples, others)
    assert "\n" not in str(error.value)
    return str(error.value)

  assert told(examples[:3]) == "its split has 3 examples, this run's has 5"
  changed = [e._replace(target="x" * 99) if i > 2 else e for i, e in enumerate(examples)]
  assert told(changed) == (
    "2 of 5 examples have another target than this run's; the first is example 4: "
    f"'{'x' * 40}', here 't3'"
  )
  assert "5 of 5 examples have another source" in told([e._replace(source="") for e in examples])
