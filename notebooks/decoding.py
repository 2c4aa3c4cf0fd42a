# %% [markdown]
# # Decode: searches, constraints, streams, scores
#
# [![Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/tfx-jax/tfx_jax/blob/main/notebooks/decoding.ipynb)
#
# One trained model, and all the ways to get text out of it. The model says what time it is, `3:45`,
# and there are several right answers, *a quarter to four*, *fifteen minutes to four*, *three
# forty-five*, so that the ways differ. `docs/decoding.md` defines exactly what each computes.

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
# ## A model with several right answers
#
# The data are written here: every minute of the day with its names, drawn at random. The test's one
# reference is one of several right names, so `chrf` stays far below 100.

# %%
import os
import random

from tfx_jax.config import base

NUMBERS = (
  "twelve one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
  "sixteen seventeen eighteen nineteen twenty"
).split()


def number(n):
  return NUMBERS[n] if 0 < n <= 20 else f"twenty-{NUMBERS[n - 20]}"


def digits(n):
  tens = {3: "thirty", 4: "forty", 5: "fifty"}
  if n < 10:
    return f"oh {NUMBERS[n]}"
  if n < 30:
    return number(n)
  return tens[n // 10] + (f"-{NUMBERS[n % 10]}" if n % 10 else "")


def names(hour, minute):
  """All names of a time."""
  hours, after = NUMBERS[hour % 12], NUMBERS[(hour + 1) % 12]
  if minute == 0:
    return [f"{hours} o'clock", f"exactly {hours}"]
  found = [f"{hours} {digits(minute)}"]
  if minute == 30:
    return [*found, f"half past {hours}"]
  word, which, left = ("past", hours, minute) if minute < 30 else ("to", after, 60 - minute)
  if left == 15:
    found.append(f"a quarter {word} {which}")
  return [*found, f"{number(left)} minute{'s' if left > 1 else ''} {word} {which}"]


rng = random.Random(0)
times = [(h, m) for h in range(24) for m in range(60)]
rng.shuffle(times)
for split, part in (("test", times[:60]), ("validation", times[60:120]), ("train", times[120:])):
  repeats = 20 if split == "train" else 1
  lines = [f"{h}:{m:02}\t{rng.choice(names(h, m))}\n" for h, m in part for _ in range(repeats)]
  rng.shuffle(lines)
  pathlib.Path(f"{split}.tsv").write_text("".join(lines))
print("".join(lines[:6]))

# %%
STEPS = int(os.environ.get("TFX_JAX_NOTEBOOK_STEPS", 600))

config = base()
config.task.update(source="time", target="words", metrics=("chrf",))
config.data.update(
  format="tsv", train="train.tsv", validation="validation.tsv", test="test.tsv",
  source_length=32, target_length=64, batch_size=32,
)  # fmt: skip
# Digits are single pieces on one side, whole words are pieces on the other.
config.tokenizer.update(kind="bpe", vocab_size=150)
config.model.update(
  features=96, num_heads=4, encoder_layers=2, decoder_layers=2, feed_forward=256, dropout=0.1
)
config.optimizer.update(learning_rate=4e-3, warmup_steps=100, schedule="cosine")
config.train.update(
  num_steps=STEPS, label_smoothing=0.0, log_every=20, eval_every=100, decode_every=100,
  checkpoint_every=200,
)  # fmt: skip
config.generate.update(
  beam_size=4, max_source_length=16, max_length=15, max_length_ratio=0.0, batch_size=8
)
config.evaluate.num_samples = 2

run = tfx_jax.train(config, "runs/times")

# %% [markdown]
# ## Beam search
#
# `num_return` asks for the best hypotheses. `score` ranks them: the log-probability divided by a
# length penalty. `log_prob` is the model's own, whatever the settings.


# %%
def show(hypotheses):
  for hypothesis in hypotheses:
    print(f"{hypothesis.score:8.3f} {hypothesis.log_prob:8.3f}  {hypothesis.text}")


time = "15:45"
show(run.generate([time], beam_size=6, num_return=4)[0])

# %% [markdown]
# Greedy search takes the likeliest token at each step.

# %%
show(run.generate([time], beam_size=1)[0])

# %% [markdown]
# The length penalty decides between short and long outputs. 0 ranks by log-probability, a larger
# one favours longer outputs. With `length_penalty_form="power"` it is the one of Hugging Face.

# %%
for penalty in (-2.0, 0.0, 2.0):
  ((best, *_),) = run.generate([time], beam_size=6, length_penalty=penalty)
  print(f"{penalty:4}  {best.text}")

# %% [markdown]
# ## Diverse beams
#
# Groups of beams that avoid each other's tokens (Vijayakumar et al. 2016). A text that several
# groups find is returned once.

# %%
show(run.generate([time], beam_size=6, beam_groups=3, diversity_penalty=2.0, num_return=3)[0])

# %% [markdown]
# ## Sampling
#
# A sample depends on the seed, the input and its number, not on the batch.

# %%
show(run.generate([time], search="sample", num_return=5, seed=1)[0])

# %% [markdown]
# `temperature`, `top_k`, `top_p`, `min_p` and `typical_p` restrict the choice. How many different
# texts are there among 64 samples?

# %%
settings = {
  "all of it": {},
  "temperature 2": {"temperature": 2.0},
  "temperature 2, top_k 3": {"temperature": 2.0, "top_k": 3},
  "temperature 2, min_p 0.2": {"temperature": 2.0, "min_p": 0.2},
  "top_p 0.6": {"top_p": 0.6},
  "typical_p 0.6": {"typical_p": 0.6},
}
for name, changes in settings.items():
  (samples,) = run.generate([time], search="sample", num_return=64, **changes)
  texts = [sample.text for sample in samples]
  print(
    f"{name:<26} {len(set(texts)):>3} different, {texts.count('a quarter to four'):>3} quarters"
  )

# %% [markdown]
# ## Minimum Bayes risk
#
# Of many samples, the one that is most like all others. The score is the mean chrF with them.

# %%
show(run.generate([time], search="mbr", num_samples=32, num_return=3)[0])

# %% [markdown]
# ## Constraints
#
# A prefix of all outputs, or one for each input; phrases and pieces that are forbidden; lengths and
# repetition.

# %%
show(run.generate([time], prefix="fifteen", num_return=1)[0])
for best, *_ in run.generate(["9:15", "9:15"], prefixes=["a", "nine"]):
  show([best])

# %%
show(run.generate([time], forbidden_phrases=("quarter", "forty"), num_return=2)[0])
show(run.generate([time], min_length=12, no_repeat_ngram_size=2)[0])
show(run.generate([time], search="sample", stop=("to",), prefix="a")[0])

# %% [markdown]
# A setting that would have no effect is an error, not a surprise.

# %%
from tfx_jax.errors import UserError

for changes in ({"top_k": 5}, {"beam_sise": 5}, {"stop": (".",), "beam_size": 4}):
  try:
    run.generate([time], **changes)
  except UserError as error:
    print(error)

# %% [markdown]
# ## Streams
#
# Greedy search and sampling can be read while they run.

# %%
for chunk in run.stream("20:52", beam_size=1):
  print(chunk, end="|", flush=True)

# %% [markdown]
# ## Scores
#
# `run.score` is the log-probability of any target: of right answers, and of a wrong one.

# %%
targets = [*names(15, 45), "a quarter past four"]
for target, score in zip(targets, run.score([time] * len(targets), targets), strict=True):
  print(f"{score:8.3f}  {target}")

# %% [markdown]
# The sum over all right answers is the probability that the model is right.

# %%
import math

right = [(f"{h}:{m:02}", name) for h, m in times[:60] for name in names(h, m)]
log_probs = run.score(*zip(*right, strict=True))
print(f"{sum(map(math.exp, log_probs)) / 60:.1%} of the probability, over 60 unseen times")

# %% [markdown]
# ## Alignments
#
# Which piece of the input the decoder looked at, as links or as a picture.

# %%
from IPython.display import Image

(alignment,) = run.attention(["8:29"], ["eight twenty-nine"])
print(alignment.source, alignment.target, alignment, sep="\n")
run.draw_attention("attention.png", "8:29", "eight twenty-nine")
Image("attention.png", width=420)

# %% [markdown]
# Ensembles (`tfx_jax.load("runs/a", ensemble=("runs/b", "@400"))`), the coverage penalty and the
# names of Hugging Face's settings are in `docs/decoding.md`. On the command line the settings are
# `--config.generate.KEY=VALUE` of `tfx generate`.
