# %% [markdown]
# # Images
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tfx-jax/tfx_jax/blob/main/notebooks/images.ipynb)
#
# A picture becomes a sequence of tokens, one for each of its patches. Everything else, from
# layers to searches, is that of texts. This notebook draws scenes of shapes from their captions,
# describes scenes, and shows where pictures of your own go.

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
# ## Scenes
#
# Pictures of one to three shapes with captions are built in. Scenes of the test combine objects
# that are never combined in training.

# %%
import itertools
import os

from tfx_jax.config.experiment import read_experiment
from tfx_jax.sources.scenes import ScenesSource

STEPS = int(os.environ.get("TFX_JAX_NOTEBOOK_STEPS", 600))
records = list(itertools.islice(ScenesSource("test", ["caption", "picture"]), 6))
for record in records[:3]:
  print(record["caption"])

# %% [markdown]
# ## Learn to draw
#
# `scenes:draw` is an encoder-decoder of 1 million parameters, and after `tfx train scenes:draw`
# (900 steps) 100 % of the test's scenes are right. Here it learns for fewer steps, and a tenth of
# the captions is left out, for guidance below. There is no label smoothing, which would spoil
# samples: a tenth of the tokens would be any. Samples are drawn in `samples/`, and TensorBoard
# shows them.

# %%
config = read_experiment("scenes:draw")
config.data.source_dropout = 0.1
every = max(STEPS // 3, 25)
config.train.update(
  num_steps=STEPS, log_every=20, eval_every=every, decode_every=every, decode_examples=100,
  checkpoint_every=every, best_metric="loss",
)  # fmt: skip
config.data.test = "test[:20%]"
run = tfx_jax.train(config, "runs/scenes")

# %% [markdown]
# ## Draw
#
# `run.generate` returns outputs whose `value` is a picture, uint8 [height, width, channels].
# `run.draw` shows them in one image.

# %%
captions = [record["caption"] for record in records]
((best, *_), *_) = run.generate(captions)
print(best.value.shape, best.value.dtype, f"log-probability {best.log_prob:.2f}")
run.draw(captions)

# %% [markdown]
# Samples of one caption: where a shape is within its cell, the caption does not say. With
# `generate.guidance` above 1 the caption counts more than in training, and with 0 not at all.

# %%
run.draw(captions[:1] * 2, search="sample", num_return=3)

# %%
run.draw(captions[:2], search="sample", num_return=3, guidance=0.0)

# %% [markdown]
# ## A metric that looks at pixels
#
# `scene_match` is the share of pictures in which a parser finds the objects and relations of the
# caption; it shares no code with the renderer.

# %%
from tfx_jax.metrics.scenes import describe_scene

for caption, (output, *_) in zip(captions, run.generate(captions), strict=True):
  print(f"{caption}\n  {describe_scene(output.value) or '(no scene is found)'}")

# %% [markdown]
# ## Files
#
# On the command line, `tfx generate --workdir=runs/scenes --input=captions.txt --output=drawn`
# writes a PNG for each line, and `index.html` with all of them.

# %%
pathlib.Path("captions.txt").write_text("\n".join(captions) + "\n")
command = "generate --workdir=runs/scenes --input=captions.txt --output=drawn"
subprocess.run([sys.executable, "-m", "tfx_jax.main", "--mode=generate", *command.split()[1:]])
print(*sorted(path.name for path in pathlib.Path("drawn").iterdir()))

# %% [markdown]
# ## Pictures of your own
#
# A folder has pictures and a line of `metadata.jsonl` for each, the layout of Hugging Face's
# ImageFolder; or a folder of pictures for each class. `tfx train pictures
# --config.data.train=FOLDER` learns to draw them from their texts, and `tfx train
# pictures:describe` to describe them. Here the folder is made of scenes.

# %%
import json

from PIL import Image

folder = pathlib.Path("mine")
folder.mkdir()
lines = []
for number, record in enumerate(records):
  Image.fromarray(record["picture"]).save(folder / f"{number}.png")
  lines.append(json.dumps({"file_name": f"{number}.png", "text": record["caption"]}))
(folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
print(lines[0])

# %%
from tfx_jax.sources.formats import open_source

for record in open_source("pictures", "mine", ["text", "image"]):
  print(record["file_name"], record["image"].shape, record["text"])
