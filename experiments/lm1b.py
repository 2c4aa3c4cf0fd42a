"""One Billion Word Benchmark (Chelba et al. 2013): a language model of sentences.

Sentences are packed, and each sees only itself. The data set has no validation
set: it is 1 % of the training set.
"""

from tfx_jax.config import base


def get_config():
  config = base()
  config.task.update(name="text", target="text")
  config.data.update(
    format="tfds", train="lm1b:train[1%:]", validation="lm1b:train[:1%]", test="lm1b:test",
    target_length=256, batch_size=256,
  )  # fmt: skip
  config.tokenizer.vocab_size = 30_000
  config.model.update(
    architecture="decoder_only", decoder_layers=6, features=512, num_heads=8, feed_forward=2048,
    activation="gelu", position="rotary",
  )  # fmt: skip
  config.optimizer.update(learning_rate=1.6e-3, warmup_steps=1000, weight_decay=0.1)
  config.train.update(num_steps=500_000, label_smoothing=0.0, decode_every=0, eval_every=5000)
  config.evaluate.num_samples = 10
  config.generate.update(search="sample", top_p=0.95, max_length=128, max_length_ratio=0.0)
  return config
