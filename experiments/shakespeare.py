"""Shakespeare by characters: `shakespeare:cpu` and `:gpu`.

The text is input.txt of https://github.com/karpathy/char-rnn, data/tinyshakespeare, in a folder
given by the environment variable SHAKESPEARE, by default data/tinyshakespeare. `cpu` and `gpu` have
the sizes and steps of nanoGPT's two recipes. As there, the last tenth is both validation and test
data; nothing is selected by it, because the last checkpoint is tested.
"""

import os

from tfx_jax.config import base

# Layers, D, heads, T, rows, steps, dropout.
SIZES = {
  "cpu": (4, 128, 4, 64, 12, 2000, 0.0),
  "gpu": (6, 384, 6, 256, 64, 5000, 0.2),
}


def get_config(size="cpu"):
  if size not in SIZES:
    raise ValueError(f"'{size}' is not a size; known: {', '.join(SIZES)}")
  layers, features, heads, length, rows, steps, dropout = SIZES[size]
  config = base()
  config.task.update(name="text", target="text")
  path = os.path.join(os.environ.get("SHAKESPEARE", "data/tinyshakespeare"), "input.txt")
  config.data.origin = (
    "get input.txt from data/tinyshakespeare of https://github.com/karpathy/char-rnn and set "
    "SHAKESPEARE to its folder"
  )
  config.data.update(
    format="files", train=f"{path}[:90%]", validation=f"{path}[90%:]", test=f"{path}[90%:]",
    target_length=length, stream=True, batch_size=rows,
  )  # fmt: skip
  config.tokenizer.kind = "characters"
  config.model.update(
    architecture="decoder_only", decoder_layers=layers, features=features, num_heads=heads,
    feed_forward=4 * features, activation="gelu", use_bias=False, position="rotary",
    scale_embeddings=False, dropout=dropout,
  )  # fmt: skip
  config.optimizer.update(
    learning_rate=1e-3, warmup_steps=100, schedule="cosine", final_share=0.1, b1=0.9, b2=0.99,
    eps=1e-8, weight_decay=0.1,
  )  # fmt: skip
  config.train.update(
    num_steps=steps, label_smoothing=0.0, log_every=50, eval_every=500, decode_every=0,
    checkpoint_every=500,
  )  # fmt: skip
  config.evaluate.update(checkpoint="latest", num_samples=5)
  config.generate.update(
    search="sample", temperature=0.8, max_length=500, max_length_ratio=0.0, batch_size=8
  )
  return config
