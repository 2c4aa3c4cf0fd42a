"""GPT-2 (Radford et al. 2019, Language Models are Unsupervised Multitask Learners)."""

from collections.abc import Iterator

from tfx_jax.pretrained.family import ACTIVATIONS, Family, Foreign, Settings, foreign_activation
from tfx_jax.pretrained.weights import Entry, Kind


def _read(config: Foreign) -> Settings:
  config.expect(
    add_cross_attention=False,
    scale_attn_weights=True,
    scale_attn_by_inverse_layer_idx=False,
    tie_word_embeddings=True,
  )
  return {
    "architecture": "decoder_only",
    "decoder_layers": config("n_layer"),
    "features": config("n_embd"),
    "num_heads": config("n_head"),
    "feed_forward": config.get("n_inner") or 4 * config("n_embd"),
    "activation": config.choice("activation_function", ACTIVATIONS),
    "norm": "layer_norm",
    "norm_placement": "pre",
    "norm_epsilon": config("layer_norm_epsilon", 1e-5),
    "position": "learned",
    "max_positions": config("n_positions"),
    "scale_embeddings": False,
    "dropout": config("resid_pdrop", 0.0),
    "attention_dropout": config("attn_pdrop", 0.0),
  }


def _write(model: Settings) -> Settings:
  return {
    "model_type": "gpt2",
    "n_layer": model["decoder_layers"],
    "n_embd": model["features"],
    "n_head": model["num_heads"],
    "n_inner": model["feed_forward"],
    "activation_function": foreign_activation(model["activation"]),
    "layer_norm_epsilon": model["norm_epsilon"],
    "n_positions": model["max_positions"],
    "resid_pdrop": model["dropout"],
    "embd_pdrop": model["dropout"],
    "attn_pdrop": model["attention_dropout"],
  }


def _entries(model: Settings, tokens: int) -> Iterator[Entry]:
  yield Entry("transformer.wte.weight", ("token_embed/embedding",), Kind.TOKENS, rows=tokens)
  yield Entry("transformer.wpe.weight", ("absolute_position/embedding",))
  theirs, block = "transformer.h.{}", "decoder_stack/layers/stacked"
  for name, path in (
    ("transformer.ln_f", "decoder_stack/norm"),
    (f"{theirs}.ln_1", f"{block}/attention_residual/norms_0"),
    (f"{theirs}.ln_2", f"{block}/mlp_residual/norms_0"),
  ):
    yield Entry(f"{name}.weight", (f"{path}/scale",))
    yield Entry(f"{name}.bias", (f"{path}/bias",))
  heads = tuple(f"{block}/self_attention/{name}" for name in ("query", "key", "value"))
  for name, paths, inputs in (
    ("attn.c_attn", heads, 1),
    ("attn.c_proj", (f"{block}/self_attention/out",), 2),
    ("mlp.c_fc", (f"{block}/mlp/up",), 1),
    ("mlp.c_proj", (f"{block}/mlp/down",), 1),
  ):
    kernels, biases = (tuple(f"{path}/{part}" for path in paths) for part in ("kernel", "bias"))
    yield Entry(f"{theirs}.{name}.weight", kernels, Kind.PRODUCT, inputs)
    yield Entry(f"{theirs}.{name}.bias", biases, Kind.FLAT)


GPT2 = Family(
  "GPT2LMHeadModel",
  _read,
  _write,
  _entries,
  (r"lm_head\.weight", r"transformer\.h\.\d+\.attn\.(masked_)?bias"),
)
