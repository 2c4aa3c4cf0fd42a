# %% [markdown]
# # Pretrained models: use, fine-tune, export
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tfx-jax/tfx_jax/blob/main/notebooks/pretrained.ipynb)
#
# A folder of Hugging Face is a run like any other: `tfx_jax.load("opus-mt-en-de")` opens one on
# disk, and `tfx_jax.load("hf://Helsinki-NLP/opus-mt-en-de")` downloads it. Marian, BART, mBART,
# Pegasus, T5 (1.1, Flan, mT5), GPT-2, Llama, Mistral and Qwen2 are read.
#
# Everything below works without a connection: the notebook first makes a small Marian model,
# exports it for `transformers`, and then treats that folder as if it had come from elsewhere. With
# a connection, put a name that begins with `hf://` in its place.

# %%
# Install tfx_jax where it is missing, from this clone or from GitHub; the installed jax is kept.
import importlib.metadata
import pathlib
import subprocess
import sys

EXTRAS = "[pretrained]"

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
# ## A model to begin with
#
# It translates into the German of Germany. `norm_placement="post"` makes it a Marian model, which
# `transformers` has, too.

# %%
import os

from tfx_jax.config import base

STEPS = int(os.environ.get("TFX_JAX_NOTEBOOK_STEPS", 400))


def experiment(target, steps):
  config = base()
  config.task.update(source="en", target=target, metrics=("exact_match", "chrf"))
  config.data.update(
    format="cldr", train="train", validation="validation", test="test", batch_size=32
  )
  config.optimizer.update(learning_rate=4e-3, warmup_steps=steps // 5, schedule="cosine")
  every = max(steps // 4, 25)
  config.train.update(
    num_steps=steps, log_every=20, eval_every=every, decode_every=every, decode_examples=100
  )
  config.generate.update(beam_size=2, max_source_length=64, max_length=64, batch_size=64)
  config.evaluate.num_samples = 2
  return config


config = experiment("de", STEPS)
config.tokenizer.update(kind="bpe", vocab_size=300, normalization="identity")
config.model.update(
  norm_placement="post", features=128, num_heads=4, encoder_layers=2, decoder_layers=2,
  feed_forward=512, dropout=0.1,
)  # fmt: skip
run = tfx_jax.train(config, "runs/german")

# %% [markdown]
# ## Export
#
# `run.export` writes what `transformers` loads, with the tokenizer and the settings of generation.
# The architecture is found by the model's settings; if there is none, the error names the setting
# that prevents it.
#
# On the command line: `tfx export --workdir=runs/german --output=opus-mini-en-de`.

# %%
run.export("opus-mini-en-de")
for path in sorted(pathlib.Path("opus-mini-en-de").iterdir()):
  print(f"{path.stat().st_size:>10,}  {path.name}")

# %% [markdown]
# ## Import
#
# The folder is opened as a foreign one would be. The model is the same: so are its outputs and its
# scores.

# %%
foreign = tfx_jax.load("opus-mini-en-de")  # or "hf://Helsinki-NLP/opus-mt-en-de"
texts = [
  "Friday, January 3, 1997",
  "Japan, Norway, and Peru",
  "5 years, 20 weeks, or 7 seconds",
]
for text, (best, *_) in zip(texts, foreign.generate(texts), strict=True):
  print(f"{text:<34} {best.text:<40} {best.log_prob:.4f}")
answers = [best.text for best, *_ in foreign.generate(texts)]
print([round(x, 4) for x in run.score(texts, answers)])
print([round(x, 4) for x in foreign.score(texts, answers)])

# %% [markdown]
# Where `transformers` is installed, it gives the same.

# %%
import importlib.util

if importlib.util.find_spec("transformers") and importlib.util.find_spec("torch"):
  import transformers

  transformers.logging.disable_progress_bar()
  model = transformers.MarianMTModel.from_pretrained("opus-mini-en-de")
  tokenizer = transformers.AutoTokenizer.from_pretrained("opus-mini-en-de")
  ids = model.generate(**tokenizer(texts, return_tensors="pt", padding=True))
  for text in tokenizer.batch_decode(ids, skip_special_tokens=True):
    print(text)
else:
  print("transformers is not installed here")

# %% [markdown]
# ## Fine-tune with LoRA
#
# In Austria January is *Jänner*. `train.init_from` starts from the folder, whose model and
# tokenizer replace those of the configuration. `lora.rank` above 0 freezes all of its parameters,
# and learns products of two small matrices beside the kernels that match `lora.targets`. The
# embeddings stay as they are, so a new word must be written with pieces that the model knows from
# other words.

# %%
config = experiment("de-AT", STEPS * 3 // 4)
config.train.init_from = "opus-mini-en-de"
config.lora.rank = 16
config.lora.targets = ("attention/(query|value|out)", "mlp")
adapted = tfx_jax.train(config, "runs/austrian")

# %%
texts = ["Friday, January 3, 1997", "January 20, 2030", "Monday, March 4, 2019"]
for text in texts:
  for opened in (foreign, adapted):
    print(f"{text:<24} {opened.generate([text])[0][0].text}")

# %% [markdown]
# A word that is spelt from such pieces may lose a letter. March is as before.
#
# Only the adapters were trained. They can be exported alone, or merged into a model that
# `transformers` loads.

# %%
count = sum(x.size for x in jax.tree.leaves(adapted.adapters))
print(f"{count:,} parameters of adapters, {sum(x.size for x in jax.tree.leaves(adapted.params)):,}")

adapted.export("austrian-adapters", format="adapters")
adapted.export("opus-mini-en-de-AT")
for folder in ("austrian-adapters", "opus-mini-en-de-AT"):
  size = sum(path.stat().st_size for path in pathlib.Path(folder).iterdir())
  print(f"{size:>10,} bytes in {folder}")

# %% [markdown]
# ## Real models
#
# These need a connection and more memory, and were not run when this notebook was made:
#
# ```python
# run = tfx_jax.load("hf://Helsinki-NLP/opus-mt-en-de")
# run.generate(["A dog runs."], beam_size=4)
#
# config.train.init_from = "hf://google/flan-t5-small"
# config.optimizer.learning_rate = 1e-4
# ```
#
# To train all parameters instead of adapters leave `lora.rank` at 0; `optimizer.groups` gives some
# of them another learning rate, or freezes them. `docs/pretrained.md` has the families, what is
# checked when a folder is read, and how to convert an export for CTranslate2.
