"""Hugging Face's Marian with random weights, our sizes and our special tokens."""

from typing import Any


def make_marian(size: tuple[int, int, int, int], vocab_size: int, dropout: float) -> Any:
  """Returns a `MarianMTModel` with dropout of embeddings, sublayers, attention and activations.

  Args:
    size: layers of each stack, D, N, F.
    vocab_size: V of the shared embedding table.
    dropout: dropout rate, everywhere the same.
  """
  import torch
  from transformers import MarianConfig, MarianMTModel

  from tfx_jax.codecs.special_tokens import BOS, EOS, PAD

  layers, features, heads, feed_forward = size
  torch.manual_seed(0)
  model = MarianMTModel(
    MarianConfig(
      vocab_size=vocab_size,
      d_model=features,
      encoder_layers=layers,
      decoder_layers=layers,
      encoder_attention_heads=heads,
      decoder_attention_heads=heads,
      encoder_ffn_dim=feed_forward,
      decoder_ffn_dim=feed_forward,
      activation_function="relu",
      dropout=dropout,
      attention_dropout=dropout,
      activation_dropout=dropout,
      max_position_embeddings=512,
      scale_embedding=True,
      share_encoder_decoder_embeddings=True,
      tie_word_embeddings=True,
      pad_token_id=PAD,
      eos_token_id=EOS,
      bos_token_id=BOS,
      decoder_start_token_id=BOS,
      forced_eos_token_id=None,
    )
  )
  # Settings of a pretrained Marian that a search would have to apply.
  model.generation_config.forced_eos_token_id = None
  model.generation_config.bad_words_ids = None
  return model
