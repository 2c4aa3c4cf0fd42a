"""Your own pictures: `pictures --config.data.train=FOLDER`; `pictures:describe`.

FOLDER has pictures and a file metadata.jsonl with a line {"file_name": "a.png", "text": "…"} for
each, the layout of Hugging Face's ImageFolder; with `--config.task.source=label`, folders CLASS of
pictures instead. Validation and test data are held out. All pictures are scaled to `image.size`.
"""

from tfx_jax.config import base

TASKS = ("draw", "describe")


def get_config(task="draw"):
  if task not in TASKS:
    raise ValueError(f"'{task}' is unknown; known: {', '.join(TASKS)}")
  config = base()
  config.task.update(name=task, source="text", target="image", metrics=())
  if task == "describe":
    config.task.update(source="image", target="text", metrics=("exact_match", "chrf"))
  config.data.update(format="pictures", batch_size=16)
  if task == "draw":
    config.data.update(source_length=64, target_length=257, source_dropout=0.1)
  else:
    config.data.update(source_length=258, target_length=128)
  config.tokenizer.update(vocab_size=1000, byte_fallback=True)
  config.image.update(size=(32, 32), patch=(2, 2), codes=1024, fit="pad")
  config.model.update(
    features=192, num_heads=6, encoder_layers=2, decoder_layers=4, feed_forward=768,
    activation="gelu", position="learned_2d", max_positions=128, share_embeddings=False,
    dropout=0.1,
  )  # fmt: skip
  config.optimizer.update(name="muon", learning_rate=6e-3, warmup_steps=100, schedule="linear")
  config.optimizer.settings = {"consistent_rms": 0.2}
  config.train.update(
    num_steps=3000, label_smoothing=0.0, log_every=20, eval_every=250, decode_every=500,
    decode_examples=24, checkpoint_every=250,
  )  # fmt: skip
  config.generate.update(
    max_source_length=config.data.source_length, max_length=128, max_length_ratio=0.0,
    batch_size=16,
  )  # fmt: skip
  if task == "draw":
    config.generate.update(search="sample", top_p=0.95)
  return config
