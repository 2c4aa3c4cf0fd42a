"""Translation of any two locales in minutes on a CPU, no download: `quickstart:en-fr`.

The corpus is generated from Unicode CLDR: dates, amounts, durations, names of territories and
languages, and lists of them.
"""

from tfx_jax.config import base


def get_config(pair="en-de"):
  config = base()
  config.task.source, config.task.target = pair.split("-")
  config.task.metrics = ("exact_match", "bleu", "chrf")
  config.data.update(format="cldr", train="train", validation="validation", test="test")
  config.data.batch_size = 32
  config.tokenizer.vocab_size = 1000
  config.tokenizer.normalization = "identity"
  config.model.update(
    features=128, num_heads=4, encoder_layers=2, decoder_layers=2, feed_forward=512, dropout=0.1
  )
  config.optimizer.update(learning_rate=4e-3, warmup_steps=200, schedule="cosine")
  config.train.update(
    num_steps=1000, log_every=25, eval_every=100, decode_every=200, decode_examples=100,
    checkpoint_every=200,
  )  # fmt: skip
  config.generate.update(beam_size=2, max_source_length=64, max_length=64, batch_size=64)
  return config
