"""Learned codes of pictures, as tokens for other runs: `image_codes:pictures`.

An autoencoder reads a picture as frames, rounds each to one of 1,000 codes (finite scalar
quantization), and gives the picture back. Another run uses the codes by
`--config.image.path=WORKDIR`, with the same `image.size`, `image.patch` and `image.channels`. The
data is that of `scenes`, which is built in, or with `pictures` a folder of your own, as in
`pictures.py`: `--config.data.train=FOLDER`.
"""

from tfx_jax.config import base

# Field of the picture, size, steps.
KINDS = {"scenes": ("picture", (16, 16), 2000), "pictures": ("image", (32, 32), 4000)}


def get_config(kind="scenes"):
  if kind not in KINDS:
    raise ValueError(f"'{kind}' is unknown; known: {', '.join(KINDS)}")
  field, size, steps = KINDS[kind]
  config = base()
  config.task.update(name="reconstruct", source=field, metrics=("psnr",))
  config.data.update(format=kind, batch_size=8)
  if kind == "scenes":
    config.task.metrics = ("psnr", "scene_match")
    config.data.update(train="train", validation="validation", test="test")
  # A row of eight pictures.
  length = 8 * (size[0] // 4) * (size[1] // 4)
  config.data.update(source_length=length, target_length=length)
  config.image.update(size=size, patch=(4, 4), codes=0, fit="pad")
  config.model.update(
    architecture="autoencoder", features=128, num_heads=4, encoder_layers=2, decoder_layers=2,
    feed_forward=512, activation="gelu", position="learned_2d", dropout=0.0, share_embeddings=False,
  )  # fmt: skip
  config.optimizer.update(name="muon", learning_rate=6e-3, warmup_steps=100, schedule="linear")
  config.optimizer.settings = {"consistent_rms": 0.2}
  config.train.update(
    num_steps=steps, label_smoothing=0.0, log_every=50, eval_every=200, decode_every=500,
    decode_examples=200, checkpoint_every=500,
  )  # fmt: skip
  config.generate.update(max_source_length=length, batch_size=64)
  return config
