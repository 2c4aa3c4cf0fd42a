"""Answers in everyday conversations: `dialogue:decoder_only` or `:encoder_decoder`.

`dialogue:own` is a decoder-only model of your own dialogues: give `--config.data.train=…`, JSON
lines with the field `dialogue`; validation and test data are held out from it.

Training data: the dialogues of DialogSum (Chen et al. 2021, https://github.com/cylnlp/dialogsum)
and the English ones of XDailyDialog (Liu et al. 2023,
https://github.com/liuzeming01/XDailyDialog). Validation and test data: XDailyDialog. DialogSum has
two thirds of these, so the overlap is removed. The environment variable DIALOGUE_DATA names the
folder of dialogsum/ and xdailydialog/, by default data/dialogue.
"""

import os

from tfx_jax.config import base


def get_config(architecture="decoder_only"):
  if architecture == "own":
    config = _common("decoder_only")
    config.data.format = "jsonl"
    # Ends by itself when the answers of the validation data become no more likely.
    config.train.update(eval_every=100, patience=8)
    config.evaluate.checkpoint = "best"
    return config
  config = _common(architecture)
  folder = os.environ.get("DIALOGUE_DATA", "data/dialogue")
  dialogsum, xdailydialog = (os.path.join(folder, name) for name in ("dialogsum", "xdailydialog"))
  config.data.train = (
    f"jsonl:{dialogsum}/dialogsum.train.jsonl.gz,lines:{xdailydialog}/dialogues_text_En.txt.gz"
  )
  config.data.validation = f"lines:{xdailydialog}/en_dev_human.txt.gz"
  config.data.test = f"lines:{xdailydialog}/en_test_human.txt.gz"
  config.data.origin = (
    "get dialogsum/ from https://github.com/cylnlp/dialogsum and xdailydialog/ from "
    "https://github.com/liuzeming01/XDailyDialog, gzip the files and set DIALOGUE_DATA to the "
    "folder of both"
  )
  config.data.remove_overlap = True
  return config


def _common(architecture):
  config = base()
  config.task.name, config.task.source = "dialogue", "dialogue"
  config.task.metrics = ("bleu1", "bleu2", "distinct1", "distinct2", "length")
  # 1 % of the histories lose their beginning; 1.2 % of the answers are longer and are dropped.
  config.data.update(source_length=384, target_length=64, long_sources="cut_start", batch_size=8)
  # A decoder-only model learns all answers of a dialogue from one sequence: a fifth of the tokens.
  config.data.end_sources = architecture == "encoder_decoder"
  config.tokenizer.kind = "bpe"
  config.tokenizer.vocab_size = 8000
  config.tokenizer.symbols = tuple(f" <{speaker}>" for speaker in range(1, 8))
  # A history occurs in the text of each of its answers: some of the texts are enough.
  config.tokenizer.max_sentences = 50_000
  layers = 3 if architecture == "encoder_decoder" else 4
  config.model.update(
    architecture=architecture, features=256, num_heads=4, encoder_layers=layers,
    decoder_layers=layers, feed_forward=512, dropout=0.1,
  )  # fmt: skip
  config.optimizer.update(
    name="muon", learning_rate=6e-3, warmup_steps=300,
    schedule="linear",
  )  # fmt: skip
  config.optimizer.settings = {"consistent_rms": 0.2}
  config.train.update(
    num_steps=3600, label_smoothing=0.0, log_every=50, eval_every=600, decode_every=0,
    checkpoint_every=100, keep_checkpoints=5,
  )  # fmt: skip
  config.evaluate.checkpoint = "average"
  config.generate.update(
    search="sample", temperature=0.7, top_p=0.9, max_source_length=384, max_length=64,
    max_length_ratio=0.0,
  )  # fmt: skip
  return config
