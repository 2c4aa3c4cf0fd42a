"""Marian (Junczys-Dowmunt et al. 2018, arXiv:1804.00344), such as the models of OPUS-MT."""

import numpy as np

from tfx_jax.errors import UserError
from tfx_jax.pretrained import bart
from tfx_jax.pretrained.family import Family, Foreign, Settings

_NORMS = {"normalize_before": False, "normalize_embedding": False, "add_final_layer_norm": False}


def _read(config: Foreign) -> Settings:
  config.expect(**_NORMS, share_encoder_decoder_embeddings=True)
  if config.get("decoder_vocab_size") not in (None, config("vocab_size")):
    raise UserError(
      f"{config.origin}: decoder_vocab_size={config('decoder_vocab_size')} is not supported, only "
      f"vocab_size={config('vocab_size')}"
    )
  return bart.read_settings(config) | {
    "norm_placement": "post",
    "position": "sinusoidal",
    "embedding_norm": False,
    "zero_start": _begins_with_zeros(config),
  }


def _begins_with_zeros(config: Foreign) -> bool:
  """Returns true if decoders start with a zero embedding, as in OPUS-MT; no setting says so."""
  start, table = config.get("decoder_start_token_id"), config.tensors.get("model.shared.weight")
  return table is not None and start is not None and not np.any(table[start : start + 1])


def _write(model: Settings) -> Settings:
  return (
    bart.write_settings(model)
    | _NORMS
    | {
      "model_type": "marian",
      "share_encoder_decoder_embeddings": True,
    }
  )


MARIAN = Family(
  "MarianMTModel",
  _read,
  _write,
  bart.entries,
  (*bart.IGNORED, r"model\.(encoder|decoder)\.embed_positions\.weight"),
)
