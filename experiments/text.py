"""A language model of your own text: `text:files --config.data.train=FOLDER`.

The argument is the format of the data: files, lines, jsonl or tsv; validation and test data are
held out. By default it is the code of the installed Python packages, so that it runs anywhere.
"""

from tfx_jax.config import base


def get_config(format="python"):
  config = base()
  config.task.update(name="text", target="text")
  config.data.update(format=format, target_length=256, batch_size=32)
  if format == "python":
    config.data.update(train="train", validation="validation", test="test")
  config.tokenizer.update(
    kind="bpe", vocab_size=4000, normalization="lossless", byte_fallback=True, max_sentences=2000
  )
  config.model.update(
    architecture="decoder_only", decoder_layers=4, features=256, num_heads=4, feed_forward=1024,
    activation="gelu", position="rotary", norm="rms_norm", use_bias=False, dropout=0.1,
  )  # fmt: skip
  config.optimizer.update(
    name="muon", learning_rate=6e-3, warmup_steps=100,
    schedule="linear",
  )  # fmt: skip
  config.optimizer.settings = {"consistent_rms": 0.2}
  config.train.update(
    num_steps=1000, label_smoothing=0.0, log_every=20, eval_every=250, decode_every=0,
    checkpoint_every=250,
  )  # fmt: skip
  config.generate.update(search="sample", top_p=0.9, max_length=256, max_length_ratio=0.0)
  return config
