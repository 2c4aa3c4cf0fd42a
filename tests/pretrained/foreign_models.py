"""Tiny models of transformers with random weights, each in a folder with a tokenizer."""

import json

import tokenizers
import torch
import transformers
from tokenizers import models, pre_tokenizers, processors

VOCABULARY = 59
_SIDES = {
  f"{side}_{name}": value
  for side in ("encoder", "decoder")
  for name, value in {"layers": 2, "attention_heads": 4, "ffn_dim": 48}.items()
}
_BART = {"d_model": 32, "max_position_embeddings": 64, **_SIDES}
_T5 = {"d_model": 32, "d_kv": 6, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_T5["decoder_start_token_id"] = 0
_LLAMA = {
  "hidden_size": 32,
  "intermediate_size": 48,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "max_position_embeddings": 64,
}
_LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
_LLAMA3 = {
  **_LINEAR,
  "rope_type": "llama3",
  "low_freq_factor": 1.0,
  "high_freq_factor": 4.0,
  "original_max_position_embeddings": 16,
}
_SENTENCEPIECE = {"<pad>": 0, "</s>": 1, "<unk>": 2}
_FAIRSEQ = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}

# Class, settings, special pieces, and what a tokenizer puts before and after a text.
KINDS = {
  "marian": (
    "MarianMT",
    _BART | {"activation_function": "swish", "scale_embedding": True}
    | {"pad_token_id": 58, "eos_token_id": 0, "decoder_start_token_id": 58},
    ({"</s>": 0, "<unk>": 1, "<pad>": 58}, [], ["</s>"]),
  ),
  "bart": (
    "Bart", _BART | {"forced_bos_token_id": 0}, (_FAIRSEQ, ["<s>"], ["</s>"])
  ),
  "mbart": (
    "MBart",
    _BART | {"scale_embedding": True, "forced_bos_token_id": 58, "decoder_start_token_id": 2},
    (_FAIRSEQ | {"en_XX": 57, "de_DE": 58}, ["en_XX"], ["</s>"]),
  ),
  "pegasus": (
    "Pegasus", _BART | {"activation_function": "relu", "scale_embedding": True},
    (_SENTENCEPIECE, [], ["</s>"]),
  ),
  "t5": ("T5", _T5, (_SENTENCEPIECE, [], ["</s>"])),
  "t5v1_1": (
    "T5",
    _T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    (_SENTENCEPIECE, [], ["</s>"]),
  ),
  "mt5": ("MT5", _T5, (_SENTENCEPIECE, [], ["</s>"])),
  "gpt2": (
    "GPT2",
    {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    | {"bos_token_id": 58, "eos_token_id": 58},
    ({"<|endoftext|>": 58}, [], []),
  ),
  "llama": (
    "Llama", _LLAMA | {"rope_parameters": _LLAMA3},
    ({"<unk>": 0, "<s>": 1, "</s>": 2}, ["<s>"], []),
  ),
  "mistral": (
    "Mistral", _LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
    ({"<unk>": 0, "<s>": 1, "</s>": 2}, ["<s>"], []),
  ),
  "qwen2": (
    "Qwen2", _LLAMA | {"rope_parameters": _LINEAR, "eos_token_id": 58},
    ({"<|endoftext|>": 58}, [], []),
  ),
}  # fmt: skip
ALONE = ("gpt2", "llama", "mistral", "qwen2")


def make(kind, folder):
  """Writes a model and its tokenizer into a folder; returns the model."""
  name, settings, (specials, before, after) = KINDS[kind]
  config = getattr(transformers, f"{name.removesuffix('MT')}Config")
  suffix = "MTModel" if name == "MarianMT" else "ForConditionalGeneration"
  suffix = {"GPT2": "LMHeadModel"}.get(name, "ForCausalLM") if kind in ALONE else suffix
  model = getattr(transformers, f"{name.removesuffix('MT')}{suffix}")(
    config(vocab_size=VOCABULARY, forced_eos_token_id=None, **settings)
  )
  _randomize(kind, model, specials)
  model.save_pretrained(folder)
  if kind == "t5v1_1":
    # transformers reads it by this setting, and does not write it.
    _update(folder / "config.json", tie_word_embeddings=False)
  _update(
    folder / "generation_config.json",
    **{name: value for name, value in settings.items() if name.endswith("_token_id")},
  )
  _write_tokenizer(folder, specials, before, after)
  return model.eval()


def _randomize(kind, model, specials):
  """Weights that make outputs differ, end, and hold no other special piece."""
  generator = torch.Generator().manual_seed(0)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      if not parameter.requires_grad:
        continue  # sinusoids
      value = 0.3 * torch.randn(parameter.shape, generator=generator)
      is_norm = parameter.dim() == 1 and name.endswith("weight")
      parameter.copy_(value + is_norm)
    eos = model.config.eos_token_id
    others = [i for i in specials.values() if i != eos]
    if hasattr(model, "final_logits_bias"):
      model.final_logits_bias.normal_(generator=generator)
      model.final_logits_bias[0, eos] += 10
      model.final_logits_bias[0, others] -= 40
    else:
      table = model.get_output_embeddings().weight
      table[eos] *= {"t5": -12, "t5v1_1": -4, "mt5": -4}.get(kind, 3)
      table[others] *= 0.01


def _write_tokenizer(folder, specials, before, after):
  names = {i: piece for piece, i in specials.items()}
  vocabulary = {names.get(i, f"w{i}"): i for i in range(VOCABULARY)}
  unk = "<unk>" if "<unk>" in specials else "w0"
  tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=unk))
  tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  tokenizer.add_special_tokens(list(specials))
  if before or after:
    tokenizer.post_processor = processors.TemplateProcessing(
      single=" ".join([*before, "$A", *after]),
      special_tokens=[(piece, vocabulary[piece]) for piece in {*before, *after}],
    )
  tokenizer.save(str(folder / "tokenizer.json"))


def _update(path, **settings):
  path.write_text(json.dumps(json.loads(path.read_text()) | settings))
