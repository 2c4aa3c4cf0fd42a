"""DialogSum (Chen et al. 2021): summaries of dialogues, `dialogsum:encoder_decoder`.

The argument is the architecture: encoder_decoder (the default) or decoder_only. The files are those
of https://github.com/cylnlp/dialogsum, DialogSum_Data/dialogsum.SPLIT.jsonl, gzipped, in a folder
given by the environment variable DIALOGSUM, by default data/dialogsum.
"""

import os

from tfx_jax.config import base


def get_config(architecture="encoder_decoder"):
  config = base()
  # The paper reports the mean over references; see docs/summarization.md.
  config.task.update(
    name="summarize", source="dialogue", target="summary",
    references=("summary1", "summary2", "summary3"), rouge_references="mean",
    metrics=("rouge1", "rouge2", "rougeL", "rougeLsum", "novelty", "length_ratio"),
  )  # fmt: skip
  folder = os.environ.get("DIALOGSUM", "data/dialogsum")
  for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
    config.data[split] = os.path.join(folder, f"dialogsum.{name}.jsonl.gz")
  config.data.format = "jsonl"
  config.data.origin = (
    "get DialogSum_Data/dialogsum.*.jsonl from https://github.com/cylnlp/dialogsum, gzip them and "
    "set DIALOGSUM to their folder"
  )
  config.tokenizer.update(kind="bpe", vocab_size=8000)
  # Longer dialogues are cut (1.6 % of training, 2.2 % of test); examples with a longer summary are
  # dropped (0.4 % of training).
  config.data.update(source_length=448, target_length=96, long_sources="cut_end", batch_size=16)
  config.model.update(
    architecture=architecture, features=192, num_heads=4, encoder_layers=3, decoder_layers=3,
    feed_forward=512, dropout=0.2,
  )  # fmt: skip
  if architecture == "encoder_decoder":
    config.model.copy_head = True  # copies names
  else:
    config.model.decoder_layers = 7  # the same number of parameters, without cross-attention
  config.optimizer.update(
    name="muon", learning_rate=4e-3, warmup_steps=250,
    schedule="linear",
  )  # fmt: skip
  config.optimizer.settings = {"consistent_rms": 0.2}
  config.train.update(
    num_steps=1700, log_every=50, eval_every=250, decode_every=0, checkpoint_every=50,
    keep_checkpoints=10,
  )  # fmt: skip
  config.evaluate.checkpoint = "average"
  config.generate.update(beam_size=5, no_repeat_ngram_size=3, max_source_length=448, max_length=96)
  return config
