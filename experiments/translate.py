"""Translation of your own parallel text: give `--config.data.train=…` and the others."""

from tfx_jax.config import base


def get_config():
  config = base()
  config.model.update(
    features=256, num_heads=4, encoder_layers=4, decoder_layers=4, feed_forward=1024, dropout=0.2
  )
  config.optimizer.update(learning_rate=2e-3, warmup_steps=1000, schedule="rsqrt")
  config.train.update(
    num_steps=20_000, eval_every=500, decode_every=2000, decode_examples=500, checkpoint_every=500
  )
  return config
