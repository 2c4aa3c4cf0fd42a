"""Emoji from their names, and names of emoji, in two languages: `emoji:describe`.

The data is made by `benchmarks/emoji_pictures.py` from https://github.com/googlefonts/noto-emoji;
it is in a folder given by the environment variable EMOJI, by default data/emoji. A fifth of the
pairs of a base and a skin tone are in the test alone. What a new base looks like cannot be known
from its name.
"""

import os

from tfx_jax.config import base

TASKS = ("draw", "describe")


def get_config(task="draw"):
  if task not in TASKS:
    raise ValueError(f"'{task}' is unknown; known: {', '.join(TASKS)}")
  config = base()
  config.task.update(name=task, source="text", target="image", metrics=())
  if task == "describe":
    config.task.update(source="image", target="names", metrics=("exact_match", "chrf"))
  folder = os.environ.get("EMOJI", "data/emoji")
  config.data.origin = (
    "make it by benchmarks/emoji_pictures.py from https://github.com/googlefonts/noto-emoji, and "
    "set EMOJI to its folder"
  )
  config.data.update(
    format="pictures", train=f"{folder}/train", validation=f"{folder}/validation",
    test=f"{folder}/test",
  )  # fmt: skip
  config.tokenizer.update(vocab_size=2000, normalization="identity")
  config.model.update(
    features=192, num_heads=6, feed_forward=768, activation="gelu", max_positions=128,
    share_embeddings=False, dropout=0.1,
  )  # fmt: skip
  config.optimizer.update(name="muon", learning_rate=6e-3, warmup_steps=100, schedule="linear")
  config.optimizer.settings = {"consistent_rms": 0.2}
  config.train.update(label_smoothing=0.0, log_every=20, decode_examples=24)
  if task == "draw":
    # A picture has 256 patches, of which 2x2 share a position of the decoder.
    config.image.update(size=(32, 32), patch=(2, 2), codes=1024, block=(2, 2))
    config.data.update(source_length=48, target_length=260, batch_size=32, source_dropout=0.1)
    config.model.update(
      encoder_layers=2, decoder_layers=4, position="rotary_2d", group_size=4, tie_output=False
    )
    # With half of the patches masked the model must read the name.
    config.train.update(
      token_dropout=0.5, num_steps=4200, eval_every=300, decode_every=1500, checkpoint_every=300
    )
    config.generate.guidance = 2.0
  else:
    # A picture is 64 frames of 4x4 pixels, and a row has four pictures.
    config.image.update(size=(32, 32), patch=(4, 4), codes=0)
    config.data.update(source_length=256, target_length=96, batch_size=12)
    config.model.update(encoder_layers=4, decoder_layers=2, position="learned_2d")
    config.train.update(num_steps=1200, eval_every=500, decode_every=500, checkpoint_every=500)
  config.evaluate.update(checkpoint="latest", num_samples=10)
  config.generate.update(
    beam_size=1,
    max_source_length=config.data.source_length,
    max_length=96,
    max_length_ratio=0.0,
    batch_size=32,
  )
  return config
