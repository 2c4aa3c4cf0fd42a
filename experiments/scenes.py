"""Pictures of shapes from captions and back, in minutes on a CPU: `scenes:describe`.

`scenes:draw` draws a picture from a caption such as "a small red ring above a large blue cross";
`scenes:describe` writes the caption of a picture. `-decoder_only` behind either is a model without
an encoder, `draw-masked` one that draws all patches together. Scenes are rendered; those of the
test combine objects that are not combined in training.
"""

from tfx_jax.config import base

NAMES = ("draw", "describe", "draw-decoder_only", "describe-decoder_only", "draw-masked")


def get_config(name="draw"):
  if name not in NAMES:
    raise ValueError(f"'{name}' is unknown; known: {', '.join(NAMES)}")
  task, _, architecture = name.partition("-")
  config = base()
  config.task.name = task
  config.task.update(source="caption", target="picture", metrics=("scene_match",))
  if task == "describe":
    config.task.update(source="picture", target="caption", metrics=("exact_match",))
  config.data.update(format="scenes", train="train", validation="validation", test="test")
  # Three pictures a row, of 64 patches and an end token.
  config.data.update(batch_size=16, source_length=128, target_length=195)
  if task == "describe":
    config.data.update(source_length=195, target_length=128)
  config.tokenizer.update(vocab_size=40, normalization="identity")
  config.image.update(size=(16, 16), patch=(2, 2), codes=256)
  config.model.update(
    features=128, num_heads=4, encoder_layers=2, decoder_layers=2, feed_forward=512, dropout=0.0,
    position="learned_2d", max_positions=128, share_embeddings=False,
  )  # fmt: skip
  if architecture == "masked":
    config.model.architecture = architecture
  if architecture == "decoder_only":
    # A row has both sides of three examples.
    config.data.update(source_length=128, target_length=128)
    config.model.update(architecture=architecture, decoder_layers=4)
  config.optimizer.update(name="muon", learning_rate=6e-3, warmup_steps=50, schedule="linear")
  config.optimizer.settings = {"consistent_rms": 0.2}
  config.train.update(
    num_steps=900, label_smoothing=0.0, log_every=25, eval_every=100, decode_every=300,
    decode_examples=100, checkpoint_every=300, best_metric=config.task.metrics[0],
  )  # fmt: skip
  # A caption is not longer for a picture of more tokens.
  config.generate.update(
    beam_size=1, max_source_length=80, max_length=80, max_length_ratio=0.0, batch_size=64
  )
  return config
