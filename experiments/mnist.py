"""Handwritten digits drawn by class, and their exact likelihood: `mnist:grey`.

The data is MNIST, the four IDX files train-images-idx3-ubyte.gz … in a folder given by the
environment variable MNIST, by default data/mnist. `binary` (black and white at half of the
brightness), `sampled` (by a draw of each pixel) and `grey` (256 levels) learn the distribution of
all digits, whose exact negative log-likelihood is `nats_per_picture` and `bits_per_dim`. `digits`
draws black and white digits from labels, with `generate.guidance`.
"""

import os

from tfx_jax.config import base

# Field of the picture, field of the text, height and width of a patch, steps.
KINDS = {
  "digits": ("binary", "label", (2, 4), 2500),
  "binary": ("binary", "name", (2, 4), 6000),
  "sampled": ("sampled", "name", (2, 4), 6000),
  "grey": ("picture", "name", (1, 1), 10000),
}


def get_config(kind="digits"):
  if kind not in KINDS:
    raise ValueError(f"'{kind}' is unknown; known: {', '.join(KINDS)}")
  field, text, patch, steps = KINDS[kind]
  tokens = 28 * 28 // (patch[0] * patch[1])
  config = base()
  config.task.update(name="draw", source=text, target=field, metrics=())
  folder = os.environ.get("MNIST", "data/mnist")
  config.data.origin = (
    "get the four files such as train-images-idx3-ubyte.gz of MNIST, for example from "
    "https://ossci-datasets.s3.amazonaws.com/mnist/, and set MNIST to their folder"
  )
  config.data.update(
    format="idx", train=f"{folder}/train[:95%]", validation=f"{folder}/train[95%:]",
    test=f"{folder}/t10k", source_length=6, target_length=tokens + 1, batch_size=32,
  )  # fmt: skip
  if kind == "digits":
    config.data.source_dropout = 0.1
  config.tokenizer.update(kind="characters", vocab_size=16)
  config.image.update(size=(28, 28), channels=1, patch=patch, codes=256)
  config.model.update(
    architecture="decoder_only", decoder_layers=4, features=192, num_heads=6, feed_forward=768,
    activation="gelu", position="learned", max_positions=tokens + 8, use_bias=False, dropout=0.0,
  )  # fmt: skip
  config.optimizer.update(name="muon", learning_rate=6e-3, warmup_steps=100, schedule="linear")
  config.optimizer.settings = {"consistent_rms": 0.2}
  config.train.update(
    num_steps=steps, label_smoothing=0.0, log_every=50, eval_every=500, decode_every=1000,
    decode_examples=20, checkpoint_every=500,
  )  # fmt: skip
  if kind == "grey":
    # 2x2 pixels share a position; a row has one picture, and its end a position of its own.
    config.image.block = (2, 2)
    config.data.update(target_length=tokens + 4, batch_size=16)
    config.model.update(
      architecture="encoder_decoder", encoder_layers=1, position="rotary_2d", group_size=4,
      tie_output=False, share_embeddings=False,
    )  # fmt: skip
    config.optimizer.learning_rate = 4.5e-3
    config.train.update(eval_every=2500, decode_every=5000)
  config.evaluate.num_samples = 20
  config.generate.update(search="sample", max_source_length=7, batch_size=32)
  return config
