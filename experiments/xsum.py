"""XSum (Narayan et al. 2018): BBC news in one sentence, base-size Transformer.

The data is xsum of TensorFlow Datasets, prepared as ArrayRecord; if it is missing, the error says
how to prepare it.
"""

from tfx_jax.config import base


def get_config():
  config = base()
  config.task.update(
    name="summarize", source="document", target="summary",
    metrics=("rouge1", "rouge2", "rougeL", "novelty", "length_ratio"),
  )  # fmt: skip
  config.data.format = "tfds"
  for split in ("train", "validation", "test"):
    config.data[split] = f"xsum:{split}"
  config.tokenizer.update(
    kind="bpe", vocab_size=32_000, character_coverage=0.9995, byte_fallback=True
  )
  # Longer articles are cut; their number is reported at the start.
  config.data.update(source_length=512, target_length=96, long_sources="cut_end", batch_size=64)
  config.model.update(
    encoder_layers=6, decoder_layers=6, features=512, num_heads=8, feed_forward=2048, dropout=0.1
  )
  config.optimizer.update(
    name="adam", schedule="rsqrt", learning_rate=1e-3, warmup_steps=8000, b2=0.998
  )
  config.train.update(
    num_steps=100_000, eval_every=2000, decode_every=10_000, decode_examples=1000,
    checkpoint_every=2000, keep_checkpoints=5,
  )  # fmt: skip
  config.evaluate.checkpoint = "average"
  config.generate.update(
    beam_size=5, length_penalty=0.9, no_repeat_ngram_size=3, min_length=10, max_length=96,
    max_source_length=512,
  )  # fmt: skip
  return config
