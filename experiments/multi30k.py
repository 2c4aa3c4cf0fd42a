"""Multi30k captions (Elliott et al. 2016), pairs of en, de, fr, cs: `multi30k:en-de`.

The files are those of https://github.com/multi30k/dataset, data/task1/raw, in a folder given by
the environment variable MULTI30K, by default data/multi30k.
"""

import os

from tfx_jax.config import base


def get_config(pair="en-de"):
  config = base()
  config.task.source, config.task.target = pair.split("-")
  config.task.metrics = ("bleu", "chrf", "bleu_moses")
  folder = os.environ.get("MULTI30K", "data/multi30k")
  config.data.train = os.path.join(folder, "train")
  config.data.validation = os.path.join(folder, "val")
  config.data.test = os.path.join(folder, "test_2016_flickr")
  config.data.origin = (
    "get data/task1/raw of https://github.com/multi30k/dataset and set MULTI30K to its folder"
  )
  config.tokenizer.kind = "bpe"
  config.tokenizer.vocab_size = 8000
  config.model.update(
    features=128, num_heads=4, encoder_layers=4, decoder_layers=4, feed_forward=256, dropout=0.2
  )
  config.data.batch_size = 64
  config.optimizer.update(
    name="muon", learning_rate=6e-3, warmup_steps=300,
    schedule="linear",
  )  # fmt: skip
  config.optimizer.settings = {"consistent_rms": 0.2}
  config.train.update(
    num_steps=2400, log_every=50, eval_every=500, decode_every=0, checkpoint_every=50,
    keep_checkpoints=10,
  )  # fmt: skip
  config.evaluate.checkpoint = "average"
  config.generate.update(beam_size=5, max_source_length=64, max_length=64)
  return config
