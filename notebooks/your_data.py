# %% [markdown]
# # Train on your own data
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tfx-jax/tfx_jax/blob/main/notebooks/your_data.ipynb)
#
# Any task with a text that comes in and a text that goes out can be learned from a file of pairs.
# This notebook writes such a file, trains on it, and looks at what the model still gets wrong. The
# pairs here are numbers in words and in digits; put your own in their place.

# %%
# Install tfx_jax where it is missing, from this clone or from GitHub; the installed jax is kept.
import importlib.metadata
import pathlib
import subprocess
import sys

EXTRAS = ""

installed = {x.name: x.version for x in importlib.metadata.distributions()}
if "tfx_jax" not in installed:
  clone = pathlib.Path.cwd().parent
  if (clone / "tfx_jax" / "main.py").exists():
    sys.path.insert(0, str(clone))
    wanted = ["-e", f"{clone}{EXTRAS}"]
  else:
    wanted = [f"tfx_jax{EXTRAS} @ git+https://github.com/tfx-jax/tfx_jax"]
  kept = [f"{x}=={v}" for x, v in installed.items() if str(x).startswith(("jax", "libtpu"))]
  pathlib.Path("kept.txt").write_text("\n".join(kept))
  subprocess.run(
    [sys.executable, "-m", "pip", "install", "-q", "-c", "kept.txt", *wanted], check=True
  )

import jax

import tfx_jax

print(f"Python {sys.version.split()[0]}, jax {jax.__version__}, tfx_jax {tfx_jax.__version__}")
print(f"{jax.device_count()} {jax.default_backend()} device(s)")

# %% [markdown]
# ## One file
#
# A tab-separated file has a pair on each line, first the source, then the target.

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


numbers = random.Random(0).sample(range(100_000), 6000)
lines = [f"{words(n)}\t{n:,}\n" for n in numbers]
pathlib.Path("numbers.tsv").write_text("".join(lines))
print("".join(lines[:5]))

# %% [markdown]
# ## Settings
#
# `translate:small` has the settings for a few hundred to a few thousand pairs, of any two kinds of
# text. Training needs validation data, to choose the best checkpoint, and test data, for the final
# scores. Where `data.validation` and `data.test` name no files, a share of the training data is
# held out for each: `data.held_out`, 5 %. Equal pairs are always on the same side.

# %%
import os

STEPS = int(os.environ.get("TFX_JAX_NOTEBOOK_STEPS", 600))

config = tfx_jax.experiment("translate:small")
config.task.update(source="words", target="digits", metrics=("exact_match", "chrf"))
config.data.update(format="tsv", train="numbers.tsv", target_length=16)
# 31 letters, digits and signs, and 4 special pieces; ordinary sentences need the usual subwords.
config.tokenizer.update(kind="characters", vocab_size=35)
config.train.num_steps = STEPS
config.generate.max_source_length = 96
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
# The same on the command line:
#
# ```
# tfx train translate:small --workdir=runs/numbers --config.data.format=tsv \
#     --config.data.train=numbers.tsv --config.data.target_length=16 \
#     --config.tokenizer.kind=characters --config.train.num_steps=600
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
Image("attention.png", width=900)

# %% [markdown]
# ## Other files
#
# JSON lines: `task.source` and `task.target` are the names of fields, also inside objects
# (`article.body`). A part of a file is written behind its path: `[:90%]` is its beginning.

# %%
import json

from tfx_jax import builders

records = [{"id": n, "number": {"words": words(n), "digits": f"{n:,}"}} for n in numbers]
lines = [json.dumps(record) + "\n" for record in records]
pathlib.Path("numbers.jsonl").write_text("".join(lines))
print(lines[0])

config.task.update(source="number.words", target="number.digits")
config.data.update(format="jsonl", train="numbers.jsonl[:90%]", test="numbers.jsonl[90%:]")
print(builders.read_examples(config, "test")[0])

# %% [markdown]
# | your data | settings |
# |---|---|
# | aligned files `train.en`, `train.de` | `data.format="text"`, `data.train="train"` |
# | TSV, some columns unused | `data.format="tsv"`, `data.columns=("id", "words", "digits")` |
# | JSON lines | `data.format="jsonl"` |
# | texts to continue | `text:files`, `data.train="books/*.txt"` |
# | dialogues | `dialogue:own`, see [`text_and_dialogue`](text_and_dialogue.ipynb) |
# | TensorFlow Datasets | `data.format="tfds"`, `data.train="wmt17_translate/de-en:train"` |
# | anything else | a class of your own, `data.format="package.module:Name"` |
#
# Files may be compressed (gzip, bzip2, xz), and several paths are joined by commas.
