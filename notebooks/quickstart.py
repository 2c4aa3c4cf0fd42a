# %% [markdown]
# # Quickstart: train a translator in minutes
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tfx-jax/tfx_jax/blob/main/notebooks/quickstart.ipynb)
#
# This notebook trains a small Transformer to translate English into German, watches it learn, and
# looks inside it. No data is downloaded: the sentences are made from the dates, amounts, durations
# and names of Unicode CLDR. A CPU is enough.

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
# ## The settings of a run
#
# A configuration says everything about a run. `base()` has all settings with their defaults, and
# `tfx_jax/config/defaults.py` explains each; an experiment changes some. These are the changes of
# `experiments/quickstart.py`, and the steps of this notebook.

# %%
import os

from tfx_jax.config import base
from tfx_jax.config.files import differences

STEPS = int(os.environ.get("TFX_JAX_NOTEBOOK_STEPS", 300))

config = tfx_jax.experiment("quickstart:en-de")  # or "quickstart:fr-ja", any two locales
config.optimizer.warmup_steps = STEPS // 6
config.train.update(num_steps=STEPS, eval_every=25, decode_every=25)
config.evaluate.num_samples = 3
print(*differences(base().to_dict(), config.to_dict()), sep="\n")

# %% [markdown]
# A mistyped key is an error that names the nearest one.

# %%
try:
  config.model.num_haeds = 8
except AttributeError as error:
  print(str(error).split(r"\n")[-1].strip("'"))

# %% [markdown]
# ## Train
#
# While it trains, curves and samples are shown here and replaced. Stop it with the stop button: a
# checkpoint is saved, and running the cell again continues from there. When the run has ended, the
# cell opens it.
#
# On the command line this is `tfx train --config=quickstart`.

# %%
run = tfx_jax.train(config, "runs/quickstart")

# %% [markdown]
# `exact_match` is the percentage of sentences of the test set, which were not seen in training,
# that are translated word by word as the reference.
#
# ## Watch it learn
#
# The workdir `runs/quickstart` holds all that a run has made: `config.json`, `tokenizer/`,
# `checkpoints/`, `metrics.jsonl`, `tensorboard/`, `curves.png` and `samples/`. Here is one sentence
# of the validation set as the model translated it after more and more steps.

# %%
samples = pathlib.Path("runs/quickstart/samples")
files = sorted(samples.glob("*-validation.txt"), key=lambda path: int(path.name.split("-")[0]))
for path in files:
  sample = path.read_text().split("\n\n")[3]
  lines = dict(line.split(maxsplit=1) for line in sample.splitlines())
  if path == files[0]:
    print("source      ", lines["source"])
    print("reference   ", lines["reference"])
  print(f"step {path.name.split('-')[0]:>6} ", lines.get("output", ""))

# %% [markdown]
# ## Translate
#
# `run.generate` takes a list of texts and any setting of `config.generate`. A hypothesis has a
# text, a score by which hypotheses are ranked, and its log-probability.

# %%
texts = ["April 3, 2021", "3 days and 2 hours", "Japan, Norway, and Peru"]
for text, hypotheses in zip(texts, run.generate(texts, beam_size=4, num_return=2), strict=True):
  print(text)
  for hypothesis in hypotheses:
    print(f"  {hypothesis.log_prob:7.2f}  {hypothesis.text}")

# %% [markdown]
# ## Look inside
#
# The attention of the last decoder layer to the source: each row is a piece of the translation, and
# shows where the decoder looked when it wrote it.

# %%
from IPython.display import Image

(best,) = run.generate(texts[2:])[0]
run.draw_attention("attention.png", texts[2], best.text)
Image("attention.png", width=520)

# %% [markdown]
# The parameters are a tree of arrays, and the model is an ordinary Flax module.

# %%
for path, array in jax.tree_util.tree_leaves_with_path(run.params)[:8]:
  print(f"{jax.tree_util.keystr(path, simple=True, separator='/'):<66} {array.shape}")

# %% [markdown]
# ## Next
#
# | notebook | |
# |---|---|
# | [`your_data`](your_data.ipynb) | train on your own files |
# | [`decoding`](decoding.ipynb) | every search, constraints, streams and scores |
# | [`pretrained`](pretrained.ipynb) | Hugging Face models: use, fine-tune with LoRA, export |
# | [`text_and_dialogue`](text_and_dialogue.ipynb) | continue texts, and talk |
# | [`scale_on_tpu`](scale_on_tpu.ipynb) | meshes, plans, TPU VMs |
