"""Retrieves the answers of a dialogue test set, as a baseline for dialogue models.

    python benchmarks/retrieval_dialogue.py [--config=experiments/dialogue.py]
        [--config.KEY=VALUE …]

For each test context, the answer that followed the most similar context of the training set, by
BM25 (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework", section 3.4; k1 = 1.2,
b = 0.75, idf = log(1 + (N - n + 0.5) / (n + 0.5)), a word of the query counts once) over the words
of its last turn, and of its last two turns. Prints a JSON line for each with the metrics of the
task, one for the true answers with the metrics that need no references, and ten examples.
"""

import collections
import json
import re
import sys
import time

import numpy as np
import rounds
import scipy.sparse

from tfx_jax import builders
from tfx_jax.config.experiment import read_experiment
from tfx_jax.config.override import override
from tfx_jax.metrics.form import OUTPUT_METRICS

K1, B = 1.2, 0.75
LAST_TURNS = (1, 2)
QUERIES = 64  # per batch
EXAMPLES = 10
EXPERIMENT = "experiments/dialogue.py"


def main() -> None:
  config = read_config(sys.argv[1:])
  task = builders.make_task(config)
  train, test = (builders.read_examples(config, split) for split in ("train", "test"))
  counts = {"train_examples": len(train), "test_examples": len(test)}
  for last in LAST_TURNS:
    start = time.perf_counter()
    found = nearest([words(e.source, last) for e in train], [words(e.source, last) for e in test])
    answers = [train[place].target for place in found]
    seconds = round(time.perf_counter() - start, 1)
    figures = task.score(answers, test)
    print(
      json.dumps({"system": "bm25", "last_turns": last, **counts, "seconds": seconds, **figures})
    )
  targets = [example.target for example in test]
  human = {name: metric(targets) for name, metric in OUTPUT_METRICS.items()}
  print(json.dumps({"system": "true answers", **human}))
  for place in range(0, len(test), max(1, len(test) // EXAMPLES))[:EXAMPLES]:
    shown = {"source": test[place].source, "target": test[place].target, "found": answers[place]}
    print(json.dumps(shown, ensure_ascii=False))


def nearest(documents: list[list[str]], queries: list[list[str]]) -> np.ndarray:
  """Returns the document of the highest BM25 for each query; the first of several."""
  numbers = collections.defaultdict(lambda: len(numbers))
  index, asked = matrix(documents, numbers), matrix(queries, numbers)
  asked.data[:] = 1
  index.resize(len(documents), len(numbers))
  lengths = index.sum(axis=1, dtype=np.float64)
  df = np.bincount(index.indices, minlength=len(numbers))
  idf = np.log1p((len(documents) - df + 0.5) / (df + 0.5))
  norms = K1 * (1 - B + B * lengths / lengths.mean())
  rows = np.repeat(np.arange(len(documents)), np.diff(index.indptr))
  index.data = idf[index.indices] * index.data * (K1 + 1) / (index.data + norms[rows])
  columns = index.T.tocsr()
  return np.concatenate(
    [
      (asked[start : start + QUERIES] @ columns).toarray().argmax(axis=1)
      for start in range(0, len(queries), QUERIES)
    ]
  )


def matrix(texts: list[list[str]], numbers: dict[str, int]) -> scipy.sparse.csr_array:
  """Returns the count of each word in each text; new words get the next numbers."""
  columns = [numbers[word] for text in texts for word in text]
  rows = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
  return scipy.sparse.csr_array(
    (np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(numbers))
  )


def words(source: str, last: int) -> list[str]:
  """Returns the words of the last turns of a source, as `Dialogue.source_of` writes it."""
  turns = re.split(r"\s*<\d+>\s*", source)[1:-1]
  return re.findall(r"\w+", " ".join(turns[-last:]).lower())


def read_config(arguments: list[str]):
  paths = [word for word in arguments if word.startswith("--config=")] or [f"--config={EXPERIMENT}"]
  config = read_experiment(paths[-1].partition("=")[2])
  for word in arguments:
    if word.startswith("--config."):
      key, _, text = word.removeprefix("--config.").partition("=")
      override(config, key, text)
  return config


if __name__ == "__main__":
  rounds.report_errors(main)
