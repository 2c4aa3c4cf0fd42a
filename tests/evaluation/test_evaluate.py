import math

import numpy as np
import pytest

from tfx_jax.codecs.special_tokens import EOS
from tfx_jax.data.corpus import prepare
from tfx_jax.data.example import Example
from tfx_jax.data.layout import EncoderDecoderLayout
from tfx_jax.data.loader import Loader
from tfx_jax.evaluation.evaluate import loss_metrics, output_metrics
from tfx_jax.evaluation.score import Scorer
from tfx_jax.training.objective import TokenObjective
from tfx_jax.training.step import make_loss_step


@pytest.fixture(scope="module")
def examples():
  """More rows of tokens than batches are full of, lengths ragged."""
  rng = np.random.default_rng(2)

  def text(longest):
    return "".join(rng.choice(list("abcdef "), rng.integers(1, longest))).strip() or "a"

  return [Example(text(12), text(12), "short" if i % 2 else "long") for i in range(45)]


def test_the_loss_is_the_mean_over_all_tokens(small, examples, tmp_path):
  tokenizer = small.tokenizer
  corpus = prepare(examples, "f", tokenizer, tokenizer, str(tmp_path), 24, 24)
  loader = Loader(lambda epoch: corpus, 0, EncoderDecoderLayout(24, 24), batch_size=8)
  assert loader.rows(0) % 8 and loader.rows(0) > 8
  loss_step = small.parallel.jit(make_loss_step(TokenObjective(small.model)))
  figures = loss_metrics(loss_step, small.params, loader, small.parallel)

  sides = zip(*[(pair.source, pair.target) for pair in examples], strict=True)
  sources, targets = ([[*ids, EOS] for ids in tokenizer.encode(side)] for side in sides)
  scores = Scorer(small.model, small.parallel, small.layout, 16)(small.params, sources, targets)
  expected = -sum(scores) / sum(map(len, targets))
  texts = [pair.target for pair in examples]
  nats, words = -sum(scores), sum(len(text.split()) for text in texts)
  assert figures == {
    "loss": pytest.approx(expected, rel=1e-5),
    "perplexity": pytest.approx(math.exp(expected), rel=1e-4),
    "bits_per_byte": pytest.approx(nats / math.log(2) / len("".join(texts)), rel=1e-4),
    "word_perplexity": pytest.approx(math.exp(nats / words), rel=1e-4),
  }


def test_output_metrics_are_of_the_best_outputs_in_order(small, examples):
  texts = [
    example._replace(source=source)
    for example, source in zip(examples[:3], ["ab", "", "d"], strict=True)
  ]
  told, done = [], []

  class Task:
    def score(self, predictions, examples):
      told.append((predictions, examples))
      return {"figure": 1.0}

  figures, rows = output_metrics(small.generator, small.params, Task(), texts, done.append)
  best = [h[0].text for h in small.generator(small.params, ["ab", "", "d"])]
  assert figures == {"figure": 1.0}
  assert told == [(best, texts)] and best[1] == "" != best[0]
  assert sum(done) == 2
  assert rows == [
    {"source": text.source, "reference": text.target, "output": output}
    for text, output in zip(texts, best, strict=True)
  ]
