"""WMT of English and German as in Vaswani et al. 2017: `wmt:wmt17,de-en,big`.

The argument chooses, in any order: the data set (wmt14, wmt17), the direction (en-de, de-en) and
the size (base, big); the first of each is the default. The data is that of TensorFlow Datasets,
prepared as ArrayRecord; if it is missing, the error says how to prepare it. Validation data is
newstest2013 (wmt14) or newstest2016 (wmt17), test data newstest2014 or newstest2017.

The batch is that of the paper, for eight devices: with less memory, raise train.microbatches.
"""

from tfx_jax.config import base
from tfx_jax.errors import UserError, nearest

CHOICES = (("wmt14", "wmt17"), ("en-de", "de-en"), ("base", "big"))


def get_config(argument=""):
  data_set, direction, size = chosen(argument)
  config = base()
  config.task.source, config.task.target = direction.split("-")
  config.data.format = "tfds"
  for split in ("train", "validation", "test"):
    config.data[split] = f"{data_set}_translate/de-en:{split}"
  # About 25,000 source and target tokens (section 5.1): rows are nearly full.
  config.data.update(source_length=256, target_length=256, batch_size=104)
  # Rare characters of web text are spelled in bytes; the paper's vocabulary covers all, too.
  config.tokenizer.update(
    kind="bpe", vocab_size=37_000, character_coverage=0.9999, byte_fallback=True
  )
  # Table 3; dropout on embeddings and on outputs of sublayers (5.4), one embedding table (3.4).
  # Targets begin with a vector of zeros, as in the authors' code and in Marian.
  config.model.update(
    encoder_layers=6, decoder_layers=6, features=512, num_heads=8, feed_forward=2048, dropout=0.1,
    activation="relu", norm_placement="post", position="sinusoidal", share_embeddings=True,
    tie_output=True, zero_start=True,
  )  # fmt: skip
  # The last 5 (big: 20) checkpoints are averaged, one each ten minutes (6.1): 0.4 (1) s a step.
  config.train.update(num_steps=100_000, checkpoint_every=1500, keep_checkpoints=5)
  if size == "big":
    config.model.update(features=1024, num_heads=16, feed_forward=4096, dropout=0.3)
    config.train.update(num_steps=300_000, checkpoint_every=600, keep_checkpoints=20)
  # Section 5.3: D^-1/2 min(step^-1/2, step warmup^-3/2), which is highest at the end of warm-up.
  config.optimizer.update(
    name="adam", b1=0.9, b2=0.98, eps=1e-9, clip_norm=0.0, schedule="rsqrt", warmup_steps=4000,
    learning_rate=(config.model.features * 4000) ** -0.5,
  )  # fmt: skip
  config.train.update(label_smoothing=0.1, eval_every=5000, decode_every=10_000)
  config.evaluate.checkpoint = "average"
  # Section 6.1. The paper allows 50 tokens more than the source has; for an average source, which
  # has 27 tokens, this ratio allows as many.
  config.generate.update(
    beam_size=4, length_penalty_form="gnmt", length_penalty=0.6, max_length_ratio=2.5,
    max_source_length=256, max_length=306,
  )  # fmt: skip
  return config


def chosen(argument):
  """Returns one word of each choice."""
  words = [word for word in argument.split(",") if word]
  known = [word for choice in CHOICES for word in choice]
  for word in words:
    if word not in known:
      raise UserError(f"'{word}'{nearest(word, known)}")
  given = [[word for word in choice if word in words] for choice in CHOICES]
  for words in given:
    if len(words) > 1:
      raise UserError(f"choose one of {' and '.join(words)}")
  return [(words or choice)[0] for words, choice in zip(given, CHOICES, strict=True)]
