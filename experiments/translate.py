"""Translation of your own parallel text; `translate:small` for a few thousand pairs.

The argument is the size: `base`, or `small` for a few hundred to a few thousand pairs. Without
`data.validation` and `data.test`, a share of the pairs is held out for them.
"""

from tfx_jax.config import base

SIZES = ("base", "small")


def get_config(size="base"):
  if size not in SIZES:
    raise ValueError(f"'{size}' is not a size; known: {', '.join(SIZES)}")
  config = base()
  if size == "small":
    config.tokenizer.vocab_size = 2000
    config.model.update(
      features=128, num_heads=4, encoder_layers=2, decoder_layers=2, feed_forward=512, dropout=0.2
    )
    config.optimizer.update(learning_rate=3e-3, warmup_steps=100, schedule="rsqrt")
    # Ends by itself when the validation data is translated no better for 8 validations.
    config.train.update(
      num_steps=3000, log_every=25, eval_every=100, decode_every=100, decode_examples=100,
      checkpoint_every=100, best_metric="chrf", patience=8,
    )  # fmt: skip
    config.generate.update(max_source_length=64, max_length=64)
    return config
  config.model.update(
    features=256, num_heads=4, encoder_layers=4, decoder_layers=4, feed_forward=1024, dropout=0.2
  )
  config.optimizer.update(learning_rate=2e-3, warmup_steps=1000, schedule="rsqrt")
  config.train.update(
    num_steps=20_000, eval_every=500, decode_every=2000, decode_examples=500, checkpoint_every=500
  )
  return config
