# %% [markdown]
# # Train on your own data
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tfx-jax/tfx_jax/blob/main/notebooks/your_data.ipynb)
#
# Any task with a text that comes in and a text that goes out can be learned from a file of pairs.
# This notebook writes such files, trains on them, and looks at what the model still gets wrong. The
# pairs here are numbers in words and in digits; put your own in their place.

# %%
# Install tfx_jax where it is missing, from this clone or from GitHub; the installed jax is kept.
import importlib.metadata
import importlib.util
import pathlib
import subprocess
import sys

EXTRAS = ""

if importlib.util.find_spec("tfx_jax") is None:
  clone = pathlib.Path.cwd().parent
  if (clone / "tfx_jax" / "main.py").exists():
    sys.path.insert(0, str(clone))
    wanted = ["-e", f"{clone}{EXTRAS}"]
  else:
    wanted = [f"tfx_jax{EXTRAS} @ git+https://github.com/tfx-jax/tfx_jax"]
  installed = {x.name: x.version for x in importlib.metadata.distributions()}
  kept = [f"{x}=={v}" for x, v in installed.items() if x.startswith(("jax", "libtpu"))]
  pathlib.Path("kept.txt").write_text("\n".join(kept))
  subprocess.run(
    [sys.executable, "-m", "pip", "install", "-q", "-c", "kept.txt", *wanted], check=True
  )

import jax

import tfx_jax

print(f"Python {sys.version.split()[0]}, jax {jax.__version__}, tfx_jax {tfx_jax.__version__}")
print(f"{jax.device_count()} {jax.default_backend()} device(s)")

# %% [markdown]
# ## Files
#
# A tab-separated file has a pair on each line, first the source, then the target. Training needs
# three files: `train` to learn from, `validation` to choose the best checkpoint, and `test` for the
# final scores. No example should be in two of them.

# %%
import random

ONES = (
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
  "sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def words(n):
  if n < 20:
    return ONES[n]
  if n < 100:
    return TENS[n // 10 - 2] + (f"-{ONES[n % 10]}" if n % 10 else "")
  size, name = (1000, "thousand") if n >= 1000 else (100, "hundred")
  rest = n % size
  joint = "" if not rest else " and " if rest < 100 else " "
  return f"{words(n // size)} {name}{joint}{words(rest) if rest else ''}"


numbers = random.Random(0).sample(range(100_000), 5600)
splits = {"train": numbers[:5000], "validation": numbers[5000:5200], "test": numbers[5200:]}
for split, chosen in splits.items():
  lines = [f"{words(n)}\t{n:,}\n" for n in chosen]
  pathlib.Path(f"{split}.tsv").write_text("".join(lines))

print(pathlib.Path("train.tsv").read_text()[:300])

# %% [markdown]
# ## Settings
#
# `task.source` and `task.target` name the two columns; the names are free. Little data needs a
# small vocabulary and a small model: `tokenizer.kind="characters"` is right for texts that are not
# words, and `unigram` or `bpe` with a `vocab_size` of some thousands for texts that are.

# %%
import os

from tfx_jax.config import base

STEPS = int(os.environ.get("TFX_JAX_NOTEBOOK_STEPS", 500))

config = base()
config.task.update(
  name="translate", source="words", target="digits", metrics=("exact_match", "chrf")
)
config.data.update(
  format="tsv", train="train.tsv", validation="validation.tsv", test="test.tsv",
  source_length=96, target_length=16, batch_size=64,
)  # fmt: skip
config.tokenizer.update(kind="characters")
config.model.update(
  features=96, num_heads=4, encoder_layers=2, decoder_layers=2, feed_forward=256, dropout=0.1
)
config.optimizer.update(learning_rate=4e-3, warmup_steps=100, schedule="cosine")
config.train.update(
  num_steps=STEPS, log_every=20, eval_every=100, decode_every=200, decode_examples=100,
  checkpoint_every=200,
)  # fmt: skip
config.generate.update(beam_size=2, max_source_length=96, max_length=16)
config.evaluate.num_samples = 3

# %% [markdown]
# A mistake in the data is one line that says where it is.

# %%
from tfx_jax.errors import UserError

pathlib.Path("broken.tsv").write_text("one\t1\ntwo\n")
broken = config.copy_and_resolve_references()
broken.data.train = "broken.tsv"
try:
  tfx_jax.train(broken, "runs/broken")
except UserError as error:
  print(error)

# %% [markdown]
# ## Train
#
# The same on the command line, with the settings of a file `experiments/translate.py`:
#
# ```
# tfx train --config=experiments/translate.py --workdir=runs/numbers --config.data.format=tsv \
#     --config.data.train=train.tsv --config.data.validation=validation.tsv \
#     --config.data.test=test.tsv --config.tokenizer.kind=characters
# ```

# %%
run = tfx_jax.train(config, "runs/numbers")

# %% [markdown]
# ## What does it get wrong?
#
# `run.evaluate` decodes a split again, and returns the metrics and a row for each example.

# %%
metrics, rows = run.evaluate("test")
wrong = [row for row in rows if row["output"] != row["reference"]]
print(f"{len(wrong)} of {len(rows)} are wrong; exact match {metrics['exact_match']:.1f} %")
for row in wrong[:8]:
  print(f"{row['source']:<68} {row['reference']:>7}  written as {row['output']}")

# %% [markdown]
# New inputs, and the attention of the decoder while it writes digits.

# %%
from IPython.display import Image

text = "seventy thousand nine hundred and twelve"
(best,) = run.generate([text])[0]
print(best.text)
run.draw_attention("attention.png", text, best.text)
Image("attention.png", width=640)

# %% [markdown]
# ## Other files
#
# JSON lines: `task.source` and `task.target` are the names of fields, also inside objects
# (`article.body`). The examples are the same, and so is the run; only the reader differs.

# %%
import json

for split, chosen in splits.items():
  records = [{"id": n, "number": {"words": words(n), "digits": f"{n:,}"}} for n in chosen]
  lines = [json.dumps(record) + "\n" for record in records]
  pathlib.Path(f"{split}.jsonl").write_text("".join(lines))
print(lines[0])

config.task.update(source="number.words", target="number.digits")
config.data.update(
  format="jsonl", train="train.jsonl", validation="validation.jsonl", test="test.jsonl"
)

from tfx_jax import builders

print(builders.read_examples(config, "train")[0])

# %% [markdown]
# | your data | settings |
# |---|---|
# | aligned files `train.en`, `train.de` | `data.format="text"`, `data.train="train"` |
# | TSV, some columns unused | `data.format="tsv"`, `data.columns=("id", "words", "digits")` |
# | JSON lines | `data.format="jsonl"` |
# | texts to write | `task.name="text"`, `data.format="files"`, `data.train="*.txt[:90%]"` |
# | dialogues | `task.name="dialogue"`, see [`text_and_dialogue`](text_and_dialogue.ipynb) |
# | TensorFlow Datasets | `data.format="tfds"`, `data.train="wmt17_translate/de-en:train"` |
# | anything else | a class of your own, `data.format="package.module:Name"` |
#
# Files may be compressed (gzip, bzip2, xz), and several paths are joined by commas.
