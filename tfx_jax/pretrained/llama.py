"""Llama (Touvron et al. 2023, arXiv:2302.13971) and models like it: Mistral, Qwen2."""

import functools
from collections.abc import Iterable, Iterator

from tfx_jax.errors import UserError
from tfx_jax.pretrained.family import ACTIVATIONS, Family, Foreign, Settings, foreign_activation
from tfx_jax.pretrained.weights import Entry, Kind


def _read(config: Foreign, *, slides: str = "", qkv_bias: bool = False) -> Settings:
  config.expect(attention_bias=False, mlp_bias=False)
  heads = config("num_attention_heads")
  return {
    "architecture": "decoder_only",
    "decoder_layers": config("num_hidden_layers"),
    "features": config("hidden_size"),
    "num_heads": heads,
    "num_kv_heads": config("num_key_value_heads", heads),
    "head_dim": config("head_dim", config("hidden_size") // heads),
    "feed_forward": config("intermediate_size"),
    "activation": config.choice("hidden_act", ACTIVATIONS),
    "gated": True,
    "use_bias": False,
    "qkv_bias": qkv_bias,
    "norm": "rms_norm",
    "norm_placement": "pre",
    "norm_epsilon": config("rms_norm_eps", 1e-6),
    "position": "rotary",
    **_rotation(config),
    "windows": _windows(config, slides),
    "max_positions": config("max_position_embeddings"),
    "scale_embeddings": False,
    "tie_output": config.get("tie_word_embeddings", False),
    "dropout": 0.0,
    "attention_dropout": config("attention_dropout", 0.0),
  }


# Parameters of each kind of scaled rotary positions, in our order.
_SCALINGS = {
  "linear": ("factor",),
  "llama3": (
    *("factor", "low_freq_factor", "high_freq_factor"),
    "original_max_position_embeddings",
  ),
}


def _rotation(config: Foreign) -> Settings:
  rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
  kind = rope.get("rope_type") or rope.get("type") or "default"
  base = float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)
  if kind == "default":
    return {"rotary_base": base, "rotary_scaling": ()}
  if kind not in _SCALINGS:
    raise UserError(
      f"{config.origin}: rope_type={kind!r} is not supported: use default, {', '.join(_SCALINGS)}"
    )
  missing = [name for name in _SCALINGS[kind] if rope.get(name) is None]
  if missing:
    raise UserError(f"{config.origin} lacks '{missing[0]}' of rope_type={kind!r}")
  numbers = (float(rope[name]) for name in _SCALINGS[kind])
  return {"rotary_base": base, "rotary_scaling": (kind, *numbers)}


def _foreign_rotation(model: Settings) -> Settings:
  kind, *values = model["rotary_scaling"] or ("default",)
  numbers = dict(zip(_SCALINGS.get(kind, ()), map(float, values), strict=True))
  return {"rope_type": kind, "rope_theta": model["rotary_base"], **numbers}


def _windows(config: Foreign, slides: str) -> tuple[int, ...]:
  """Returns the setting of attention windows.

  Args:
    config: the config.json.
    slides: layers with a window: none (""), all ("all"), or those that config.json lists ("some").
  """
  window, layers = config.get("sliding_window"), config("num_hidden_layers")
  if not slides or not window or (slides == "some" and not config.get("use_sliding_window", False)):
    return ()
  if slides == "all":
    return (window,)
  first = config.get("max_window_layers", 28)
  default = ["full_attention" if n < first else "sliding_attention" for n in range(layers)]
  kinds = config.get("layer_types") or default
  return _windows_setting(window if kind == "sliding_attention" else 0 for kind in kinds)


def _windows_setting(windows: Iterable[int]) -> tuple[int, ...]:
  """Returns the shortest setting for the window of each layer."""
  windows = tuple(windows)
  if len(set(windows)) == 1:
    return windows[:1] if windows[0] else ()
  return windows


def _foreign_windows(model: Settings, slides: str) -> Settings:
  """Returns the settings of config.json for windows, which have one size for all layers."""
  layers = model["decoder_layers"]
  windows = (tuple(model["windows"] or (0,)) * layers)[:layers]
  window = max(windows) or None
  if slides != "some":
    return {"sliding_window": window}
  kinds = ["sliding_attention" if size else "full_attention" for size in windows]
  return {
    "use_sliding_window": window is not None,
    "sliding_window": window,
    "max_window_layers": 0,
    "layer_types": kinds,
  }


def _write(model: Settings, *, model_type: str, slides: str = "") -> Settings:
  heads = model["num_heads"]
  return {
    "model_type": model_type,
    "num_hidden_layers": model["decoder_layers"],
    "hidden_size": model["features"],
    "num_attention_heads": heads,
    "num_key_value_heads": model["num_kv_heads"] or heads,
    "head_dim": model["head_dim"] or model["features"] // heads,
    "intermediate_size": model["feed_forward"],
    "hidden_act": foreign_activation(model["activation"]),
    "rms_norm_eps": model["norm_epsilon"],
    "rope_parameters": _foreign_rotation(model),
    "max_position_embeddings": model["max_positions"],
    "attention_dropout": model["attention_dropout"],
    "tie_word_embeddings": model["tie_output"],
    **_foreign_windows(model, slides),
  }


def _entries(model: Settings, tokens: int) -> Iterator[Entry]:
  yield Entry("model.embed_tokens.weight", ("token_embed/embedding",), Kind.TOKENS, rows=tokens)
  if not model["tie_output"]:
    yield Entry("lm_head.weight", ("output/kernel",), Kind.TOKENS, rows=tokens)
  yield Entry("model.norm.weight", ("decoder_stack/norm/scale",))
  theirs, block = "model.layers.{}", "decoder_stack/layers/stacked"
  for name, residual in (("input", "attention"), ("post_attention", "mlp")):
    path = f"{block}/{residual}_residual/norms_0/scale"
    yield Entry(f"{theirs}.{name}_layernorm.weight", (path,))
  for letter, name, inputs in (
    *(("q", "query", 1), ("k", "key", 1), ("v", "value", 1)),
    ("o", "out", 2),
  ):
    path = f"{block}/self_attention/{name}"
    weight = f"{theirs}.self_attn.{letter}_proj"
    yield Entry(f"{weight}.weight", (f"{path}/kernel",), Kind.LINEAR, inputs)
    if model["qkv_bias"] and inputs == 1:
      yield Entry(f"{weight}.bias", (f"{path}/bias",), Kind.FLAT)
  for name in ("gate", "up", "down"):
    path = f"{block}/mlp/{name}/kernel"
    yield Entry(f"{theirs}.mlp.{name}_proj.weight", (path,), Kind.LINEAR)


def _family(
  architecture: str, model_type: str, *, slides: str = "", qkv_bias: bool = False
) -> Family:
  return Family(
    architecture,
    functools.partial(_read, slides=slides, qkv_bias=qkv_bias),
    functools.partial(_write, model_type=model_type, slides=slides),
    _entries,
    (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"lm_head\.weight"),
  )


LLAMA = _family("LlamaForCausalLM", "llama")
MISTRAL = _family("MistralForCausalLM", "mistral", slides="all")
QWEN2 = _family("Qwen2ForCausalLM", "qwen2", slides="some", qkv_bias=True)
