"""Summaries of docstrings from the installed Python packages; no download.

The first line of a docstring is generated from the rest of it, see tfx_jax/sources/docstrings.py.
The corpus depends on the installed packages, so metrics can be compared on one machine only.
`docstrings:json+email+numpy` uses only these packages.
"""

from tfx_jax.config import base


def get_config(packages=""):
  config = base()
  config.task.update(
    name="summarize", source="body", target="summary",
    metrics=("rouge1", "rouge2", "rougeL", "novelty", "length_ratio"),
  )  # fmt: skip
  config.data.format = "docstrings"
  for split in ("train", "validation", "test"):
    config.data[split] = f"{split}:{packages}" if packages else split
  # Names are spelled with few pieces; line ends, as in lists of arguments, are kept.
  config.tokenizer.update(
    kind="bpe", vocab_size=4000, normalization="nfkc", character_coverage=0.9995,
    byte_fallback=True,
  )  # fmt: skip
  config.data.update(source_length=320, target_length=64, long_sources="cut_end", batch_size=32)
  config.model.update(
    features=128, num_heads=4, encoder_layers=3, decoder_layers=3, feed_forward=512, dropout=0.2
  )
  config.optimizer.update(
    name="muon", learning_rate=6e-3, warmup_steps=100,
    schedule="linear",
  )  # fmt: skip
  config.optimizer.settings = {"consistent_rms": 0.2}
  config.train.update(
    num_steps=1000, log_every=25, eval_every=100, decode_every=0, checkpoint_every=100,
    keep_checkpoints=5,
  )  # fmt: skip
  config.evaluate.checkpoint = "average"
  config.generate.update(beam_size=4, no_repeat_ngram_size=3, max_source_length=320, max_length=64)
  return config
