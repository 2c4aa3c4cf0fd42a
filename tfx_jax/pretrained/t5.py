"""T5 (Raffel et al. 2020, arXiv:1910.10683), T5 1.1, Flan-T5 and mT5."""

from collections.abc import Iterator

from tfx_jax.errors import UserError
from tfx_jax.pretrained.family import ACTIVATIONS, Family, Foreign, Settings, foreign_activation
from tfx_jax.pretrained.weights import Entry, Kind

# Our attention or MLP, our residual, and transformers' name of the attention.
_ENCODER = (("self_attention", "attention_residual", "SelfAttention"), ("mlp", "mlp_residual", ""))
_DECODER = (
  _ENCODER[0],
  ("memory_attention", "memory_residual", "EncDecAttention"),
  _ENCODER[1],
)


def _read(config: Foreign) -> Settings:
  kind, _, name = config("feed_forward_proj", "relu").rpartition("-")
  if kind not in ("", "gated") or name not in ACTIVATIONS:
    raise UserError(
      f"{config.origin}: feed_forward_proj={config('feed_forward_proj')!r} is not supported: use "
      f"one of {', '.join(ACTIVATIONS)}, or gated- and one of them"
    )
  # "gated-gelu" of T5 1.1 means the approximate function, in transformers as well.
  activation = "gelu_tanh" if (kind, name) == ("gated", "gelu") else ACTIVATIONS[name]
  tied = config.get("tie_word_embeddings", True) is not False
  scaled = config.get("model_type") != "mt5" and config.get("scale_decoder_outputs", tied)
  return {
    "architecture": "encoder_decoder",
    "encoder_layers": config("num_layers"),
    "decoder_layers": config.get("num_decoder_layers") or config("num_layers"),
    "features": config("d_model"),
    "num_heads": config("num_heads"),
    "head_dim": config("d_kv"),
    "feed_forward": config("d_ff"),
    "activation": activation,
    "gated": kind == "gated",
    "use_bias": False,
    "norm": "rms_norm",
    "norm_placement": "pre",
    "norm_epsilon": config("layer_norm_epsilon", 1e-6),
    "position": "bucket",
    "num_buckets": config("relative_attention_num_buckets", 32),
    "max_distance": config("relative_attention_max_distance", 128),
    "scale_scores": False,
    "scale_embeddings": False,
    "scale_logits": scaled,
    # No setting says if the output is tied. Files of the first T5 may have the table twice.
    "tie_output": scaled or "lm_head.weight" not in config.tensors,
    "dropout": config("dropout_rate", 0.0),
    "attention_dropout": config("dropout_rate", 0.0),
    "activation_dropout": config("dropout_rate", 0.0),
  }


def _write(model: Settings) -> Settings:
  activation = foreign_activation(model["activation"])
  if model["gated"]:
    activation = "gated-" + {"gelu_new": "gelu"}.get(activation, activation)
  return {
    "model_type": "t5",
    "num_layers": model["encoder_layers"],
    "num_decoder_layers": model["decoder_layers"],
    "d_model": model["features"],
    "num_heads": model["num_heads"],
    "d_kv": model["head_dim"] or model["features"] // model["num_heads"],
    "d_ff": model["feed_forward"],
    "feed_forward_proj": activation,
    "layer_norm_epsilon": model["norm_epsilon"],
    "relative_attention_num_buckets": model["num_buckets"],
    "relative_attention_max_distance": model["max_distance"],
    # transformers scales hidden states before the output if this is true.
    "tie_word_embeddings": model["scale_logits"],
    "dropout_rate": model["dropout"],
    "is_encoder_decoder": True,
  }


def _entries(model: Settings, tokens: int) -> Iterator[Entry]:
  yield Entry("shared.weight", ("target_embed/embedding",), Kind.TOKENS, rows=tokens)
  if not model["tie_output"]:
    yield Entry("lm_head.weight", ("output/kernel",), Kind.TOKENS, rows=tokens)
  for side, sublayers in (("encoder", _ENCODER), ("decoder", _DECODER)):
    stack = f"{side}_stack"
    yield Entry(
      f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
      (f"{stack}/relative_bias/embedding",),
    )
    yield Entry(f"{side}.final_layer_norm.weight", (f"{stack}/norm/scale",))
    for number, (ours, residual, attention) in enumerate(sublayers):
      theirs, block = f"{side}.block.{{}}.layer.{number}", f"{stack}/layers/stacked"
      yield Entry(f"{theirs}.layer_norm.weight", (f"{block}/{residual}/norms_0/scale",))
      if attention:
        products = (("q", "query", 1), ("k", "key", 1), ("v", "value", 1), ("o", "out", 2))
        theirs = f"{theirs}.{attention}"
      else:
        up = (("wi_0", "gate", 1), ("wi_1", "up", 1)) if model["gated"] else (("wi", "up", 1),)
        products = (*up, ("wo", "down", 1))
        theirs = f"{theirs}.DenseReluDense"
      for letter, name, inputs in products:
        path = f"{block}/{ours}/{name}/kernel"
        yield Entry(f"{theirs}.{letter}.weight", (path,), Kind.LINEAR, inputs)


_IGNORED = (
  r"(encoder|decoder)\.embed_tokens\.weight",
  r"lm_head\.weight",
  # Saved by early versions, but never used.
  r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
)
T5 = Family("T5ForConditionalGeneration", _read, _write, _entries, _IGNORED)
MT5 = Family(
  "MT5ForConditionalGeneration",
  _read,
  lambda model: _write(model) | {"model_type": "mt5"},
  _entries,
  _IGNORED,
)
