"""Times a corpus from its files to the first batch: reading, tokenizing, packing, restarting.

    python benchmarks/corpus.py [--pairs=1000000] [--config.KEY=VALUE …]

Pairs are synthetic, with 6 to 30 words per side of two vocabularies of 50,000 words with Zipf's
frequencies. They are written as aligned text files and as an ArrayRecord data set of TensorFlow
Datasets. Each stage runs in a separate process and prints one JSON line: seconds, processor seconds
(which a busy machine changes less), pairs per second, and the memory of the process in MB before
the stage and at its peak. The last stages do what a second run does until its first batch is ready,
imports included.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rounds

WORDS, SHORTEST, LONGEST = 50_000, 6, 30
CHUNK = 50_000
FORMATS = ("text", "tfds")


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--pairs", type=int, default=1_000_000)
  parser.add_argument("--stage", help=argparse.SUPPRESS)
  parser.add_argument("--folder", help=argparse.SUPPRESS)
  options, overrides = parser.parse_known_args()
  if options.stage:
    run(options.stage, options.folder, options.pairs, overrides)
    return
  with tempfile.TemporaryDirectory() as folder:
    for stage in STAGES:
      arguments = [f"--stage={stage}", f"--folder={folder}", f"--pairs={options.pairs}"]
      done = subprocess.run([sys.executable, __file__, *arguments, *overrides])
      if done.returncode:  # the stage has printed its error
        sys.exit(done.returncode)


def run(stage: str, folder: str, pairs: int, overrides: list[str]) -> None:
  """Runs one stage in this process and prints its results."""
  action, arguments = STAGES[stage]
  timed = action(folder, pairs, overrides, *arguments)
  before, begin, processor = peak_mb(), time.perf_counter(), time.process_time()
  more = timed() or {}
  taken = time.perf_counter() - begin
  figures = {
    "name": "corpus",
    "stage": stage,
    "pairs": pairs,
    "seconds": round(taken, 3),
    "processor_seconds": round(time.process_time() - processor, 3),
    "pairs_per_second": round(pairs / taken),
    "before_mb": before,
    "peak_mb": peak_mb(),
    "load": round(os.getloadavg()[0], 2),
  }
  print(json.dumps(figures | more), flush=True)


# Each stage prepares its inputs and returns the function to time.


def write_text(folder: str, pairs: int, overrides: list[str]) -> Callable:
  def write() -> None:
    with open(f"{folder}/pairs.en", "w") as sources, open(f"{folder}/pairs.de", "w") as targets:
      for source, target in made_pairs(pairs):
        sources.write(source + "\n")
        targets.write(target + "\n")

  return write


def write_tfds(folder: str, pairs: int, overrides: list[str]) -> Callable:
  import tensorflow_datasets as tfds

  class MadePairs(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
      features = tfds.features.Translation(languages=("en", "de"))
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
      return {"train": self._generate_examples()}

    def _generate_examples(self):
      for number, (source, target) in enumerate(made_pairs(pairs)):
        yield number, {"en": source, "de": target}

  def write() -> None:
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(sys.stderr):
      MadePairs(data_dir=folder, file_format="array_record").download_and_prepare()

  return write


def read(folder: str, pairs: int, overrides: list[str], format: str) -> Callable:
  from tfx_jax import builders

  reader = builders.make_source(make_config(folder, overrides, format), "train")

  def count() -> None:
    assert sum(1 for _ in reader) == pairs

  return count


def train_tokenizer(folder: str, pairs: int, overrides: list[str]) -> Callable:
  from tfx_jax import builders

  config = make_config(folder, overrides)
  return lambda: builders.make_codecs(config, folder) and None


def tokenise(folder: str, pairs: int, overrides: list[str], format: str) -> Callable:
  from tfx_jax import builders

  config = make_config(folder, overrides, format)
  tokenizers = builders.make_codecs(config, folder)
  keys = ("pairs_kept", "source_elements", "target_elements")

  def make() -> dict[str, int]:
    report = builders.make_corpus(config, "train", tokenizers).report
    return {key: report[key] for key in keys}

  return make


def plan(folder: str, pairs: int, overrides: list[str]) -> Callable:
  loader = make_loader(make_config(folder, overrides), folder)

  def measure() -> dict[str, int | str]:
    return {"rows": loader.rows(0), "full": loader.describe()}

  return measure


def epoch(folder: str, pairs: int, overrides: list[str]) -> Callable:
  from tfx_jax.data.loader import Position

  loader = make_loader(make_config(folder, overrides), folder)
  loader.rows(0)

  def walk() -> None:
    position = Position()
    while position.epoch == 0:
      _, position = loader.batch(position)

  return walk


def start_again(folder: str, pairs: int, overrides: list[str], format: str) -> Callable:
  marks = {}

  def step(name: str, function: Callable) -> Any:
    begin = time.perf_counter()
    result = function()
    marks[name] = round(time.perf_counter() - begin, 3)
    return result

  def start() -> dict[str, float]:
    config = step("import", lambda: make_config(folder, overrides, format))
    from tfx_jax import builders
    from tfx_jax.data.loader import Position

    reader = step("open", lambda: builders.make_source(config, "train"))
    step("fingerprint", lambda: reader.fingerprint)
    tokenizers = step("tokenizers", lambda: builders.make_codecs(config, folder))
    corpora = step("corpus", lambda: builders.make_corpora(config, "train", tokenizers))
    loader = builders.make_loader(config, corpora, builders.make_parallel(config))
    step("plan", lambda: loader.rows(0))
    step("batch", lambda: loader.batch(Position()))
    return marks

  return start


STAGES = {
  "write text": (write_text, ()),
  "write tfds": (write_tfds, ()),
  **{f"read {format}": (read, (format,)) for format in FORMATS},
  "train tokenizer": (train_tokenizer, ()),
  **{f"tokenise {format}": (tokenise, (format,)) for format in FORMATS},
  "plan": (plan, ()),
  "epoch of batches": (epoch, ()),
  **{f"start again {format}": (start_again, (format,)) for format in FORMATS},
}


def make_config(folder: str, overrides: list[str], format: str = "text") -> Any:
  import tfx_jax.builders  # noqa: F401  so that importing is timed as one step
  from tfx_jax.config import base
  from tfx_jax.config.override import override

  config = base()
  train = {"text": f"{folder}/pairs", "tfds": "made_pairs:train"}[format]
  config.data.update(format=format, train=train, tfds_dir=folder, cache_dir=f"{folder}/{format}")
  config.tokenizer.max_sentences = 100_000
  for word in overrides:
    key, _, text = word.removeprefix("--config.").partition("=")
    override(config, key, text)
  return config


def make_loader(config: Any, folder: str) -> Any:
  from tfx_jax import builders

  tokenizers = builders.make_codecs(config, folder)
  return builders.make_loader(
    config, builders.make_corpora(config, "train", tokenizers), builders.make_parallel(config)
  )


def made_pairs(count: int) -> Iterator[tuple[str, str]]:
  """Yields pairs of texts of about equal length; each target word translates a source word."""
  rng, letters = np.random.default_rng(0), random.Random(0)
  syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]
  sides = []
  for _ in range(2):
    words: set[str] = set()
    while len(words) < WORDS:
      words.add("".join(letters.choices(syllables, k=letters.randint(1, 5))))
    # The shortest words are the most frequent.
    sides.append(np.array(sorted(words, key=lambda word: (len(word), word))))
  shares = 1 / np.arange(1, WORDS + 1)
  shares /= shares.sum()
  for start in range(0, count, CHUNK):
    size = min(CHUNK, count - start)
    lengths = rng.integers(SHORTEST, LONGEST + 1, size)
    others = np.clip(lengths + rng.integers(-3, 4, size), SHORTEST, LONGEST)
    ranks = rng.choice(WORDS, (size, LONGEST), p=shares)
    for row, *both in zip(ranks, lengths, others, strict=True):
      source, target = (
        " ".join(words[row[:length]]) for words, length in zip(sides, both, strict=True)
      )
      yield source, target


def peak_mb() -> int:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
  rounds.report_errors(main)
