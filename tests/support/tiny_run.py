"""A tiny run: words are spelled backwards in capitals, by a model that trains in seconds."""

import json
import os
import random

from tfx_jax.config import base

SETTINGS = {
  "data.source_length": 24,
  "data.target_length": 24,
  "data.batch_size": 8,
  "tokenizer.kind": "characters",
  "tokenizer.vocab_size": 40,
  "model.features": 16,
  "model.num_heads": 2,
  "model.encoder_layers": 1,
  "model.decoder_layers": 1,
  "model.feed_forward": 32,
  "optimizer.learning_rate": 1e-2,
  "optimizer.warmup_steps": 5,
  "train.num_steps": 12,
  "train.log_every": 5,
  "train.eval_every": 6,
  "train.decode_every": 0,
  "train.checkpoint_every": 4,
  "train.decode_examples": 8,
  "generate.beam_size": 2,
  # No sentence is longer: all are decoded by one program.
  "generate.max_source_length": 8,
  "generate.max_length": 10,
  "generate.batch_size": 8,
  "evaluate.num_samples": 2,
}
COUNTS = {"train": 200, "validation": 24, "test": 20}


def write_pairs(folder):
  """Writes the aligned files SPLIT.en and SPLIT.de."""
  rng = random.Random(0)
  for split, count in COUNTS.items():
    words = [
      ["".join(rng.choices("abcdef", k=rng.randint(1, 3))) for _ in range(rng.randint(1, 2))]
      for _ in range(count)
    ]
    sources = [" ".join(line) for line in words]
    targets = [" ".join(word[::-1].upper() for word in line) for line in words]
    (folder / f"{split}.en").write_text("\n".join(sources) + "\n")
    (folder / f"{split}.de").write_text("\n".join(targets) + "\n")


def write_dialogues(folder):
  """Writes SPLIT.dialogue, a dialogue a line."""
  rng = random.Random(0)
  for split, count in COUNTS.items():
    turns = [["".join(rng.choices("abcdef", k=4)) for _ in range(3)] for _ in range(count)]
    lines = [" __eou__ ".join(dialogue) for dialogue in turns]
    (folder / f"{split}.dialogue").write_text("\n".join(lines) + "\n")


def settings(folder):
  """Every setting of the run that differs from the defaults."""
  return SETTINGS | {f"data.{split}": f"{folder}/{split}" for split in COUNTS}


def make_config(changes=None, folder="."):
  """The run's configuration, with changes by 'section.key'."""
  config = base()
  for key, value in (settings(folder) | (changes or {})).items():
    *section, name = key.split(".")
    (config[section[0]] if section else config)[name] = value
  return config


def write_experiment(folder):
  """Writes the data and the experiment file; returns the argument that names it."""
  write_pairs(folder)
  lines = [f"  config.{key} = {value!r}" for key, value in settings(folder).items()]
  path = folder / "tiny.py"
  head = ["from tfx_jax.config import base", "", "", "def get_config():", "  config = base()"]
  path.write_text("\n".join([*head, *lines, "  return config", ""]))
  return f"--config={path}"


def read_log(workdir):
  """The lines of a run's metrics."""
  with open(os.path.join(workdir, "metrics.jsonl")) as file:
    return [json.loads(line) for line in file]


def contents(folder):
  """All files below a folder, with what they hold."""
  found = {}
  for place, _, names in os.walk(folder):
    for name in names:
      path = os.path.join(place, name)
      with open(path, "rb") as file:
        found[os.path.relpath(path, folder)] = file.read()
  return found
