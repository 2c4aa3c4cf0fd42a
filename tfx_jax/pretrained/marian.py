"""Marian (Junczys-Dowmunt et al. 2018, arXiv:1804.00344): Vaswani et al.'s model, as OPUS-MT's."""

from tfx_jax.errors import UserError
from tfx_jax.pretrained import bart
from tfx_jax.pretrained.family import Family, Foreign, Settings


def _read(config: Foreign) -> Settings:
  config.expect(
    normalize_before=False,
    normalize_embedding=False,
    add_final_layer_norm=False,
    share_encoder_decoder_embeddings=True,
  )
  if config.get("decoder_vocab_size") not in (None, config("vocab_size")):
    raise UserError(
      f"{config.origin}: decoder_vocab_size={config('decoder_vocab_size')} is not supported, only "
      f"vocab_size={config('vocab_size')} is"
    )
  return bart.read_settings(config) | {
    "norm_placement": "post",
    "position": "sinusoidal",
    "embedding_norm": False,
  }


def _write(model: Settings) -> Settings:
  return bart.write_settings(model) | {
    "model_type": "marian",
    "share_encoder_decoder_embeddings": True,
  }


MARIAN = Family(
  "MarianMTModel",
  _read,
  _write,
  bart.entries,
  (*bart.IGNORED, r"model\.(encoder|decoder)\.embed_positions\.weight"),
)
