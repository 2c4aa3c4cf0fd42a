"""BART (Lewis et al. 2020, arXiv:1910.13461), and what related models in transformers share."""

from collections.abc import Iterator

from tfx_jax.pretrained.family import ACTIVATIONS, Family, Foreign, Settings, foreign_activation
from tfx_jax.pretrained.weights import Entry, Kind

# Names in our blocks -> names in transformers' layers of the encoder and of the decoder.
_ENCODER_NORMS = {"attention_residual": "self_attn_layer_norm", "mlp_residual": "final_layer_norm"}
_DECODER_NORMS = _ENCODER_NORMS | {"memory_residual": "encoder_attn_layer_norm"}
_ENCODER_ATTENTIONS = {"self_attention": "self_attn"}
_DECODER_ATTENTIONS = _ENCODER_ATTENTIONS | {"memory_attention": "encoder_attn"}

# Number of unused rows of the position table before that of the first position.
POSITION_OFFSET = 2
# Tensors that are tied to others.
IGNORED = (
  r"(model\.)?(encoder|decoder)\.embed_tokens\.weight",
  r"lm_head\.weight",
)


def read_settings(config: Foreign) -> Settings:
  """Returns the settings of the section `model` that all related models have."""
  for name in ("attention_heads", "ffn_dim"):
    config.expect(**{f"decoder_{name}": config(f"encoder_{name}")})
  config.expect(tie_word_embeddings=True)
  return {
    "architecture": "encoder_decoder",
    "encoder_layers": config("encoder_layers"),
    "decoder_layers": config("decoder_layers"),
    "features": config("d_model"),
    "num_heads": config("encoder_attention_heads"),
    "feed_forward": config("encoder_ffn_dim"),
    "activation": config.choice("activation_function", ACTIVATIONS),
    "norm": "layer_norm",
    "norm_epsilon": 1e-5,
    "use_bias": True,
    "output_bias": True,
    "max_positions": config("max_position_embeddings"),
    "scale_embeddings": config.get("scale_embedding", False),
    "dropout": config("dropout", 0.0),
    "attention_dropout": config("attention_dropout", 0.0),
    "activation_dropout": config("activation_dropout", 0.0),
  }


def write_settings(model: Settings) -> Settings:
  """Returns the settings of config.json that all related models have."""
  both = {
    "attention_heads": model["num_heads"],
    "ffn_dim": model["feed_forward"],
    "layerdrop": 0.0,
  }
  sides = {f"{side}_{name}": v for side in ("encoder", "decoder") for name, v in both.items()}
  return sides | {
    "encoder_layers": model["encoder_layers"],
    "decoder_layers": model["decoder_layers"],
    "num_hidden_layers": model["encoder_layers"],
    "d_model": model["features"],
    "activation_function": foreign_activation(model["activation"]),
    "max_position_embeddings": model["max_positions"],
    "scale_embedding": model["scale_embeddings"],
    "dropout": model["dropout"],
    "attention_dropout": model["attention_dropout"],
    "activation_dropout": model["activation_dropout"],
    "is_encoder_decoder": True,
  }


def entries(model: Settings, tokens: int) -> Iterator[Entry]:
  """Yields the tensors of a related model, which depend on its settings."""
  yield Entry("model.shared.weight", ("target_embed/embedding",), Kind.TOKENS, rows=tokens)
  yield Entry("final_logits_bias", ("output/bias",), Kind.TOKENS, rows=tokens, lead=True)
  for side, ours, attentions, norms in (
    ("encoder", "source", _ENCODER_ATTENTIONS, _ENCODER_NORMS),
    ("decoder", "target", _DECODER_ATTENTIONS, _DECODER_NORMS),
  ):
    if model["position"] == "learned":
      yield Entry(
        f"model.{side}.embed_positions.weight",
        (f"{ours}_position/embedding",),
        Kind.ROWS,
        rows=model["max_positions"] + POSITION_OFFSET,
        skipped=POSITION_OFFSET,
      )
    if model["embedding_norm"]:
      yield from _norm(f"model.{side}.layernorm_embedding", f"{ours}_norm")
    if model["norm_placement"] == "pre":
      yield from _norm(f"model.{side}.layer_norm", f"{side}_stack/norm")
    theirs, block = f"model.{side}.layers.{{}}", f"{side}_stack/layers/stacked"
    for attention, name in attentions.items():
      yield from _attention(f"{theirs}.{name}", f"{block}/{attention}")
    for residual, name in norms.items():
      yield from _norm(f"{theirs}.{name}", f"{block}/{residual}/norms_0")
    for layer, name in (("up", "fc1"), ("down", "fc2")):
      yield from _linear(f"{theirs}.{name}", f"{block}/mlp/{layer}")


def _attention(theirs: str, ours: str) -> Iterator[Entry]:
  for letter, name in (("q", "query"), ("k", "key"), ("v", "value")):
    yield from _linear(f"{theirs}.{letter}_proj", f"{ours}/{name}")
  yield from _linear(f"{theirs}.out_proj", f"{ours}/out", inputs=2)


def _linear(theirs: str, ours: str, inputs: int = 1) -> Iterator[Entry]:
  yield Entry(f"{theirs}.weight", (f"{ours}/kernel",), Kind.LINEAR, inputs)
  yield Entry(f"{theirs}.bias", (f"{ours}/bias",), Kind.FLAT)


def _norm(theirs: str, ours: str) -> Iterator[Entry]:
  yield Entry(f"{theirs}.weight", (f"{ours}/scale",))
  yield Entry(f"{theirs}.bias", (f"{ours}/bias",))


# transformers does not read these; other libraries do.
_NORMS = {"normalize_before": False, "normalize_embedding": True, "add_final_layer_norm": False}


def _read_bart(config: Foreign) -> Settings:
  config.expect(**_NORMS)
  return read_settings(config) | {
    "norm_placement": "post",
    "position": "learned",
    "embedding_norm": True,
  }


def _write_bart(model: Settings) -> Settings:
  return write_settings(model) | _NORMS | {"model_type": "bart"}


BART = Family("BartForConditionalGeneration", _read_bart, _write_bart, entries, IGNORED)
