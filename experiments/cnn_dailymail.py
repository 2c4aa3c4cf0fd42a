"""Highlights of CNN and Daily Mail news (See et al. 2017), base-size Transformer.

The data is cnn_dailymail of TensorFlow Datasets, prepared as ArrayRecord; if it is missing, the
error says how to prepare it. Highlights have one sentence a line. The tokenizer keeps line ends, so
that rougeLsum compares sentences as in papers.
"""

from tfx_jax.config import base


def get_config():
  config = base()
  config.task.update(
    name="summarize", source="article", target="highlights",
    metrics=("rouge1", "rouge2", "rougeL", "rougeLsum", "novelty", "length_ratio"),
  )  # fmt: skip
  config.data.format = "tfds"
  for split in ("train", "validation", "test"):
    config.data[split] = f"cnn_dailymail:{split}"
  # nfkc, unlike nmt_nfkc, keeps line ends.
  config.tokenizer.update(
    kind="bpe", vocab_size=32_000, normalization="nfkc", character_coverage=0.9995,
    byte_fallback=True,
  )  # fmt: skip
  # Most articles are longer than 512 tokens and are cut, as in Liu and Lapata 2019
  # (arXiv:1908.08345): their important parts come first. The number is reported at the start.
  config.data.update(source_length=512, target_length=160, long_sources="cut_end", batch_size=64)
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
  # Liu and Lapata 2019, section 4.2: beam size 5, no repeated trigram.
  config.generate.update(
    beam_size=5, length_penalty=0.95, no_repeat_ngram_size=3, min_length=40, max_length=200,
    max_source_length=512,
  )  # fmt: skip
  return config
