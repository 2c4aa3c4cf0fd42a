# %% [markdown]
# # Write on, and talk
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tfx-jax/tfx_jax/blob/main/notebooks/text_and_dialogue.ipynb)
#
# Two decoder-only models. The first continues a text: it learns from the Python sources of the
# standard library, which every machine has. The second answers in a conversation: it learns from
# dialogues in a café that this notebook writes. Both are small, and trained in minutes on a CPU.

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
# ## A model of text
#
# The experiment `text` has a target and no source. Its tokenizer restores every character, line
# ends and indentation included. This notebook makes the model smaller. For files of your own begin
# with `tfx_jax.experiment("text:files")` and `data.train="books/*.txt"`: some of them are held out
# for validation and test, or the end of one file.

# %%
import os

STEPS = int(os.environ.get("TFX_JAX_NOTEBOOK_STEPS", 200))

packages = (
  "asyncio+collections+concurrent+ctypes+email+html+http+importlib+json+logging+unittest+xml"
)
text = tfx_jax.experiment("text")
for split in ("train", "validation", "test"):
  text.data[split] = f"{split}:{packages}"
text.data.target_length = 128
text.tokenizer.vocab_size = 1000
text.model.update(decoder_layers=2, features=128, feed_forward=512, dropout=0.0)
text.optimizer.update(learning_rate=8e-3, warmup_steps=50)
text.train.update(num_steps=STEPS, log_every=10, eval_every=50, checkpoint_every=100)
text.generate.update(max_length=96, batch_size=8)
text.evaluate.num_samples = 1
writer = tfx_jax.train(text, "runs/python")

# %% [markdown]
# A prompt is continued token by token. `run.stream` shows each as soon as it is there. After so few
# steps the model knows how Python looks, and not yet what it means.

# %%
prompt = "class Reader:\n    def __init__(self, "
print(prompt, end="")
for chunk in writer.stream(prompt, temperature=0.7, seed=1):
  print(chunk, end="", flush=True)

# %% [markdown]
# `stop` ends an output, here at the end of a line, and `num_return` asks for several.

# %%
for sample in writer.generate(
  ["    for name in "], num_return=5, stop=("\n",), temperature=0.8, max_length=32
)[0]:
  print(f"{sample.log_prob:8.2f}    for name in {sample.text}")

# %% [markdown]
# How likely is a text? `run.score` gives its log-probability: `return` is expected where it stands,
# and `import` is not.

# %%
start = "def name(self):\n    "
for target in ("return self._name\n", "import self._name\n"):
  print(f"{writer.score([start], [target])[0]:8.2f}  {target}", end="")

# %% [markdown]
# ## Dialogues
#
# A record is a dialogue; every turn but the first is an answer to be learned, from all turns before
# it. The waiter here has to remember the order.

# %%
import json
import random

DRINKS = {"coffee": 3, "tea": 2, "cocoa": 4, "juice": 5}
CAKES = {"apple pie": 4, "cheesecake": 5, "a croissant": 2, "a sandwich": 6}
GREETINGS = ["Hello!", "Good morning.", "Hi there!", "Hello, how are you?"]


def dialogue(rng):
  drink, cake = rng.choice([*DRINKS]), rng.choice([*CAKES])
  asked = rng.choice(["A {} please.", "I would like a {}.", "Can I have a {}?", "One {}, please."])
  turns = [rng.choice(GREETINGS), "Welcome! What can I get you?"] if rng.random() < 0.7 else []
  turns += [asked.format(drink), f"A {drink}, sure. Anything to eat?"]
  price = DRINKS[drink]
  if rng.random() < 0.5:
    turns += [rng.choice(["Yes, {} please.", "{}, please.", "I take {}."]).format(cake)]
    price += CAKES[cake]
    order = f"{drink} and {cake.removeprefix('a ')}"
  else:
    turns += [rng.choice(["No, thank you.", "No, that is all.", "Just the drink."])]
    order = drink
  turns += [f"So that is {order}. {price} euros, please."]
  if rng.random() < 0.5:
    turns += [
      rng.choice(["What did I order?", "Sorry, what did I order?"]),
      f"You ordered {order}.",
    ]
  turns += [rng.choice(["Here you are.", "Thank you!"]), "Thank you, enjoy!"]
  return turns


rng = random.Random(0)
lines = []
for _ in range(3000):
  turns = [f"{'AB'[i % 2]}: {turn}" for i, turn in enumerate(dialogue(rng))]
  lines.append(json.dumps({"dialogue": "\n".join(turns)}) + "\n")
pathlib.Path("cafe.jsonl").write_text("".join(lines))
print("\n".join(turns))

# %% [markdown]
# `dialogue:own` is for dialogues of your own; a share of them is held out for validation and test.
# Again the model is made smaller.

# %%
talk = tfx_jax.experiment("dialogue:own")
talk.task.metrics = ("exact_match", "length")
talk.data.update(train="cafe.jsonl", source_length=128, target_length=32, batch_size=16)
talk.tokenizer.vocab_size = 300
talk.model.update(decoder_layers=2, features=96, feed_forward=256)
talk.optimizer.update(learning_rate=8e-3, warmup_steps=30)
talk.train.update(num_steps=STEPS, log_every=10, eval_every=50, decode_examples=60)
talk.generate.update(max_source_length=128, max_length=32)
talk.evaluate.num_samples = 2
waiter = tfx_jax.train(talk, "runs/waiter")

# %% [markdown]
# `exact_match` counts the guest's turns too, which nobody can foresee.
#
# `run.chat()` is a conversation that remembers what was said. The waiter also has to add prices,
# which so small a model gets wrong now and then.

# %%
chat = waiter.chat()
for said in (
  "Good morning.",
  "Can I have a cocoa?",
  "Yes, cheesecake please.",
  "Sorry, what did I order?",
  "Thank you!",
):
  print(f"> {said}\n  {chat.say(said)}")

# %% [markdown]
# A new one begins with an empty memory, and may have other settings: this one is more daring.

# %%
chat = waiter.chat(temperature=1.2, seed=3)
for said in ("One tea, please.", "No, thank you.", "What did I order?"):
  print(f"> {said}\n  ", end="")
  for chunk in chat.stream(said):
    print(chunk, end="", flush=True)
  print()

# %% [markdown]
# In a terminal: `tfx chat --workdir=runs/waiter`. What is learned from a dialogue, and how
# histories are cut, is in `docs/dialogue.md`; documents, streams and metrics of text in
# `docs/text_generation.md`.
